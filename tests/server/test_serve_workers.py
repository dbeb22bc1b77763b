"""Several processes on one port: who dies is replaced, who is replaced drops nothing, and all see one truth."""

import hashlib
import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from bench.traffic import Plan, Traffic
from tests.serving import Client

pytestmark = pytest.mark.slow


def children(pid: int) -> set[int]:
    try:
        return set(map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()))
    except FileNotFoundError:
        return set()


def alive(pid: int) -> bool:
    with suppress(FileNotFoundError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def until(condition: Callable[[], bool], seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


class Served:
    def __init__(self, process: "subprocess.Popen[str]", line: str, log: Path) -> None:
        self.process, self.line, self.log = process, line, log
        self.port = int(re.findall(r":(\d+) ", line)[0]) if line else 0

    @property
    def workers(self) -> set[int]:
        return children(self.process.pid)

    @property
    def client(self) -> Client:
        return Client("127.0.0.1", self.port, "p/app")


@contextmanager
def served(data: Path, workers: int = 2, **env: str) -> Iterator[Served]:
    words = ["--listen", "127.0.0.1:0", "--data", str(data / "data"), "--workers", str(workers)]
    argv = [sys.executable, "-m", "argosy", "serve", *words]
    log = data / "log"
    with log.open("w") as errors:
        process = subprocess.Popen(
            argv, stdout=subprocess.PIPE, stderr=errors, text=True, env={**os.environ, **env}
        )
    assert process.stdout is not None
    try:
        yield Served(process, process.stdout.readline(), log)
    finally:
        started = children(process.pid)
        process.kill()
        process.wait()
        process.stdout.close()
        until(lambda: not any(map(alive, started)))


def test_it_says_how_many_there_are_and_all_end_with_the_supervisor(tmp_path):
    with served(tmp_path, 3) as it:
        assert "workers=3" in it.line
        workers = it.workers
        assert len(workers) == 3
        assert it.client("GET", "/v2/").status == 200
        it.process.send_signal(signal.SIGTERM)
        assert it.process.wait(20) == 0
        assert not any(map(alive, workers))
        assert it.log.read_text() == ""


def test_a_worker_that_is_killed_is_replaced_and_the_port_never_closes(tmp_path):
    with served(tmp_path) as it:
        dead = min(it.workers)
        os.kill(dead, signal.SIGKILL)
        until(lambda: len(it.workers - {dead}) == 2)
        assert it.client("GET", "/v2/").status == 200
        assert f"process {dead}) was killed by SIGKILL" in it.log.read_text()


def test_workers_end_when_their_supervisor_is_killed(tmp_path):
    with served(tmp_path) as it:
        workers = it.workers
        it.process.kill()
        it.process.wait()
        until(lambda: not any(map(alive, workers)))
    with served(tmp_path) as again:  # and the directory is free
        assert again.client("GET", "/v2/").status == 200


def test_what_one_worker_acknowledged_every_worker_serves_at_once(tmp_path):
    """Connections go to either worker as the kernel likes: many, so that both are asked."""
    with served(tmp_path) as it:
        for round_ in range(10):
            made = it.client.push_image("moving", seed=str(round_))
            seen = {
                it.client("HEAD", "manifests/moving")["Docker-Content-Digest"] for _ in range(20)
            }
            assert seen == {made["digest"]}


def test_an_upload_goes_on_in_whichever_worker_gets_the_next_part(tmp_path):
    with served(tmp_path) as it:
        for seed in range(5):
            where = it.client.begin()
            parts = [os.urandom(1000 + seed) for _ in range(8)]
            start = 0
            for part in parts:
                span = {"Content-Range": f"{start}-{start + len(part) - 1}"}
                done = it.client("PATCH", where, part, span)
                assert done.status == 202, done.body
                where, start = done["Location"], start + len(part)
            body = b"".join(parts)
            name = "sha256:" + hashlib.sha256(body).hexdigest()
            assert it.client("PUT", f"{where}?digest={name}").status == 201
            assert it.client("GET", f"blobs/{name}").body == body


@pytest.mark.slow
def test_under_load_kills_and_reloads_lose_nothing(tmp_path):
    with served(tmp_path) as it:
        traffic = Traffic(Plan(address=("127.0.0.1", it.port), clients=8, sizes=(500, 200_000)))
        with traffic.running():
            traffic.more()
            before = it.workers
            it.process.send_signal(signal.SIGHUP)
            until(lambda: len(it.workers) == 2 and not it.workers & before)
            traffic.more()
            os.kill(min(it.workers), signal.SIGKILL)
            traffic.more()
            os.kill(max(it.workers), signal.SIGKILL)
            traffic.more()
        counts = traffic.verify()
        assert (counts.lost, counts.corrupt, counts.failed, counts.dishonest) == (0, 0, 0, [])


def test_settings_that_became_wrong_leave_the_workers_as_they_are(tmp_path):
    file = tmp_path / "argosy.toml"
    file.write_text("[uploads]\nttl = '1h'\n")
    words = ["--listen", "127.0.0.1:0", "--data", str(tmp_path / "d"), "--workers", "2"]
    argv = [sys.executable, "-m", "argosy", "serve", "--config", str(file), *words]
    pipe = subprocess.PIPE
    process = subprocess.Popen(argv, stdout=pipe, stderr=pipe, text=True)
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        line = process.stdout.readline()
        before = children(process.pid)
        file.write_text("[uploads]\nttl = 'soon'\n")
        process.send_signal(signal.SIGHUP)
        assert "uploads.ttl" in process.stderr.readline()
        assert children(process.pid) == before
        port = int(re.findall(r":(\d+) ", line)[0])
        assert Client("127.0.0.1", port)("GET", "/v2/").status == 200
    finally:
        process.terminate()
        assert process.wait(20) == 0
        process.stdout.close()
        process.stderr.close()


def test_who_takes_a_dead_worker_s_place_is_as_the_others_whatever_the_file_says_now(tmp_path):
    file = tmp_path / "argosy.toml"
    file.write_text("[server]\nworkers = 2\n")
    words = ["--listen", "127.0.0.1:0", "--data", str(tmp_path / "d"), "--config", str(file)]
    pipe = subprocess.PIPE
    argv = [sys.executable, "-m", "argosy", "serve", *words]
    process = subprocess.Popen(argv, stdout=pipe, stderr=pipe, text=True)
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        process.stdout.readline()
        file.write_text("[uploads]\nttl = 'soon'\n")  # somebody is at it
        dead = min(children(process.pid))
        os.kill(dead, signal.SIGKILL)
        until(lambda: len(children(process.pid) - {dead}) == 2)
        assert "starting another" in process.stderr.readline()
        before = children(process.pid)
        # Settings that can be read, but not worked with.
        file.write_text("[database]\nurl = 'postgresql://127.0.0.1:1/x'\npatience = 0.1\n")
        process.send_signal(signal.SIGHUP)
        until(lambda: "settings of before" in process.stderr.readline())
        until(lambda: children(process.pid) == before)  # who could not begin is gone
        dead = min(before)
        os.kill(dead, signal.SIGKILL)
        assert "starting another" in process.stderr.readline()
        until(lambda: len(children(process.pid) - {dead}) == 2)
        before = children(process.pid)
        file.write_text("[server]\nworkers = 1\n")
        process.send_signal(signal.SIGHUP)
        assert "still 2 workers" in process.stderr.readline()
        until(lambda: len(children(process.pid)) == 2 and not children(process.pid) & before)
    finally:
        process.terminate()
        assert process.wait(20) == 0
        process.stdout.close()
        process.stderr.close()


def test_a_port_that_is_taken_is_told_like_any_error(tmp_path):
    with served(tmp_path) as it:
        words = ["--listen", f"127.0.0.1:{it.port}", "--data", str(tmp_path / "other")]
        argv = [sys.executable, "-m", "argosy", "serve", "--workers", "2", *words]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=60)
        assert done.returncode == 6
        assert "cannot listen on" in done.stderr


def counted(client: Client, name: str) -> float:
    """One sample of the metrics page."""
    page = client("GET", "/metrics").body.decode()
    return sum(float(line.split()[-1]) for line in page.splitlines() if line.startswith(name))


def test_every_worker_has_one_page_of_metrics_that_never_goes_back(tmp_path):
    with served(tmp_path) as it:
        it.client.push_image("v1", "x")
        for _ in range(30):  # each is a connection of its own: both workers get some
            assert it.client("GET", "manifests/v1").status == 200
        pulls = 'argosy_pulls_total{kind="manifest"'
        until(lambda: counted(it.client, pulls) == 30)
        assert counted(it.client, "argosy_workers ") == 2
        seen = [counted(it.client, "argosy_http_requests_total") for _ in range(20)]
        assert seen == sorted(seen)
        gone = min(it.workers)
        os.kill(gone, signal.SIGKILL)
        until(lambda: len(it.workers - {gone}) == 2)
        until(lambda: counted(it.client, "argosy_workers ") == 2)
        assert counted(it.client, pulls) == 30  # what it counted stays


def test_one_worker_keeps_the_audit_log_for_all(tmp_path):
    with served(tmp_path, ARGOSY_LOG_LEVEL="info", ARGOSY_LOG_FORMAT="json") as it:
        for number in range(6):
            it.client.push_image(f"v{number}", f"{number}")

        def sealed() -> bool:
            with sqlite3.connect(tmp_path / "data" / "argosy.db") as conn:
                found = conn.execute("SELECT count(*), count(sequence) FROM audit").fetchone()
            conn.close()
            return found == (8, 8)  # six pushes, and the project and the repository they made

        until(sealed)
    lines = [json.loads(line) for line in it.log.read_text().splitlines() if line[:1] == "{"]
    answers = [line for line in lines if line.get("event") == "request"]
    assert {line["status"] for line in answers} <= {200, 201, 202}
    assert len({line["request"] for line in answers}) == len(answers)
