"""COPY's rules for where files arrive, and what they arrive with."""

import os
import stat

import pytest

from argosy.build.files.owners import Owner, mode
from argosy.build.files.placement import Manner, Placement
from argosy.build.files.tree import Choice, Stop, Tree
from argosy.errors import BuildError

pytestmark = pytest.mark.root  # what is copied is given to root


@pytest.fixture
def source(tmp_path):
    top = tmp_path / "source"
    for path, text in {"f": "F", "g": "G", "d/x": "X", "d/deep/y": "Y"}.items():
        (top / path).parent.mkdir(parents=True, exist_ok=True)
        (top / path).write_text(text)
    return top


@pytest.fixture
def root(tmp_path):
    top = tmp_path / "root"
    (top / "there").mkdir(parents=True)
    (top / "file").write_text("old")
    return top


def copy(source, root, patterns, dest, manner=None, **more):
    placement = Placement(str(root), dest, manner or Manner(owner=Owner()), **more)
    placement.several = placement.several or len(patterns) > 1
    for pattern in patterns:
        placement.place(Tree(str(source)), Choice(pattern=pattern))


def tree(top):
    found = {}
    for folder, directories, files in os.walk(top):
        for name in directories + files:
            path = os.path.join(folder, name)
            key = os.path.relpath(path, top)
            if os.path.islink(path):
                found[key] = "-> " + os.readlink(path)
            elif os.path.isdir(path):
                found[key + "/"] = ""
            else:
                with open(path) as f:
                    found[key] = f.read()
    return found


@pytest.mark.parametrize(
    ("patterns", "dest", "new"),
    [
        (["f"], "/new", {"new": "F"}),
        (["f"], "/new/", {"new/": "", "new/f": "F"}),
        (["f"], "/there", {"there/f": "F"}),
        (["f"], "/there/", {"there/f": "F"}),
        (["f"], "/a/b/c", {"a/": "", "a/b/": "", "a/b/c": "F"}),
        (["f"], "/file", {"file": "F"}),
        (["f"], "/", {"f": "F"}),
        (["f", "g"], "/new/", {"new/": "", "new/f": "F", "new/g": "G"}),
        (["[fg]"], "/new", {"new/": "", "new/f": "F", "new/g": "G"}),
        (["d"], "/new", {"new/": "", "new/x": "X", "new/deep/": "", "new/deep/y": "Y"}),
        (["d"], "/there", {"there/x": "X", "there/deep/": "", "there/deep/y": "Y"}),
        (["d/deep", "f"], "/new/", {"new/": "", "new/y": "Y", "new/f": "F"}),
        (["nothing*"], "/new/", {}),
    ],
)
def test_files_arrive_where_docker_puts_them(source, root, patterns, dest, new):
    copy(source, root, patterns, dest)
    assert tree(root) == {"there/": "", "file": "old", **new}


def test_parents_keeps_the_sources_directories(source, root):
    copy(source, root, ["d/deep/y", "f"], "/new/", Manner(owner=Owner(), parents=True))
    assert tree(root / "new") == {"d/": "", "d/deep/": "", "d/deep/y": "Y", "f": "F"}


def test_parents_begin_after_the_pivot(source, root):
    copy(source, root, ["*/./deep/y"], "/new/", Manner(owner=Owner(), parents=True))
    assert tree(root / "new") == {"deep/": "", "deep/y": "Y"}


def test_modes_times_and_links_are_kept(source, root):
    os.chmod(source / "d" / "x", 0o4751)
    os.utime(source / "d" / "x", ns=(1, 1_600_000_000_123_456_789))
    os.symlink("/not/there", source / "d" / "link")
    os.utime(source / "d" / "link", ns=(1, 5_000_000_000), follow_symlinks=False)
    os.link(source / "d" / "x", source / "d" / "hard")
    os.mkfifo(source / "d" / "fifo")
    os.setxattr(source / "d" / "x", "user.note", b"kept")
    os.chmod(source / "d" / "deep", 0o700)
    os.utime(source / "d" / "deep", ns=(1, 7_000_000_000))
    copy(source, root, ["d"], "/new")
    new = root / "new"
    status = os.lstat(new / "x")
    assert stat.S_IMODE(status.st_mode) == 0o4751
    assert status.st_mtime_ns == 1_600_000_000_123_456_789
    assert os.readlink(new / "link") == "/not/there"
    assert os.lstat(new / "link").st_mtime_ns == 5_000_000_000
    assert os.path.samefile(new / "x", new / "hard")
    assert stat.S_ISFIFO(os.lstat(new / "fifo").st_mode)
    assert os.getxattr(new / "x", "user.note") == b"kept"
    assert stat.S_IMODE(os.lstat(new / "deep").st_mode) == 0o700
    assert os.lstat(new / "deep").st_mtime_ns == 7_000_000_000


