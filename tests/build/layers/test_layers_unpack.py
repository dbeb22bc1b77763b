"""Unpacking: hostile archives touch nothing outside, layers become overlay form, attributes survive."""

import contextlib
import gzip
import io
import os
import pathlib
import stat
import tarfile

import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from argosy.build.layers.archive import extract, is_archive
from argosy.build.layers.confine import Root, clean
from argosy.build.layers.header import END, Entry, pack_header
from argosy.build.layers.leftovers import complete
from argosy.build.layers.unpack import Limits, UnpackOptions, unpack
from argosy.errors import ArgosyError, ContentError, StorageError, UnsafeLayer

ME = (os.geteuid(), os.getegid())
PLAIN = UnpackOptions(owner=ME)
LAYER = UnpackOptions(overlay=True, owner=ME)


def member(name: str, kind="file", data=b"", **more) -> bytes:
    raw = name.encode() if isinstance(name, str) else name
    entry = Entry(name=raw, kind=kind, size=len(data), **{"mode": 0o644, **more})
    return pack_header(entry) + data + bytes(-len(data) % 512)


def archive(*members: bytes) -> bytes:
    return b"".join(members) + END


def folder(name: str, mode=0o755) -> bytes:
    return member(name, "dir", mode=mode)


def symlink(name: str, target: str) -> bytes:
    return member(name, "symlink", target=target.encode())


def link(name: str, target: str) -> bytes:
    return member(name, "link", target=target.encode())


