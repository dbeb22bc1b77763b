"""A real Redis for tests: `redis` starts one on a free port, to be killed and started again."""

import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.peers import free_port, need, wait_for_port


@dataclass
class RedisServer:
    """A server that keeps nothing on disk."""

    folder: Path
    port: int
    password: str = ""
    _process: "subprocess.Popen[bytes] | None" = field(default=None, repr=False)

    @property
    def url(self) -> str:
        """Its address, without a password."""
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        """Start it, or start it again, empty; returns when it listens."""
        words = [need("redis-server"), "--port", str(self.port), "--bind", "127.0.0.1"]
        words += ["--save", "", "--appendonly", "no", "--dir", str(self.folder)]
        if self.password:
            words += ["--requirepass", self.password]
        with (self.folder / "log").open("ab") as out:
            self._process = subprocess.Popen(words, stdout=out, stderr=out)
        wait_for_port(self.port, self._process)

    def kill(self) -> None:
        """End it as a crash does."""
        self._end(signal.SIGKILL)

    def freeze(self) -> None:
        """Let it accept connections and answer nothing."""
        assert self._process is not None, "it runs"
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        assert self._process is not None, "it runs"
        self._process.send_signal(signal.SIGCONT)

    def stop(self) -> None:
        """End it, if it runs."""
        self._end(signal.SIGTERM)

    def _end(self, how: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(signal.SIGCONT)
            process.send_signal(how)
            process.wait(20)


@contextmanager
def running_redis(password: str = "") -> Iterator[RedisServer]:
    """A server, ended on exit."""
    need("redis-server")
    with tempfile.TemporaryDirectory(prefix="argosy-redis-") as folder:
        server = RedisServer(Path(folder), free_port(), password)
        server.start()
        try:
            yield server
        finally:
            server.stop()


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    """A server of the test's own."""
    with running_redis() as server:
        yield server
