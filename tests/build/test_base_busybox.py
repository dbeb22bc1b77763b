"""The static busybox base: made of one package, for any architecture, the same every time."""

import io
import shutil
import subprocess
import tarfile

import pytest

from argosy.build.base_images.busybox import applets, busybox_tree
from argosy.build.base_images.recipes import recipe_of
from argosy.errors import BuildError, UsageError
from tests.peers import argosy, need

NAMES = [b"[", b"[[", b"ash", b"busybox", b"cat", b"sh"]
PROGRAM = b"\x7fELF code \0\0 more\0" + b"\0".join(NAMES) + b"\0\0 and the rest"


def package(path="./bin/busybox", body=PROGRAM):
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as tar:
        for name in ("./usr/share/doc/busybox-static/copyright", path):
            member = tarfile.TarInfo(name)
            member.size, member.mtime = len(body), 5
            tar.addfile(member, io.BytesIO(body))
    return made.getvalue()


def made(body: bytes, epoch=1000):
    return b"".join(busybox_tree(iter([body]), epoch))


@pytest.mark.parametrize("path", ["./bin/busybox", "usr/bin/busybox"])
def test_its_tree_has_the_program_its_names_and_what_programs_expect(path):
    with tarfile.open(fileobj=io.BytesIO(made(package(path)))) as tar:
        members = {m.name: m for m in tar}
        assert tar.extractfile("bin/busybox").read() == PROGRAM
        assert b"root:x:0:0" in tar.extractfile("etc/passwd").read()
    assert members["bin/sh"].linkname == "busybox"
    assert {f"bin/{name.decode()}" for name in NAMES} <= set(members)
    assert oct(members["tmp"].mode) == "0o1777"
    assert {m.mtime for m in members.values()} == {1000}
    assert list(members) == sorted(members), "parents first, always in one order"
    assert not any("doc" in name for name in members)


def test_the_same_package_gives_the_same_bytes():
    assert made(package()) == made(package())


@pytest.mark.parametrize(
    "body", [package("./bin/other"), package(body=b"no table"), package(body=b"\0[\0[[\0a/b\0\0")]
)
def test_a_package_without_busybox_in_it_is_an_error(body):
    with pytest.raises(BuildError):
        made(body)


def test_it_takes_no_packages_and_is_never_slim():
    assert recipe_of("busybox:12").suite == "bookworm"
    for what, packages in (("busybox:bookworm-slim", ()), ("busybox", ("bash",))):
        with pytest.raises(UsageError, match="no package manager"):
            recipe_of(what, packages)


def test_the_applets_of_a_real_busybox_are_those_it_lists():
    program = shutil.which("busybox", path="/bin:/usr/bin")
    if program is None:
        pytest.skip("busybox is not installed")
    listed = subprocess.run([program, "--list"], capture_output=True, check=True).stdout.split()
    with open(program, "rb") as file:
        assert applets(file.read()) == listed


@pytest.mark.root
@pytest.mark.peer
@pytest.mark.slow
def test_a_real_one_runs_on_both_platforms_and_has_one_digest(tmp_path):
    need("mmdebstrap")
    words = ["base", "busybox:bookworm", "--platform", "linux/amd64,linux/arm64", "-t", "bb"]
    try:
        first = argosy(*words, ARGOSY_HOME=str(tmp_path / "one"))
    except pytest.fail.Exception as e:
        if "Temporary failure" in str(e) or "Could not connect" in str(e):
            pytest.skip("no package mirror here")
        raise
    second = argosy(*words, "--progress=quiet", ARGOSY_HOME=str(tmp_path / "two"))
    assert first == second
    for platform, machine in (("linux/amd64", "x86_64"), ("linux/arm64", "aarch64")):
        said = argosy(
            *("run", "--platform", platform, "bb", "uname", "-m"), ARGOSY_HOME=str(tmp_path / "one")
        )
        assert said.strip() == machine
