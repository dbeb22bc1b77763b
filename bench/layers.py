"""One layer of 1 GiB exported: ours against Go's compress/gzip, and how many bytes each takes.

The content is /usr of this machine, as a directory. Ours packs, hashes, compresses,
hashes and writes it, as a build does at its end; Go (a program built here) is given the
finished tar and only compresses it, in one thread, as BuildKit does. The two take turns.
Peak memory is that of a process that exports four such layers at once.
"""

import argparse
import asyncio
import json
import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from argosy.build.layers.blob import LayerOptions, write_layer
from argosy.build.layers.compression import Compression
from argosy.build.layers.pack import PackOptions, pack
from argosy.build.layers.unpack import UnpackOptions, unpack
from argosy.stores.layout import OCILayout
from bench.harness import Metric, Samples, interleaved, machine, scratch, table, write

SIZE = 1 << 30
FORMS = ("gzip-1", "gzip-6", "zstd-3", "estargz-6", "zstd:chunked-3", "none")
GO = """\
package main

import (
	"compress/gzip"
	"fmt"
	"io"
	"os"
	"strconv"
	"syscall"
	"time"
)

type counter struct{ size int64 }

func (c *counter) Write(p []byte) (int, error) { c.size += int64(len(p)); return len(p), nil }

func main() {
	file, _ := os.Open(os.Args[1])
	level, _ := strconv.Atoi(os.Args[2])
	out := &counter{}
	writer, _ := gzip.NewWriterLevel(out, level)
	began := time.Now()
	if _, err := io.Copy(writer, file); err != nil {
		panic(err)
	}
	writer.Close()
	wall := time.Since(began).Seconds()
	var used syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &used)
	cpu := float64(used.Utime.Nano()+used.Stime.Nano()) / 1e9
	fmt.Printf("{\\"wall\\": %f, \\"cpu\\": %f, \\"size\\": %d}\\n", wall, cpu, out.size)
}
"""


@dataclass(slots=True)
class Bench:
    """The directory, its tar and the Go program."""

    top: Path
    size: int
    samples: Samples = field(default_factory=Samples)

    @property
    def tree(self) -> Path:
        """What is exported."""
        return self.top / "tree"

    def prepare(self) -> None:
        """Copy files of /usr until there are enough, and build the program."""
        _take(Path("/usr"), self.tree, self.size)
        with (self.top / "layer.tar").open("wb") as file:
            pack(str(self.tree), file.write, PackOptions(overlay=True))
        (self.top / "main.go").write_text(GO)
        if (go := shutil.which("go")) is None:
            sys.exit("bench.layers: Go is not installed, and is what it compares with")
        subprocess.run([go, "build", "-o", "peer", "main.go"], cwd=self.top, check=True)

    def go(self, level: int) -> None:
        """Go's time for the tar."""
        command = [str(self.top / "peer"), str(self.top / "layer.tar"), str(level)]
        self._note(f"Go {level}", json.loads(subprocess.check_output(command)))

    def ours(self, form: str) -> None:
        """Our time for the directory, in a process of its own."""
        self._note(form, self._child("export", form))

    def memory(self) -> float:
        """MB of a process that exports four layers at once."""
        return self._child("export", "gzip-6", "4")["memory"]

    def _child(self, *words: str) -> dict[str, float]:
        command = [sys.executable, "-m", "bench.layers", "--child", str(self.top), *words]
        found: dict[str, float] = json.loads(subprocess.check_output(command))
        return found

    def _note(self, contender: str, found: dict[str, float]) -> None:
        for metric in ("wall", "cpu", "size"):
            self.samples.add(contender, metric, found[metric])

    def unpacking(self) -> None:
        """The time to unpack the layer, compressed and not."""
        for form in ("gzip-6", "zstd-3", "none"):
            found = self._child("unpack", form)
            self.samples.add("argosy", f"unpack {form}", found["wall"])


def _take(source: Path, target: Path, size: int) -> None:
    """Hard links would do, but for other file systems: copy until it is `size` bytes."""
    left = size
    for folder, folders, files in os.walk(source):
        folders.sort()
        there = target / Path(folder).relative_to(source)
        there.mkdir(parents=True, exist_ok=True)
        for name in sorted(files):
            path = Path(folder, name)
            if path.is_symlink() or not path.is_file() or path.stat().st_size > left:
                continue
            (there / name).write_bytes(path.read_bytes())
            left -= path.stat().st_size
        if left < 1 << 20:
            return


def _compression(form: str) -> Compression:
    name, _, level = form.partition("-")
    known = next(n for n in ("gzip", "zstd", "none", "estargz", "zstd:chunked") if n == name)
    return Compression(name=known, level=int(level) if level else None)


