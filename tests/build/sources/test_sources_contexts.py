"""Contexts that are no local directories, and named contexts of every kind."""

import bz2
import glob
import gzip
import hashlib
import io
import json
import lzma
import os
import tarfile

import pytest
import zstandard

from argosy.build.pipeline import BuildOptions, Ends, build
from argosy.content.store import put_bytes
from argosy.errors import BuildError, ContentError, DockerfileError, NotFound, UsageError
from argosy.model import media
from argosy.model.descriptor import Descriptor
from argosy.stores.layout import OCILayout
from argosy.stores.remote.client import Client
from tests.scripted import Reply, Scripted, Step


async def make(bench, context, stdin=b"", **options):
    """Build in a context; the directory of the last snapshot."""
    bench.events.clear()
    source = io.BytesIO(stdin)
    async with Client(bench.settings) as client:
        ends = Ends(
            images=bench.images,
            repository=bench.repository,
            archive=bench.archive,
            fetch=client.web(),
            layout=OCILayout,
            stdin=source.read,
        )
        await build(
            BuildOptions(context=context, **{"tags": ("a:1",), **options}),
            settings=bench.settings,
            ends=ends,
            engine=bench.engine,
            report=bench.events.append,
        )
    assert not glob.glob(os.path.join(bench.settings.home, "build", "fetched", "*"))
    found = [n for n in os.listdir(bench.snapshots.path) if n.startswith("snapshot-")]
    newest = max(found, key=lambda n: int(n.rpartition("-")[2]))
    return os.path.join(bench.snapshots.path, newest)


def tree(top):
    found = {}
    for folder, _, files in os.walk(top):
        for name in files:
            path = os.path.join(folder, name)
            with open(path, "rb") as file:
                found[os.path.relpath(path, top)] = file.read()
    return found


def archive(files, links=(), special=()):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size, info.uid = len(data), 1234
            tar.addfile(info, io.BytesIO(data))
        for name, target in links:
            info = tarfile.TarInfo(name)
            info.type, info.linkname = tarfile.SYMTYPE, target
            tar.addfile(info)
        for name, kind in special:
            info = tarfile.TarInfo(name)
            info.type, info.devmajor, info.devminor = kind, 1, 3
            tar.addfile(info)
    return out.getvalue()


PLAIN = {"Dockerfile": b"FROM scratch\nCOPY d /d\n", "d/f": b"1", "d/no": b"2"}
IGNORE = {".dockerignore": b"d/no\n"}
PACKED = {
    "plain": lambda b: b,
    "gzip": gzip.compress,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "zstd": lambda b: zstandard.ZstdCompressor().compress(b),
}


@pytest.mark.parametrize("how", PACKED)
async def test_an_archive_on_standard_input_is_the_context(bench, how):
    root = await make(bench, "-", PACKED[how](archive(PLAIN | IGNORE)))
    assert tree(root) == {"d/f": b"1"}
    assert os.stat(f"{root}/d/f").st_uid == 0


async def test_a_dockerfile_on_standard_input_has_an_empty_context(bench):
    root = await make(bench, "-", b"FROM scratch\nCOPY <<a /a\nx\na\n")
    assert tree(root) == {"a": b"x\n"}
    with pytest.raises(BuildError, match="/d is not in the build context"):
        await make(bench, "-", b"FROM scratch\nCOPY d /\n")


async def test_file_names_a_dockerfile_within_the_archive(bench):
    files = {"sub/other": b"FROM scratch\nCOPY d /e\n", "d/f": b"1"}
    assert tree(await make(bench, "-", archive(files), dockerfile="sub/other")) == {"e/f": b"1"}
    with pytest.raises(BuildError, match="cannot read"):
        await make(bench, "-", archive(files), dockerfile="nope")


@pytest.mark.parametrize("stdin", [b"", b"\n\n"])
async def test_nothing_on_standard_input_is_said(bench, stdin):
    with pytest.raises(UsageError, match="standard input is empty"):
        await make(bench, "-", stdin)


