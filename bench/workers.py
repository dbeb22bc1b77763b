"""One process against two on one port (`--workers 2`), same machine, same clients, files and SQLite.

The clients need cores too: on a machine of two, what one process leaves to them it takes
from them when it is two. What two processes gain is in the rows where a core was short.
"""

import argparse
import functools
import os
import sys
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path

from bench import harness
from bench.harness import Samples, ServerProcess
from bench.registry import METRICS, Contender, Plan

ONE, TWO = "1 process", "2 processes"


def started(workers: int) -> Callable[[Path], ServerProcess]:
    """What starts a server of so many processes on a directory below a place."""

    def start(place: Path) -> ServerProcess:
        port = harness.free_port()
        argv = [str(Path(sys.executable).parent / "argosy"), "serve", "--workers", str(workers)]
        argv += ["--listen", f"127.0.0.1:{port}", "--data", str(place / "data")]
        return ServerProcess(argv, port, place / "log")

    return start


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print and write the table."""
    parser = argparse.ArgumentParser(prog="bench.workers", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="one short round")
    parser.add_argument("--only", default="", help="of small,get,put; a comma between")
    options, _others = parser.parse_known_args(sys.argv[1:] if argv is None else argv)
    quick, size = options.quick, 100_000_000
    plan = Plan(
        rounds=1 if quick else options.rounds,
        seconds=1 if quick else 3,
        size=size,
        repeats=2 if quick else 4,
        only=options.only,
    )
    facts = {
        **harness.machine(),
        "argosy": metadata.version("argosy"),
        "rounds": f"{plan.rounds}, interleaved; medians",
    }
    samples = Samples()
    with harness.scratch("argosy-bench-files") as files:
        contenders = {
            name: functools.partial(Contender(name, started(count), plan, files).round, samples)
            for name, count in ((ONE, 1), (TWO, 2))
        }
        harness.interleaved(contenders, plan.rounds)
    facts["load at end"] = f"{os.getloadavg()[0]:.2f}"
    text = harness.table(samples, [_without_goal(m) for m in METRICS], TWO, ONE)
    name = "workers-quick" if quick else "workers"
    page = harness.write(name, "argosy serve --workers 2 against 1", [text], facts, samples)
    print(page.read_text())
    return 0


def _without_goal(metric: harness.Metric) -> harness.Metric:
    return harness.Metric(name=metric.name, unit=metric.unit, more_is_better=metric.more_is_better)


if __name__ == "__main__":
    sys.exit(main())
