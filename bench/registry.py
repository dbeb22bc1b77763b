"""The registry against Debian's docker-registry, side by side, same machine, same clients.

Both keep their data in the same file system; the peer without authentication and with its
in-memory descriptor cache, ours too, or with everything on (`--auth`): access control (a robot
with a token), the audit log, metrics, and an access log of every request as JSON. Every round
starts both servers anew on directories of their own; what is measured is not their very first
start.
"""

import argparse
import functools
import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from bench import enrol, harness, load
from bench.harness import Metric, Samples, ServerProcess

OURS, THEIRS = "argosy", "docker-registry"
_MB = 1_000_000
_REPO = "bench/app"

METRICS = (
    *(Metric(name=f"manifest GET by tag, {n} conn", unit="req/s", goal=5) for n in (1, 16, 64)),
    *(
        Metric(name=f"manifest GET by tag, {n} conn, p99", unit="ms", more_is_better=False)
        for n in (1, 16, 64)
    ),
    Metric(name="manifest GET CPU", unit="µs/req", more_is_better=False, goal=1),
    Metric(name="blob HEAD, 16 conn", unit="req/s", goal=5),
    Metric(name="blob GET 1 KB, 16 conn", unit="req/s", goal=5),
    Metric(name="blob GET 100 MB x1", unit="MB/s", goal=1),
    Metric(name="blob GET 100 MB x8", unit="MB/s", goal=1),
    Metric(name="blob GET CPU", unit="s/GB", more_is_better=False, goal=1),
    Metric(name="blob PUT 100 MB x1", unit="MB/s", goal=1.8),
    Metric(name="blob PUT 100 MB x4", unit="MB/s", goal=1.8),
    Metric(name="blob PUT CPU", unit="s/GB", more_is_better=False, goal=1),
    Metric(name="blob PATCH 10 x 10 MB", unit="MB/s", goal=1.8),
    Metric(name="start to first answer", unit="ms", more_is_better=False),
    Metric(name="RSS after start", unit="MB", more_is_better=False),
    Metric(name="RSS at the end", unit="MB", more_is_better=False, goal=1),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How much of everything."""

    rounds: int
    seconds: int
    size: int
    repeats: int
    only: str
    auth: bool = False

    def wants(self, part: str) -> bool:
        """Whether that part is to be measured."""
        return not self.only or part in self.only.split(",")


class Contender:
    """One registry, measured once per round."""

    def __init__(
        self, name: str, start: Callable[[Path], ServerProcess], plan: Plan, files: Path
    ) -> None:
        self.name = name
        self._start = start
        self._plan = plan
        self._files = files
        self._authorization = ""
        self.samples: Samples

    def round(self, samples: Samples) -> None:
        """Start it on an empty directory, measure everything, stop it."""
        with harness.scratch("argosy-bench") as place:
            self._start(place).stop()  # the first start makes the database; a start is any other
            with self._start(place) as server:
                if self.name == OURS and self._plan.auth:
                    self._authorization = robot(server.port, place / "log", "bench")
                self._measure(server, functools.partial(samples.add, self.name))

    def _measure(self, server: ServerProcess, add: Callable[[str, float], None]) -> None:
        add("start to first answer", server.start_seconds * 1000)
        add("RSS after start", server.resident_mb())
        self._seed(server)
        if self._plan.wants("small"):
            self._small(server, add)
        if self._plan.wants("get"):
            self._get(server, add)
        if self._plan.wants("put"):
            self._put(server, add)
        add("RSS at the end", server.resident_mb())

    def _at_once(
        self, server: ServerProcess, jobs: Sequence[Callable[[load.Client], None]]
    ) -> float:
        return load.at_once(server.port, jobs, self._authorization)

    def _blob(self, number: int) -> load.Blob:
        return load.fresh(self._files / f"blob{number}", self._plan.size)

    def _seed(self, server: ServerProcess) -> None:
        client = load.Client(server.port, self._authorization)
        small = load.fresh(self._files / "small", 1024)
        load.push_whole(client, _REPO, small)
        self._small_digest = small.digest
        big = self._blob(0)
        if self._plan.wants("get"):
            load.push_whole(client, _REPO, big)
        self._big_digest = big.digest
        manifest = _manifest(small).encode()
        target = f"/v2/{_REPO}/manifests/latest"
        kind = "application/vnd.oci.image.manifest.v1+json"
        load.expect(client.request("PUT", target, manifest, Content_Type=kind), 201)
        client.close()

    def _small(self, server: ServerProcess, add: Callable[[str, float], None]) -> None:
        root = f"http://127.0.0.1:{server.port}/v2/{_REPO}"
        seconds, known = self._plan.seconds, self._authorization
        load.wrk(f"{root}/manifests/latest", 4, 1, known)
        for connections in (1, 16, 64):
            cpu = server.cpu_seconds()
            rate = load.wrk(f"{root}/manifests/latest", connections, seconds, known)
            name = f"manifest GET by tag, {connections} conn"
            add(name, rate.per_second)
            add(f"{name}, p99", rate.p99_ms)
            if connections == 16:
                used = server.cpu_seconds() - cpu
                add("manifest GET CPU", used / (rate.per_second * seconds) * 1e6)
        target = f"/v2/{_REPO}/blobs/{self._small_digest}"
        add("blob HEAD, 16 conn", load.head_rate(server.port, target, 16, seconds, known))
        url = f"{root}/blobs/{self._small_digest}"
        add("blob GET 1 KB, 16 conn", load.wrk(url, 16, seconds, known).per_second)

    def _get(self, server: ServerProcess, add: Callable[[str, float], None]) -> None:
        size, repeats = self._plan.size, self._plan.repeats
        target = f"/v2/{_REPO}/blobs/{self._big_digest}"

        def get(client: load.Client, times: int) -> None:
            for _ in range(times):
                load.expect(client.request("GET", target), 200)

        self._at_once(server, [functools.partial(get, times=1)])
        cpu = server.cpu_seconds()
        took = self._at_once(server, [functools.partial(get, times=repeats)])
        add("blob GET 100 MB x1", size * repeats / took / _MB)
        took = self._at_once(server, [functools.partial(get, times=repeats)] * 8)
        add("blob GET 100 MB x8", size * repeats * 8 / took / _MB)
        used = server.cpu_seconds() - cpu
        add("blob GET CPU", used / (size * repeats * 9 / 1e9))

    def _put(self, server: ServerProcess, add: Callable[[str, float], None]) -> None:
        size = self._plan.size
        cpu = 0.0
        for copies in (1, 4):
            jobs = [
                functools.partial(load.push_whole, repository=_REPO, blob=self._blob(n))
                for n in range(copies)
            ]
            os.sync()
            before = server.cpu_seconds()
            took = self._at_once(server, jobs)
            cpu += server.cpu_seconds() - before
            add(f"blob PUT 100 MB x{copies}", size * copies / took / _MB)
        add("blob PUT CPU", cpu / (size * 5 / 1e9))
        blob = self._blob(0)
        os.sync()
        chunks = functools.partial(
            load.push_chunks, repository=_REPO, blob=blob, chunk=max(size // 10, 1)
        )
        took = self._at_once(server, [chunks])
        add("blob PATCH 10 x 10 MB", size / took / _MB)


def _manifest(blob: load.Blob) -> str:
    def descriptor(kind: str) -> dict[str, object]:
        media = f"application/vnd.oci.image.{kind}"
        return {"mediaType": media, "digest": blob.digest, "size": blob.size}

    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": descriptor("config.v1+json"),
        "layers": [descriptor("layer.v1.tar+gzip")],
    }
    return json.dumps(manifest, indent=3)


_PEER_CONFIG = """\
version: 0.1
log:
  level: error
  accesslog:
    disabled: true
storage:
  filesystem:
    rootdirectory: {data}
  cache:
    blobdescriptor: inmemory
  delete:
    enabled: true
http:
  addr: 127.0.0.1:{port}
"""


def start_theirs(place: Path) -> ServerProcess:
    """docker-registry on a directory below `place`."""
    port = harness.free_port()
    config = place / "config.yml"
    config.write_text(_PEER_CONFIG.format(data=place / "data", port=port))
    argv = ["/usr/bin/docker-registry", "serve", str(config)]
    return ServerProcess(argv, port, place / "log")


def start_ours(place: Path) -> ServerProcess:
    """`argosy serve` on a directory below `place`."""
    port = harness.free_port()
    argv = [str(Path(sys.executable).parent / "argosy"), "serve"]
    argv += ["--listen", f"127.0.0.1:{port}", "--data", str(place / "data")]
    return ServerProcess(argv, port, place / "log")


_EVERYTHING = """\
[auth]
enabled = true
[token]
lifetime = "1h"
[log]
level = "info"
format = "json"
access = "all"
"""


def start_guarded(place: Path) -> ServerProcess:
    """The same with access control, audit log, metrics, and a line for every request."""
    port = harness.free_port()
    config = place / "argosy.toml"
    config.write_text(_EVERYTHING)
    argv = [str(Path(sys.executable).parent / "argosy"), "serve", "--config", str(config)]
    argv += ["--listen", f"127.0.0.1:{port}", "--data", str(place / "data")]
    return ServerProcess(argv, port, place / "log")


def robot(port: int, log: Path, project: str) -> str:
    """Make a project and a robot that may push and pull there; the header with its token."""
    url = f"http://127.0.0.1:{port}"
    who = enrol.robot(url, enrol.one_time_password(log), project)
    return enrol.bearer(url, who, _REPO)["Authorization"]


def _peer_version() -> str:
    done = subprocess.run(
        ["/usr/bin/docker-registry", "--version"], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def _plan(argv: Sequence[str]) -> tuple[Plan, str]:
    parser = argparse.ArgumentParser(prog="bench.registry", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="one short round")
    parser.add_argument("--only", default="", help="of small,get,put; a comma between")
    parser.add_argument("--name", default="registry", help="name of the result files")
    parser.add_argument("--auth", action="store_true", help="ours with everything on")
    options, _others = parser.parse_known_args(argv)
    plan = Plan(
        rounds=1 if options.quick else options.rounds,
        seconds=1 if options.quick else 3,
        size=100 * _MB,
        repeats=2 if options.quick else 4,
        only=options.only,
        auth=options.auth,
    )
    name = options.name if options.name != "registry" or not options.auth else "registry-auth"
    return plan, f"{name}-quick" if options.quick and name.startswith("registry") else name


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print and write the table."""
    plan, name = _plan(sys.argv[1:] if argv is None else argv)
    facts = {
        **harness.machine(),
        "argosy": metadata.version("argosy"),
        "peer": _peer_version(),
        "rounds": f"{plan.rounds}, interleaved; medians",
    }
    samples, ours = Samples(), start_guarded if plan.auth else start_ours
    with harness.scratch("argosy-bench-files") as files:
        contenders = {
            who: functools.partial(Contender(who, start, plan, files).round, samples)
            for who, start in ((THEIRS, start_theirs), (OURS, ours))
        }
        harness.interleaved(contenders, plan.rounds)
    facts["load at end"] = f"{os.getloadavg()[0]:.2f}"
    text = harness.table(samples, METRICS, OURS, THEIRS)
    title = "The registry, argosy serve against docker-registry"
    title += ", ours with access control, audit, metrics and logs" if plan.auth else ""
    page = harness.write(name, title, [text], facts, samples)
    print(page.read_text())
    return 0


if __name__ == "__main__":
    sys.exit(main())