async def test_a_damaged_archive_is_said(bench):
    with pytest.raises(ContentError):
        await make(bench, "-", gzip.compress(archive(PLAIN))[:-20])


async def test_links_in_an_archive_lead_nowhere_on_this_machine(bench, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("FROM scratch\nCOPY secret /\n")
    links = [("Dockerfile", str(secret)), (".dockerignore", str(secret))]
    with pytest.raises(BuildError, match="cannot read"):
        await make(bench, "-", archive({"f": b""}, links))
    files = {"Dockerfile": b"FROM scratch\nCOPY link/secret /\n"}
    with pytest.raises(BuildError, match="is not in the build context"):
        await make(bench, "-", archive(files, [("link", str(tmp_path))]))


async def test_fifos_and_devices_of_an_archive_are_left_out(bench):
    special = [("d/fifo", tarfile.FIFOTYPE), ("d/null", tarfile.CHRTYPE)]
    root = await make(bench, "-", archive(PLAIN, special=special))
    assert sorted(os.listdir(f"{root}/d")) == ["f", "no"]


async def test_an_archive_of_the_web_is_the_context(bench):
    reply = Reply(200, gzip.compress(archive(PLAIN)))
    async with Scripted([Step("GET", "/c.tgz", reply)]) as server:
        root = await make(bench, f"{server.url}/c.tgz")
    assert tree(root) == {"d/f": b"1", "d/no": b"2"}


async def test_a_dockerfile_of_the_web_can_be_built(bench):
    reply = Reply(200, b"FROM scratch\nCOPY <<a /a\nx\na\n")
    async with Scripted([Step("GET", "/Dockerfile", reply)]) as server:
        assert tree(await make(bench, f"{server.url}/Dockerfile")) == {"a": b"x\n"}


async def test_a_dockerfile_of_the_web_can_be_built_in_a_local_context(bench):
    context = bench.context({"d/f": "1"})
    reply = Reply(200, b"FROM scratch\nCOPY d /d\n")
    async with Scripted([Step("GET", "/other", reply)]) as server:
        root = await make(bench, context, dockerfile=f"{server.url}/other")
    assert tree(root) == {"d/f": b"1"}


async def test_a_repository_is_the_context(bench, daemon):
    repository = daemon.repository()
    repository.commit({"Dockerfile": "FROM scratch\nCOPY . /\n", "s/Dockerfile": "FROM scratch\n"})
    repository.commit({"s/Dockerfile": "FROM scratch\nCOPY f /f\n", "s/f": "1"})
    root = await make(bench, f"{daemon.url}/x.git")
    assert sorted(tree(root)) == ["Dockerfile", "s/Dockerfile", "s/f"]
    assert tree(await make(bench, f"{daemon.url}/x.git#main:s")) == {"f": b"1"}
    with pytest.raises(BuildError, match="/f is not in the build context"):
        await make(bench, f"{daemon.url}/x.git", dockerfile="s/Dockerfile")


async def test_the_git_directory_of_a_context_is_kept_only_on_request(bench, daemon):
    daemon.repository().commit({"Dockerfile": "FROM scratch\nCOPY . /\n"})
    root = await make(
        bench, f"{daemon.url}/x.git", build_args={"BUILDKIT_CONTEXT_KEEP_GIT_DIR": "1"}
    )
    assert ".git/HEAD" in tree(root)


async def test_named_contexts_may_be_directories_repositories_and_archives(bench, daemon):
    daemon.repository().commit({"g": "git"})
    context = bench.context(
        {
            "Dockerfile": "FROM scratch\nCOPY --from=d f /d\nCOPY --from=g g /g\n"
            "COPY --from=w d/f /w\n"
        }
    )
    reply = Reply(200, archive(PLAIN))
    async with Scripted([Step("GET", "/c.tar", reply)]) as server:
        named = {
            "d": bench.context({"f": "dir"}, "other"),
            "g": f"{daemon.url}/x.git",
            "w": f"{server.url}/c.tar",
        }
        root = await make(bench, context, build_contexts=named)
    assert tree(root) == {"d": b"dir", "g": b"git", "w": b"1"}


async def test_a_named_context_that_is_a_single_file_is_refused(bench):
    context = bench.context({"Dockerfile": "FROM scratch\n"})
    async with Scripted([Step("GET", "/f", Reply(200, b"text"))]) as server:
        with pytest.raises(UsageError, match="cannot be a build context") as caught:
            await make(bench, context, build_contexts={"x": f"{server.url}/f"})
    assert "single file" in caught.value.why


async def test_a_stage_may_begin_from_a_repository(bench, daemon):
    daemon.repository().commit({"g": "git"})
    context = bench.context({"Dockerfile": "FROM base\nCOPY Dockerfile /x\n"})
    root = await make(bench, context, build_contexts={"base": f"{daemon.url}/x.git"})
    assert sorted(tree(root)) == ["g", "x"]


async def test_a_stage_takes_the_place_of_an_image(bench):
    text = "FROM scratch AS lib\nCOPY f /lib\nFROM alpine\nCOPY f /f\nCOPY --from=tool lib /t\n"
    context = bench.context({"Dockerfile": text, "f": "1"})
    named = {"alpine": "target:lib", "tool": "target:lib"}
    assert sorted(tree(await make(bench, context, build_contexts=named))) == ["f", "lib", "t"]
    with pytest.raises(DockerfileError, match="there is no such stage above") as caught:
        await make(bench, context, build_contexts={"alpine": "target:libs"})
    assert "lib" in caught.value.remedy


async def put_image(path, tag):
    """An OCI layout with an image whose one layer has a file `marker`."""
    layout = OCILayout(path)
    tar = archive({"marker": b"layout"})
    body = gzip.compress(tar, mtime=0)
    layer = await put_bytes(layout, Descriptor.of(media.OCI_LAYER_GZIP, body), body)
    config = {
        "architecture": "amd64",
        "os": "linux",
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(tar).hexdigest()}"]},
        "config": {"Env": ["A=1"]},
    }
    text = json.dumps(config).encode()
    desc = await put_bytes(layout, Descriptor.of(media.OCI_CONFIG, text), text)
    manifest = {
        "schemaVersion": 2,
        "mediaType": media.OCI_MANIFEST,
        "config": desc.to_json(),
        "layers": [layer.to_json()],
    }
    text = json.dumps(manifest).encode()
    found = await put_bytes(layout, Descriptor.of(media.OCI_MANIFEST, text), text)
    await layout.tag(found, tag)
    return found


