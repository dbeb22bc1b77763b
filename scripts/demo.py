"""`make demo`: the main job on real input, end to end.

Starts our registry, makes a base image for two architectures, builds the example
application on both, pushes one index, pulls it back with the clients that are
there, runs both platforms, and shows that the second build is all cache. Then a file is edited
and the build says why it ran what it ran; another machine makes the same digest, and a
third takes every step from the registry. At the end the image goes to a registry that asks who
one is.
DEMO_KEEP=1 leaves the registry running.
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from demo_company import Company

TOP = Path(__file__).resolve().parent.parent
WORK = TOP / "var" / "demo"
APP = WORK / "voyage"
ARGOSY = [sys.executable, "-m", "argosy"]
PLATFORMS = ("linux/amd64", "linux/arm64")
BOLD, DIM, PLAIN = ("\033[1m", "\033[2m", "\033[0m") if sys.stdout.isatty() else ("", "", "")


@dataclass
class Summary:
    """What the end of the demo tells."""

    times: list[tuple[str, float]] = field(default_factory=list)
    facts: list[tuple[str, str]] = field(default_factory=list)


def main() -> int:
    """Run every step; the first that fails ends the demo with its own message."""
    if os.geteuid() != 0:
        print(
            "the demo mounts file systems and starts containers: run `sudo make demo` (with the same"
            " PYTHON=… if you gave one)",
            file=sys.stderr,
        )
        return 1
    WORK.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(APP, ignore_errors=True)
    shutil.copytree(TOP / "examples" / "voyage", APP)
    os.environ["ARGOSY_HOME"] = str(WORK / "home")
    # The copies are no part of this repository: its revision is not theirs.
    os.environ["GIT_CEILING_DIRECTORIES"] = str(WORK)
    summary = Summary()
    with registry() as host:
        try:
            voyage(host, summary)
        except subprocess.CalledProcessError as e:
            print(f"\nthe demo stopped: {e.cmd} ended with {e.returncode}", file=sys.stderr)
            return 1
        tell(summary)
        keep_if_asked(host)
    return 0


def voyage(host: str, summary: Summary) -> None:
    """The steps, in order."""
    base, app = f"{host}/base/python:bookworm", f"{host}/example/voyage:v1"
    both = ",".join(PLATFORMS)
    with step("emulation: can this machine run both architectures?", summary):
        show(*ARGOSY, "doctor", "--only", "runtime,binfmt", "--fix")
    with step("base image: Debian packages for two architectures, no hub", summary):
        words = ["debian:bookworm", "--include", "python3", "--platform", both]
        show(*ARGOSY, "base", *words, "-t", base, "--push")
    with step("build: the application on both architectures, pushed as one index", summary):
        show(*ARGOSY, *build_words(base, app, both))
    with step("build again: all cache", summary):
        cached_again(base, app, both, summary)
    with step("pull it back with real clients", summary):
        pull_back(app)
    with step("run both platforms", summary):
        for platform in PLATFORMS:
            show(*ARGOSY, "run", "--platform", platform, app)
    with step("edit a file: what runs again, and why", summary):
        why_again(base, app, both)
    with step("two other machines: one digest, and every step from the registry's cache", summary):
        other_machines(host, base, summary)
    with step(
        "a company's registry: a project, a robot, a quota, a stranger, the audit log", summary
    ):
        with Company(WORK / "company", show).running() as company:
            company.voyage(app)
    facts(app, summary)


def build_words(base: str, app: str, platforms: str) -> list[str]:
    """The words of `argosy build` for the example."""
    words = [
        "build",
        "--platform",
        platforms,
        "--build-arg",
        f"BASE={base}",
        "--build-arg",
        "VERSION=1.0",
    ]
    return [*words, "-t", app, "--push", "--progress", "plain", str(APP)]


def cached_again(base: str, app: str, both: str, summary: Summary) -> None:
    """Build the same again; every step must come from the cache and the digest must be the same."""
    before = said(*ARGOSY, "digest", app)
    done = subprocess.run(
        [*ARGOSY, *build_words(base, app, both)], capture_output=True, text=True, check=False
    )
    print(DIM + done.stderr.strip() + PLAIN)
    done.check_returncode()
    ran = [line for line in done.stderr.splitlines() if " DONE " in line and "RUN" in line]
    cached = done.stderr.count(" CACHED")
    after = said(*ARGOSY, "digest", app)
    if ran or not cached or before != after:
        print(f"not all cache: {cached} cached steps, ran {ran}, digest {before} then {after}")
        raise subprocess.CalledProcessError(1, "the second build")
    summary.facts.append(("second build", f"{cached} steps from cache, the same digest"))


def why_again(base: str, app: str, both: str) -> None:
    """Change a file of the application and build with --explain; the file must be named."""
    name = "voyage/__main__.py"
    with (APP / name).open("a") as file:
        file.write(f"# edited by the demo at {time.time()}\n")  # never the same twice
    words = [w for w in build_words(base, app, both) if w != "--push"]
    done = subprocess.run(
        [*ARGOSY, *words, "--explain", "--quiet"], capture_output=True, text=True, check=False
    )
    print(DIM + done.stderr.strip() + PLAIN)
    done.check_returncode()
    if f"{name} changed" not in done.stderr:
        print(f"--explain does not name {name}")
        raise subprocess.CalledProcessError(1, "argosy build --explain")


def other_machines(host: str, base: str, summary: Summary) -> None:
    """Two homes build what a first one built: one anew, one with the first one's cache."""
    cache = f"type=registry,ref={host}/example/cache"
    first = elsewhere("one", base, "--cache-to", f"{cache},mode=max")
    again = elsewhere("two", base)
    taken = elsewhere("three", base, "--cache-from", cache)
    if len({first["digest"], again["digest"], taken["digest"]}) != 1:
        print(f"digests differ: {first['digest']} {again['digest']} {taken['digest']}")
        raise subprocess.CalledProcessError(1, "the build on another machine")
    if taken["cached"] != taken["steps"]:
        print(f"only {taken['cached']} of {taken['steps']} steps came from the cache")
        raise subprocess.CalledProcessError(1, "the build with the registry's cache")
    summary.facts.append(("reproducible", f"{first['digest']} on two machines, built apart"))
    summary.facts.append(("shared cache", f"{taken['steps']} of {taken['steps']} steps taken"))


