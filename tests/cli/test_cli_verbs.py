"""Every verb that moves or shows images, against a registry that really runs."""

import json
from itertools import pairwise
from pathlib import Path

import pytest

from tests.images import LayoutWriter

from .conftest import Argosy

INDEX = "application/vnd.oci.image.index.v1+json"


def root_digest(layout: Path) -> str:
    return str(json.loads((layout / "index.json").read_text())["manifests"][0]["digest"])


@pytest.fixture
def image(argosy: Argosy, layout: Path, host: str, request: pytest.FixtureRequest) -> str:
    """A two-platform image in the registry, in a repository of the test's own."""
    name = f"{host}/cli/{request.node.originalname.lower().replace('_', '-')[:50].strip('-')}"
    assert argosy("copy", "-q", f"oci:{layout}:v1", f"{name}:v1").code == 0
    return f"{name}:v1"


def test_copy_goes_between_registry_layout_and_archives_unchanged(
    argosy: Argosy, layout: Path, host: str, tmp_path: Path
) -> None:
    digest = root_digest(layout)
    way = [
        f"oci:{layout}:v1",
        f"docker://{host}/cli/around:v1",
        f"oci-archive:{tmp_path}/a.tar:v1",
        f"{host}/cli/around2:v2",
        f"oci:{tmp_path}/out:v3",
        "local:around:v4",
    ]
    for src, dst in pairwise(way):
        said = argosy("copy", src, dst)
        assert (said.code, said.out) == (0, f"{dst}@{digest}\n"), said.err
        assert argosy("digest", dst).out == f"{digest}\n"


def test_copy_again_sends_nothing(argosy: Argosy, image: str, layout: Path) -> None:
    said = argosy("copy", f"oci:{layout}:v1", image)
    assert said.code == 0
    assert "EXISTS" in said.err
    assert "DONE" not in said.err


def test_copy_of_one_platform_gives_its_image_and_of_several_an_index(
    argosy: Argosy, image: str, tmp_path: Path
) -> None:
    one = argosy("copy", "--json", "--platform", "linux/arm64", image, f"oci:{tmp_path}/o:one")
    assert one.json["mediaType"] == "application/vnd.oci.image.manifest.v1+json"
    config = argosy("inspect", "--config", f"oci:{tmp_path}/o:one").json
    assert config["architecture"] == "arm64"
    both = ["--platform", "linux/amd64,linux/arm64"]
    many = argosy("copy", "--json", *both, image, f"oci:{tmp_path}/o:both")
    assert many.json["mediaType"] == INDEX


def test_a_platform_that_is_not_there_is_an_error_that_lists_what_is(
    argosy: Argosy, image: str, tmp_path: Path
) -> None:
    said = argosy("copy", "--platform", "linux/s390x", image, f"oci:{tmp_path}/o:x")
    assert said.code == 4
    assert "linux/amd64, linux/arm64" in said.err


def test_copy_writes_the_digest_to_a_file(
    argosy: Argosy, image: str, layout: Path, tmp_path: Path
) -> None:
    argosy("copy", "--digestfile", tmp_path / "digest", image, f"oci:{tmp_path}/o:v1")
    assert (tmp_path / "digest").read_text() == root_digest(layout) + "\n"


def test_copy_takes_the_words_of_skopeo_and_crane(
    argosy: Argosy, image: str, tmp_path: Path
) -> None:
    dst = f"oci:{tmp_path}/o:v1"
    flags = ["--all", "--src-tls-verify=false", "--dest-tls-verify=false", "--retry-times", "2"]
    assert argosy("copy", *flags, f"docker://{image}", dst).code == 0
    assert argosy("cp", "-a", "-j", "2", "--insecure", image, dst).code == 0
    assert argosy("copy", "--all", "--platform", "linux/amd64", image, dst).code == 2


