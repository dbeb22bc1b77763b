"""Real clients push to and pull from `argosy serve`, several platforms included (Must show 2)."""

import hashlib
import json
import shutil
import urllib.request
from pathlib import Path

import pytest

from tests.images import LayoutWriter, multi_platform
from tests.peers import Registry, Run, argosy, need, run

pytestmark = pytest.mark.peer

INDEX = "application/vnd.oci.image.index.v1+json"


def manifest(host: str, name: str, ref: str) -> bytes:
    """The bytes a registry serves for a reference."""
    request = urllib.request.Request(
        f"http://{host}/v2/{name}/manifests/{ref}", headers={"Accept": INDEX}
    )
    with urllib.request.urlopen(request) as answer:
        return bytes(answer.read())


def digest(body: bytes) -> str:
    return "sha256:" + hashlib.sha256(body).hexdigest()


def busybox_layout(path: Path) -> None:
    """A runnable amd64 image under the tag `v1`."""
    body = Path(need("busybox")).read_bytes()
    layout = LayoutWriter(path)
    image = layout.image(
        "amd64", [{"bin/busybox": body, "bin/sh": body}], 0o755, ["/bin/busybox", "uname", "-m"]
    )
    layout.tag(image, "v1")


def test_skopeo_pushes_and_pulls_an_index_unchanged(
    argosy_registry: Registry, tmp_path: Path
) -> None:
    root = multi_platform(tmp_path / "in")
    remote = f"docker://{argosy_registry.host}/skopeo/app:v1"
    run("skopeo", "copy", "--all", "--dest-tls-verify=false", f"oci:{tmp_path}/in:v1", remote)
    assert digest(manifest(argosy_registry.host, "skopeo/app", "v1")) == root["digest"]
    run("skopeo", "copy", "--all", "--src-tls-verify=false", remote, f"oci:{tmp_path}/out:v1")
    index = json.loads((tmp_path / "out/index.json").read_text())
    assert index["manifests"][0]["digest"] == root["digest"]
    tags = json.loads(run("skopeo", "list-tags", "--tls-verify=false", remote.removesuffix(":v1")))
    assert tags["Tags"] == ["v1"]


def test_skopeo_deletes_from_us(argosy_registry: Registry, tmp_path: Path) -> None:
    multi_platform(tmp_path / "in")
    remote = f"docker://{argosy_registry.host}/skopeo/gone:v1"
    run("skopeo", "copy", "--all", "--dest-tls-verify=false", f"oci:{tmp_path}/in:v1", remote)
    run("skopeo", "delete", "--tls-verify=false", remote)
    with pytest.raises(urllib.error.HTTPError, match="404"):
        manifest(argosy_registry.host, "skopeo/gone", "v1")


def test_docker_pulls_runs_and_pushes(
    argosy_registry: Registry, dockerd: Run, tmp_path: Path
) -> None:
    busybox_layout(tmp_path / "in")
    name = f"{argosy_registry.host}/docker/busybox"
    argosy("copy", f"oci:{tmp_path}/in:v1", f"docker://{name}:v1")
    dockerd("pull", f"{name}:v1")
    assert dockerd("run", "--rm", "--network", "none", f"{name}:v1").strip() == "x86_64"
    dockerd("tag", f"{name}:v1", f"{name}:pushed")
    dockerd("push", f"{name}:pushed")
    assert json.loads(argosy("inspect", "--json", f"{name}:pushed"))


def test_docker_pulls_each_platform_of_an_index(
    argosy_registry: Registry, dockerd: Run, tmp_path: Path
) -> None:
    multi_platform(tmp_path / "in", payload=b"for docker\n")
    name = f"{argosy_registry.host}/docker/multi:v1"
    argosy("copy", f"oci:{tmp_path}/in:v1", name)
    for arch in ("amd64", "arm64"):
        dockerd("pull", "--platform", f"linux/{arch}", name)
        assert dockerd("image", "inspect", "--format", "{{.Architecture}}", name).strip() == arch


def test_docker_manifest_reads_a_manifest_list(
    argosy_registry: Registry, dockerd: Run, tmp_path: Path
) -> None:
    # `docker manifest` of 20.10 knows Docker's own types only.
    multi_platform(tmp_path / "in", payload=b"for docker manifest\n")
    name = f"{argosy_registry.host}/docker/manifest:v1"
    words = ["copy", "--all", "--format", "v2s2", "--dest-tls-verify=false"]
    run("skopeo", *words, f"oci:{tmp_path}/in:v1", f"docker://{name}")
    text = dockerd("manifest", "inspect", "--insecure", name)
    assert {m["platform"]["architecture"] for m in json.loads(text)["manifests"]} == {
        "amd64",
        "arm64",
    }


