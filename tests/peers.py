"""Real clients and servers, found or refused through one door.

A missing peer skips the test with the reason on a developer's machine and fails
it under CI (`make test` installs them; scripts/system-packages has the list).
"""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

PATH = "/usr/bin:/usr/sbin:/bin:/sbin:/usr/local/bin"
Run = Callable[..., str]


def need(program: str) -> str:
    """The path of a real program (Debian's before anybody's own); skips, or fails under CI."""
    if found := shutil.which(program, path=PATH):
        return found
    reason = f"{program} is not installed: run `make system` as root"
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


def free_port() -> int:
    """A TCP port of the loopback that nobody listens on."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


def run(
    program: str, *args: str | Path, timeout: float = 180, env: dict[str, str] | None = None
) -> str:
    """Run a peer; its output, or a failed test with everything it said."""
    done = subprocess.run(
        [need(program), *map(str, args)],
        capture_output=True,
        text=True,
        timeout=timeout,
        env={**os.environ, "PATH": PATH, **(env or {})},
    )
    if done.returncode:
        pytest.fail(
            f"{program} {' '.join(map(str, args))}\nexit {done.returncode}\n{done.stdout}{done.stderr}"
        )
    return done.stdout


def argosy(*args: str | Path, timeout: float = 180, **env: str) -> str:
    """Run our own command line as a process; its standard output, or a failed test."""
    done = subprocess.run(
        [sys.executable, "-m", "argosy", *map(str, args)],
        capture_output=True,
        text=True,
        timeout=timeout,
        env={**os.environ, **env},
    )
    if done.returncode:
        pytest.fail(
            f"argosy {' '.join(map(str, args))}\nexit {done.returncode}\n{done.stdout}{done.stderr}"
        )
    return done.stdout


def wait_for_port(port: int, process: "subprocess.Popen[bytes]", seconds: float = 20) -> None:
    """Return when somebody listens; fail if the process dies or the time is over."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if process.poll() is not None:
            pytest.fail(f"{process.args!r} ended with {process.returncode} before it listened")
        try:
            socket.create_connection(("127.0.0.1", port), 0.2).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    pytest.fail(f"{process.args!r} did not listen on {port} within {seconds} s")


