"""What a docker archive comes to: its file system and config, by nothing of ours.

Layers are applied with Python's tarfile to a table of what is at each path, so that an
error in our own reader cannot hide one in our writer.
"""

import hashlib
import io
import json
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

WHITEOUT, OPAQUE = ".wh.", ".wh..wh..opq"
_XATTR = "SCHILY.xattr."


@dataclass(frozen=True)
class Node:
    """One path: everything of it that an image is about, but its time."""

    kind: str
    mode: int
    uid: int
    gid: int
    content: str = ""  # of a file: its digest; of a link: where to; of a device: its numbers
    xattrs: tuple[tuple[str, str], ...] = ()


@dataclass
class Rootfs:
    """A file system: what is where, and which paths are one file."""

    nodes: dict[str, Node] = field(default_factory=dict)
    files: dict[str, int] = field(default_factory=dict)  # path to a number of the file
    _next: int = 0

    def apply(self, layer: tarfile.TarFile) -> None:
        """Put a layer on top."""
        members = list(layer)
        for member in members:
            self._white(member.name)
        for member in members:
            if not member.name.rpartition("/")[2].startswith(WHITEOUT):
                self._put(layer, member)

    def _white(self, name: str) -> None:
        folder, _, base = _clean(name).rpartition("/")
        if base == OPAQUE:
            self._remove(folder, itself=False)
        elif base.startswith(WHITEOUT):
            self._remove(f"{folder}/{base.removeprefix(WHITEOUT)}".strip("/"))

    def _remove(self, path: str, *, itself: bool = True) -> None:
        for other in list(self.nodes):
            if (itself and other == path) or other.startswith(f"{path}/" if path else ""):
                del self.nodes[other]
                self.files.pop(other, None)

    def _put(self, layer: tarfile.TarFile, member: tarfile.TarInfo) -> None:
        path = _clean(member.name)
        before = self.nodes.get(path)
        if before and not (before.kind == "dir" and member.isdir()):
            self._remove(path)
        if member.islnk():
            target = _clean(member.linkname)
            self.nodes[path], self.files[path] = self.nodes[target], self.files[target]
            return
        self.nodes[path] = _node(layer, member)
        if not member.isdir():
            self._next += 1
            self.files[path] = self._next

    @property
    def links(self) -> set[frozenset[str]]:
        """Groups of paths that are one file."""
        groups: dict[int, set[str]] = {}
        for path, number in self.files.items():
            groups.setdefault(number, set()).add(path)
        return {frozenset(group) for group in groups.values() if len(group) > 1}


def _clean(name: str) -> str:
    return "/".join(part for part in name.split("/") if part not in ("", "."))


def _node(layer: tarfile.TarFile, member: tarfile.TarInfo) -> Node:
    kinds = {
        tarfile.DIRTYPE: "dir",
        tarfile.SYMTYPE: "symlink",
        tarfile.CHRTYPE: "char",
        tarfile.BLKTYPE: "block",
        tarfile.FIFOTYPE: "fifo",
    }
    kind = kinds.get(member.type, "file")
    content = ""
    if kind == "file":
        file = layer.extractfile(member)
        content = hashlib.sha256(file.read() if file else b"").hexdigest()
    elif kind == "symlink":
        content = member.linkname
    elif kind in ("char", "block"):
        content = f"{member.devmajor},{member.devminor}"
    xattrs = sorted(
        (key.removeprefix(_XATTR), value)
        for key, value in member.pax_headers.items()
        if key.startswith(_XATTR)
    )
    mode = 0o777 if kind == "symlink" else member.mode & 0o7777
    return Node(kind, mode, member.uid, member.gid, content, tuple(xattrs))


@dataclass
class Image:
    """An image of an archive."""

    rootfs: Rootfs
    config: dict[str, Any]


def read_archive(path: Path) -> Image:
    """The only image of a `docker save` archive."""
    with tarfile.open(path) as archive:
        (entry,) = json.load(_file(archive, "manifest.json"))
        config = json.load(_file(archive, entry["Config"]))
        rootfs = Rootfs()
        for name in entry["Layers"]:
            with tarfile.open(fileobj=_file(archive, name), mode="r:*") as layer:
                rootfs.apply(layer)
    return Image(rootfs, config)


def _file(archive: tarfile.TarFile, name: str) -> io.BytesIO:
    member = archive.getmember(name)
    while member.issym():  # docker save links equal layers
        folder = name.rpartition("/")[0]
        name = _resolved(folder, member.linkname)
        member = archive.getmember(name)
    file = archive.extractfile(member)
    assert file is not None
    return io.BytesIO(file.read())


def _resolved(folder: str, target: str) -> str:
    parts: list[str] = []
    for part in f"{folder}/{target}".split("/"):
        if part == "..":
            parts.pop()
        elif part not in ("", "."):
            parts.append(part)
    return "/".join(parts)


def differences(one: Image, other: Image) -> Iterator[str]:
    """What of the two is not the same, as lines for people."""
    a, b = one.rootfs.nodes, other.rootfs.nodes
    for path in sorted(a.keys() | b.keys()):
        if a.get(path) != b.get(path):
            yield f"{path or '/'}: {a.get(path)} | {b.get(path)}"
    for group in one.rootfs.links ^ other.rootfs.links:
        yield f"hard links: {sorted(group)} only in {'one' if group in one.rootfs.links else 'other'}"
    first, second = run_config(one.config), run_config(other.config)
    for key in sorted(first.keys() | second.keys()):
        if first.get(key) != second.get(key):
            yield f"config {key}: {first.get(key)!r} | {second.get(key)!r}"


_KEYS = (
    *("User", "ExposedPorts", "Env", "Entrypoint", "Cmd", "Volumes", "WorkingDir", "Labels"),
    *("StopSignal", "Healthcheck", "Shell", "OnBuild"),
)


def run_config(config: dict[str, Any]) -> dict[str, Any]:
    """What the image spec, and Docker's extension of it, say about running; empty is left out."""
    run = config.get("config") or {}
    found = {key: run[key] for key in _KEYS if run.get(key)}
    if found.get("WorkingDir") == "/":
        del found["WorkingDir"]  # the default
    labels = {k: v for k, v in found.pop("Labels", {}).items() if k != "io.buildah.version"}
    return {
        **found,
        **({"Labels": labels} if labels else {}),
        "architecture": config.get("architecture"),
        "os": config.get("os"),
    }
