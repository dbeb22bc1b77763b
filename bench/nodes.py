"""One node against three, on PostgreSQL and S3 (SeaweedFS) behind haproxy, with access control.

The load is bench/traffic.py's: clients with tokens, in as many processes as there are cores; images of
one to three blobs; half of the blobs in two chunks. All of it runs on one machine: where the
machine's cores are what is short, more nodes cannot raise the rate, so the CPU time that
each part spends on an image is told as well. It says what one node can do on a machine
of its own, and what the parts that nodes share (database, objects) can carry.
"""

import argparse
import functools
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from bench import enrol, harness
from bench.harness import Metric, Samples
from bench.traffic import Plan, Traffic
from deploy import cluster as deploy
from deploy.parts import Part

ONE, THREE = "1 node", "3 nodes"
_TICK = os.sysconf("SC_CLK_TCK")
_PROJECT = "bench"

METRICS = (
    Metric(name="push, images", unit="1/s"),
    Metric(name="push, worst", unit="s", more_is_better=False),
    Metric(name="push, CPU of all nodes", unit="ms/image", more_is_better=False),
    Metric(name="push, CPU of the busiest node", unit="ms/image", more_is_better=False),
    Metric(name="push, CPU of PostgreSQL", unit="ms/image", more_is_better=False),
    Metric(name="push, CPU of SeaweedFS", unit="ms/image", more_is_better=False),
    Metric(name="push, CPU of haproxy", unit="ms/image", more_is_better=False),
    Metric(name="push, CPU of the clients", unit="ms/image", more_is_better=False),
    Metric(name="pull, images", unit="1/s"),
    Metric(name="pull, worst", unit="s", more_is_better=False),
    Metric(name="pull, CPU of all nodes", unit="ms/image", more_is_better=False),
    Metric(name="pull, CPU of the busiest node", unit="ms/image", more_is_better=False),
    Metric(name="pull, CPU of PostgreSQL", unit="ms/image", more_is_better=False),
    Metric(name="pull, CPU of SeaweedFS", unit="ms/image", more_is_better=False),
    Metric(name="pull, CPU of haproxy", unit="ms/image", more_is_better=False),
    Metric(name="pull, CPU of the clients", unit="ms/image", more_is_better=False),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """How much of everything."""

    rounds: int
    seconds: float
    clients: int


def cpu_seconds(part: Part) -> float:
    """User and system time of a part and what it started."""
    assert part.process is not None
    pids, total = [part.process.pid], 0
    for pid in pids:
        try:
            pids += map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        total += sum(map(int, fields[11:15]))
    return total / _TICK


class Clock:
    """What each part of a cluster has spent since a moment."""

    def __init__(self, cluster: deploy.Cluster) -> None:
        self._parts = cluster.parts()
        self._nodes = cluster.nodes
        self._before = {part.name: cpu_seconds(part) for part in self._parts}

    def spent(self) -> dict[str, float]:
        """By the names of the table."""
        took = {p.name: cpu_seconds(p) - self._before[p.name] for p in self._parts}
        nodes = [took[node.name] for node in self._nodes]
        return {
            "all nodes": sum(nodes),
            "the busiest node": max(nodes),
            "PostgreSQL": took["postgres"],
            "SeaweedFS": took["objects"],
            "haproxy": took["haproxy"],
        }


class Contender:
    """A cluster of so many nodes, measured once per round."""

    def __init__(self, name: str, nodes: int, size: Size, samples: Samples) -> None:
        self._name, self._nodes, self._size, self._samples = name, nodes, size, samples

    def round(self) -> None:
        """Start it anew, push, pull, stop it."""
        with harness.scratch("argosy-bench-nodes") as folder:
            folder.chmod(0o755)  # PostgreSQL runs as another user
            with deploy.running(folder, deploy.Plan(nodes=self._nodes)) as cluster:
                who = enrol.robot(cluster.url, cluster.admin_password(), _PROJECT)
                with _drivers(cluster.port, who, self._size) as drivers:
                    for phase in ("push", "pull"):
                        self._phase(cluster, phase, drivers)

    def _phase(self, cluster: deploy.Cluster, phase: str, drivers: "Drivers") -> None:
        add = functools.partial(self._samples.add, self._name)
        clock, began = Clock(cluster), time.monotonic()
        told = drivers.run(phase)
        took = time.monotonic() - began
        images = sum(one["pushed" if phase == "push" else "pulled"] for one in told)
        if any(one["failed"] or one["lost"] or one["corrupt"] for one in told) or not images:
            raise SystemExit(f"{self._name}, {phase}: {told}")
        add(f"{phase}, images", images / took)
        add(f"{phase}, worst", max(one["worst"] for one in told))
        spent = clock.spent() | {"the clients": sum(one["cpu"] for one in told)}
        for part, seconds in spent.items():
            add(f"{phase}, CPU of {part}", seconds / images * 1000)


class Drivers:
    """Processes with clients in them: told what to do, a line each."""

    def __init__(self, processes: "Sequence[subprocess.Popen[str]]") -> None:
        self._processes = processes

    def run(self, phase: str) -> list[dict[str, Any]]:
        """Do one thing in all of them at once; what each has counted."""
        for process in self._processes:
            assert process.stdin is not None
            process.stdin.write(f"{phase}\n")
            process.stdin.flush()
        found = []
        for process in self._processes:
            assert process.stdout is not None
            found.append(json.loads(process.stdout.readline()))
        return found


@contextmanager
def _drivers(port: int, who: tuple[str, str], size: Size) -> Iterator[Drivers]:
    count = os.cpu_count() or 1
    argv = [sys.executable, "-m", "bench.nodes", "drive", str(port)]
    argv += [str(size.seconds), str(max(1, size.clients // count))]
    pipe = subprocess.PIPE
    env = {**os.environ, "BENCH_USER": who[0], "BENCH_PASSWORD": who[1]}
    processes = [
        subprocess.Popen([*argv, str(n)], stdin=pipe, stdout=pipe, text=True, env=env)
        for n in range(count)
    ]
    try:
        yield Drivers(processes)
    finally:
        for process in processes:
            assert process.stdin is not None
            process.stdin.close()
        for process in processes:
            process.wait(60)


def drive(port: int, seconds: float, clients: int, seed: int) -> int:
    """One process of clients: reads `push` or `pull`, does it, tells what it counted."""
    plan = Plan(
        address=("127.0.0.1", port),
        user=os.environ["BENCH_USER"],
        password=os.environ["BENCH_PASSWORD"],
        tokens=True,
        project=f"{_PROJECT}/driver{seed}",
        clients=clients,
        sizes=(700, 40_000, 900_000),
        pushes=1.0,
        seed=seed + 1,
    )
    traffic = Traffic(plan)
    for line in sys.stdin:
        traffic = traffic.again(pushes=1.0 if line.strip() == "push" else 0.0)
        cpu = time.process_time()
        with traffic.running():
            time.sleep(seconds)
        counts = traffic.counts
        names = ("pushed", "pulled", "failed", "lost", "corrupt", "worst", "retries")
        told = {name: getattr(counts, name) for name in names}
        print(json.dumps(told | {"cpu": time.process_time() - cpu}), flush=True)
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print and write the table."""
    words = list(sys.argv[1:] if argv is None else argv)
    if words[:1] == ["drive"]:
        port, seconds, clients, seed = words[1:]
        return drive(int(port), float(seconds), int(clients), int(seed))
    parser = argparse.ArgumentParser(prog="bench.nodes", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="one short round")
    parser.add_argument("--clients", type=int, default=16)
    options, _others = parser.parse_known_args(words)
    quick = options.quick
    size = Size(
        rounds=1 if quick else options.rounds, seconds=5 if quick else 15, clients=options.clients
    )
    facts = {
        **harness.machine(),
        "argosy": metadata.version("argosy"),
        "clients": f"{size.clients}, in {os.cpu_count()} processes on the same machine",
        "rounds": f"{size.rounds} of {size.seconds:g} s each way, interleaved; medians",
    }
    samples = Samples()
    contenders: dict[str, Callable[[], None]] = {
        name: Contender(name, nodes, size, samples).round for name, nodes in ((ONE, 1), (THREE, 3))
    }
    harness.interleaved(contenders, size.rounds)
    facts["load at end"] = f"{os.getloadavg()[0]:.2f}"
    table = harness.table(samples, METRICS, THREE, ONE)
    name = "nodes-quick" if quick else "nodes"
    page = harness.write(name, "One node against three", [_NOTE, table], facts, samples)
    print(page.read_text())
    return 0


_NOTE = """\
Everything runs on the cores of one machine, clients, database and object storage too: more nodes
cannot make more of them. What scales is in the rows of CPU: what the busiest node spends on an
image is what a machine of its own would be busy for.
"""


if __name__ == "__main__":
    sys.exit(main())