def test_devices_are_copied_between_file_systems_of_images(source, root):
    os.mknod(source / "d" / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    os.chmod(source / "d" / "null", 0o666)
    copy(source, root, ["d"], "/new")
    status = os.lstat(root / "new" / "null")
    assert stat.S_ISCHR(status.st_mode)
    assert (stat.S_IMODE(status.st_mode), status.st_rdev) == (0o666, os.makedev(1, 3))


def test_the_destination_never_takes_the_sources_metadata_but_what_is_below_does(source, root):
    os.chmod(root / "there", 0o711)
    (root / "there" / "deep").mkdir(mode=0o700)
    os.chmod(source / "d", 0o777)
    os.chmod(source / "d" / "deep", 0o755)
    copy(source, root, ["d"], "/there")
    assert stat.S_IMODE(os.stat(root / "there").st_mode) == 0o711
    assert stat.S_IMODE(os.stat(root / "there" / "deep").st_mode) == 0o755
    copy(source, root, ["d"], "/fresh")
    assert stat.S_IMODE(os.stat(root / "fresh").st_mode) == 0o755


def test_owner_and_mode_are_given_to_everything_and_to_parents_that_are_made(source, root):
    manner = Manner(owner=Owner(12, 34), mode=mode("u=rwX,go="))
    copy(source, root, ["d"], "/a/b", manner)
    for path in ("a", "a/b", "a/b/x", "a/b/deep", "a/b/deep/y"):
        status = os.stat(root / path)
        assert (status.st_uid, status.st_gid) == (12, 34), path
    assert stat.S_IMODE(os.stat(root / "a").st_mode) == 0o755
    assert stat.S_IMODE(os.stat(root / "a/b/x").st_mode) == 0o600
    assert stat.S_IMODE(os.stat(root / "a/b/deep").st_mode) == 0o700


def test_without_an_owner_the_sources_stays(source, root):
    os.chown(source / "f", 5, 6)
    copy(source, root, ["f"], "/new/", Manner())
    assert (os.stat(root / "new/f").st_uid, os.stat(root / "new/f").st_gid) == (5, 6)
    assert os.stat(root / "new").st_uid == 0


def test_links_in_the_destination_are_followed_inside_the_root_only(source, root, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    os.symlink("/there", root / "inside")
    os.symlink(outside, root / "leak")
    copy(source, root, ["f"], "/inside/")
    copy(source, root, ["f"], "/leak/")
    assert (root / "there" / "f").read_text() == "F"
    assert os.listdir(outside) == []
    assert os.path.isfile(root / str(outside).lstrip("/") / "f")


def test_a_link_below_the_destination_is_replaced_not_written_through(source, root, tmp_path):
    outside = tmp_path / "outside"
    outside.write_text("safe")
    os.symlink(outside, root / "there" / "x")
    copy(source, root, ["d"], "/there")
    assert outside.read_text() == "safe"
    assert not os.path.islink(root / "there" / "x")


@pytest.mark.parametrize(
    ("prepare", "patterns", "dest"),
    [
        (lambda root: None, ["d"], "/file"),
        (lambda root: None, ["f"], "/file/x"),
        (lambda root: (root / "there" / "x").mkdir(), ["d"], "/there"),
        (lambda root: (root / "there" / "deep").write_text(""), ["d"], "/there"),
        (lambda root: os.symlink("/", root / "there" / "deep"), ["d"], "/there"),
    ],
)
def test_files_and_directories_never_replace_one_another(source, root, prepare, patterns, dest):
    prepare(root)
    with pytest.raises(BuildError, match="cannot copy to"):
        copy(source, root, patterns, dest)


def test_a_source_link_gives_what_it_points_to(source, root):
    os.symlink("d", source / "link")
    copy(source, root, ["link"], "/new")
    assert tree(root / "new") == {"x": "X", "deep/": "", "deep/y": "Y"}


def test_what_changed_since_it_was_named_is_an_error(source, root):
    context, choice = Tree(str(source)), Choice(pattern="d")
    context.digest(choice, Stop())
    (source / "d" / "x").write_text("other")
    with pytest.raises(BuildError, match="changed during the build"):
        Placement(str(root), "/new", Manner(owner=Owner())).place(context, choice)


def test_what_did_not_change_since_it_was_named_is_fine(source, root):
    context, choice = Tree(str(source)), Choice(pattern="d")
    context.digest(choice, Stop())
    Placement(str(root), "/new", Manner(owner=Owner())).place(context, choice)
    assert (root / "new" / "x").read_text() == "X"


def test_a_copy_can_be_stopped(source, root):
    stop = Stop()
    stop.set()
    with pytest.raises(InterruptedError):
        copy(source, root, ["d"], "/new", stop=stop)


def test_inline_files_are_written_with_owner_and_mode(root):
    Placement(str(root), "/etc/", Manner(owner=Owner(1, 2), mode=mode("600"))).write("m", b"hi")
    Placement(str(root), "/plain", Manner()).write("ignored", b"there")
    status = os.stat(root / "etc/m")
    assert (status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)) == (1, 2, 0o600)
    assert (root / "plain").read_text() == "there"
    assert stat.S_IMODE(os.stat(root / "plain").st_mode) == 0o644


def test_a_big_file_arrives_whole(source, root):
    body = os.urandom(3 << 20)
    (source / "big").write_bytes(body)
    copy(source, root, ["big"], "/big")
    assert (root / "big").read_bytes() == body