def test_pull_push_save_and_load_keep_every_byte(
    argosy: Argosy, image: str, layout: Path, host: str, tmp_path: Path
) -> None:
    digest = root_digest(layout)
    assert argosy("pull", image).out == f"{image}@{digest}\n"
    assert argosy("push", image, f"{host}/cli/pushed:v2").out == f"{host}/cli/pushed:v2@{digest}\n"
    assert argosy("save", "-o", tmp_path / "s.tar", image).out == f"{image}@{digest}\n"
    assert argosy("rm", f"local:{image}").code == 0
    assert argosy("images", "--json").json == []
    assert argosy("load", "-i", tmp_path / "s.tar").out == f"{image}@{digest}\n"
    assert [row["name"] for row in argosy("images", "--json").json] == [image]


def test_save_does_not_overwrite_unless_told(argosy: Argosy, image: str, tmp_path: Path) -> None:
    argosy("pull", image)
    (tmp_path / "s.tar").write_text("mine")
    assert argosy("save", "-o", tmp_path / "s.tar", image).code == 2
    assert (tmp_path / "s.tar").read_text() == "mine"
    assert argosy("save", "-f", "-o", tmp_path / "s.tar", image).code == 0


def test_save_as_docker_does_and_load_it_back(argosy: Argosy, image: str, tmp_path: Path) -> None:
    argosy("pull", image)
    words = ["--format", "docker", "--platform", "linux/amd64"]
    assert argosy("save", *words, "-o", tmp_path / "d.tar", image).code == 0
    assert argosy("rm", f"local:{image}").code == 0
    assert argosy("load", "-i", tmp_path / "d.tar").code == 0
    assert argosy("inspect", "--config", f"local:{image}").json["architecture"] == "amd64"


def test_load_asks_for_a_name_where_the_archive_has_none(
    argosy: Argosy, layout: Path, tmp_path: Path
) -> None:
    argosy("copy", f"oci:{layout}:v1", f"oci-archive:{tmp_path}/a.tar:v1")
    said = argosy("load", "-i", tmp_path / "a.tar")
    assert said.code == 2
    assert "--tag" in said.err
    assert argosy("load", "-i", tmp_path / "a.tar", "-t", "named").code == 0
    assert argosy("images", "--json").json[0]["name"] == "docker.io/library/named:latest"


def test_images_lists_names_platforms_and_digests(argosy: Argosy, image: str, layout: Path) -> None:
    argosy("pull", image)
    header, row = argosy("images").out.splitlines()
    assert header.split() == ["NAME", "DIGEST", "PLATFORMS", "SIZE"]
    assert row.split()[:3] == [image, root_digest(layout)[7:19], "linux/amd64,linux/arm64"]
    assert argosy("images", "-q").out == root_digest(layout) + "\n"
    assert argosy("images", "no-such-name", "--json").json == []


def test_inspect_shows_platforms_raw_json_and_config(
    argosy: Argosy, image: str, layout: Path
) -> None:
    shown = argosy("inspect", image).out
    assert root_digest(layout) in shown
    assert "linux/arm64" in shown
    raw = argosy("inspect", "--raw", image).out.encode()
    assert raw == (layout / "blobs/sha256" / root_digest(layout)[7:]).read_bytes()
    value = argosy("inspect", "--json", image).json
    assert [i["platform"] for i in value["images"]] == ["linux/amd64", "linux/arm64"]
    assert value["annotations"] == {"org.example": "kept"}
    one = argosy("inspect", "--platform", "linux/arm64", "--json", image).json
    assert one["digest"] == value["images"][1]["digest"]
    assert len(one["images"][0]["layers"]) == 2
    config = argosy("inspect", "--config", "--platform", "linux/arm64", image).json
    assert config["architecture"] == "arm64"


def test_inspect_fills_go_templates(argosy: Argosy, image: str, layout: Path) -> None:
    assert argosy("inspect", "--format", "{{.Manifest.Digest}}", image).out == (
        root_digest(layout) + "\n"
    )
    one = ["--platform", "linux/amd64"]
    said = argosy("inspect", *one, "--format", "{{json .Image.Config.Env}}", image)
    assert said.json == ["PATH=/bin"]
    by_platform = argosy("inspect", "--format", "{{json .Image}}", image).json
    assert by_platform["linux/arm64"]["architecture"] == "arm64"


