"""Base images: the same packages give the same digest, made once a day, and what is wrong is named."""

import asyncio
import functools
import http.server
import io
import json
import os
import shutil
import tarfile
import threading
import time

import pytest

from argosy.build.base_images import maker as module
from argosy.build.base_images.debian import (
    AptSource,
    archive_state,
    machine_sources,
    parse_lines,
    parse_stanzas,
    public_lines,
)
from argosy.build.base_images.maker import BaseSpec, debian_architecture, make_base
from argosy.build.base_images.recipes import recipe_of
from argosy.build.base_images.tree import clean_tree
from argosy.build.layers.compression import decompressed
from argosy.content.memory import MemoryStore
from argosy.content.verify import read
from argosy.errors import BuildError, InvalidPlatform, NetworkError, RuntimeUnavailable, UsageError
from argosy.model import media
from argosy.model.config import parse_config
from argosy.model.manifest import parse_manifest
from argosy.model.platform import Platform
from argosy.observe import silent

AMD64, ARM64 = Platform.parse("linux/amd64"), Platform.parse("linux/arm64")
DATE = 1_700_000_000
RELEASE = (
    "-----BEGIN PGP SIGNED MESSAGE-----\nOrigin: Debian\nDate: Tue, 14 Nov 2023 22:13:20 UTC\n"
)

# Stands in for mmdebstrap: notes its words, and packs a prepared tree.
FAKE = """#!/bin/sh
echo "$@" >> "{here}/words"
echo "epoch $SOURCE_DATE_EPOCH" >> "{here}/words"
echo "I: working" >&2
[ -e "{here}/fail" ] && {{ echo "E: Unable to locate package nonsense" >&2; exit 100; }}
[ -e "{here}/hang" ] && exec sleep 600
for word in "$@"; do case "$word" in *.tar) exec cp "{here}/tree.tar" "$word";; esac; done
exit 3
"""


async def unpacked(store, layer) -> bytes:
    """A layer's tar."""
    async with store.open(layer) as body:
        return b"".join(decompressed([piece async for piece in body]))


def tree(*more: tuple[str, bytes], stamp: int = DATE + 999) -> bytes:
    out = io.BytesIO()
    names = [("etc/passwd", b"root"), ("usr/bin/sh", b"shell"), *more]
    with tarfile.open(fileobj=out, mode="w") as tar:
        for folder in (".", "./etc", "./dev", "./var/log", "./var/lib/apt/lists/partial"):
            info = tarfile.TarInfo(folder)
            info.type, info.mode, info.mtime = tarfile.DIRTYPE, 0o755, stamp
            tar.addfile(info)
        device = tarfile.TarInfo("./dev/null")
        device.type, device.devmajor, device.devminor = tarfile.CHRTYPE, 1, 3
        tar.addfile(device)
        for name, body in names:
            info = tarfile.TarInfo("./" + name)
            info.size, info.mtime = len(body), stamp
            tar.addfile(info, io.BytesIO(body))
        link = tarfile.TarInfo("./usr/bin/dash")
        link.type, link.linkname = tarfile.LNKTYPE, "./usr/bin/sh"
        tar.addfile(link)
    return out.getvalue()


@pytest.fixture
def mirror(tmp_path):
    """A package mirror on loopback, of which only the Release file is ever asked for here."""
    served = tmp_path / "mirror/dists/bookworm"
    served.mkdir(parents=True)
    (served / "InRelease").write_text(RELEASE)
    handler = functools.partial(Quiet, directory=str(tmp_path / "mirror"))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    server.address = f"http://127.0.0.1:{server.server_port}"
    server.release = served / "InRelease"
    server.asked = []
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


class Quiet(http.server.SimpleHTTPRequestHandler):
    def do_GET(self):
        self.server.asked.append(self.path)
        super().do_GET()

    def log_message(self, *args):
        pass


