"""The command as a process: signals, broken pipes, and how it leaves."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.scripted import Reply, Scripted, Step

from .conftest import Argosy

pytestmark = pytest.mark.slow

ARGOSY = [sys.executable, "-m", "argosy"]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
async def test_a_signal_ends_a_transfer_quietly_with_its_code(
    number: signal.Signals, code: int, argosy: Argosy, tmp_path: Path
) -> None:
    stalled = Reply(200, b"{}", {"Content-Type": "application/json"}, stall=0)
    rules = [Step("GET", ".*", stalled, pattern=True), Step("HEAD", ".*", stalled, pattern=True)]
    async with Scripted(rules, ordered=False) as registry:
        words = ["copy", "--plain-http", f"{registry.host}/a/b:v1", f"oci:{tmp_path}/out:v1"]
        process = await asyncio.create_subprocess_exec(
            *ARGOSY, *words, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        async with asyncio.timeout(20):
            while not registry.seen:
                await asyncio.sleep(0.02)
        process.send_signal(number)
        out, err = await process.communicate()
    assert (process.returncode, out, err) == (code, b"", b"")


def test_a_reader_that_leaves_is_no_error() -> None:
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run([*ARGOSY, "--help"], stdout=write, stderr=subprocess.PIPE)
    os.close(write)
    assert (done.returncode, done.stderr) == (141, b"")


def test_everything_said_arrives_before_the_process_leaves(argosy: Argosy, layout: Path) -> None:
    """It leaves without taking the interpreter down; nothing buffered may be lost."""
    for words, code in ((["copy", "--help"], 0), (["inspect", "--raw", f"oci:{layout}:v1"], 0)):
        done = subprocess.run([*ARGOSY, *words], capture_output=True)
        assert done.returncode == code
        assert done.stdout.decode() == argosy(*words).out


def test_many_looks_at_a_registry_all_leave_in_peace(host: str) -> None:
    """Threads of the HTTP client must not abort the process while it ends."""
    for _ in range(15):
        done = subprocess.run([*ARGOSY, "tags", f"{host}/cli/none"], capture_output=True)
        assert done.returncode == 4
        assert b"Fatal" not in done.stderr


async def test_tags_are_in_order_though_the_registry_has_none(
    argosy_process: Callable[..., Any],
) -> None:
    page = Reply(200, b'{"name":"a/b","tags":["v2","sha256-0","1"]}')
    rules = [Step("GET", "/v2/", Reply(200)), Step("GET", "/v2/a/b/tags/list?n=1000", page)]
    async with Scripted(rules, ordered=False) as registry:
        said = await argosy_process("tags", f"{registry.host}/a/b")
    assert said.out == "1\nsha256-0\nv2\n"
