"""Local contexts with what directories of real people hold: each odd thing has its result."""

import os
import socket
import stat
import tempfile
from pathlib import Path

import pytest

from argosy.build.files.placement import Manner, Placement
from argosy.build.files.tree import Choice, Stop
from argosy.build.pipeline import BuildOptions, build
from argosy.build.sources.local import open_context
from argosy.errors import BuildError


async def make(bench, context, dockerfile="FROM scratch\nCOPY . /c\n"):
    bench.context({"Dockerfile": dockerfile})
    await build(
        BuildOptions(context=context, tags=("a:1",)),
        settings=bench.settings,
        ends=bench.ends,
        engine=bench.engine,
        report=bench.events.append,
    )
    (found,) = [n for n in os.listdir(bench.snapshots.path) if n.startswith("snapshot-")]
    return os.path.join(bench.snapshots.path, found, "c")


async def test_sockets_fifos_and_devices_are_left_out(bench):
    context = bench.context({"f": "1"})
    os.mkfifo(f"{context}/fifo")
    os.mknod(f"{context}/device", stat.S_IFCHR | 0o600, os.makedev(1, 3))
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(f"{context}/socket")
        root = await make(bench, context)
    assert sorted(os.listdir(root)) == ["Dockerfile", "f"]


async def test_broken_links_and_links_out_of_the_context_are_copied_as_links(bench):
    context = bench.context({"f": "1"})
    os.symlink("nowhere", f"{context}/broken")
    os.symlink("/etc/passwd", f"{context}/out")
    root = await make(bench, context)
    assert [os.readlink(f"{root}/{n}") for n in ("broken", "out")] == ["nowhere", "/etc/passwd"]


async def test_a_broken_link_that_is_named_is_said_not_to_be_there(bench):
    context = bench.context({"f": "1"})
    os.symlink("nowhere", f"{context}/broken")
    with pytest.raises(BuildError, match="/broken is not in the build context"):
        await make(bench, context, "FROM scratch\nCOPY broken /c\n")


async def test_names_that_are_not_utf8_arrive_byte_by_byte(bench):
    context = bench.context({"f": "1"})
    with open(os.fsencode(context) + b"/\xff\xfe\n", "wb") as file:
        file.write(b"odd")
    root = await make(bench, context)
    with open(os.fsencode(root) + b"/\xff\xfe\n", "rb") as file:
        assert file.read() == b"odd"


async def test_a_context_may_be_named_by_a_link(bench, tmp_path):
    context = bench.context({"f": "1"})
    os.symlink(context, tmp_path / "link")
    assert sorted(os.listdir(await make(bench, str(tmp_path / "link")))) == ["Dockerfile", "f"]


def opened(tmp_path, **files):
    top = tmp_path / "top"
    top.mkdir()
    for name, text in files.items():
        (top / name).write_text(text)
    return top, open_context(str(top), "", str(tmp_path / "state"))


def test_a_file_that_vanishes_while_it_is_looked_at_is_said(tmp_path):
    top, tree = opened(tmp_path, a="1", b="2")

    def read(_fd, name, _status):
        (top / "b").unlink(missing_ok=True)
        return os.stat(f"{top}/{name}").st_ino.to_bytes(8, "big")

    tree.file_digest = read
    with pytest.raises(BuildError, match="changed during the build") as caught:
        tree.digest(Choice(pattern="."), Stop())
    assert "went away" in caught.value.why


@pytest.mark.parametrize("sparse", [False, True])
def test_a_file_that_is_written_to_while_it_is_copied_is_said(tmp_path, sparse, monkeypatch):
    top, tree = opened(tmp_path, a="1" * 100)
    if sparse:
        os.truncate(f"{top}/a", 1 << 20)
    real = os.sendfile

    def sendfile(target, source, offset, count):
        done = real(target, source, offset, count)
        with open(f"{top}/a", "a") as file:
            file.write("more")
        return done

    monkeypatch.setattr(os, "sendfile", sendfile)
    (tmp_path / "root").mkdir()
    placement = Placement(str(tmp_path / "root"), "/", Manner())
    with pytest.raises(BuildError, match="changed during the build"):
        placement.place(tree, Choice(pattern="."))


@pytest.mark.root
def test_an_unreadable_file_is_named_with_what_to_do():
    with tempfile.TemporaryDirectory() as where:  # pytest's own are closed to other users
        os.chmod(where, 0o755)
        top, tree = opened(Path(where), secret="1")
        os.chmod(top / "secret", 0)
        child = os.fork()
        if child == 0:  # root may read everything
            os._exit(_read_as_nobody(tree))
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def _read_as_nobody(tree):
    try:
        os.seteuid(65534)
        tree.file_digest = None
        tree.digest(Choice(pattern="."), Stop())
    except BuildError as e:
        return 0 if "secret" in e.why and ".dockerignore" in e.remedy else 3
    except BaseException:
        return 4
    return 5


def test_a_sparse_file_of_4_gib_is_copied_as_what_it_holds(tmp_path):
    top, tree = opened(tmp_path, a="begin")
    with open(top / "a", "r+b") as file:
        file.seek(3 << 30)
        file.write(b"middle")
        file.truncate(4 << 30)
    (tmp_path / "root").mkdir()
    Placement(str(tmp_path / "root"), "/", Manner()).place(tree, Choice(pattern="."))
    found = os.stat(tmp_path / "root" / "a")
    assert found.st_size == 4 << 30
    assert found.st_blocks * 512 < 1 << 20
    with open(tmp_path / "root" / "a", "rb") as file:
        assert file.read(6) == b"begin\0"
        file.seek(3 << 30)
        assert file.read(8) == b"middle\0\0"