@pytest.fixture
def tool(tmp_path, monkeypatch):
    """mmdebstrap's stand-in; the directory it looks into."""
    here = tmp_path / "tool"
    here.mkdir()
    (here / "mmdebstrap").write_text(FAKE.format(here=here))
    (here / "mmdebstrap").chmod(0o755)
    (here / "tree.tar").write_bytes(tree())
    monkeypatch.setenv("PATH", f"{here}:{os.environ['PATH']}")
    monkeypatch.setattr(module, "emulation", lambda p: Works())
    return here


class Works:
    def require(self):
        pass


class Maker:
    def __init__(self, mirror, tmp_path):
        self.mirror, self.tmp_path, self.store = mirror, tmp_path, MemoryStore()

    async def __call__(self, report=silent, **more):
        spec = BaseSpec(
            **{
                "what": "debian:bookworm",
                "platforms": (AMD64,),
                "mirror": self.mirror.address,
                **more,
            }
        )
        return await make_base(
            spec, images=self.store, workdir=str(self.tmp_path / "work"), report=report
        )


@pytest.fixture
def make(mirror, tool, tmp_path):
    return Maker(mirror, tmp_path)


def calls(tool) -> list[str]:
    path = tool / "words"
    return path.read_text().splitlines()[::2] if path.exists() else []


async def layer(store, desc) -> dict[str, tarfile.TarInfo]:
    manifest = parse_manifest(await read(store, desc))
    body = await unpacked(store, manifest.layers[0])
    with tarfile.open(fileobj=io.BytesIO(body)) as tar:
        return {member.name: member for member in tar}


async def test_an_image_of_each_platform_and_an_index_are_made_and_tagged(make, tool):
    desc = await make(
        platforms=(AMD64, ARM64), packages=("curl", "ca-certificates"), tags=("reg/base:1",)
    )
    assert await make.store.resolve("reg/base:1") == desc
    index = parse_manifest(await read(make.store, desc))
    assert [m.platform for m in index.manifests] == [AMD64, ARM64]
    for entry, arch in zip(index.manifests, ("amd64", "arm64"), strict=True):
        manifest = parse_manifest(await read(make.store, entry))
        config = parse_config(await read(make.store, manifest.config))
        assert config.platform.architecture == arch
        assert config.run == {
            "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
            "Cmd": ["bash"],
        }
        assert config.created == "2023-11-14T22:13:20Z"
        plain = await unpacked(make.store, manifest.layers[0])
        assert config.diff_ids == (type(config.diff_ids[0]).of(plain),)
    words = "\n".join(calls(tool))
    assert "--architectures=amd64" in words
    assert "--architectures=arm64" in words
    assert "--include=ca-certificates,curl" in words
    assert f"deb {make.mirror.address} bookworm main" in words
    assert f"epoch {DATE}" in (tool / "words").read_text()


async def test_one_platform_is_a_plain_manifest(make):
    assert (await make()).media_type == media.OCI_MANIFEST


async def test_asked_again_within_a_day_nothing_is_asked_or_made(make, tool):
    first = await make(tags=("reg/a:1",))
    asked = len(make.mirror.asked)
    assert await make(tags=("reg/b:1",)) == first
    assert await make.store.resolve("reg/b:1") == first
    assert len(make.mirror.asked) == asked == 1
    assert len(calls(tool)) == 1


async def test_a_day_later_the_archive_is_asked_but_nothing_made_unless_it_changed(
    make, tool, monkeypatch
):
    first = await make()
    now = time.time()
    monkeypatch.setattr(module.time, "time", lambda: now + 25 * 3600)
    assert await make() == first
    assert (len(make.mirror.asked), len(calls(tool))) == (2, 1)
    monkeypatch.setattr(module.time, "time", lambda: now + 50 * 3600)
    make.mirror.release.write_text(RELEASE.replace("14 Nov", "15 Nov"))
    assert await make() != first
    assert len(calls(tool)) == 2


async def test_refresh_makes_it_anew_and_the_same_packages_give_the_same_digest(make, tool):
    first = await make()
    (tool / "tree.tar").write_bytes(tree(("var/log/dpkg.log", b"today"), stamp=DATE + 5))
    assert await make(refresh=True) == first
    assert len(calls(tool)) == 2


