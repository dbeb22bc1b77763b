"""500 clients want a token at the same moment: how long each waits for it.

Every client has its connection already and sends its request when all others do. Robots show
a secret (one hash); users a password, for the first time (argon2id, 19 MiB and some 20 ms of
a core each, no more at once than there are cores) and again (remembered under a keyed hash).
For scale, Debian's docker-registry with an htpasswd file: it has no token service, so its
clients ask for `/v2/` with their password (bcrypt of cost 5, htpasswd's default, each time).
"""

import argparse
import asyncio
import base64
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import bcrypt

from argosy.access.accounts.robots import NewRobot
from argosy.access.accounts.users import NewUser
from argosy.access.permissions.authority import Authority
from argosy.access.permissions.permission import Role
from argosy.access.permissions.principal import Principal
from argosy.access.service import Access, AccessOptions
from argosy.access.tokens.sealing import Sealer
from argosy.catalog.actor import SYSTEM
from argosy.catalog.database import open_database
from argosy.catalog.projects.projects import Projects
from bench import harness
from bench.harness import Metric, Samples, ServerProcess

OURS, THEIRS = "argosy", "docker-registry"
_SCOPE = "/token?service=argosy&scope=repository:team/app:pull,push"
_CASES = (
    "robots",
    "robots, again",
    "users, first time",
    "users, again",
    "one user everywhere, first time",
)
_UNITS = (("p50", "ms"), ("p99", "ms"), ("all done", "ms"))
_PEER = """\
version: 0.1
log: {{level: error, accesslog: {{disabled: true}}}}
storage:
  filesystem: {{rootdirectory: {data}/blobs}}
http: {{addr: "127.0.0.1:{port}", secret: bench}}
auth: {{htpasswd: {{realm: bench, path: {data}/htpasswd}}}}
"""

Pair = tuple[str, str]


@dataclass(frozen=True, slots=True)
class People:
    """Who there is: names with what they show."""

    robots: list[Pair]
    users: list[Pair]


def password(number: int) -> str:
    return f"correct horse battery {number}"


async def populate(data: Path, count: int) -> People:
    """Make a project, robots and users in a data directory, as the API would."""
    data.mkdir()
    users = [(f"user{n}", password(n)) for n in range(count)]
    robots: list[Pair] = []
    async with open_database(str(data / "argosy.db")) as database:
        access = Access(database, Sealer("b" * 40), AccessOptions())
        assert isinstance(access.authority, Authority)
        await access.users.create(SYSTEM, NewUser(name="root", password=password(0), is_admin=True))
        root = await access.users.get("root")
        maker = Principal(name="root", kind="user", id=root.id, is_admin=True)
        await Projects(database).create("team", by=SYSTEM)
        async with asyncio.TaskGroup() as group:
            for name, secret in users:
                group.create_task(_user(access, name, secret))
        for number in range(count):
            grants = ["repository:team/**:pull,push"]
            new = NewRobot(name=f"ci{number}", project="team", grants=grants)
            made, secret = await access.robots.create(SYSTEM, maker, new)
            robots.append((made.name, secret))
    return People(robots, users)


async def _user(access: Access, name: str, secret: str) -> None:
    await access.users.create(SYSTEM, NewUser(name=name, password=secret))
    await access.members.put(SYSTEM, "team", "user", name, Role.DEVELOPER)


async def ask(port: int, target: str, who: Sequence[Pair]) -> tuple[list[float], float]:
    """Seconds that each one waited, and all together; SystemExit for any answer but 200."""
    start = asyncio.Event()
    ready = asyncio.Semaphore(0)

    async def one(name: str, secret: str) -> float:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        shown = base64.b64encode(f"{name}:{secret}".encode()).decode()
        head = f"GET {target} HTTP/1.1\r\nHost: bench\r\nAuthorization: Basic {shown}\r\n\r\n"
        ready.release()
        await start.wait()
        began = time.perf_counter()
        writer.write(head.encode())
        answer = await reader.readuntil(b"\r\n")
        took = time.perf_counter() - began
        writer.close()
        if b" 200 " not in answer:
            raise SystemExit(f"{name}: {answer!r}")
        return took

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one(*pair)) for pair in who]
        for _ in who:
            await ready.acquire()
        began = time.perf_counter()
        start.set()
    return [task.result() for task in tasks], time.perf_counter() - began


