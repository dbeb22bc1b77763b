"""`argosy copy` against skopeo: registry to registry, layout to registry, registry to layout.

An image of 14 layers of 24 MB. Cold: every run has a fresh, empty destination.
Warm: the same copy again, with nothing to do. The two tools take turns; both use
the same servers (`argosy serve`; with --peer-registry Debian's docker-registry).
"""

import argparse
import compileall
import hashlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import argosy
from tests.images import LayoutWriter
from tests.peers import DOCKER_REGISTRY_CONFIG, free_port, need, running

LAYERS, LAYER_SIZE = 14, 24 << 20
TOOLS = ("argosy", "skopeo")
Copy = Callable[[str, str], float]


def main(argv: list[str] | None = None) -> int:
    """Run all rows and write the table to bench/results/copy.md."""
    # As installed: with its bytecode, which this environment may forbid to write.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    compileall.compile_dir(str(Path(argosy.__file__).parent), quiet=1)
    parser = argparse.ArgumentParser(prog="bench.copy", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--peer-registry", action="store_true", help="use docker-registry as both servers"
    )
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(prefix="argosy-bench-") as scratch:
        rows = measure(Path(scratch), options.rounds, peer=options.peer_registry)
    table = render(rows, options)
    name = "copy-peer-registry" if options.peer_registry else "copy"
    results = Path(__file__).parent / "results"
    results.mkdir(exist_ok=True)
    (results / f"{name}.md").write_text(table)
    print(table)
    return 0


def measure(scratch: Path, rounds: int, *, peer: bool) -> dict[str, dict[str, list[float]]]:
    """Seconds per row and tool."""
    make_image(scratch / "in")
    rows: dict[str, dict[str, list[float]]] = {}
    with server(scratch, "source", peer=peer) as source:
        copy_with("skopeo", f"oci:{scratch}/in:v1", f"docker://{source}/bench/app:v1")
        ways = {
            "registry → registry": (f"docker://{source}/bench/app:v1", "registry"),
            "layout → registry": (f"oci:{scratch}/in:v1", "registry"),
            "registry → layout": (f"docker://{source}/bench/app:v1", "layout"),
        }
        for turn in range(rounds):
            for way, (src, kind) in ways.items():
                for tool in TOOLS if turn % 2 else TOOLS[::-1]:
                    cold, warm = one(scratch, tool, src, kind, peer=peer)
                    rows.setdefault(f"{way}, cold", {}).setdefault(tool, []).append(cold)
                    rows.setdefault(f"{way}, nothing to do", {}).setdefault(tool, []).append(warm)
    return rows


def one(scratch: Path, tool: str, src: str, kind: str, *, peer: bool) -> tuple[float, float]:
    """(cold, warm) seconds of one copy into a fresh destination."""
    with ExitStack() as stack:
        if kind == "registry":
            host = stack.enter_context(server(scratch, "target", peer=peer))
            dst = f"docker://{host}/bench/app:v1"
        else:
            out = scratch / "out"
            shutil.rmtree(out, ignore_errors=True)
            dst = f"oci:{out}:v1"
        os.sync()
        return copy_with(tool, src, dst), copy_with(tool, src, dst)


def copy_with(tool: str, src: str, dst: str) -> float:
    """Wall seconds of one whole process."""
    if tool == "argosy":
        words = [str(Path(sys.executable).parent / "argosy"), "copy", "--quiet", src, dst]
    else:
        words = [
            need("skopeo"),
            "copy",
            "--all",
            "--src-tls-verify=false",
            "--dest-tls-verify=false",
            src,
            dst,
        ]
    start = time.perf_counter()
    done = subprocess.run(words, capture_output=True, text=True)
    took = time.perf_counter() - start
    if done.returncode:
        sys.exit(f"{' '.join(words)}\n{done.stdout}{done.stderr}")
    return took


@contextmanager
def server(scratch: Path, name: str, *, peer: bool) -> Iterator[str]:
    """A registry with an empty directory; its host:port."""
    data, port = scratch / name, free_port()
    shutil.rmtree(data, ignore_errors=True)
    data.mkdir()
    if peer:
        config = scratch / f"{name}.yml"
        config.write_text(DOCKER_REGISTRY_CONFIG.format(data=data, port=port))
        args = [need("docker-registry"), "serve", str(config)]
    else:
        args = [
            sys.executable,
            "-m",
            "argosy",
            "serve",
            "--listen",
            f"127.0.0.1:{port}",
            "--data",
            str(data),
        ]
    with running(args, port, scratch / f"{name}.log"):
        yield f"127.0.0.1:{port}"
    shutil.rmtree(data, ignore_errors=True)


def make_image(path: Path) -> None:
    """A layout with one image of many incompressible layers."""
    layout = LayoutWriter(path)
    layers, diff_ids = [], []
    for number in range(LAYERS):
        body = os.urandom(LAYER_SIZE)
        diff_ids.append("sha256:" + hashlib.sha256(body).hexdigest())
        layers.append(layout.blob("application/vnd.oci.image.layer.v1.tar", body))
        del body, number
    config = {
        "architecture": "amd64",
        "os": "linux",
        "config": {},
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": layout.blob(
            "application/vnd.oci.image.config.v1+json", json.dumps(config).encode()
        ),
        "layers": layers,
    }
    layout.tag(layout.blob(str(manifest["mediaType"]), json.dumps(manifest).encode()), "v1")


def render(rows: dict[str, dict[str, list[float]]], options: argparse.Namespace) -> str:
    """The table: medians, ratio (above 1: argosy is faster), spread."""
    skopeo = subprocess.run(
        [need("skopeo"), "--version"], capture_output=True, text=True
    ).stdout.strip()
    which = "docker-registry" if options.peer_registry else "argosy serve"
    lines = [
        f"# copy: {LAYERS} layers of {LAYER_SIZE >> 20} MiB, {options.rounds} interleaved rounds",
        "",
        f"{time.strftime('%Y-%m-%d')}, {skopeo}, servers: {which}, {os.cpu_count()} cores",
        "",
        "| copy | argosy s | skopeo s | skopeo / argosy | argosy min-max | skopeo min-max |",
        "|---|---|---|---|---|---|",
    ]
    for way, tools in rows.items():
        ours, theirs = tools["argosy"], tools["skopeo"]
        a, b = statistics.median(ours), statistics.median(theirs)
        spread = f"{min(ours):.2f}-{max(ours):.2f} | {min(theirs):.2f}-{max(theirs):.2f}"
        lines.append(f"| {way} | {a:.3f} | {b:.3f} | **{b / a:.2f}×** | {spread} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
