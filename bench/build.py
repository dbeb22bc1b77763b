"""`argosy build` against BuildKit (Debian's docker.io, DOCKER_BUILDKIT=1) and buildah (--layers).

Workloads: three RUN steps that make 2000 files and 100 MB; two independent stages of
one second; COPY of 20 000 small files; a real C program (Debian's lua5.4) compiled;
amd64 and arm64 under QEMU. Each cold (nothing cached, base images there), warm (no
change) and, where it says so, after an edit. Time is the wall of the whole command,
export included. The tools take turns within each round.

Memory is the engine's own: the largest sum of private and shared-by-part memory (PSS)
of the command's process tree, running steps aside.
"""

import argparse
import compileall
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import argosy
from bench.harness import Metric, Samples, interleaved, machine, scratch, table, write
from tests.peers import PATH, need

ARGOSY = [str(Path(sys.executable).parent / "argosy")]
FILES = 20_000
HERE = "linux/amd64"
PARTS = ("run", "stages", "copy", "app", "platforms", "start")


class Tool(Protocol):
    """One builder; its caches live in a directory of the benchmark's."""

    name: str

    def build(self, context: Path, tag: str, *words: str) -> None:
        """Build and export an image."""
        ...

    def load(self, archive: Path) -> None:
        """Take a base image out of a docker archive."""
        ...