def elsewhere(name: str, base: str, *words: str) -> dict[str, Any]:
    """Build the example as another machine would: another home, another place, other times."""
    home, context = WORK / f"machine-{name}", WORK / f"checkout-{name}"
    for folder in (home, context):
        shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(TOP / "examples" / "voyage", context, copy_function=shutil.copy)
    command = ["build", "--json", "-q", "--platform", PLATFORMS[0], "--build-arg", f"BASE={base}"]
    command += ["--build-arg", "VERSION=1.0", "-t", "example/voyage:1", *words, str(context)]
    environment = {"ARGOSY_HOME": str(home), "SOURCE_DATE_EPOCH": "1700000000"}
    print(f"{DIM}$ argosy {' '.join(command)}{PLAIN}")
    told = subprocess.run(
        [*ARGOSY, *command],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        env={**os.environ, **environment},
    )
    found: dict[str, Any] = json.loads(told.stdout)
    print(f"{found['digest']}  {found['cached']} of {found['steps']} steps cached")
    return found


def pull_back(app: str) -> None:
    """Pull with skopeo (all platforms), and podman and docker where they are."""
    copy = WORK / "pulled"
    shutil.rmtree(copy, ignore_errors=True)
    show("skopeo", "copy", "--all", "--src-tls-verify=false", f"docker://{app}", f"oci:{copy}:v1")
    if shutil.which("podman"):
        store = ["--root", str(WORK / "podman"), "--runroot", str(WORK / "podman-run")]
        store += ["--storage-driver=vfs"]
        show("podman", *store, "pull", "-q", "--tls-verify=false", app)
        show("podman", *store, "rmi", "-f", app)
    docker = shutil.which("docker")
    if (
        docker
        and subprocess.run([docker, "info"], capture_output=True, check=False).returncode == 0
    ):
        show(docker, "pull", app)