def _add(samples: Samples, who: str, case: str, found: tuple[list[float], float]) -> None:
    times, total = found
    samples.add(who, f"{case}, p50", statistics.median(times) * 1000)
    samples.add(who, f"{case}, p99", statistics.quantiles(times, n=100)[-1] * 1000)
    samples.add(who, f"{case}, all done", total * 1000)


def measure_ours(data: Path, people: People, samples: Samples) -> None:
    port = harness.free_port()
    argv = [sys.executable, "-m", "argosy", "serve", "--auth", "--data", str(data)]
    with ServerProcess([*argv, "--listen", f"127.0.0.1:{port}"], port, data / "log") as server:
        fleet = [people.users[0]] * len(people.users)
        rounds = (people.robots, people.robots, people.users[1:] + people.robots[:1])
        for case, who in zip(_CASES, (*rounds, people.users[1:], fleet), strict=True):
            _add(samples, OURS, case, asyncio.run(ask(port, _SCOPE, who)))
        samples.add(OURS, "memory at the end", server.resident_mb())


def measure_theirs(data: Path, people: People, samples: Samples) -> None:
    port = harness.free_port()
    config = data / "config.yml"
    config.write_text(_PEER.format(data=data, port=port))
    with ServerProcess(["docker-registry", "serve", str(config)], port, data / "log") as server:
        for case in ("users, first time", "users, again"):
            _add(samples, THEIRS, case, asyncio.run(ask(port, "/v2/", people.users)))
        samples.add(THEIRS, "memory at the end", server.resident_mb())


def htpasswd(people: People) -> str:
    lines = []
    for name, secret in people.users:
        made = bcrypt.hashpw(secret.encode(), bcrypt.gensalt(5, prefix=b"2a")).decode()
        lines.append(f"{name}:{made}")
    return "\n".join(lines) + "\n"


def _table(samples: Samples) -> str:
    rows = ["| ms | docker-registry, /v2/ with bcrypt | argosy, /token |", "|---|--:|--:|"]
    for case in _CASES:
        for what, _ in _UNITS:
            name = f"{case}, {what}"
            theirs, ours = samples.median(THEIRS, name), samples.median(OURS, name)
            shown = "" if theirs is None else f"{theirs:,.0f}"
            rows.append(f"| {name} | {shown} | {ours or 0:,.0f} |")
    memory = [samples.median(who, "memory at the end") or 0 for who in (THEIRS, OURS)]
    rows.append(f"| memory at the end, MB | {memory[0]:,.0f} | {memory[1]:,.0f} |")
    return "\n".join(rows) + "\n"


METRICS = tuple(
    Metric(name=f"{case}, {what}", unit=unit, more_is_better=False)
    for case in _CASES
    for what, unit in _UNITS
)


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print and write the table."""
    parser = argparse.ArgumentParser(prog="bench.tokens", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--clients", type=int, default=500)
    parser.add_argument("--quick", action="store_true", help="one round")
    options, _others = parser.parse_known_args(sys.argv[1:] if argv is None else argv)
    rounds = 1 if options.quick else options.rounds
    facts = {
        **harness.machine(),
        "argosy": metadata.version("argosy"),
        "clients": f"{options.clients} at the same moment, connected already",
        "rounds": f"{rounds}; each on servers newly started; medians",
    }
    samples = Samples()
    with tempfile.TemporaryDirectory(prefix="bench-tokens-") as name:
        ours, theirs = Path(name) / "ours", Path(name) / "theirs"
        people = asyncio.run(populate(ours, options.clients))
        theirs.mkdir()
        (theirs / "htpasswd").write_text(htpasswd(people))
        contenders = {
            OURS: lambda: measure_ours(ours, people, samples),
            THEIRS: lambda: measure_theirs(theirs, people, samples),
        }
        harness.interleaved(contenders, rounds)
    facts["load at end"] = f"{os.getloadavg()[0]:.2f}"
    page = harness.write(
        "tokens-quick" if options.quick else "tokens",
        f"{options.clients} token requests at once",
        [_table(samples)],
        facts,
        samples,
    )
    print(page.read_text())
    return 0


if __name__ == "__main__":
    sys.exit(main())