@pytest.mark.parametrize(
    ("alias", "verb"),
    [
        (["manifest"], ["inspect", "--raw"]),
        (["config"], ["inspect", "--config"]),
        (["imagetools", "inspect"], ["inspect"]),
        (["resolve"], ["digest"]),
        (["manifest", "inspect"], ["inspect", "--raw"]),
    ],
)
def test_aliases_do_what_their_verbs_do(
    argosy: Argosy, image: str, alias: list[str], verb: list[str]
) -> None:
    assert argosy(*alias, image).out == argosy(*verb, image).out != ""


def test_tags_repos_tag_and_rm(argosy: Argosy, image: str, host: str) -> None:
    repository = image.removesuffix(":v1")
    assert argosy("tag", image, "stable", "v1.1").out == (
        f"{repository}:stable\n{repository}:v1.1\n"
    )
    assert argosy("tags", repository).out == "stable\nv1\nv1.1\n"
    assert argosy("ls", "--json", repository).json["tags"] == ["stable", "v1", "v1.1"]
    assert repository.removeprefix(f"{host}/") in argosy("repos", host).out.splitlines()
    assert host in argosy("catalog", "--json", host).json["registry"]
    assert argosy("rm", f"{repository}:stable").code == 0
    assert argosy("rm", f"{repository}:stable").code == 4
    assert argosy("rm", "-f", f"{repository}:stable").code == 0
    assert argosy("tags", repository).out == "v1\nv1.1\n"


def test_rm_never_guesses_a_tag(argosy: Argosy, image: str) -> None:
    said = argosy("rm", image.removesuffix(":v1"))
    assert said.code == 2
    assert argosy("digest", image).code == 0


def test_rm_of_a_digest_deletes_the_manifest_and_its_tags(argosy: Argosy, image: str) -> None:
    repository = image.removesuffix(":v1")
    digest = argosy("digest", "--full-ref", image).out.strip()
    assert digest.startswith(f"{repository}@sha256:")
    assert argosy("rm", digest).code == 0
    assert argosy("tags", repository).out == ""


def test_a_mistyped_tag_is_answered_with_the_nearest(argosy: Argosy, image: str) -> None:
    repository = image.removesuffix(":v1")
    argosy("tag", image, "1.2.3", "1.2.4")
    for verb in (["inspect"], ["pull"], ["digest"]):
        said = argosy(*verb, f"{repository}:1.2.5")
        assert said.code == 4
        assert "did you mean 1.2.4 or 1.2.3" in said.err


def test_index_create_merges_images_of_several_repositories(
    argosy: Argosy, image: str, layout: Path, host: str, tmp_path: Path
) -> None:
    repository = image.removesuffix(":v1")
    for arch in ("amd64", "arm64"):
        words = ["--platform", f"linux/{arch}", image, f"{repository}-{arch}:v1"]
        assert argosy("copy", *words).code == 0
    target = f"{repository}-merged:v1"
    words = ["-t", target, "--annotation", "index:org.example.by=merge"]
    said = argosy(
        "imagetools", "create", *words, "--metadata-file", tmp_path / "m.json",
        f"{repository}-amd64:v1", f"{repository}-arm64:v1",
    )  # fmt: skip
    assert said.code == 0, said.err
    seen = argosy("inspect", "--json", target).json
    assert [i["platform"] for i in seen["images"]] == ["linux/amd64", "linux/arm64"]
    assert seen["annotations"] == {"org.example.by": "merge"}
    told = json.loads((tmp_path / "m.json").read_text())
    assert told["containerimage.digest"] == seen["digest"]


