"""The first start with access control: an admin, a password shown once, and a way back in."""

import os
import re
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from argosy.errors import UsageError
from argosy.server.starting.listening import Address, TLSFiles, check, in_the_clear
from tests.peers import argosy
from tests.serving import Client

pytestmark = pytest.mark.slow


@contextmanager
def serving(data: Path, *words: str) -> Iterator[tuple[Client, "subprocess.Popen[str]"]]:
    """`argosy serve --auth` as users start it."""
    args = [sys.executable, "-m", "argosy", "serve", "--auth", "--listen", "127.0.0.1:0"]
    process = subprocess.Popen(
        [*args, "--data", str(data), *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        umask=0o022,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        found = re.search(r"http://([\d.]+):(\d+)", line := process.stdout.readline())
        assert found, line + (process.stderr.read() if process.poll() is not None else "")
        yield Client(found[1], int(found[2])), process
    finally:
        process.terminate()
        process.wait(30)
        process.stdout.close()
        process.stderr.close()


def said(process: "subprocess.Popen[str]") -> str:
    """Everything on standard error, once it has ended."""
    process.terminate()
    process.wait(30)
    assert process.stderr is not None
    return process.stderr.read()


def test_the_first_start_tells_a_password_once_and_the_second_does_not(tmp_path: Path) -> None:
    with serving(tmp_path) as (client, process):
        text = said(process)
    found = re.search(r"user admin, with the one-time password (\S+)", text)
    assert found, text
    assert text.count(found[1]) == 1
    with serving(tmp_path) as (client, process):
        refused = client.by("admin", found[1])("GET", "/v2/")
        assert refused.status == 401
        assert "has to be changed first" in refused.json["errors"][0]["message"]
        assert client.by("admin", "admin")("GET", "/v2/").status == 401
        assert said(process) == ""


def test_a_lost_password_is_got_over_on_the_machine_also_beside_a_running_server(
    tmp_path: Path,
) -> None:
    with serving(tmp_path) as (client, _):
        once = argosy("admin", "reset-password", "--data", tmp_path).strip()
        refused = client.by("admin", once)("GET", "/v2/")
        assert "has to be changed first" in refused.json["errors"][0]["message"]
        other = argosy("admin", "reset-password", "--data", tmp_path, "rescuer").strip()
        assert other != once


def test_where_there_is_no_registry_none_is_made(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "argosy", "admin", "reset-password", "--data", str(tmp_path / "x")],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 4
    assert "no registry in" in done.stderr
    assert not (tmp_path / "x").exists()


def test_a_key_is_rotated_beside_a_running_server(tmp_path: Path) -> None:
    with serving(tmp_path) as (client, _):
        before = client("GET", "/token").json["token"]
        argosy("admin", "rotate-key", "--data", tmp_path, "--at-once")
        assert client.bearing(before)("GET", "/v2/").status == 200


def test_secrets_are_the_servers_alone(tmp_path: Path) -> None:
    with serving(tmp_path):
        for name in ("secret", "argosy.db", "argosy.db-wal", "argosy.db-shm"):
            assert stat.S_IMODE(os.stat(tmp_path / name).st_mode) == 0o600
        for name in ("blobs", "uploads"):
            assert stat.S_IMODE(os.stat(tmp_path / name).st_mode) & 0o007 == 0


def test_a_secret_that_others_may_read_is_refused(tmp_path: Path) -> None:
    with serving(tmp_path):
        pass
    (tmp_path / "secret").chmod(0o644)
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "argosy",
            "serve",
            "--auth",
            "--listen",
            "127.0.0.1:0",
            "--data",
            str(tmp_path),
        ],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 2
    assert "chmod 600" in done.stderr


def test_with_access_control_any_address_may_be_listened_on() -> None:
    everywhere, plain = Address.parse(":5000"), TLSFiles()
    with pytest.raises(UsageError):
        check(everywhere, plain)
    check(everywhere, plain, auth=True)
    assert "without TLS" in in_the_clear(everywhere, plain)
    assert not in_the_clear(everywhere, TLSFiles(certificate="c", key="k"))
    assert not in_the_clear(Address.parse("127.0.0.1:1"), plain)