def facts(app: str, summary: Summary) -> None:
    """Digests and sizes of what is in the registry now."""
    index = json.loads(said(*ARGOSY, "inspect", "--raw", app))
    summary.facts.append(("index", f"{app}@{said(*ARGOSY, 'digest', app).strip()}"))
    for entry in index["manifests"]:
        raw = said(*ARGOSY, "inspect", "--raw", f"{app.rpartition(':')[0]}@{entry['digest']}")
        manifest = json.loads(raw)
        size = manifest["config"]["size"] + sum(layer["size"] for layer in manifest["layers"])
        platform = f"{entry['platform']['os']}/{entry['platform']['architecture']}"
        count = len(manifest["layers"])
        summary.facts.append(
            (platform, f"{entry['digest']}  {size / 1e6:.1f} MB in {count} layers")
        )


def tell(summary: Summary) -> None:
    """The end: what came out, how long it took, where to look."""
    print(f"\n{BOLD}What came out{PLAIN}")
    for name, fact in summary.facts:
        print(f"  {name:<14} {fact}")
    print(f"{BOLD}How long it took{PLAIN}")
    for name, seconds in summary.times:
        print(f"  {seconds:7.1f} s  {name}")
    print(f"{BOLD}Where to look{PLAIN}")
    for what, where in (
        ("the application and its Dockerfile", TOP / "examples" / "voyage"),
        ("the registry's files and log", WORK / "registry"),
        ("local images, build cache, base images", WORK / "home"),
        ("what skopeo pulled back (an OCI layout)", WORK / "pulled"),
        ("users, robots, quotas, audit, many nodes", TOP / "docs" / "registry.md"),
        ("the user guide", TOP / "docs" / "guide.md"),
    ):
        print(f"  {what:<42} {where}")


def keep_if_asked(host: str) -> None:
    """With DEMO_KEEP=1: serve until the user has seen enough."""
    if not os.environ.get("DEMO_KEEP"):
        return
    print(f"\nthe registry stays at http://{host} (DEMO_KEEP=1); Ctrl-C ends it")
    try:
        signal.pause()
    except KeyboardInterrupt:
        print()


@contextmanager
def registry() -> Iterator[str]:
    """Our registry on a fixed port if it is free, else on any; its host:port."""
    data = WORK / "registry"
    data.mkdir(exist_ok=True)
    words = ["serve", "--listen", f"127.0.0.1:{_port()}", "--data", str(data)]
    print(f"{BOLD}== registry: {' '.join(['argosy', *words])}{PLAIN}", flush=True)
    with (data / "log").open("wb") as log:
        process = subprocess.Popen([*ARGOSY, *words], stdout=subprocess.PIPE, stderr=log, text=True)
        try:
            ready = process.stdout.readline() if process.stdout else ""
            if "http://" not in ready:
                sys.exit(f"the registry did not start; see {data / 'log'}")
            print(ready.strip(), flush=True)
            yield ready.split("http://")[1].split()[0]
        finally:
            process.terminate()
            process.wait(30)


def _port() -> int:
    # The same port in every run, so that references (and with them cache keys) stay the same.
    with socket.socket() as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            s.bind(("127.0.0.1", 5055))
        except OSError:
            return 0
    return 5055


@contextmanager
def step(title: str, summary: Summary) -> Iterator[None]:
    """Announce a step and time it."""
    print(f"\n{BOLD}== {title}{PLAIN}", flush=True)
    start = time.monotonic()
    yield
    summary.times.append((title, time.monotonic() - start))


def show(*words: str) -> None:
    """Print a command and run it in the open."""
    print(f"{DIM}$ {' '.join(_shown(words))}{PLAIN}", flush=True)
    subprocess.run(words, check=True)


def said(*words: str) -> str:
    """What a command prints."""
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout


def _shown(words: tuple[str, ...]) -> list[str]:
    plain = list(words)
    return ["argosy", *plain[3:]] if plain[:3] == ARGOSY else plain


if __name__ == "__main__":
    sys.exit(main())
