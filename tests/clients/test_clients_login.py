"""Real clients log in, push, pull and log out: as users, with tokens, as robots, and as nobody (Must show 1)."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from argosy.access.permissions.permission import Role
from tests.guarded import PASSWORD, World, guarded
from tests.images import multi_platform
from tests.peers import PATH, Run, argosy, need, run

pytestmark = pytest.mark.peer

WHO = ("user", "token", "robot")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with guarded(tmp_path_factory.mktemp("login")) as found:
        found.user("dev", Role.DEVELOPER)
        found.user("guest", Role.GUEST)
        found.secrets["user"] = PASSWORD
        found.secrets["token"] = found.token("dev", "repository:team/**:pull,push")
        name, found.secrets["robot"] = found.robot(
            "ci", "repository:team/**:pull,push,delete", project="team"
        )
        found.secrets["robot name"] = name
        yield found


def pair(world: World, who: str) -> tuple[str, str]:
    """What to log in with."""
    return world.secrets["robot name"] if who == "robot" else "dev", world.secrets[who]


def host(world: World) -> str:
    return f"127.0.0.1:{world.client.port}"


def fails(program: str, *args: str | Path, env: dict[str, str] | None = None) -> str:
    """Run a peer that has to fail; what it said."""
    done = subprocess.run(
        [need(program), *map(str, args)],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "PATH": PATH, **(env or {})},
    )
    assert done.returncode, done.stdout
    return done.stdout + done.stderr


def layout(path: Path, seed: str) -> str:
    multi_platform(path, payload=seed.encode())
    return f"oci:{path}:v1"


@pytest.mark.parametrize("who", WHO)
def test_skopeo(world: World, tmp_path: Path, who: str) -> None:
    name, secret = pair(world, who)
    source, auth = layout(tmp_path / "in", f"skopeo {who}"), tmp_path / "auth.json"
    remote = f"docker://{host(world)}/team/skopeo-{who}:v1"
    words = ["--authfile", auth, "--dest-tls-verify=false"]
    said = fails("skopeo", "copy", "--all", *words, source, remote)
    assert "authentication required" in said or "unauthorized" in said
    run(
        "skopeo",
        "login",
        "--tls-verify=false",
        "--authfile",
        auth,
        "-u",
        name,
        "-p",
        secret,
        host(world),
    )
    run("skopeo", "copy", "--all", *words, source, remote)
    run(
        "skopeo",
        "copy",
        "--all",
        "--authfile",
        auth,
        "--src-tls-verify=false",
        remote,
        f"oci:{tmp_path}/out:v1",
    )
    tags = run("skopeo", "list-tags", "--tls-verify=false", "--authfile", auth, remote[:-3])
    assert json.loads(tags)["Tags"] == ["v1"]
    delete = ["delete", "--tls-verify=false", "--authfile", auth, remote]
    if who == "robot":  # the only one with that right
        run("skopeo", *delete)
    else:
        assert "denied" in fails("skopeo", *delete).lower()
    run("skopeo", "logout", "--authfile", auth, host(world))
    fails("skopeo", "inspect", "--tls-verify=false", "--authfile", auth, remote)


def test_skopeo_reads_what_is_public_without_a_name(world: World, tmp_path: Path) -> None:
    source, auth = layout(tmp_path / "in", "public"), tmp_path / "none.json"
    auth.write_text("{}")
    remote = f"docker://{host(world)}/open/skopeo:v1"
    run(
        "skopeo",
        "copy",
        "--all",
        "--dest-tls-verify=false",
        "--dest-creds",
        f"root:{PASSWORD}",
        source,
        remote,
    )
    run("skopeo", "inspect", "--tls-verify=false", "--authfile", auth, remote)
    fails("skopeo", "copy", "--all", "--authfile", auth, "--dest-tls-verify=false", source, remote)


def test_a_wrong_password_is_told_as_such(world: World, tmp_path: Path) -> None:
    words = ["--authfile", tmp_path / "a.json", "-u", "dev", "-p", "wrong", host(world)]
    assert "invalid username/password" in fails("skopeo", "login", "--tls-verify=false", *words)


@pytest.mark.root
@pytest.mark.parametrize("who", WHO)
def test_docker(world: World, dockerd: Run, tmp_path: Path, who: str) -> None:
    name, secret = pair(world, who)
    config = ["--config", str(tmp_path / "docker")]
    image = f"{host(world)}/team/docker-{who}:v1"
    source = layout(tmp_path / "in", f"docker {who}")
    run(
        "skopeo",
        "copy",
        "--dest-tls-verify=false",
        "--dest-creds",
        f"root:{PASSWORD}",
        source,
        f"docker://{image}",
    )
    socket = dockerd("context", "inspect", "--format", "{{.Endpoints.docker.Host}}").strip()
    denied = fails("docker", "-H", socket, *config, "pull", image)
    assert "unauthorized" in denied or "denied" in denied
    said = dockerd(*config, "login", "-u", name, "-p", secret, host(world))
    assert "Login Succeeded" in said
    kept = json.loads((tmp_path / "docker/config.json").read_text())["auths"][host(world)]
    assert kept["identitytoken"].startswith("arg_ref_")  # docker keeps no password of ours
    # Ours reads what docker keeps.
    assert argosy("digest", image, DOCKER_CONFIG=str(tmp_path / "docker")).startswith("sha256:")
    dockerd(*config, "pull", image)
    dockerd("tag", image, f"{image}-again")
    dockerd(*config, "push", f"{image}-again")
    if who == "token":  # it was not granted more than its scopes
        dockerd("tag", image, f"{host(world)}/open/docker:v1")
        assert "denied" in fails(
            "docker", "-H", socket, *config, "push", f"{host(world)}/open/docker:v1"
        )
    dockerd(*config, "logout", host(world))
    fails("docker", "-H", socket, *config, "pull", image)


@pytest.mark.root
@pytest.mark.parametrize("who", WHO)
def test_podman(world: World, podman: Run, tmp_path: Path, who: str) -> None:
    name, secret = pair(world, who)
    auth, image = tmp_path / "auth.json", f"{host(world)}/team/podman-{who}"
    source = layout(tmp_path / "in", f"podman {who}")
    run(
        "skopeo",
        "copy",
        "--dest-tls-verify=false",
        "--dest-creds",
        f"root:{PASSWORD}",
        source,
        f"docker://{image}:v1",
    )
    plain = ["--tls-verify=false", "--authfile", auth]
    podman("login", *plain, "-u", name, "-p", secret, host(world))
    podman("pull", "-q", *plain, f"{image}:v1")
    podman("tag", f"{image}:v1", f"{image}:again")
    podman("push", "-q", *plain, f"{image}:again")
    podman("logout", "--authfile", auth, host(world))
    tags = world.client.by("root", PASSWORD)("GET", f"/v2/team/podman-{who}/tags/list")
    assert tags.json["tags"] == ["again", "v1"]


@pytest.mark.root
@pytest.mark.parametrize("who", WHO)
def test_containerd(world: World, containerd: Run, tmp_path: Path, who: str) -> None:
    name, secret = pair(world, who)
    image = f"{host(world)}/team/ctr-{who}:v1"
    source = layout(tmp_path / "in", f"containerd {who}")
    run(
        "skopeo",
        "copy",
        "--dest-tls-verify=false",
        "--dest-creds",
        f"root:{PASSWORD}",
        source,
        f"docker://{image}",
    )
    user = ["--plain-http", "--user", f"{name}:{secret}"]
    containerd("images", "pull", *user, image)
    containerd("images", "tag", image, f"{image}-again")
    containerd("images", "push", *user, f"{image}-again")
    tags = world.client.by("root", PASSWORD)("GET", f"/v2/team/ctr-{who}/tags/list")
    assert tags.json["tags"] == ["v1", "v1-again"]


@pytest.mark.parametrize("who", WHO)
def test_our_own_client(world: World, tmp_path: Path, who: str) -> None:
    name, secret = pair(world, who)
    source = layout(tmp_path / "in", f"argosy {who}")
    remote = f"docker://{host(world)}/team/argosy-{who}:v1"
    env = {"DOCKER_CONFIG": str(tmp_path / "docker"), "ARGOSY_HOME": str(tmp_path / "home")}
    said = refused("copy", source, remote, **env)
    assert "do:  argosy login" in said
    done = subprocess.run(
        [*OURS, "login", "--username", name, "--password-stdin", host(world)],
        input=secret,
        capture_output=True,
        text=True,
        env={**os.environ, **env},
    )
    assert not done.returncode, done.stderr
    argosy("copy", source, remote, **env)
    argosy("pull", remote.removeprefix("docker://"), **env)
    assert argosy("tags", remote.removeprefix("docker://")[:-3], **env).split() == ["v1"]
    listed = argosy("repos", host(world), **env)
    assert f"team/argosy-{who}" in listed
    told = refused("copy", source, f"docker://{host(world)}/open/argosy:v1", **env)
    assert "lacks push on repository open/argosy" in told
    argosy("logout", host(world), **env)
    refused("tags", remote.removeprefix("docker://")[:-3], **env)


OURS = [sys.executable, "-m", "argosy"]


def refused(*args: str, **env: str) -> str:
    """Run our own command line, which has to fail with the exit code of a refusal."""
    done = subprocess.run(
        [*OURS, *args], capture_output=True, text=True, timeout=120, env={**os.environ, **env}
    )
    assert done.returncode == 3, done.stdout + done.stderr
    return done.stderr
