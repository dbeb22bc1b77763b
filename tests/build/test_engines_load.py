"""--load=ENGINE and type=docker: images get into real engines, and only what they lack moves."""

import os
import socket
import subprocess
import threading
import time
from contextlib import contextmanager

import pytest

from argosy.build.engines.docker import DockerEngine
from argosy.build.engines.loading import EngineName
from argosy.errors import BuildError, UsageError
from tests.peers import argosy, need

DOCKERFILE = "FROM scratch\nCOPY big /big\nCOPY small /small\nLABEL made=here\n"


@pytest.mark.parametrize("text", ["docker", "podman", "containerd", "containerd,namespace=k8s.io"])
def test_engine_names_are_read_and_written(text):
    assert str(EngineName.parse(text)) == text


@pytest.mark.parametrize("text", ["", "crio", "docker,namespace=x", "containerd,x"])
def test_other_engines_are_refused(text):
    with pytest.raises(UsageError):
        EngineName.parse(text)


def test_an_engine_behind_ssh_or_tls_is_refused_with_a_way_out():
    with pytest.raises(UsageError) as failed:
        DockerEngine.of({"DOCKER_HOST": "ssh://somewhere"})
    assert "docker load" in failed.value.remedy


async def test_a_docker_that_is_not_there_is_named(tmp_path):
    engine = DockerEngine.of({"DOCKER_HOST": f"unix://{tmp_path}/none.sock"})
    with pytest.raises(BuildError, match="no Docker engine answers"):
        await engine._diff_ids("x")


def context(tmp_path, small="1"):
    folder = tmp_path / "context"
    folder.mkdir(exist_ok=True)
    (folder / "Dockerfile").write_text(DOCKERFILE)
    (folder / "big").write_bytes(os.urandom(3 << 20))
    (folder / "small").write_text(small)
    return folder


def address_of(docker):
    return docker.__closure__[0].cell_contents


@contextmanager
def counted(address, tmp_path):
    """A socket in front of an engine that counts what goes in."""
    path, seen = str(tmp_path / "front.sock"), [0]
    server = socket.socket(socket.AF_UNIX)
    server.bind(path)
    server.listen()
    sockets, pumps = [server], []

    def pump(a, b, count):
        while piece := a.recv(1 << 16):
            seen[0] += len(piece) if count else 0
            b.sendall(piece)
        b.shutdown(socket.SHUT_WR)

    def serve():
        while True:
            try:
                one, _ = server.accept()
            except OSError:
                return
            two = socket.socket(socket.AF_UNIX)
            two.connect(address.removeprefix("unix://"))
            sockets.extend((one, two))
            for ends in ((one, two, True), (two, one, False)):
                pumps.append(threading.Thread(target=_quiet, args=(pump, *ends)))
                pumps[-1].start()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield f"unix://{path}", seen
    finally:
        server.shutdown(socket.SHUT_RDWR)
        thread.join()
        for pumping in pumps:
            pumping.join(10)
        for one in sockets:
            one.close()


def _quiet(pump, *args):
    try:
        pump(*args)
    except OSError:
        return


@pytest.mark.peer
@pytest.mark.root
def test_docker_is_sent_only_the_layers_it_lacks(dockerd, tmp_path):
    folder = context(tmp_path)
    with counted(address_of(dockerd), tmp_path) as (host, seen):
        words = ("build", "-q", "-t", "loaded:1", "--load=docker", folder)
        env = {"ARGOSY_HOME": str(tmp_path / "home"), "DOCKER_HOST": host}
        argosy(*words, **env)
        first, seen[0] = seen[0], 0
        assert dockerd("inspect", "-f", "{{.Config.Labels.made}}", "loaded:1").strip() == "here"
        argosy(*words, **env)
        again, seen[0] = seen[0], 0
        (folder / "small").write_text("2")
        argosy(*words, **env)
        changed = seen[0]
    assert first > 3 << 20
    assert again < 2000, "it is there: only named"
    assert changed < 20_000, "only the layer above"
    container = dockerd("create", "loaded:1", "x").strip()
    tar = tmp_path / "small.tar"
    dockerd("cp", f"{container}:/small", tar)
    dockerd("rm", container)
    assert tar.read_text() == "2"


@pytest.mark.peer
@pytest.mark.root
def test_type_docker_without_a_dest_loads_as_buildx_does(dockerd, tmp_path):
    folder = context(tmp_path)
    env = {"ARGOSY_HOME": str(tmp_path / "home"), "DOCKER_HOST": address_of(dockerd)}
    argosy("build", "-q", "-t", "other:2", "-o", "type=docker", folder, **env)
    assert dockerd("images", "-q", "other:2").strip()


@pytest.mark.peer
@pytest.mark.root
def test_podman_takes_the_image_from_the_local_ones(podman, tmp_path):
    store = podman.__closure__[0].cell_contents
    binary = tmp_path / "bin"
    binary.mkdir()
    script = binary / "podman"
    script.write_text(f'#!/bin/sh\nexec {need("podman")} {" ".join(store)} "$@"\n')
    script.chmod(0o755)
    env = {"ARGOSY_HOME": str(tmp_path / "home"), "PATH": f"{binary}:{os.environ['PATH']}"}
    argosy("build", "-q", "-t", "localhost/pod:1", "--load=podman", context(tmp_path), **env)
    label = podman("inspect", "-f", "{{.Labels.made}}", "localhost/pod:1")
    assert label.strip() == "here"


@pytest.mark.peer
@pytest.mark.root
@pytest.mark.slow
def test_containerd_takes_every_platform(tmp_path):
    address = f"{tmp_path}/c.sock"
    (tmp_path / "c.toml").write_text(
        f'version = 2\nroot = "{tmp_path}/root"\nstate = "{tmp_path}/state"\n'
        'disabled_plugins = ["io.containerd.grpc.v1.cri"]\n'
        f'[grpc]\naddress = "{address}"\n'
    )
    need("ctr")
    with (tmp_path / "log").open("wb") as log:
        words = [need("containerd"), "-c", str(tmp_path / "c.toml")]
        server = subprocess.Popen(words, stdout=log, stderr=log)
    try:
        for _ in range(200):
            if os.path.exists(address) or server.poll() is not None:
                break
            time.sleep(0.05)
        env = {"ARGOSY_HOME": str(tmp_path / "home"), "CONTAINERD_ADDRESS": address}
        env |= {"CONTAINERD_NAMESPACE": "k8s.io"}
        for _ in range(2):
            words = ["build", "-q", "-t", "localhost/cd:1", "--load=containerd"]
            argosy(*words, "--platform=linux/amd64,linux/arm64", context(tmp_path), **env)
        ctr = [need("ctr"), "-a", address, "-n", "k8s.io", "images", "ls"]
        listed = subprocess.run(ctr, capture_output=True, text=True, check=True).stdout
    finally:
        server.terminate()
        server.wait(20)
    assert "localhost/cd:1" in listed
    assert "linux/amd64,linux/arm64" in listed