def _child(top: Path, verb: str, form: str, count: int = 1) -> dict[str, float]:
    """One measurement, alone in its process."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    before = used.ru_utime + used.ru_stime
    began = time.perf_counter()
    size = asyncio.run(_export(top, form, count)) if verb == "export" else _unpack(top, form)
    wall = time.perf_counter() - began
    used = resource.getrusage(resource.RUSAGE_SELF)
    cpu = used.ru_utime + used.ru_stime - before
    return {"wall": wall, "cpu": cpu, "size": size, "memory": used.ru_maxrss * 1024 / 1e6}


async def _export(top: Path, form: str, count: int) -> int:
    store = OCILayout(str(top / "store"))
    options = LayerOptions(scratch=str(top / "scratch"), compression=_compression(form))
    jobs = [write_layer(str(top / "tree"), store, options) for _ in range(count)]
    made = await asyncio.gather(*jobs)
    size = made[0][0].size
    for blob in (top / "store" / "blobs" / "sha256").iterdir():
        blob.rename(top / f"layer.{form}")
    return size


def _unpack(top: Path, form: str) -> int:
    target = Path("/dev/shm" if os.path.isdir("/dev/shm") else top) / f"unpack-{os.getpid()}"
    target.mkdir()
    try:
        with (top / f"layer.{form}").open("rb") as file:
            pieces = iter(lambda: file.read(1 << 20), b"")
            return unpack(pieces, str(target), UnpackOptions(overlay=True)).bytes
    finally:
        subprocess.run(["rm", "-rf", str(target)], check=True)


def _report(bench: Bench, memory: float) -> None:
    plain = (bench.top / "layer.tar").stat().st_size
    rows = ["| | size | of the tar | wall s | CPU s | MB/s |", "|---|--:|--:|--:|--:|--:|"]
    for name in [f"Go {level}" for level in (1, 6)] + list(FORMS):
        size, wall = (bench.samples.median(name, m) for m in ("size", "wall"))
        cpu = bench.samples.median(name, "cpu")
        if size and wall and cpu:
            share, speed = size / plain, plain / 1e6 / wall
            rows.append(
                f"| {name} | {size / 1e6:.1f} MB | {share:.4f} | {wall:.2f} | {cpu:.2f} | {speed:.0f} |"
            )
    compared = Samples()
    for name, contender in (("argosy", "gzip-6"), ("Go", "Go 6")):
        for metric in ("size", "wall", "cpu"):
            for value in bench.samples.values[metric][contender]:
                compared.add(name, metric, value)
    metrics = [
        Metric(name="wall", unit="s", more_is_better=False, goal=2.0),
        Metric(name="cpu", unit="s", more_is_better=False),
        Metric(name="size", unit="B", more_is_better=False, goal=1.0),
    ]
    unpacked = [
        f"- unpack {form} (tmpfs): {bench.samples.median('argosy', f'unpack {form}'):.2f} s"
        for form in ("gzip-6", "zstd-3", "none")
    ]
    facts = {**machine(), "tar": f"{plain / 1e6:.0f} MB", "peak of 4 exports": f"{memory:.0f} MB"}
    parts = [
        "## the default (gzip, level 6) against Go's\n",
        table(compared, metrics, "argosy", "Go"),
        "Ours reads the files, packs, hashes twice and writes; Go only compresses the tar.\n",
        "## every form\n",
        *rows,
        "",
        *unpacked,
        "",
    ]
    print(write("layers", "Layers of 1 GiB", parts, facts, bench.samples).read_text())


def main(arguments: Sequence[str] | None = None) -> None:
    """Run it and write the results."""
    parser = argparse.ArgumentParser(prog="python -m bench.layers", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--mib", type=int, default=SIZE >> 20, help="size of the layer")
    parser.add_argument("--child", nargs="+", help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.child:
        top, verb, form, *more = given.child
        print(json.dumps(_child(Path(top), verb, form, *map(int, more))))
        return
    with scratch("argosy-bench") as top:
        bench = Bench(top=top, size=given.mib << 20)
        bench.prepare()
        contenders: dict[str, Callable[[], None]] = {
            "Go 6": lambda: bench.go(6),
            "gzip-6": lambda: bench.ours("gzip-6"),
        }
        interleaved(contenders, given.rounds)
        bench.go(1)
        for form in FORMS:
            if form != "gzip-6":
                bench.ours(form)
        bench.unpacking()
        _report(bench, bench.memory())


if __name__ == "__main__":
    main()