@dataclass(slots=True)
class Argosy:
    """Ours, with a home of its own. `home` as it was with only the base images is kept aside."""

    top: Path
    name: str = "argosy"
    memory: float = 0.0  # MB

    @property
    def home(self) -> Path:
        """ARGOSY_HOME."""
        return self.top / "argosy"

    def _run(self, *words: str) -> None:
        environment = {**os.environ, "ARGOSY_HOME": str(self.home)}
        child = subprocess.Popen(
            [*ARGOSY, *words], env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        with _watching(child.pid) as watch:
            out = child.communicate()[0]
        self.memory = max(self.memory, watch.peak)
        if child.returncode:
            sys.exit(f"argosy {' '.join(words)}\n{out.decode(errors='replace')}")

    def build(self, context: Path, tag: str, *words: str) -> None:
        """With plain progress, as in CI."""
        self._run("build", "-t", tag, *words, str(context))

    def load(self, archive: Path) -> None:
        """Into the local images."""
        self._run("load", "-q", "-i", str(archive))
        name = f"bench/{archive.stem.removeprefix('bench-')}"
        context = self.top / "unpacked"
        context.mkdir(exist_ok=True)
        (context / "Dockerfile").write_text(f"FROM {name}\nRUN true\n")
        self._run("build", "--platform", _platform(name), str(context))


@dataclass(slots=True)
class Docker:
    """BuildKit in a Docker engine of our own."""

    top: Path
    socket: str
    name: str = "BuildKit"

    def _run(self, *words: str) -> None:
        environment = {**os.environ, "DOCKER_BUILDKIT": "1", "PATH": PATH}
        _ran([need("docker"), "-H", self.socket, *words], environment)

    def build(self, context: Path, tag: str, *words: str) -> None:
        """With the machine's network, as steps of ours have it."""
        self._run("build", "--network", "host", "-t", tag, *words, str(context))

    def load(self, archive: Path) -> None:
        """docker load."""
        self._run("load", "-i", str(archive))


@dataclass(slots=True)
class Buildah:
    """buildah with overlay storage."""

    top: Path
    name: str = "buildah"

    def _run(self, *words: str) -> None:
        store = ["--root", str(self.top / "buildah"), "--runroot", str(self.top / "buildah-run")]
        _ran([need("buildah"), *store, "--storage-driver=overlay", *words], dict(os.environ))

    def build(self, context: Path, tag: str, *words: str) -> None:
        """With layer cache, as docker build has it."""
        common = ["--layers", "--network", "host", "--isolation", "oci", "--runtime", need("runc")]
        self._run("build", *common, "-t", tag, *words, str(context))

    def load(self, archive: Path) -> None:
        """buildah pull."""
        self._run("pull", "-q", f"docker-archive:{archive}")


def _platform(name: str) -> str:
    return "linux/arm64" if name.endswith("arm64") else HERE


def _ran(command: Sequence[str], environment: Mapping[str, str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, env=dict(environment))
    if done.returncode:
        sys.exit(f"{' '.join(command)}\n{done.stdout}{done.stderr}")


class _Watch:
    """The memory of a process and its Python children, looked at every few milliseconds."""

    def __init__(self, pid: int) -> None:
        self.peak = 0.0
        self._pid = pid
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._over.wait(0.02):
            self.peak = max(self.peak, sum(map(_pss, _engine(self._pid))) / 1e6)


def _engine(top: int) -> list[int]:
    """The engine's processes: the command, and what it started that is argosy too."""
    found = [top]
    for pid in found:
        try:
            children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        except OSError:
            continue
        found += [c for c in map(int, children) if "argosy" in _words(c)]
    return found


def _words(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return ""


def _pss(pid: int) -> float:
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return 0
    line = next((row for row in text.splitlines() if row.startswith("Pss:")), "Pss: 0")
    return int(line.split()[1]) * 1024


@contextmanager
def _watching(pid: int) -> Iterator[_Watch]:
    watch = _Watch(pid)
    watch.start()
    try:
        yield watch
    finally:
        watch.stop()


# Workloads


@dataclass(slots=True)
class Bench:
    """All of it: tools, contexts, samples."""

    top: Path
    tools: Sequence[Tool]
    samples: Samples = field(default_factory=Samples)
    number: int = 0

    def context(self, name: str, dockerfile: str) -> Path:
        """A new context directory."""
        path = self.top / "contexts" / name
        path.mkdir(parents=True, exist_ok=True)
        (path / "Dockerfile").write_text(dockerfile)
        return path

    def timed(self, tool: Tool, row: str, context: Path, *words: str) -> None:
        """One build."""
        began = time.perf_counter()
        tool.build(context, f"bench/{context.name}:1", *words)
        self.samples.add(tool.name, row, time.perf_counter() - began)

    def cold(self, tool: Tool, row: str, context: Path, *words: str) -> None:
        """One build of which nothing is cached; then the same again."""
        self.number += 1
        fresh = (*words, "--build-arg", f"ROUND={self.number}")
        os.sync()
        self.timed(tool, f"{row}, cold", context, *fresh)
        self.timed(tool, f"{row}, warm", context, *fresh)

    def rounds(self, count: int, once: Callable[[Tool], None]) -> None:
        """Every tool in turn, `count` times."""
        interleaved({t.name: lambda t=t: once(t) for t in self.tools}, count)  # type: ignore[misc]


# ROUND is new for every cold build, so that no step of it is known. Pruning instead would
# not do: ext4 makes files slowly for minutes where many were just deleted.
RUN = """\
FROM bench/base
ARG ROUND
RUN i=0; while [ $i -lt 2000 ]; do echo $i > /f$i; i=$((i+1)); done
RUN dd if=/dev/urandom of=/big bs=1M count=100 2> /dev/null
RUN busybox find / -xdev -type f | busybox wc -l > /count
"""
STAGES = """\
FROM bench/base AS a
ARG ROUND
RUN sleep 1; echo a > /a
FROM bench/base AS b
ARG ROUND
RUN sleep 1; echo b > /b
FROM bench/base
COPY --from=a /a /a
COPY --from=b /b /b
"""
COPY = """\
FROM bench/base
ARG ROUND
RUN echo $ROUND > /round
COPY src /src
RUN busybox ls /src | busybox wc -l > /count
"""
APP = """\
FROM bench/gcc
ARG ROUND
WORKDIR /src
COPY src .
RUN cd src && ls *.c | grep -v luac.c | xargs -P 2 -n 4 gcc -O2 -DLUA_USE_LINUX -c
RUN gcc -o /usr/local/bin/lua src/*.o -lm -ldl && lua -v
"""
PLATFORMS = """\
ARG TARGETARCH
FROM bench/base-${TARGETARCH}
ARG ROUND
COPY src /src
RUN busybox uname -m > /machine; i=0; while [ $i -lt 200 ]; do echo $i > /f$i; i=$((i+1)); done
"""


def bench_run(bench: Bench, rounds: int) -> None:
    """Three RUN steps: many files, many bytes."""
    context = bench.context("run", RUN)

    bench.rounds(rounds, lambda tool: bench.cold(tool, "RUN ×3", context))


def bench_stages(bench: Bench, rounds: int) -> None:
    """Two stages that sleep a second each."""
    context = bench.context("stages", STAGES)

    bench.rounds(rounds, lambda tool: bench.cold(tool, "two stages of 1 s", context))


def bench_copy(bench: Bench, rounds: int) -> None:
    """20 000 small files; then one of them is changed."""
    context = bench.context("copy", COPY)
    for number in range(FILES):
        path = context / "src" / f"d{number % 200}" / f"file{number}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"file {number}\n" * 20)
    edits = iter(range(10**6))

    def once(tool: Tool) -> None:
        bench.cold(tool, "COPY 20 000 files", context)
        (context / "src/d7/file7.txt").write_text(f"edit {next(edits)}\n")
        again = ("--build-arg", f"ROUND={bench.number}")
        bench.timed(tool, "COPY 20 000 files, one changed", context, *again)

    bench.rounds(rounds, once)


def bench_app(bench: Bench, rounds: int) -> None:
    """A C program from Debian's sources; then a source file is edited."""
    context = bench.context("app", APP)
    _lua(context / "src")
    packages = "gcc,make,libc6-dev"
    archive = _base(bench.top, "debian:bookworm", "bench/gcc", "--include", packages)
    for tool in bench.tools:
        tool.load(archive)
    main = context / "src/src/lua.c"
    edits = iter(range(10**6))

    def once(tool: Tool) -> None:
        bench.cold(tool, "C program", context)
        main.write_text(main.read_text() + f"/* edit {next(edits)} */\n")
        again = ("--build-arg", f"ROUND={bench.number}")
        bench.timed(tool, "C program, source edited", context, *again)

    bench.rounds(rounds, once)


def _lua(target: Path) -> None:
    """The sources of lua5.4, with whatever mirrors this machine's apt knows."""
    at = target.parent.parent / "lua"
    at.mkdir(exist_ok=True)
    script = (
        "mkdir -p lists/partial && "
        "{ cat /etc/apt/sources.list /etc/apt/sources.list.d/*.list 2>/dev/null"
        " | sed -n 's/^deb /deb-src /p';"
        " sed 's/^Types:.*/Types: deb-src/' /etc/apt/sources.list.d/*.sources 2>/dev/null"
        " > all.sources; true; } > all.list; "
        "[ -s all.list ] && list=$PWD/all.list || list=$PWD/all.sources; "
        'o="-o Dir::State::Lists=$PWD/lists -o Dir::Etc::SourceList=$list'
        ' -o Dir::Etc::SourceParts=/dev/null"; '
        "apt-get $o -q update && apt-get $o -q source --only-source lua5.4 && mv lua5.4-*/ out"
    )
    _ran(["sh", "-ec", f"cd '{at}'; {script}"], dict(os.environ))
    shutil.copytree(at / "out", target, symlinks=True)
    # Debian's build makes this header; the program needs no more of that build.
    header = target / "src/lua5.4-deb-multiarch.h"
    header.write_text('#define DEB_HOST_MULTIARCH "linux"\n')


def bench_platforms(bench: Bench, rounds: int) -> None:
    """Two platforms; docker 20.10 and buildah build them one after the other."""
    context = bench.context("platforms", PLATFORMS)
    (context / "src").mkdir(exist_ok=True)
    (context / "src/x").write_text("x\n")

    def both(tool: Tool, row: str) -> None:
        fresh = ["--build-arg", f"ROUND={bench.number}"]
        began = time.perf_counter()
        if isinstance(tool, Argosy):
            tool.build(
                context, "bench/platforms:1", "--platform", "linux/amd64,linux/arm64", *fresh
            )
        else:
            for arch in ("amd64", "arm64"):
                more = ["--build-arg", f"TARGETARCH={arch}", "--platform", f"linux/{arch}"]
                tool.build(context, f"bench/platforms:{arch}", *more, *fresh)
        bench.samples.add(tool.name, row, time.perf_counter() - began)

    def once(tool: Tool) -> None:
        bench.number += 1
        both(tool, "amd64 + arm64, cold")
        both(tool, "amd64 + arm64, warm")

    bench.rounds(rounds, once)


def bench_start(bench: Bench, rounds: int) -> None:
    """From the command's start to a finished build of one step: when it is ready to build (F5)."""
    context = bench.context("start", "FROM scratch\nCOPY Dockerfile /\n")
    for tool in bench.tools:
        tool.build(context, "bench/start:1")
    bench.rounds(rounds * 3, lambda tool: bench.timed(tool, "start, build, end", context))


PARTS_BY_NAME: Mapping[str, Callable[[Bench, int], None]] = {
    "run": bench_run,
    "stages": bench_stages,
    "copy": bench_copy,
    "app": bench_app,
    "platforms": bench_platforms,
    "start": bench_start,
}
ROWS = (
    *("RUN ×3, cold", "RUN ×3, warm", "two stages of 1 s, cold", "two stages of 1 s, warm"),
    *("COPY 20 000 files, cold", "COPY 20 000 files, warm", "COPY 20 000 files, one changed"),
    *("C program, cold", "C program, warm", "C program, source edited"),
    *("amd64 + arm64, cold", "amd64 + arm64, warm", "start, build, end"),
)


def _metric(row: str) -> Metric:
    goal = 1 / 0.3 if row.endswith("warm") else 1 / 0.8
    return Metric(name=row, unit="s", more_is_better=False, goal=round(goal, 2))


@contextmanager
def docker_engine(top: Path) -> Iterator[str]:
    """A Docker engine of its own; its address."""
    address = f"unix://{top}/docker.sock"
    command = [need("dockerd"), "--iptables=false", "--bridge=none", "-H", address]
    command += ["--data-root", f"{top}/docker", "--exec-root", f"{top}/docker-exec"]
    command += ["--pidfile", f"{top}/docker.pid"]
    with (top / "dockerd.log").open("wb") as log:
        engine = subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, "PATH": PATH})
    try:
        for _ in range(300):
            probe = [need("docker"), "-H", address, "version"]
            if subprocess.run(probe, capture_output=True).returncode == 0:
                break
            time.sleep(0.1)
        yield address
    finally:
        engine.terminate()
        engine.wait(60)


def _base(top: Path, what: str, name: str, *words: str) -> Path:
    """A docker archive of a base image."""
    archive = top / f"{name.replace('/', '-')}.tar"
    environment = {**os.environ, "ARGOSY_HOME": str(top / "base-home")}
    _ran([*ARGOSY, "base", what, "-t", name, *words], environment)
    platform = words if "--platform" in words else ()
    save = ["save", "--format", "docker", *platform, "-o", str(archive), f"{name}:latest"]
    _ran([*ARGOSY, *save], environment)
    return archive


def main(argv: list[str] | None = None) -> int:
    """Run the parts and write bench/results/build.md."""
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    compileall.compile_dir(str(Path(argosy.__file__).parent), quiet=1)
    parser = argparse.ArgumentParser(prog="bench.build", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", default=",".join(PARTS), help="parts, separated by commas")
    parser.add_argument("--tools", default="argosy,BuildKit,buildah")
    options, _ = parser.parse_known_args(argv)
    with scratch("argosy-bench") as top, ExitStack() as stack:
        facts = {**machine(), "rounds": str(options.rounds)}
        bench = _bench(top, options.tools.split(","), stack)
        for part in options.only.split(","):
            print(f"-- {part}", file=sys.stderr, flush=True)
            PARTS_BY_NAME[part](bench, options.rounds)
        ours = next((t for t in bench.tools if isinstance(t, Argosy)), None)
        facts["argosy's peak memory (PSS, process tree)"] = f"{ours.memory if ours else 0:.0f} MB"
        page = _written(bench.samples, facts)
    print(page.read_text())
    return 0


def _bench(top: Path, names: Sequence[str], stack: ExitStack) -> Bench:
    tools: list[Tool] = []
    if "argosy" in names:
        tools.append(Argosy(top))
    if "BuildKit" in names:
        tools.append(Docker(top, stack.enter_context(docker_engine(top))))
    if "buildah" in names:
        tools.append(Buildah(top))
    for arch, name in (("amd64", "base"), ("amd64", "base-amd64"), ("arm64", "base-arm64")):
        words = ("--platform", f"linux/{arch}")
        archive = _base(top, "busybox:bookworm", f"bench/{name}", *words)
        for tool in tools:
            tool.load(archive)
    return Bench(top, tools)


def _written(samples: Samples, facts: Mapping[str, str]) -> Path:
    metrics = [_metric(row) for row in ROWS]
    parts = [
        f"## against {peer}\n\n{table(samples, metrics, 'argosy', peer)}"
        for peer in _peers(samples)
    ]
    return write("build", "argosy build, side by side", parts, facts, samples)


def _peers(samples: Samples) -> list[str]:
    found = {name for row in samples.values.values() for name in row}
    return [name for name in ("BuildKit", "buildah") if name in found]


if __name__ == "__main__":
    sys.exit(main())