@pytest.fixture
def jail(tmp_path):
    """A directory to unpack into, beside one that must stay as it is."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/secret").write_bytes(b"secret")
    (tmp_path / "root").mkdir()
    before = snapshot(tmp_path / "outside")
    yield tmp_path / "root"
    assert snapshot(tmp_path / "outside") == before
    assert sorted(os.listdir(tmp_path)) == ["outside", "root"]


def snapshot(top) -> dict:
    found = {}
    for base, _, files in os.walk(top):
        for path in [base, *(os.path.join(base, f) for f in files)]:
            status = os.lstat(path)
            body = pathlib.Path(path).read_bytes() if stat.S_ISREG(status.st_mode) else b""
            found[path] = (status.st_mode, status.st_uid, status.st_nlink, body)
    return found


def put(root, body: bytes, options=PLAIN):
    return unpack(iter([body]), str(root), options)


# What an attacker tries. `tmp` in a name stands for the directory above the root.
HOSTILE = {
    "climbing name": [member("../outside/evil", data=b"x")],
    "climbing name below a directory": [folder("a"), member("a/../../outside/evil", data=b"x")],
    "climbing directory": [folder("../outside", 0o777)],
    "climbing link target": [link("stolen", "../outside/secret")],
    "climbing link target in a directory": [
        folder("a"),
        link("a/stolen", "a/../../outside/secret"),
    ],
    "absolute link target": [link("stolen", "/{tmp}/outside/secret")],
    "link through a symlink": [symlink("out", "../outside"), link("stolen", "out/secret")],
    "link to an absolute symlink": [symlink("out", "/{tmp}/outside"), link("stolen", "out/secret")],
    "link to the root": [link("top", "/")],
    "link to a directory": [folder("d"), link("e", "d")],
    "link to nothing": [link("a", "b")],
    "root replaced by a file": [member("./", data=b"")[:0] + member(".", data=b"x")],
    "root replaced by a symlink": [symlink("/", "../outside")],
    "a file as a directory": [member("f", data=b"x"), member("f/g", data=b"x")],
    "a symlink loop": [symlink("a", "b"), symlink("b", "a"), member("a/f", data=b"x")],
    "a name that is too long": [member("n" * 256, data=b"x")],
    "too deep": [folder("d/" * 300)],
    "deep by links": [folder("d/" * 200), symlink("s", "d/" * 200), folder("s/" + "e/" * 100)],
    "an owner that cannot be": [member("f", uid=2**32 - 1)],
    "whiteout of the parent": [member(".wh..", data=b"")],
    "whiteout of the grandparent": [member(".wh...", data=b"")],
}

# Odd, but with a meaning that stays inside.
CONFINED = {
    "absolute name": ([member("/etc/evil", data=b"x")], "etc/evil"),
    "absolute name of a real file": ([member("{tmp}/outside/secret", data=b"x")], "{tmp}/outside/secret"),
    "inner climbing": ([folder("a"), member("a/../b", data=b"x")], "b"),
    "write through an absolute symlink": (
        [folder("tmp"), symlink("out", "/tmp"), member("out/f", data=b"x")], "tmp/f",
    ),
    "write through an absolute symlink in a directory": (
        [folder("tmp"), folder("d/tmp"), symlink("d/out", "/tmp"), member("d/out/f", data=b"x")],
        "tmp/f",
    ),
    "write through a climbing symlink": (
        [folder("outside"), symlink("out", "../../../outside"), member("out/f", data=b"x")],
        "outside/f",
    ),
    "a file over a symlink to a real file": (
        [symlink("f", "../outside/secret"), member("f", data=b"x")], "f",
    ),
    "a directory over a symlink": (
        [symlink("d", "../outside"), folder("d"), member("d/f", data=b"x")], "d/f",
    ),
    "a file over a full directory": ([folder("d/e"), member("d/e/f"), member("d", data=b"x")], "d"),
    "a link over itself": ([member("f", data=b"x"), link("f", "f")], "f"),
    "the same file twice": ([member("f", data=b"old"), member("f", data=b"x")], "f"),
    "a symlink swapped under a directory": (
        [folder("a"), folder("a/b"), member("a/b/c", data=b"1"), symlink("a", "../outside"),
         folder("outside"), member("a/secret", data=b"x")],
        "outside/secret",
    ),
}  # fmt: skip


@pytest.mark.parametrize("overlay", [False, True])
@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_archive_is_refused_and_touches_nothing_outside(jail, case, overlay):
    if "whiteout" in case and not overlay:
        pytest.skip("only layers have whiteouts")
    if os.geteuid() != 0 and not overlay:
        pytest.skip("needs root: what comes before the trap has owners")
    members = [m.replace(b"{tmp}", os.fsencode(jail.parent).lstrip(b"/")) for m in HOSTILE[case]]
    with pytest.raises((UnsafeLayer, ContentError)) as caught:
        put(jail, archive(*_resummed(members)), LAYER if overlay else UnpackOptions())
    assert caught.value.summary


@pytest.mark.parametrize("case", CONFINED)
def test_an_odd_archive_stays_inside(jail, case):
    members, path = CONFINED[case]
    real = str(jail.parent)
    body = archive(*_resummed([m.replace(b"{tmp}", real.encode()[:100]) for m in members]))
    if "{tmp}" in path:
        body = archive(member(f"{real}/outside/secret", data=b"x"))
    put(jail, body)
    inside = path.replace("{tmp}", real).lstrip("/")
    assert (jail / inside).read_bytes() == b"x"


def _resummed(members: list[bytes]) -> list[bytes]:
    out = []
    for one in members:
        block = bytearray(one[:512])
        block[148:156] = b" " * 8
        block[148:156] = b"%06o\0 " % sum(block)
        out.append(bytes(block) + one[512:])
    return out


@pytest.mark.root
def test_a_whiteout_device_in_an_archive_is_refused(jail):
    with pytest.raises(UnsafeLayer, match="0:0"):
        put(jail, archive(member("gone", "char")), UnpackOptions(overlay=True))


@pytest.mark.root
def test_devices_fifos_owners_setuid_and_capabilities_are_restored(jail):
    capability = bytes.fromhex("0100000200040000000000000000000000000000")
    body = archive(
        member("null", "char", major=1, minor=3, mode=0o666),
        member("disk", "block", major=8, minor=1, mode=0o600),
        member("pipe", "fifo", mode=0o622, uid=3),
        member("su", data=b"x", mode=0o6755, uid=5, gid=6, mtime_ns=10**9,
               xattrs={b"security.capability": capability, b"user.note": b"hi"}),
        folder("d", 0o3770) + b"",
        member("d", "dir", mode=0o3770, uid=9, mtime_ns=7 * 10**9),
        member("d/f", data=b"y"),
    )  # fmt: skip
    put(jail, body, UnpackOptions())
    null, disk, pipe, su = (os.lstat(jail / n) for n in ("null", "disk", "pipe", "su"))
    assert (null.st_mode, null.st_rdev) == (stat.S_IFCHR | 0o666, os.makedev(1, 3))
    assert (disk.st_mode, disk.st_rdev) == (stat.S_IFBLK | 0o600, os.makedev(8, 1))
    assert (pipe.st_mode, pipe.st_uid) == (stat.S_IFIFO | 0o622, 3)
    assert (su.st_mode, su.st_uid, su.st_gid, su.st_mtime) == (stat.S_IFREG | 0o6755, 5, 6, 1)
    assert os.getxattr(jail / "su", "security.capability") == capability
    assert os.getxattr(jail / "su", "user.note") == b"hi"
    d = os.lstat(jail / "d")
    assert (d.st_mode, d.st_uid, d.st_mtime) == (stat.S_IFDIR | 0o3770, 9, 7)


@pytest.mark.root
def test_attributes_that_overlayfs_obeys_are_not_taken_from_an_archive(jail):
    attack = {b"trusted.overlay.redirect": b"/etc", b"user.overlay.opaque": b"y"}
    put(jail, archive(member("f", xattrs=attack), member("d", "dir", xattrs=attack)), LAYER)
    assert os.listxattr(jail / "f") == os.listxattr(jail / "d") == []


@pytest.mark.root
def test_whiteouts_become_those_of_overlayfs(jail):
    put(
        jail,
        archive(folder("d"), member("d/.wh.gone"), folder("o"), member("o/.wh..wh..opq")),
        LAYER,
    )
    gone = os.lstat(jail / "d/gone")
    assert stat.S_ISCHR(gone.st_mode)
    assert gone.st_rdev == 0
    assert os.getxattr(jail / "o", "trusted.overlay.opaque") == b"y"
    assert os.listdir(jail / "o") == []


@pytest.mark.root
@pytest.mark.parametrize("order", ["before", "after", "implied"])
def test_what_is_deleted_and_made_anew_in_one_layer_hides_the_old_one(jail, order):
    made = [folder("d"), member("d/f", data=b"x")]
    members = [member(".wh.d"), *made] if order == "before" else [*made, member(".wh.d")]
    if order == "implied":
        members = [member(".wh.d"), member("d/f", data=b"x")]
    put(jail, archive(*members), LAYER)
    assert os.getxattr(jail / "d", "trusted.overlay.opaque") == b"y"
    assert (jail / "d/f").read_bytes() == b"x"


def test_a_whiteout_spares_a_file_of_its_own_layer(jail):
    put(jail, archive(member("f", data=b"x"), member(".wh.f")), LAYER)
    assert (jail / "f").read_bytes() == b"x"


def test_whiteout_names_mean_nothing_in_a_plain_archive(jail):
    put(jail, archive(member(".wh.f", data=b"x")))
    assert (jail / ".wh.f").read_bytes() == b"x"


@pytest.mark.root
def test_a_parent_without_an_entry_looks_like_the_one_below(jail, tmp_path):
    lower = jail / "lower"
    (lower / "a/b").mkdir(parents=True)
    os.chmod(lower / "a/b", 0o1711)
    os.chown(lower / "a/b", 3, 4)
    (jail / "upper").mkdir()
    options = UnpackOptions(overlay=True, lowers=(str(lower),))
    put(jail / "upper", archive(member("a/b/f", data=b"x")), options)
    made = os.lstat(jail / "upper/a/b")
    assert (stat.S_IMODE(made.st_mode), made.st_uid, made.st_gid) == (0o1711, 3, 4)


@pytest.mark.root
def test_a_hard_link_to_a_file_of_a_lower_layer_copies_it_up(jail):
    for name in ("top", "lower", "upper"):
        (jail / name).mkdir()
    (jail / "lower/d").mkdir(mode=0o711)
    (jail / "lower/d/f").write_bytes(b"below")
    os.chmod(jail / "lower/d/f", 0o4755)
    os.chown(jail / "lower/d", 3, 4)
    options = UnpackOptions(overlay=True, lowers=(str(jail / "top"), str(jail / "lower")))
    put(jail / "upper", archive(link("a/b", "d/f"), link("c", "d/f")), options)
    inodes = {os.stat(jail / "upper" / name).st_ino for name in ("a/b", "c", "d/f")}
    assert len(inodes) == 1
    assert (jail / "upper/c").read_bytes() == b"below"
    assert stat.S_IMODE(os.stat(jail / "upper/c").st_mode) == 0o4755
    made = os.stat(jail / "upper/d")
    assert (stat.S_IMODE(made.st_mode), made.st_uid, made.st_gid) == (0o711, 3, 4)
    assert os.stat(jail / "lower/d/f").st_nlink == 1


@pytest.mark.root
@pytest.mark.parametrize("how", ["deleted", "opaque", "through a symlink", "a directory"])
def test_a_hard_link_to_what_the_lower_layers_do_not_show_is_refused(jail, how):
    for name in ("top", "lower/d/e", "upper", "elsewhere"):
        (jail / name).mkdir(parents=True)
    (jail / "lower/d/f").write_bytes(b"x")
    (jail / "elsewhere/f").write_bytes(b"secret")
    match how:
        case "deleted":
            os.mknod(jail / "top/d", stat.S_IFCHR, os.makedev(0, 0))
        case "opaque":
            (jail / "top/d").mkdir()
            os.setxattr(jail / "top/d", "trusted.overlay.opaque", b"y")
        case "through a symlink":
            os.symlink(jail / "elsewhere", jail / "top/d")
    target = "d/e" if how == "a directory" else "d/f"
    options = UnpackOptions(overlay=True, lowers=(str(jail / "top"), str(jail / "lower")))
    with pytest.raises(UnsafeLayer, match="hard link"):
        put(jail / "upper", archive(link("stolen", target)), options)


@pytest.mark.root
def test_layers_can_be_unpacked_before_those_below_them(jail):
    for name in ("lower", "upper"):
        (jail / name).mkdir()
    early = UnpackOptions(overlay=True, lowers=None)
    left = put(jail / "upper", archive(member("d/f", data=b"x"), link("l", "g")), early).left
    assert not (jail / "upper/l").exists()
    put(jail / "lower", archive(folder("d", mode=0o700), member("g", data=b"y")), LAYER)
    os.chmod(jail / "lower", 0o711)
    complete(str(jail / "upper"), left, (str(jail / "lower"),))
    assert stat.S_IMODE(os.stat(jail / "upper/d").st_mode) == 0o700
    assert stat.S_IMODE(os.stat(jail / "upper").st_mode) == 0o711
    assert (jail / "upper/l").read_bytes() == b"y"


def test_a_hard_link_to_a_symlink_is_another_symlink(jail):
    put(jail, archive(symlink("out", "../outside/secret"), link("stolen", "out")))
    assert os.readlink(jail / "stolen") == "../outside/secret"


def test_hard_links_share_one_file(jail):
    put(jail, archive(folder("d"), member("d/a", data=b"x"), link("b", "/d/a"), link("c", "./b")))
    assert os.stat(jail / "d/a").st_ino == os.stat(jail / "b").st_ino == os.stat(jail / "c").st_ino


def test_a_sparse_file_has_its_holes(jail, tmp_path):
    out = io.BytesIO()
    info = tarfile.TarInfo("s")
    data = b"2\n1048576\n4096\n10485760\n0\n".ljust(512, b"\0") + b"z" * 4096
    info.size = len(data)
    info.pax_headers = {
        "GNU.sparse.major": "1",
        "GNU.sparse.minor": "0",
        "GNU.sparse.realsize": "10485760",
    }
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        tar.addfile(info, io.BytesIO(data))
    put(jail, out.getvalue())
    status = os.stat(jail / "s")
    assert status.st_size == 10485760
    assert status.st_blocks * 512 < 1 << 20
    with open(jail / "s", "rb") as file:
        file.seek(1048576)
        assert file.read(4096) == b"z" * 4096


@pytest.mark.parametrize("how", ["gzip", "two gzip members", "zstd", "plain"])
def test_every_compression_is_unpacked(jail, how):
    body = archive(member("f", data=os.urandom(300_000)))
    packed = {
        "gzip": lambda: gzip.compress(body),
        "two gzip members": lambda: (
            gzip.compress(body[:999]) + gzip.compress(body[999:]) + bytes(99)
        ),
        "zstd": lambda: zstandard.compress(body[:5000]) + zstandard.compress(body[5000:]),
        "plain": lambda: body,
    }[how]()
    unpack((packed[i : i + 1000] for i in range(0, len(packed), 1000)), str(jail), PLAIN)
    assert (jail / "f").read_bytes() == body[512 : 512 + 300_000]


@pytest.mark.parametrize("compress", [gzip.compress, zstandard.compress])
def test_a_cut_or_damaged_compressed_stream_is_an_error(jail, compress):
    packed = compress(archive(member("f", data=os.urandom(100_000))))
    with pytest.raises(ContentError):
        put(jail, packed[: len(packed) // 2])
    damaged = bytearray(packed)
    damaged[len(packed) // 2] ^= 0xFF
    damaged[-6] ^= 0xFF
    with pytest.raises(ContentError):
        put(jail, bytes(damaged))


def test_an_archive_that_unpacks_to_too_much_is_stopped(jail):
    bomb = gzip.compress(archive(member("f", data=bytes(50 << 20))), 9)
    assert len(bomb) < 100_000
    options = UnpackOptions(owner=ME, limits=Limits(bytes=1 << 20))
    with pytest.raises(UnsafeLayer, match="more than is accepted"):
        put(jail, bomb, options)
    with pytest.raises(UnsafeLayer, match="more than is accepted"):
        put(
            jail,
            archive(folder("a"), folder("b")),
            UnpackOptions(owner=ME, limits=Limits(entries=1)),
        )


def test_a_directory_that_cannot_be_written_is_a_storage_error(tmp_path):
    with pytest.raises(StorageError):
        put("/proc/self", archive(member("f", data=b"x")))


def test_names_are_cleaned_and_may_not_climb():
    assert clean(b"/a//./b/../c/") == (b"a", b"c")
    with pytest.raises(UnsafeLayer):
        clean(b"a/../..")


def test_a_root_resolves_links_inside_itself(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "etc").mkdir()
    os.symlink("../../../run/resolv.conf", tmp_path / "etc/resolv.conf")
    os.symlink("/run", tmp_path / "var-run")
    (tmp_path / "run/passwd").write_bytes(b"content")
    with Root(str(tmp_path)) as root:
        assert root.resolve(b"/etc/resolv.conf") == b"/run/resolv.conf"
        assert root.resolve(b"/var-run/a/b") == b"/run/a/b"
        assert root.resolve(b"/var-run/passwd") == b"/run/passwd"
        assert root.resolve(b"/../..") == b"/"
        assert root.read(b"/var-run/passwd", 100) == b"content"
        assert root.read(b"/var-run", 100) == b""
        assert root.read(b"/no/such", 100) == b""


def test_add_tells_archives_from_files(tmp_path):
    body = archive(member("f", data=b"x"))
    for name, content in {
        "a.tar": body,
        "a.tgz": gzip.compress(body),
        "a.zst": zstandard.compress(body),
    }.items():
        (tmp_path / name).write_bytes(content)
        assert is_archive(str(tmp_path / name)), name
    for name, content in {"txt": b"hello", "gz": gzip.compress(b"hello"), "empty": b"", "zeros": bytes(2048),
                          "bad.gz": b"\x1f\x8b\x08garbage"}.items():  # fmt: skip
        (tmp_path / name).write_bytes(content)
        assert not is_archive(str(tmp_path / name)), name


@pytest.mark.parametrize("mode", ["w:bz2", "w:xz", "w:gz", "w"])
def test_local_archives_of_every_kind_are_extracted(tmp_path, mode):
    path = tmp_path / "a.tar"
    with tarfile.open(path, mode) as tar:
        info = tarfile.TarInfo("d/f")
        info.size = 5
        tar.addfile(info, io.BytesIO(b"hello"))
    (tmp_path / "out").mkdir()
    extract(str(path), str(tmp_path / "out"), owner=ME)
    assert (tmp_path / "out/d/f").read_bytes() == b"hello"


KINDS = st.sampled_from(["file", "dir", "symlink", "link", "fifo"])
PART = st.sampled_from(["a", "b", "c", "..", ".", "", ".wh.a", ".wh.b", ".wh..wh..opq", "outside"])
PATH = st.lists(PART, min_size=1, max_size=5).map("/".join)


@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(members=st.lists(st.tuples(KINDS, PATH, PATH), max_size=12), overlay=st.booleans())
def test_no_sequence_of_entries_gets_out(tmp_path_factory, members, overlay):
    base = tmp_path_factory.mktemp("fuzz")
    (base / "outside").mkdir()
    (base / "outside/a").write_bytes(b"secret")
    (base / "root").mkdir()
    before = snapshot(base / "outside")
    body = archive(
        *(
            member(
                name, kind, b"data" if kind == "file" else b"", target=target.encode(), mode=0o777
            )
            for kind, name, target in members
        )
    )
    with contextlib.suppress(ArgosyError):
        put(base / "root", body, LAYER if overlay else PLAIN)
    assert snapshot(base / "outside") == before
    assert sorted(os.listdir(base)) == ["outside", "root"]


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=2000))
def test_random_bytes_unpack_to_our_errors_only(tmp_path_factory, body):
    base = tmp_path_factory.mktemp("fuzz")
    with contextlib.suppress(ArgosyError):
        put(base, body)
