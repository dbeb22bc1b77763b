"""`deploy/cluster`: what it starts, it ends, however it is told to."""

import re
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.peers import need
from tests.seaweed import weed

CLUSTER = Path(__file__).resolve().parents[2] / "deploy" / "cluster"
pytestmark = [pytest.mark.peer, pytest.mark.slow]


@pytest.fixture
def folder() -> Iterator[Path]:
    weed()
    for peer in ("redis-server", "haproxy"):
        need(peer)
    with tempfile.TemporaryDirectory(prefix="argosy-cluster-") as top:
        Path(top).chmod(0o755)  # PostgreSQL runs as another user
        yield Path(top) / "cluster"
        cluster("down", Path(top) / "cluster")


def cluster(verb: str, folder: Path, *more: str) -> "subprocess.CompletedProcess[str]":
    argv = [str(CLUSTER), verb, "--dir", str(folder), *more]
    return subprocess.run(argv, capture_output=True, text=True, timeout=120)


def left(folder: Path) -> list[str]:
    """The processes that have this folder in their command line, or stand in it."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            said = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            files = [str(fd.readlink()) for fd in (process / "fd").glob("*")]
        except OSError:  # it is gone
            continue
        if any(f"{folder}/" in text for text in (said, *files)):
            found.append(said)
    return found


def readable_by_others(folder: Path) -> list[Path]:
    """The files below a folder that any user of the machine may read, by the folders on the way."""
    found = []
    for path in folder.iterdir():
        mode = path.stat().st_mode
        if path.is_dir() and mode & 0o001:
            found += readable_by_others(path)
        elif path.is_file() and mode & 0o004:
            found.append(path)
    return found


def test_down_ends_every_part_that_up_left_running(folder):
    up = cluster("up", folder, "--nodes", "1", "--detach")
    assert up.returncode == 0, up.stderr
    assert re.search(r"password +\S+", up.stdout)
    assert cluster("status", folder).stdout == up.stdout
    again = cluster("up", folder, "--nodes", "1", "--detach")
    assert (again.returncode, "is running" in again.stderr) == (1, True)
    assert len(left(folder)) >= 5
    assert readable_by_others(folder) == []
    assert cluster("down", folder).returncode == 0
    assert left(folder) == []
    assert cluster("status", folder).returncode == 1


@pytest.mark.parametrize("told", [signal.SIGTERM, signal.SIGINT])
def test_a_start_that_is_broken_off_leaves_nothing(folder, told):
    argv = [str(CLUSTER), "up", "--dir", str(folder), "--nodes", "1"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as starting:
        until = time.monotonic() + 60
        redis = folder / "redis" / "log"  # the last of the first three
        while not (redis.exists() and redis.stat().st_size):
            assert time.monotonic() < until
            time.sleep(0.01)
        starting.send_signal(told)
        said, _ = starting.communicate(timeout=60)
    assert (starting.returncode, b"Traceback" in said) == (130, False), said
    assert left(folder) == []
