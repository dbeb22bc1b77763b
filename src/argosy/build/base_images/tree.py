"""A file tree as mmdebstrap makes it, as the one layer of a base image.

Taken out: what differs from run to run or from machine to machine (times, logs,
caches, ids, passwords of mirrors). Put in: what images of Debian are known to have.
"""

import os
from collections.abc import Callable, Iterator

from argosy.build.base_images.debian import public_lines
from argosy.build.layers.confine import clean
from argosy.build.layers.header import BLOCK, END, Entry, pack_header
from argosy.build.layers.reader import TarReader

_EMPTIED = ("dev", "proc", "sys", "run", "tmp", "var/tmp", "var/log", "var/cache/ldconfig")
_NO_FILES_IN = ("var/lib/apt/lists", "var/cache/apt", "var/cache/debconf")
_DROPPED = frozenset(
    {
        "etc/hostname",
        "etc/resolv.conf",
        "etc/apt/apt.conf.d/99mmdebstrap",
        "var/lib/dbus/machine-id",
        "var/lib/dpkg/lock",
        "var/lib/dpkg/lock-frontend",
        "var/lib/systemd/random-seed",
    }
)
_BLANKED = frozenset({"etc/machine-id"})  # must exist for systemd, must not be the same twice

# As images of Debian are known to behave: no services start while packages are
# installed, and what apt downloads does not end up in a layer. The name of the second is
# the one that Dockerfiles remove when they mount a cache there.
_ADDED = {
    "usr/sbin/policy-rc.d": (0o755, b"#!/bin/sh\n# Nothing starts in an image.\nexit 101\n"),
    "etc/apt/apt.conf.d/docker-clean": (
        0o644,
        (
            b"// Nothing apt downloads stays in a layer.\n"
            b'DPkg::Post-Invoke { "rm -f /var/cache/apt/archives/*.deb'
            b' /var/cache/apt/archives/partial/*.deb /var/cache/apt/*.bin || true"; };\n'
            b'Dir::Cache::pkgcache "";\n'
            b'Dir::Cache::srcpkgcache "";\n'
            b'Acquire::Languages "none";\n'
        ),
    ),
}


Clean = Callable[[Iterator[bytes], int], Iterator[bytes]]


def write_clean(tree: str, write: Callable[[bytes], object], epoch: int, clean_as: Clean) -> None:
    """Write the tar of an image from the tar of a file tree (blocking)."""
    with open(tree, "rb", buffering=0) as file:
        for piece in _gathered(clean_as(iter(lambda: file.read(1 << 20), b""), epoch)):
            write(piece)


def clean_tree(pieces: Iterator[bytes], epoch: int) -> Iterator[bytes]:
    """The tar without what differs from run to run or machine to machine; no time after `epoch`."""
    reader = TarReader(pieces)
    for found in reader:
        path = os.fsdecode(b"/".join(clean(found.name)))
        if not path or not _belongs(path, found):
            continue
        entry = _renamed(found, path, epoch)
        if path in _BLANKED:
            yield from _member(entry, b"")
        elif path == "etc/apt/sources.list":
            text = os.fsdecode(b"".join(reader.data()))
            yield from _member(entry, os.fsencode(public_lines(text)))
        else:
            yield pack_header(entry)
            yield from map(bytes, reader.data())
            yield bytes(-entry.stored % BLOCK)
    for path, (mode, body) in sorted(_ADDED.items()):
        entry = Entry(name=path.encode(), kind="file", mode=mode, mtime_ns=epoch * 1_000_000_000)
        yield from _member(entry, body)
    yield END


def _belongs(path: str, entry: Entry) -> bool:
    if path in _DROPPED:
        return False
    if any(path.startswith(f"{folder}/") for folder in _EMPTIED):
        return False
    return entry.kind == "dir" or not any(path.startswith(f"{f}/") for f in _NO_FILES_IN)


def _renamed(entry: Entry, path: str, epoch: int) -> Entry:
    name = os.fsencode(path)
    return entry._replace(
        name=name + b"/" if entry.kind == "dir" else name,
        target=b"/".join(clean(entry.target)) if entry.kind == "link" else entry.target,
        mtime_ns=min(entry.mtime_ns // 1_000_000_000, epoch) * 1_000_000_000,
    )


def _member(entry: Entry, body: bytes) -> Iterator[bytes]:
    yield pack_header(entry._replace(size=len(body), stored=len(body)))
    yield body + bytes(-len(body) % BLOCK)


def _gathered(pieces: Iterator[bytes]) -> Iterator[bytes]:
    buffer = bytearray()
    for piece in pieces:
        buffer += piece
        if len(buffer) >= 1 << 20:
            yield bytes(buffer)
            buffer.clear()
    yield bytes(buffer)
