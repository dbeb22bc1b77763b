"""A real PostgreSQL for tests: one server per worker of the suite, a fresh database per test.

`postgres_url` is the address of a database at the present schema, `empty_postgres_url` of
one without tables, `postgres` the server itself, to be stopped, killed and started again.
Works as root (the server runs as user postgres) and as anybody else.
"""

import asyncio
import itertools
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from argosy.catalog.database import open_database
from tests.peers import PATH, free_port

PASSWORD = "not-to-be-shown-7f2c"
_HOMES = ("/usr/lib/postgresql/15/bin", "/usr/lib/postgresql/*/bin")
_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "120",
    "shared_buffers": "32MB",
    "fsync": "off",  # the machine stays up; a killed server loses nothing without it
    "full_page_writes": "off",
    "deadlock_timeout": "100ms",
    "log_min_messages": "warning",
}
_names = itertools.count()


def postgres_program(name: str) -> str:
    """The path of one of PostgreSQL's programs; skips, or fails under CI."""
    homes = sorted((str(h) for p in _HOMES for h in Path("/").glob(p[1:])), reverse=True)
    if found := shutil.which(name, path=":".join([*homes, PATH])):
        return found
    reason = "PostgreSQL is not installed: run `make system` as root"
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


@dataclass
class Postgres:
    """A server in a folder of its own, on a port of the loopback."""

    folder: Path
    port: int
    settings: dict[str, str] = field(default_factory=dict)
    _process: "subprocess.Popen[bytes] | None" = field(default=None, repr=False)

    def url(self, database: str = "postgres") -> str:
        """The address of a database, with the password in it."""
        return f"postgresql://postgres:{PASSWORD}@127.0.0.1:{self.port}/{database}"

    def take(self, path: Path, name: str) -> str:
        """A copy of a file that the server alone can read, as it wants a key to be; its path."""
        mine = self.folder / name
        shutil.copyfile(path, mine)
        mine.chmod(0o600)
        self._own()
        return str(mine)

    def make(self) -> None:
        """Make the files of an empty cluster."""
        password = self.folder / "password"
        password.write_text(PASSWORD)
        self._own()
        words = ["-D", self.folder / "data", "-U", "postgres", "-A", "scram-sha-256"]
        words += ["--pwfile", password, "-E", "UTF8", "--locale=C.UTF-8", "--no-sync"]
        words += ["--wal-segsize", "1"]
        done = subprocess.run(
            [postgres_program("initdb"), *map(str, words)], capture_output=True, **self._user()
        )
        if done.returncode:
            pytest.fail(f"initdb: {done.stdout.decode()}{done.stderr.decode()}")

    def start(self) -> None:
        """Start the server, or start it again; returns when it answers."""
        words = [postgres_program("postgres"), "-D", str(self.folder / "data")]
        settings = {**_SETTINGS, **self.settings, "port": str(self.port)}
        for name, value in settings.items():
            words += ["-c", f"{name}={value}"]
        with (self.folder / "log").open("ab") as out:
            self._process = subprocess.Popen(words, stdout=out, stderr=out, **self._user())
        until = time.monotonic() + 30
        while True:
            done = self._psql("postgres", "SELECT 1")
            if done.returncode == 0:
                return
            if self._process.poll() is not None or time.monotonic() > until:
                log = (self.folder / "log").read_text()[-3000:]
                pytest.fail(f"PostgreSQL did not start: {done.stderr}{log}")
            time.sleep(0.05)

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """End it: SIGINT ends it fast and in order, SIGQUIT as a crash does."""
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(30)
            self._process = None

    def sql(self, statement: str, database: str = "postgres") -> str:
        """What psql prints for a statement."""
        done = self._psql(database, statement)
        if done.returncode:
            pytest.fail(f"{statement}: {done.stderr}")
        return done.stdout.strip()

    def create(self, template: str = "template0") -> str:
        """A new database; its address."""
        name = f"test_{os.getpid()}_{next(_names)}"
        self.sql(f"CREATE DATABASE {name} TEMPLATE {template}")
        return self.url(name)

    def drop(self, url: str) -> None:
        """Remove a database, whoever is connected to it."""
        self.sql(f"DROP DATABASE IF EXISTS {url.rpartition('/')[2]} WITH (FORCE)")

    def _psql(self, database: str, statement: str) -> "subprocess.CompletedProcess[str]":
        words = ["-XAtq", "-h", "127.0.0.1", "-p", str(self.port), "-U", "postgres"]
        return subprocess.run(
            [postgres_program("psql"), *words, "-d", database, "-c", statement],
            capture_output=True,
            text=True,
            env={"PATH": PATH, "PGPASSWORD": PASSWORD, "PGCONNECT_TIMEOUT": "5"},
        )

    def _user(self) -> dict[str, object]:
        if os.geteuid() != 0:
            return {}
        return {"user": "postgres", "group": "postgres", "extra_groups": [], "cwd": "/"}

    def _own(self) -> None:
        if os.geteuid() == 0:
            found = pwd.getpwnam("postgres")
            for path in (self.folder, *self.folder.iterdir()):
                os.chown(path, found.pw_uid, found.pw_gid, follow_symlinks=False)


def _memory() -> str | None:
    """A folder in memory with room for a cluster, if there is one: the disk is busy with other tests."""
    found = "/dev/shm"
    if not os.access(found, os.W_OK | os.X_OK) or shutil.disk_usage(found).free < 2 << 30:
        return None
    return found


@contextmanager
def running_postgres() -> Iterator[Postgres]:
    """A server with an empty cluster, removed on exit."""
    postgres_program("initdb")
    with tempfile.TemporaryDirectory(prefix="argosy-postgres-", dir=_memory()) as folder:
        server = Postgres(Path(folder), free_port())
        server.make()
        server.start()
        try:
            yield server
        finally:
            server.stop()


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """The server of this worker. Who stops it starts it again."""
    with running_postgres() as server:
        yield server


@pytest.fixture(scope="session")
def _postgres_template(postgres: Postgres) -> str:
    """A database at the present schema, to copy."""
    postgres.sql("CREATE DATABASE argosy_template TEMPLATE template0")

    async def migrate() -> None:
        async with open_database(postgres.url("argosy_template")):
            pass

    with ThreadPoolExecutor(1) as pool:  # an async test may ask for it while its loop runs
        pool.submit(lambda: asyncio.run(migrate())).result()
    return "argosy_template"


@pytest.fixture
def postgres_url(postgres: Postgres, _postgres_template: str) -> Iterator[str]:
    """The address of a fresh database at the present schema."""
    url = postgres.create(_postgres_template)
    yield url
    postgres.drop(url)


@pytest.fixture
def empty_postgres_url(postgres: Postgres) -> Iterator[str]:
    """The address of a database without a table."""
    url = postgres.create()
    yield url
    postgres.drop(url)