@contextmanager
def running(args: list[str], port: int, log: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """A server process, listening; ended on exit."""
    with log.open("wb") as out:
        process = subprocess.Popen(args, stdout=out, stderr=out, env={**os.environ, "PATH": PATH})
        try:
            wait_for_port(port, process)
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@dataclass(frozen=True)
class Registry:
    """A running registry: `host` is 127.0.0.1:PORT, `data` its directory."""

    host: str
    data: Path


@pytest.fixture(scope="session")
def argosy_registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """`argosy serve` as users start it, one for the whole run."""
    data, port = tmp_path_factory.mktemp("argosy-registry"), free_port()
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
    with running(args, port, data / "log"):
        yield Registry(f"127.0.0.1:{port}", data)


DOCKER_REGISTRY_CONFIG = """\
version: 0.1
log: {{level: error}}
storage:
  filesystem: {{rootdirectory: {data}}}
  cache: {{blobdescriptor: inmemory}}
  delete: {{enabled: true}}
http: {{addr: "127.0.0.1:{port}", secret: bench}}
"""


@pytest.fixture(scope="session")
def docker_registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """Debian's docker-registry (CNCF distribution), one for the whole run."""
    program = need("docker-registry")
    data, port = tmp_path_factory.mktemp("docker-registry"), free_port()
    config = data / "config.yml"
    config.write_text(DOCKER_REGISTRY_CONFIG.format(data=data / "data", port=port))
    with running([program, "serve", str(config)], port, data / "log"):
        yield Registry(f"127.0.0.1:{port}", data)


@pytest.fixture(scope="session")
def dockerd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """A Docker engine of its own; the fixture is the `docker` command that talks to it."""
    if os.geteuid() != 0:
        pytest.skip("needs root: dockerd")
    need("docker")
    root = tmp_path_factory.mktemp("dockerd")
    address = f"unix://{root}/docker.sock"
    args = [need("dockerd"), "--iptables=false", "--bridge=none", "-H", address]
    args += [
        "--data-root",
        f"{root}/data",
        "--exec-root",
        f"{root}/exec",
        "--pidfile",
        f"{root}/pid",
    ]
    with (root / "log").open("wb") as out:
        process = subprocess.Popen(args, stdout=out, stderr=out, env={**os.environ, "PATH": PATH})
    try:
        _wait_for_docker(address, process, root / "log")
        yield lambda *words, **more: run("docker", "-H", address, *words, **more)
    finally:
        process.terminate()
        process.wait(30)
        for mount in sorted(_mounts_below(root), reverse=True):
            subprocess.run(["umount", "-l", mount], capture_output=True)


def _wait_for_docker(address: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
    for _ in range(300):
        done = subprocess.run([need("docker"), "-H", address, "info"], capture_output=True)
        if done.returncode == 0:
            return
        if process.poll() is not None:
            break
        time.sleep(0.1)
    pytest.fail("dockerd did not start:\n" + log.read_text()[-3000:])


CONTAINERD_CONFIG = """\
version = 2
root = "{root}/data"
state = "{root}/run"
disabled_plugins = ["io.containerd.grpc.v1.cri"]
[grpc]
address = "{root}/socket"
"""


@pytest.fixture(scope="session")
def containerd() -> Iterator[Run]:
    """A containerd of its own; the fixture is the `ctr` command that talks to it."""
    if os.geteuid() != 0:
        pytest.skip("needs root: containerd")
    need("containerd-shim-runc-v2")
    with tempfile.TemporaryDirectory(prefix="containerd-") as short:  # sockets have short names
        root = Path(short)
        (root / "config.toml").write_text(CONTAINERD_CONFIG.format(root=root))
        args = [need("containerd"), "--config", f"{root}/config.toml"]
        with (root / "log").open("wb") as out:
            process = subprocess.Popen(
                args, stdout=out, stderr=out, env={**os.environ, "PATH": PATH}
            )
        try:
            _wait_for_socket(root / "socket", process, root / "log")
            yield lambda *words, **more: run("ctr", "-a", f"{root}/socket", *words, **more)
        finally:
            process.terminate()
            process.wait(30)
            for mount in sorted(_mounts_below(root), reverse=True):
                subprocess.run(["umount", "-l", mount], capture_output=True)


def _wait_for_socket(path: Path, process: "subprocess.Popen[bytes]", log: Path) -> None:
    for _ in range(300):
        if path.exists():
            return
        if process.poll() is not None:
            break
        time.sleep(0.1)
    pytest.fail(f"{process.args!r} did not start:\n" + log.read_text()[-3000:])


def _mounts_below(root: Path) -> list[str]:
    lines = Path("/proc/self/mounts").read_text().splitlines()
    return [line.split()[1] for line in lines if line.split()[1].startswith(str(root))]


@pytest.fixture
def podman(tmp_path: Path) -> Iterator[Run]:
    """podman on storage of its own; with plain-HTTP loopback registries allowed per command."""
    need("podman")
    with tempfile.TemporaryDirectory(prefix="podman-") as short:  # it takes 50 characters at most
        store = ["--root", str(tmp_path / "podman"), "--runroot", short]
        store += ["--storage-driver=vfs", "--cgroup-manager=cgroupfs"]
        yield lambda *words, **more: run("podman", *store, *words, **more)
    for mount in sorted(_mounts_below(tmp_path), reverse=True):
        subprocess.run(["umount", "-l", mount], capture_output=True)


@pytest.fixture
def buildah(tmp_path: Path) -> Iterator[Run]:
    """buildah on storage of its own."""
    need("buildah")
    store = ["--root", str(tmp_path / "buildah"), "--runroot", str(tmp_path / "buildah-run")]
    yield lambda *words, **more: run("buildah", *store, "--storage-driver=vfs", *words, **more)
    for mount in sorted(_mounts_below(tmp_path), reverse=True):
        subprocess.run(["umount", "-l", mount], capture_output=True)