async def test_an_image_of_an_oci_layout_takes_the_place_of_another(bench, tmp_path):
    desc = await put_image(str(tmp_path / "layout"), "v1")
    context = bench.context({"Dockerfile": "FROM alpine\nCOPY --from=alpine marker /copy\n"})
    from argosy.model.platform import Platform

    platforms = (Platform.parse("linux/amd64"),)
    for end in ("", ":v1", f"@{desc.digest}", f":v1@{desc.digest}"):
        named = {"alpine": f"oci-layout://{tmp_path}/layout{end}"}
        root = await make(bench, context, build_contexts=named, platforms=platforms)
        assert tree(root) == {"marker": b"layout", "copy": b"layout"}
    named = {"alpine": f"oci-layout://{tmp_path}/nope"}
    with pytest.raises(NotFound, match="is not an OCI layout"):
        await make(bench, context, build_contexts=named, platforms=platforms)


async def test_a_context_that_is_an_archive_says_how_to_give_it(bench, tmp_path):
    path = tmp_path / "c.tar"
    path.write_bytes(archive(PLAIN))
    with pytest.raises(UsageError, match="cannot be a build context") as caught:
        await make(bench, str(path))
    assert "argosy build - < FILE" in caught.value.remedy


async def test_what_a_killed_build_fetched_is_removed(bench):
    left = os.path.join(bench.settings.home, "build", "fetched", "left")
    os.makedirs(f"{left}/tree")
    await make(bench, "-", b"FROM scratch\nCOPY <<a /a\nx\na\n")
    assert not os.path.exists(left)