async def test_other_packages_are_another_image(make, tool):
    await make()
    await make(packages=("curl",))
    await make(what="debian:bookworm-slim")
    assert len(calls(tool)) == 3
    assert "path-exclude=/usr/share/man/*" in calls(tool)[2]


async def test_an_image_that_was_removed_is_made_again(make, tool):
    first = await make()
    make.store = MemoryStore()
    assert await make() == first


async def test_without_the_mirror_an_older_image_is_used_and_said_so(make, monkeypatch):
    first = await make()
    make.mirror.release.unlink()
    now = time.time()
    monkeypatch.setattr(module.time, "time", lambda: now + 25 * 3600)
    events = []
    assert await make(report=events.append) == first
    assert [e.kind for e in events] == ["warning", "cached"]
    assert "cannot reach the package mirror" in events[0].text


async def test_what_differs_from_run_to_run_is_not_in_the_image(make, tool):
    (tool / "tree.tar").write_bytes(
        tree(
            ("etc/hostname", b"builder"),
            ("etc/resolv.conf", b"nameserver"),
            ("etc/machine-id", b"0123456789"),
            ("var/log/dpkg.log", b"x"),
            ("var/cache/apt/pkgcache.bin", b"x"),
            ("var/lib/apt/lists/partial/x", b"x"),
            (
                "etc/apt/sources.list",
                b"deb https://me:secret@mirror.example/debian bookworm main\n",
            ),
        )
    )
    found = await layer(make.store, await make())
    assert set(found) == {
        "etc", "dev", "var/log", "var/lib/apt/lists/partial", "etc/passwd", "usr/bin/sh", "usr/bin/dash",
        "etc/machine-id", "etc/apt/sources.list", "etc/apt/apt.conf.d/docker-clean", "usr/sbin/policy-rc.d",
    }  # fmt: skip
    assert found["etc/machine-id"].size == 0
    assert max(m.mtime for m in found.values()) <= DATE
    assert found["usr/bin/dash"].linkname == "usr/bin/sh"
    body = b"".join(clean_tree(iter([(tool / "tree.tar").read_bytes()]), DATE))
    assert b"secret" not in body
    assert b"deb https://mirror.example/debian bookworm main" in body


async def test_a_failure_shows_mmdebstraps_own_words_and_leaves_nothing(make, tool):
    (tool / "fail").touch()
    with pytest.raises(BuildError) as caught:
        await make()
    assert caught.value.why == "E: Unable to locate package nonsense"
    assert os.listdir(make.tmp_path / "work") == []
    (tool / "fail").unlink()
    await make()


async def test_cancelling_ends_mmdebstrap_and_leaves_nothing(make, tool):
    (tool / "hang").touch()
    started = asyncio.Event()
    work = asyncio.ensure_future(make(report=lambda e: started.set() if e.kind == "log" else None))
    await started.wait()
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(work, 15)
    assert os.listdir(make.tmp_path / "work") == []


async def test_a_missing_mmdebstrap_is_named_with_the_command(make, monkeypatch):
    monkeypatch.setattr(module.shutil, "which", lambda name: None)
    with pytest.raises(RuntimeUnavailable) as caught:
        await make()
    assert "apt-get install --yes mmdebstrap" in caught.value.remedy


async def test_a_platform_debian_does_not_have_is_refused(make):
    with pytest.raises(InvalidPlatform, match="windows/amd64"):
        await make(platforms=(Platform.parse("windows/amd64"),))


@pytest.mark.parametrize(
    ("platform", "arch"),
    [("linux/amd64", "amd64"), ("linux/arm64", "arm64"), ("linux/arm/v7", "armhf"), ("linux/arm/v6", "armel"),
     ("linux/386", "i386"), ("linux/ppc64le", "ppc64el"), ("linux/wasm", None), ("windows/amd64", None)],
)  # fmt: skip
def test_debians_own_names_of_architectures(platform, arch):
    assert debian_architecture(Platform.parse(platform)) == arch