def test_index_create_appends_and_can_only_show(argosy: Argosy, image: str) -> None:
    repository = image.removesuffix(":v1")
    target = f"{repository}:appended"
    argosy("copy", "--platform", "linux/amd64", image, target)
    words = ["--append", "-t", target, "--platform", "linux/arm64", image]
    shown = argosy("index", "create", "--dry-run", *words)
    assert len(shown.json["manifests"]) == 2
    assert argosy("inspect", "--json", target).json["images"][0]["platform"] == "linux/amd64"
    assert argosy("index", "create", *words).code == 0
    seen = argosy("inspect", "--json", target).json
    assert [i["platform"] for i in seen["images"]] == ["linux/amd64", "linux/arm64"]


def test_index_create_takes_digests_and_files(
    argosy: Argosy, image: str, layout: Path, tmp_path: Path
) -> None:
    repository = image.removesuffix(":v1")
    children = json.loads(argosy("inspect", "--raw", image).out)["manifests"]
    (tmp_path / "sources").write_text(json.dumps(children[0]))
    said = argosy(
        "index", "create", "-t", f"{repository}:files", "-f", tmp_path / "sources",
        children[1]["digest"],
    )  # fmt: skip
    assert said.code == 0, said.err
    seen = json.loads(argosy("inspect", "--raw", f"{repository}:files").out)
    assert [m["digest"] for m in seen["manifests"]] == [c["digest"] for c in children]


def test_index_create_of_one_index_keeps_its_bytes(
    argosy: Argosy, image: str, layout: Path
) -> None:
    said = argosy("index", "create", "--json", "-t", image.replace(":v1", ":same"), image)
    assert said.json["digest"] == root_digest(layout)


def test_diff_gives_8_when_images_differ_and_0_when_not(
    argosy: Argosy, image: str, tmp_path: Path
) -> None:
    other = LayoutWriter(tmp_path / "other")
    other.tag(other.index([other.image("amd64", [{"new.txt": b"new"}], cmd=["/new"])]), "v2")
    same = argosy("diff", image, image)
    assert (same.code, same.out[:8]) == (0, "the same")
    said = argosy("diff", image, f"oci:{tmp_path}/other:v2")
    assert said.code == 8
    assert "- platform linux/arm64" in said.out
    assert "config Cmd: ['/bin/sh'] → ['/new']" in said.out
    value = argosy("diff", "--json", image, f"oci:{tmp_path}/other:v2")
    assert value.code == 8
    assert value.json["platforms"] == {"removed": ["linux/arm64"], "added": []}
    assert argosy("diff", "-q", image, f"oci:{tmp_path}/other:v2").out == ""


def test_errors_with_json_leave_stdout_empty(argosy: Argosy, host: str) -> None:
    said = argosy("inspect", "--json", f"{host}/cli/none:v1")
    assert (said.code, said.out) == (4, "")
    assert json.loads(said.err)["error"]["code"] == "not-found"


def test_nothing_listening_is_a_network_error(argosy: Argosy) -> None:
    said = argosy("inspect", "127.0.0.1:1/x:v1")
    assert said.code == 6


def test_quiet_and_rawjson_progress(argosy: Argosy, image: str, tmp_path: Path) -> None:
    assert argosy("copy", "-q", image, f"oci:{tmp_path}/q:v1").err == ""
    said = argosy("copy", "--progress", "rawjson", image, f"oci:{tmp_path}/r:v1")
    kinds = {key for line in said.err.splitlines() for key in json.loads(line)}
    assert "vertexes" in kinds


def test_version_tells_what_a_report_needs(argosy: Argosy) -> None:
    assert argosy("--version").out.split()[0] == "argosy"
    told = argosy("version", "--json").json
    assert told["version"] == argosy("--version").out.split()[1]
    assert told["platform"].startswith("linux/")


@pytest.mark.parametrize("text", ["oci:x", "", "a b", "https:///x"])
def test_what_is_no_registry_is_a_usage_error(argosy: Argosy, text: str) -> None:
    assert argosy("repos", text).code == 2


def test_tag_tells_how_to_name_an_image_in_a_layout(argosy: Argosy, layout: Path) -> None:
    said = argosy("tag", f"oci:{layout}:v1", "x")
    assert said.code == 2
    assert "argosy copy" in said.err