@pytest.mark.root
def test_podman_pushes_and_pulls_a_manifest_list(
    argosy_registry: Registry, podman: Run, tmp_path: Path
) -> None:
    multi_platform(tmp_path / "in", payload=b"for podman\n")
    name = f"{argosy_registry.host}/podman/app"
    argosy("copy", f"oci:{tmp_path}/in:v1", f"{name}:v1")
    for arch in ("amd64", "arm64"):
        podman("pull", "-q", "--tls-verify=false", "--arch", arch, f"{name}:v1")
        text = podman("image", "inspect", "--format", "{{.Architecture}}", f"{name}:v1")
        assert text.strip() == arch
    podman("manifest", "create", "list")
    podman("manifest", "add", "--all", "--tls-verify=false", "list", f"docker://{name}:v1")
    podman("manifest", "push", "--all", "--tls-verify=false", "list", f"docker://{name}:list")
    assert len(json.loads(manifest(argosy_registry.host, "podman/app", "list"))["manifests"]) == 2


@pytest.mark.root
def test_buildah_builds_on_ours_and_pushes_back(
    argosy_registry: Registry, buildah: Run, tmp_path: Path
) -> None:
    multi_platform(tmp_path / "in", payload=b"for buildah\n")
    name = f"{argosy_registry.host}/buildah/app"
    argosy("copy", f"oci:{tmp_path}/in:v1", f"{name}:v1")
    container = buildah("from", "-q", "--tls-verify=false", f"docker://{name}:v1").strip()
    buildah("config", "--label", "by=buildah", container)
    image = buildah("commit", "-q", container, "mine").strip()
    buildah("push", "-q", "--tls-verify=false", image, f"docker://{name}:pushed")
    config = json.loads(argosy("inspect", "--config", f"{name}:pushed"))
    assert config["config"]["Labels"]["by"] == "buildah"


def test_argosy_and_debians_registry_both_ways(docker_registry: Registry, tmp_path: Path) -> None:
    root = multi_platform(tmp_path / "in")
    name = f"{docker_registry.host}/argosy/app:v1"
    argosy("copy", f"oci:{tmp_path}/in:v1", name)
    assert digest(manifest(docker_registry.host, "argosy/app", "v1")) == root["digest"]
    argosy("copy", name, f"oci:{tmp_path}/out:v1")
    run("skopeo", "copy", "--all", f"oci:{tmp_path}/out:v1", f"dir:{tmp_path}/dir")
    assert digest((tmp_path / "dir/manifest.json").read_bytes()) == root["digest"]
    assert argosy("tags", f"{docker_registry.host}/argosy/app").split() == ["v1"]


def test_an_image_goes_between_two_makes_of_registry(
    docker_registry: Registry, argosy_registry: Registry, tmp_path: Path
) -> None:
    root = multi_platform(tmp_path / "in", payload=b"between\n")
    ours, theirs = (
        f"{argosy_registry.host}/between/app:v1",
        f"{docker_registry.host}/between/app:v1",
    )
    argosy("copy", f"oci:{tmp_path}/in:v1", theirs)
    argosy("copy", theirs, ours)
    assert digest(manifest(argosy_registry.host, "between/app", "v1")) == root["digest"]
    shutil.rmtree(tmp_path / "in")
    argosy("copy", ours, f"oci-archive:{tmp_path}/app.tar:v1")
    run("skopeo", "copy", "--all", f"oci-archive:{tmp_path}/app.tar:v1", f"oci:{tmp_path}/back:v1")
    assert (
        json.loads((tmp_path / "back/index.json").read_text())["manifests"][0]["digest"]
        == root["digest"]
    )


@pytest.mark.root
def test_save_and_load_with_docker(dockerd: Run, tmp_path: Path) -> None:
    busybox_layout(tmp_path / "in")
    argosy("copy", f"oci:{tmp_path}/in:v1", f"docker-archive:{tmp_path}/ours.tar:example/ours:v1")
    dockerd("load", "-i", tmp_path / "ours.tar")
    assert dockerd("run", "--rm", "--network", "none", "example/ours:v1").strip() == "x86_64"
    dockerd("save", "-o", tmp_path / "theirs.tar", "example/ours:v1")
    argosy(
        "copy", f"docker-archive:{tmp_path}/theirs.tar:example/ours:v1", f"oci:{tmp_path}/out:v1"
    )
    assert run("skopeo", "inspect", f"oci:{tmp_path}/out:v1")