@pytest.mark.parametrize(
    ("what", "suite"),
    [("debian:bookworm", ("bookworm", False)), ("debian:12", ("bookworm", False)),
     ("debian:13-slim", ("trixie", True)), ("debian", ("stable", False)), ("debian:sid-slim", ("sid", True))],
)  # fmt: skip
def test_releases_are_known_by_name_and_number(what, suite):
    recipe = recipe_of(what)
    assert (recipe.suite, recipe.slim) == suite


@pytest.mark.parametrize("what", ["alpine:3", "debian:--foo", "debian:../x", "", "debian: x"])
def test_what_there_is_no_recipe_for_is_refused(what):
    with pytest.raises(UsageError, match="no recipe"):
        recipe_of(what)


STANZAS = """\
# the archive
Types: deb deb-src
URIs: http://mirror.example/debian
Suites: bookworm bookworm-updates
Components: main
 contrib
Signed-By: /usr/share/keyrings/k.gpg

Types: deb
URIs: http://mirror.example/security
Suites: bookworm-security
Components: main
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 abc

Types: deb
URIs: http://other.example/debian
Suites: bookworm
Components: main
Enabled: no

Types: deb
URIs: http://vendor.example
Suites: nodistro
Components: main
"""


def test_the_machines_own_sources_are_used_for_the_suite_only(tmp_path):
    (tmp_path / "sources.list.d").mkdir()
    (tmp_path / "sources.list.d/debian.sources").write_text(STANZAS)
    (tmp_path / "sources.list").write_text(
        "# deb http://commented.example bookworm main\n"
        "deb [arch=amd64 signed-by=/k2.gpg] http://third.example/debian bookworm main # why\n"
        "deb-src http://third.example/debian bookworm main\n"
        "deb http://third.example/debian trixie main\n"
    )
    assert [s.line for s in machine_sources("bookworm", str(tmp_path))] == [
        "deb [signed-by=/k2.gpg] http://third.example/debian bookworm main",
        "deb [signed-by=/usr/share/keyrings/k.gpg] http://mirror.example/debian bookworm main contrib",
        "deb [signed-by=/usr/share/keyrings/k.gpg] http://mirror.example/debian bookworm-updates main contrib",
        "deb http://mirror.example/security bookworm-security main",
    ]
    assert [s.suite for s in machine_sources("trixie", str(tmp_path))] == ["trixie"]
    assert machine_sources("sid", str(tmp_path)) == []
    assert machine_sources("bookworm", str(tmp_path / "no")) == []


def test_nonsense_in_sources_is_passed_over():
    assert list(parse_lines("deb\ndeb x\nhello world\n")) == []
    assert list(parse_stanzas(" leading\n: x\n\n\nTypes: deb\n")) == []


def test_passwords_of_mirrors_are_never_shown():
    assert public_lines("deb http://u:p@h/x y\n") == "deb http://h/x y\n"
    with pytest.raises(NetworkError) as caught:
        archive_state([AptSource("http://me:secret@127.0.0.1:9/debian", "x")])
    assert "secret" not in json.dumps(caught.value.to_json())


@pytest.mark.slow
@pytest.mark.peer
@pytest.mark.root
async def test_a_real_base_image_is_made_twice_with_the_same_digest(tmp_path, monkeypatch):
    if shutil.which("mmdebstrap") is None:
        pytest.skip("mmdebstrap is not installed")
    # The test process may not leave loopback; mmdebstrap, a program of its own, may.
    state = module.ArchiveState("fixed", DATE)
    monkeypatch.setattr(module, "archive_state", lambda sources: state)
    store = MemoryStore()
    spec = BaseSpec(what="debian:bookworm-slim", refresh=True)
    try:
        first = await make_base(spec, images=store, workdir=str(tmp_path), report=silent)
    except BuildError as e:
        pytest.skip(f"no package mirror here: {e.why}")
    assert await make_base(spec, images=store, workdir=str(tmp_path), report=silent) == first
    found = await layer(store, first)
    assert "usr/bin/bash" in found
    assert not any(name.startswith("dev/") for name in found)
