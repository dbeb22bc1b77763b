"""What every benchmark shares: servers as measured processes, interleaved rounds, tables."""

import datetime as dt
import json
import os
import platform
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Self

RESULTS = Path(__file__).parent / "results"
_TICK = os.sysconf("SC_CLK_TCK")


def free_port() -> int:
    """A TCP port of the loopback that nobody listens on right now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class ServerProcess:
    """A server under test: started, ready, measured, stopped."""

    def __init__(self, argv: Sequence[str], port: int, log: Path) -> None:
        self.port = port
        self._log = log
        began = time.perf_counter()
        with log.open("ab") as out:
            self._process = subprocess.Popen(argv, stdout=out, stderr=out)
        self._wait_ready()
        self.start_seconds = time.perf_counter() - began

    def _wait_ready(self) -> None:
        for _ in range(2000):
            if self._process.poll() is not None:
                break
            try:
                with socket.create_connection(("127.0.0.1", self.port), 1) as client:
                    client.sendall(b"GET /v2/ HTTP/1.0\r\nHost: bench\r\n\r\n")
                    if client.recv(64).startswith(b"HTTP/1."):
                        return
            except OSError:
                time.sleep(0.005)
        self.stop()
        raise SystemExit(f"{self._process.args!r} did not start:\n{self._log.read_text()}")

    def _processes(self) -> list[int]:
        found = [self._process.pid]
        for pid in found:
            try:
                text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
            except OSError:
                continue
            found += map(int, text.split())
        return found

    def cpu_seconds(self) -> float:
        """User and system time so far, of the process and its children."""
        total = 0
        for pid in self._processes():
            try:
                parts = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            total += sum(map(int, parts[11:15]))
        return total / _TICK

    def resident_mb(self) -> float:
        """Resident memory now, in 10^6 bytes."""
        total = 0
        for pid in self._processes():
            for line in Path(f"/proc/{pid}/status").read_text().splitlines():
                if line.startswith("VmRSS:"):
                    total += int(line.split()[1]) * 1024
        return total / 1e6

    def stop(self) -> None:
        """SIGTERM, then wait; SIGKILL when it does not listen."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(20)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.stop()


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """A row of the table: what is measured, in which unit, and what the ratio should reach."""

    name: str
    unit: str
    more_is_better: bool = True
    goal: float | None = None


@dataclass(slots=True)
class Samples:
    """Every value measured, by metric and contender."""

    values: dict[str, dict[str, list[float]]] = field(default_factory=dict)

    def add(self, contender: str, metric: str, value: float) -> None:
        """Keep one value."""
        self.values.setdefault(metric, {}).setdefault(contender, []).append(value)

    def median(self, contender: str, metric: str) -> float | None:
        """The median, None if nothing was measured."""
        found = self.values.get(metric, {}).get(contender)
        return statistics.median(found) if found else None

    def ratio(self, ours: str, theirs: str, metric: Metric) -> float | None:
        """How many times better we are than they: above 1 is better, whatever the unit."""
        a, b = self.median(ours, metric.name), self.median(theirs, metric.name)
        if not a or not b:
            return None
        return a / b if metric.more_is_better else b / a


def interleaved(
    contenders: Mapping[str, Callable[[], None]], rounds: int, *, note: bool = True
) -> None:
    """Run the contenders in turn, `rounds` times; who begins changes from round to round."""
    names = list(contenders)
    for number in range(rounds):
        for name in names if number % 2 == 0 else reversed(names):
            if note:
                print(f"round {number + 1}/{rounds}: {name}", file=sys.stderr, flush=True)
            contenders[name]()


def table(samples: Samples, metrics: Sequence[Metric], ours: str, theirs: str) -> str:
    """A markdown table of medians and ratios."""
    rows = [
        f"| | unit | {theirs} | {ours} | ratio (above 1: {ours} is better) | goal |",
        "|---|---|--:|--:|--:|--:|",
    ]
    for metric in metrics:
        a, b = samples.median(ours, metric.name), samples.median(theirs, metric.name)
        ratio = samples.ratio(ours, theirs, metric)
        if a is None or b is None or ratio is None:
            continue
        goal = "" if metric.goal is None else f"{metric.goal:g} {_verdict(ratio, metric.goal)}"
        rows.append(
            f"| {metric.name} | {metric.unit} | {_short(b)} | {_short(a)} | {ratio:.2f} | {goal} |"
        )
    return "\n".join(rows) + "\n"


def _verdict(ratio: float, goal: float) -> str:
    return "reached" if ratio >= goal else "MISSED"


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def machine() -> dict[str, str]:
    """Where and when it was measured."""
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    return {
        "date": dt.datetime.now(dt.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "cpu": f"{os.cpu_count()} x {model}",
        "kernel": platform.release(),
        "python": platform.python_version(),
        "load at start": f"{os.getloadavg()[0]:.2f}",
    }


def write(
    name: str, title: str, parts: Sequence[str], facts: Mapping[str, str], samples: Samples
) -> Path:
    """Write bench/results/NAME.md and NAME.json; returns the markdown's path."""
    RESULTS.mkdir(exist_ok=True)
    lines = "\n".join(f"- {key}: {value}" for key, value in facts.items())
    page = RESULTS / f"{name}.md"
    page.write_text("\n".join([f"# {title}\n", lines, "", *parts]))
    data = {"facts": dict(facts), **asdict(samples)}
    (RESULTS / f"{name}.json").write_text(json.dumps(data, indent=1) + "\n")
    return page


@contextmanager
def scratch(prefix: str) -> Iterator[Path]:
    """A directory that is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix=f"{prefix}-") as name:
        yield Path(name)
