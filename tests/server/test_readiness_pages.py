"""Alive is who answers; ready is who reaches what it needs and is not about to end."""

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from argosy.errors import StorageError
from argosy.server.observing.readiness import Readiness, directory_is_writable
from tests.guarded import guarded
from tests.serving import Client, served

pytestmark = pytest.mark.slow


async def fine() -> None:
    pass


async def broken() -> None:
    raise StorageError("the disk is on fire", why="secret details")


async def page(readiness: Readiness) -> tuple[int, Any]:
    found = await readiness.page()
    assert isinstance(found.body, bytes)
    return found.status, json.loads(found.body)


async def test_ready_is_who_reaches_everything() -> None:
    readiness = Readiness(fresh=0.0)
    readiness.add("database", fine)
    assert (await page(readiness))[0] == 200
    readiness.add("storage", broken)
    status, said = await page(readiness)
    assert (status, said["status"]) == (503, "not ready")
    ok, failed = said["checks"]
    assert (ok["name"], ok["ok"]) == ("database", True)
    assert (failed["name"], failed["ok"], failed["why"]) == (
        "storage",
        False,
        "the disk is on fire",
    )
    assert failed["seconds"] >= 0


async def test_a_check_that_hangs_or_breaks_in_an_unforeseen_way_is_one_that_failed() -> None:
    readiness = Readiness(fresh=0.0, patience=0.02)

    async def hang() -> None:
        await asyncio.sleep(60)

    async def odd() -> None:
        raise RuntimeError("password=hush")

    readiness.add("slow", hang)
    readiness.add("odd", odd)
    status, said = await page(readiness)
    assert status == 503
    assert [c["why"] for c in said["checks"]] == ["no answer within 0.02 s", "RuntimeError"]


async def test_many_who_ask_at_once_are_one_look_and_one_who_leaves_takes_none_with_him() -> None:
    looks, free = 0, asyncio.Event()

    async def slow() -> None:
        nonlocal looks
        looks += 1
        await free.wait()

    readiness = Readiness(fresh=60.0)
    readiness.add("database", slow)
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(readiness.page()) for _ in range(20)]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        tasks[0].cancel()
        await asyncio.sleep(0)
        free.set()
    assert [task.result().status for task in tasks[1:]] == [200] * 19
    assert looks == 2  # the first asker's was broken off
    await readiness.page()
    assert looks == 2


async def test_who_drains_is_not_ready_at_once() -> None:
    readiness = Readiness(fresh=3600.0)
    assert (await page(readiness))[0] == 200
    readiness.draining = True
    assert await page(readiness) == (503, {"status": "draining", "checks": []})


async def test_a_directory_that_cannot_be_written_is_seen_and_nothing_is_left_in_one_that_can(
    tmp_path: Path,
) -> None:
    await directory_is_writable(str(tmp_path))()
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(StorageError, match="cannot be written"):
        await directory_is_writable(str(tmp_path / "gone"))()


def test_a_server_is_alive_and_ready_and_says_so_in_its_metrics(tmp_path: Path) -> None:
    with served(tmp_path, watched=True) as (client, serving):
        assert client("GET", "/healthz").body == b"ok\n"
        found = client("GET", "/readyz")
        assert (found.status, found.json["status"]) == (200, "ready")
        assert {"database", "storage"} <= {check["name"] for check in found.json["checks"]}
        assert found["Cache-Control"] == "no-store"
        assert 'argosy_ready{check="database"} 1.0' in client("GET", "/metrics").body.decode()

        async def away(_function: Any) -> None:
            raise StorageError("the database is away")

        serving.app.catalog.database.glance = away  # type: ignore[method-assign]
        serving.app.readiness._at = -1e9
        found = client("GET", "/readyz")
        assert (found.status, found.json["status"]) == (503, "not ready")
        assert client("GET", "/healthz").status == 200
        assert 'argosy_ready{check="database"} 0.0' in client("GET", "/metrics").body.decode()


def test_a_server_that_is_told_to_end_is_not_ready_first_and_serves_on_until_then(
    tmp_path: Path,
) -> None:
    words = ["-m", "argosy", "serve", "--listen", "127.0.0.1:0", "--data", str(tmp_path)]
    environ = {**os.environ, "ARGOSY_SERVER_DRAIN": "2s"}
    with subprocess.Popen(
        [sys.executable, *words], stdout=subprocess.PIPE, text=True, env=environ
    ) as process:
        assert process.stdout is not None
        port = int(re.findall(r":(\d+) ", process.stdout.readline())[0])
        client = Client("127.0.0.1", port)
        assert client("GET", "/readyz").status == 200
        process.send_signal(signal.SIGTERM)
        found = client("GET", "/readyz")
        while found.status == 200:  # the signal is on its way
            found = client("GET", "/readyz")
        assert (found.status, found.json["status"]) == (503, "draining")
        assert client("GET", "/v2/").status == 200
        assert process.wait(30) == 0


def test_a_guarded_server_is_ready_when_it_can_sign_tokens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with guarded(tmp_path) as world:
        found = world.client("GET", "/readyz").json
        assert {"name": "signing-keys", "ok": True}.items() <= found["checks"][-1].items()
        keys = world.access.keys
        late = replace(keys.signing(), accepted_until=1.0)
        monkeypatch.setattr(keys, "signing", lambda: late)
        world.serving.app.readiness._at = -1e9
        found = world.client("GET", "/readyz")
        assert found.status == 503
        assert found.json["checks"][-1]["why"] == "the last signing key has expired"
