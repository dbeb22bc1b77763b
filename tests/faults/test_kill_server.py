"""`kill -9` of a running server at random points of many pushes: the server's half of the promise.

After every restart, on the same directory and without any repair: what can be read
is right, what has a tag is whole, and what was acknowledged is there.
"""

import hashlib
import http.client
import json
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.serving import INDEX, MANIFEST, Client, descriptor, digest, dump, image, index

ROUNDS, AT_ONCE = 56, 4
READY = 20.0  # seconds a start may take on a busy machine
PUSHERS = 4
NAME = "kill/app"


@contextmanager
def started(data: Path) -> Iterator[tuple["subprocess.Popen[str]", Client]]:
    """`argosy serve` in a process of its own, ready; killed on exit."""
    words = ["serve", "--listen", "127.0.0.1:0", "--data", str(data)]
    process = subprocess.Popen(
        [sys.executable, "-m", "argosy", *words], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        found = re.match(r"argosy: serving http://127\.0\.0\.1:(\d+) data=", line)
        assert found, f"no ready line but {line!r}"
        yield process, Client("127.0.0.1", int(found[1]), NAME)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


@dataclass
class Ledger:
    """What the pushers of one life of the server sent, and what it said it has."""

    life: str = ""
    sent: dict[str, bytes] = field(default_factory=dict)
    acknowledged: set[str] = field(default_factory=set)
    tags: dict[str, str] = field(default_factory=dict)
    halfway: list[tuple[str, bytes, int]] = field(default_factory=list)


class Pusher(threading.Thread):
    """Pushes two-platform images, in every way a blob can come, until the server is gone."""

    def __init__(self, client: Client, ledger: Ledger, seed: str) -> None:
        super().__init__()
        self.client, self.ledger, self.seed = client, ledger, seed
        self.random = random.Random(seed)
        self.error: Exception | None = None

    def run(self) -> None:
        count = 0
        try:
            while True:
                self.push(f"t-{self.seed}-{count}")
                count += 1
        except (OSError, http.client.HTTPException):
            pass  # the server has been killed
        except Exception as e:
            self.error = e

    def push(self, tag: str) -> None:
        children = []
        for arch in ("amd64", "arm64"):
            config = dump({"architecture": arch, "os": "linux", "tag": tag})
            layers = [
                self.random.randbytes(self.random.choice((100, 9_000, 700_000))) for _ in "12"
            ]
            for blob in (config, *layers):
                self.blob(blob)
            body = dump(image(config, *layers))
            self.manifest(digest(body), body)
            children.append(
                descriptor(MANIFEST, body, platform={"os": "linux", "architecture": arch})
            )
        body = dump(index(*children))
        self.manifest(f"{digest(body)}?tag={tag}", body)
        self.ledger.tags[tag] = digest(body)

    def blob(self, body: bytes) -> None:
        name = digest(body)
        self.ledger.sent[name] = body
        way = self.random.randrange(3)
        if way == 0:
            done = self.client("POST", f"blobs/uploads/?digest={name}", body)
        else:
            where, cut = self.client.begin(), 0
            if way == 2:
                cut = len(body) // 2
                self.ledger.halfway.append((where, body, cut))
                assert self.client("PATCH", where, body[:cut]).status == 202
            done = self.client("PUT", f"{where}?digest={name}", body[cut:])
        assert done.status == 201, done.body
        self.ledger.acknowledged.add(name)

    def manifest(self, ref: str, body: bytes) -> None:
        self.ledger.sent[digest(body)] = body
        done = self.client.put_manifest(ref, body)
        assert done.status == 201, done.body
        self.ledger.acknowledged.add(digest(body))


def check(client: Client, ledger: Ledger) -> None:
    """Everything that can be read is right, everything named is whole, nothing told is lost."""
    for name, body in ledger.sent.items():
        kind = "manifests" if body.startswith(b'{"schemaVersion"') else "blobs"
        found = client("GET", f"{kind}/{name}")
        assert found.status in (200, 404), found.body
        if found.status == 200:
            assert found.body == body
        else:
            assert name not in ledger.acknowledged, f"{kind}/{name} was acknowledged and is gone"
    tags = [tag for tag in all_tags(client) if tag.startswith(f"t-{ledger.life}.")]
    assert set(ledger.tags) <= set(tags)
    for tag in tags:
        found = client("GET", f"manifests/{tag}")
        assert ledger.tags.get(tag, found["Docker-Content-Digest"]) == digest(found.body)
        walk(client, found.body)


def all_tags(client: Client) -> list[str]:
    """Every tag there is; none before the first push."""
    listed = client("GET", "tags/list")
    return list(listed.json["tags"]) if listed.status == 200 else []


def walk(client: Client, body: bytes) -> None:
    """All below a manifest is there and right."""
    value = json.loads(body)
    for child in value.get("manifests", ()):
        found = client("GET", f"manifests/{child['digest']}", headers={"Accept": INDEX})
        assert digest(found.body) == child["digest"]
        walk(client, found.body)
    for child in [value["config"], *value["layers"]] if "config" in value else ():
        found = client("GET", f"blobs/{child['digest']}")
        assert digest(found.body) == child["digest"]


def go_on(client: Client, ledger: Ledger) -> None:
    """Finish, on the restarted server, uploads that the killed one had half of."""
    for where, body, _ in ledger.halfway:
        status = client("GET", where)
        if status.status == 404 or status["Range"] == "0-0":
            continue  # it had ended, or had nothing yet
        here = int(status["Range"].removeprefix("0-")) + 1
        done = client("PUT", f"{where}?digest={digest(body)}", body[here:])
        assert done.status == 201, done.body
        assert client("GET", f"blobs/{digest(body)}").body == body


def one_life(data: Path, before: Ledger, life: str, delay: float) -> Ledger:
    """Check what the life before left, then push until killed; what this one was told."""
    began = time.monotonic()
    with started(data) as (process, client):
        assert time.monotonic() - began < READY
        check(client, before)
        go_on(client, before)
        ledger = Ledger(life=life)
        pushers = [Pusher(client, ledger, f"{life}.{n}") for n in range(PUSHERS)]
        for pusher in pushers:
            pusher.start()
        time.sleep(delay)
        process.send_signal(signal.SIGKILL)
        for pusher in pushers:
            pusher.join()
            assert pusher.error is None, pusher.error
    return ledger


def on_disk_is_right(data: Path) -> int:
    """Every file that has a blob's name has its bytes; how many there are."""
    count = 0
    for path in (data / "blobs").glob("*/*/*"):
        state = hashlib.new(path.parts[-3])
        state.update(path.read_bytes())
        assert state.hexdigest() == path.name
        count += 1
    return count


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("part", range(AT_ONCE))
def test_a_server_killed_at_any_point_of_a_push_needs_no_repair(part: int, tmp_path: Path) -> None:
    seed = os.environ.get("KILL_SEED") or str(time.time_ns())
    print(f"KILL_SEED={seed}")  # how long each life lasted; threads still race
    delays = random.Random(f"{seed}.{part}")
    ledger, acknowledged = Ledger(), 0
    for life in range(ROUNDS // AT_ONCE):
        ledger = one_life(tmp_path, ledger, f"{part}x{life}", delays.uniform(0.01, 0.4))
        acknowledged += len(ledger.acknowledged)
    with started(tmp_path) as (_process, client):
        check(client, ledger)
        for tag in all_tags(client):
            walk(client, client("GET", f"manifests/{tag}").body)
    assert on_disk_is_right(tmp_path) > 0
    assert acknowledged > ROUNDS  # pushes did get through: the test tests something


def test_a_server_killed_once_during_a_push_needs_no_repair(tmp_path: Path) -> None:
    ledger = one_life(tmp_path, Ledger(), "quick", 0.3)
    with started(tmp_path) as (_process, client):
        check(client, ledger)
        go_on(client, ledger)
