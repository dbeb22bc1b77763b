"""How long `argosy` takes to say something: CPU and wall time against skopeo, interleaved.

`--version`, and `inspect` of a two-platform image at a registry on loopback. CPU is
user plus system time of the process and what it started (`wait4`).
"""

import argparse
import compileall
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import argosy
from bench.harness import Samples, free_port, interleaved, machine, write
from tests.images import multi_platform
from tests.peers import need, running

ARGOSY = str(Path(sys.executable).parent / "argosy")
_GOAL_CPU, _GOAL_WALL = 100.0, 120.0  # milliseconds


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, and write bench/results/cli.md."""
    parser = argparse.ArgumentParser(prog="bench.cli", description=__doc__)
    parser.add_argument("--rounds", type=int, default=21)
    options, _others = parser.parse_known_args(argv)
    # As an installed package has it; a checkout may run with PYTHONDONTWRITEBYTECODE.
    compileall.compile_dir(os.path.dirname(argosy.__file__), quiet=1)
    samples = Samples()
    with tempfile.TemporaryDirectory(prefix="argosy-bench-") as scratch:
        facts = machine()
        measure(Path(scratch), samples, options.rounds)
    page = write(
        "cli", "Start of the command line", parts(samples), {**facts, **versions()}, samples
    )
    print(page.read_text())
    return 0


def measure(scratch: Path, samples: Samples, rounds: int) -> None:
    """Every command line of both tools, in turn."""
    multi_platform(scratch / "layout")
    port = free_port()
    serve = [ARGOSY, "serve", "--listen", f"127.0.0.1:{port}", "--data", str(scratch / "data")]
    with running(serve, port, scratch / "log"):
        image = f"127.0.0.1:{port}/bench/app:v1"
        subprocess.run([ARGOSY, "copy", "-q", f"oci:{scratch}/layout:v1", image], check=True)
        skopeo = need("skopeo")
        inspect = [skopeo, "inspect", "--tls-verify=false", f"docker://{image}"]
        lines = {
            "--version": {"argosy": [ARGOSY, "--version"], "skopeo": [skopeo, "--version"]},
            "inspect": {"argosy": [ARGOSY, "inspect", image], "skopeo": inspect},
            "inspect --raw": {
                "argosy": [ARGOSY, "inspect", "--raw", image],
                "skopeo": [*inspect[:2], "--raw", *inspect[2:]],
            },
        }
        for name, tools in lines.items():
            for words in tools.values():
                timed(words)  # once for the page cache
            interleaved(recorders(samples, name, tools), rounds, note=False)


def recorders(
    samples: Samples, name: str, tools: Mapping[str, Sequence[str]]
) -> dict[str, Callable[[], None]]:
    """One measurement of each tool."""

    def recorder(tool: str, words: Sequence[str]) -> Callable[[], None]:
        def record() -> None:
            cpu, wall = timed(words)
            samples.add(tool, f"{name}: CPU", cpu)
            samples.add(tool, f"{name}: wall", wall)

        return record

    return {tool: recorder(tool, words) for tool, words in tools.items()}


def timed(words: Sequence[str]) -> tuple[float, float]:
    """Milliseconds of CPU and of wall time of one run."""
    began = time.perf_counter()
    null = os.open(os.devnull, os.O_WRONLY)
    try:
        actions = [(os.POSIX_SPAWN_DUP2, null, 1)]
        pid = os.posix_spawn(words[0], list(words), os.environ, file_actions=actions)
        _pid, status, used = os.wait4(pid, 0)
    finally:
        os.close(null)
    if status:
        raise SystemExit(f"{' '.join(words)} failed with status {status}")
    return (used.ru_utime + used.ru_stime) * 1000, (time.perf_counter() - began) * 1000


def parts(samples: Samples) -> list[str]:
    """The table: medians, and whether ours meet the goal."""
    rows = ["| | unit | argosy | skopeo | goal for argosy |", "|---|---|--:|--:|---|"]
    for name in ("--version", "inspect", "inspect --raw"):
        for kind, goal in (("CPU", _GOAL_CPU), ("wall", _GOAL_WALL)):
            ours = samples.median("argosy", f"{name}: {kind}") or 0.0
            theirs = samples.median("skopeo", f"{name}: {kind}") or 0.0
            verdict = "reached" if ours < goal else "MISSED"
            rows.append(
                f"| {name}: {kind} | ms | {ours:.0f} | {theirs:.0f} | < {goal:.0f} {verdict} |"
            )
    return ["\n".join(rows) + "\n"]


def versions() -> dict[str, str]:
    """What was compared."""

    def said(*words: str) -> str:
        return subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()

    return {"argosy": said(ARGOSY, "--version"), "skopeo": said(need("skopeo"), "--version")}


if __name__ == "__main__":
    sys.exit(main())
