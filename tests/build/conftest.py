"""A build engine without mounts and containers: snapshots are whole directories, commands are words."""

import asyncio
import gzip
import io
import os
import shlex
import shutil
import tarfile
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from argosy.build.graph import Snapshot
from argosy.build.options import Ends, Engine
from argosy.build.origins import Origins
from argosy.content.memory import MemoryStore
from argosy.content.store import put_bytes
from argosy.content.verify import read
from argosy.errors import DigestMismatch
from argosy.model import media
from argosy.model.descriptor import Descriptor
from argosy.model.digest import Digest
from argosy.settings import Settings


@dataclass
class DirectoryWorkspace:
    root: str
    parent: Snapshot | None


class DirectorySnapshotter:
    """Every snapshot is a full copy; layers are what differs."""

    def __init__(self, path, origins=None):
        self.path = str(path)
        self.origins = origins
        self.stated = {}
        os.makedirs(self.path)
        self.count = 0
        self.packed = []
        self.applied = []

    def directory(self, snapshot):
        return os.path.join(self.path, snapshot.id)

    @asynccontextmanager
    async def edit(self, parent):
        await self.unpacked(parent)
        self.count += 1
        root = os.path.join(self.path, f"work-{self.count}")
        if parent is None:
            os.mkdir(root)
            os.chmod(root, 0o755)
        else:
            copy_tree(self.directory(parent), root)
        try:
            yield DirectoryWorkspace(root, parent)
        finally:
            shutil.rmtree(root, ignore_errors=True)

    async def commit(self, workspace, *, timeless=False):
        name = f"snapshot-{os.path.basename(workspace.root)}"
        os.rename(workspace.root, os.path.join(self.path, name))
        return Snapshot(name, workspace.parent)

    async def layer(self, upper, into):
        await self.unpacked(upper)
        self.packed.append(upper.id)
        below = self.directory(upper.parent) if upper.parent else None
        tar = packed(self.directory(upper), below)
        body = gzip.compress(tar, mtime=0)
        layer = await put_bytes(into, Descriptor.of(media.OCI_LAYER_GZIP, body), body)
        return layer, Digest.of(tar)

    def apply(self, parent, layer):
        name = f"{parent.id if parent else ''}+{layer.diff_id[-12:]}"
        self.stated[name] = layer
        return Snapshot(name, parent, layer)

    async def unpacked(self, snapshot):
        if snapshot is None or os.path.isdir(self.directory(snapshot)):
            return
        layer = self.stated.get(snapshot.id) or snapshot.layer
        self.applied.append(layer.descriptor.digest)
        body = await read(self.origins, layer.descriptor)
        if body.startswith(b"\x1f\x8b"):
            body = gzip.decompress(body)
        if Digest.of(body) != layer.diff_id:
            raise DigestMismatch("layer", expected=layer.diff_id, actual=Digest.of(body))
        async with self.edit(snapshot.parent) as workspace:
            with tarfile.open(fileobj=io.BytesIO(body)) as tar:
                tar.extraction_filter = lambda member, _path: (
                    member
                )  # 3.11.2 has no argument for it
                tar.extractall(workspace.root)
            os.rename(workspace.root, self.directory(snapshot))

    async def remove(self, snapshot):
        shutil.rmtree(self.directory(snapshot))

    async def exists(self, snapshot):
        while snapshot is not None:
            layer = self.stated.get(snapshot.id) or snapshot.layer
            if not os.path.isdir(self.directory(snapshot)) and not (
                layer and await self.origins.exists(layer.descriptor)
            ):
                return False
            snapshot = snapshot.parent
        return True


def copy_tree(source, target):
    shutil.copytree(source, target, symlinks=True)
    shutil.copystat(source, target)


def packed(top, below):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for path in sorted(paths(top)):
            if below is None or not same(os.path.join(top, path), os.path.join(below, path)):
                tar.add(os.path.join(top, path), path, recursive=False)
    # tarfile pads to 10 KiB; layers end after two zero blocks
    body = out.getvalue().rstrip(b"\0")
    return body + bytes(-len(body) % 512) + bytes(1024)


def paths(top):
    for folder, directories, files in os.walk(top):
        for name in directories + files:
            yield os.path.relpath(os.path.join(folder, name), top)


def same(one, two):
    if not os.path.lexists(two):
        return False
    a, b = os.lstat(one), os.lstat(two)
    if (a.st_mode, a.st_uid, a.st_gid) != (b.st_mode, b.st_uid, b.st_gid):
        return False
    if os.path.islink(one):
        return os.readlink(one) == os.readlink(two)
    if os.path.isdir(one):
        return True
    with open(one, "rb") as x, open(two, "rb") as y:
        return x.read() == y.read()


@dataclass
class WordExecute:
    """Understands a few words: write PATH TEXT, append, cat PATH, echo TEXT, fail STATUS, meet COUNT, true."""

    processes: list = field(default_factory=list)
    seen: list = field(default_factory=list)
    met: int = 0

    async def __call__(self, process, root, output):
        self.processes.append(process)
        status = 0
        for command in process.args[-1].split(" && "):
            if command.startswith("meet "):
                await self.meet(int(command.split()[1]))
                continue
            status = self.do(shlex.split(command), process, root, output)
            if status:
                break
        return status

    async def meet(self, count):
        """Wait until so many steps have come here."""
        self.met += 1
        async with asyncio.timeout(10):
            while self.met < count:
                await asyncio.sleep(0.01)

    def do(self, words, process, root, output):
        match words:
            case ["write", path, text]:
                self.write(root + path, text)
            case ["echo", *text]:
                output((" ".join(text) + "\n").encode())
            case ["show", path]:
                mount = next(m for m in process.mounts if path.startswith(m.target))
                rest = path.removeprefix(mount.target)
                with open(mount.source + rest, "rb") as f:
                    self.seen.append(f.read())
            case ["keep", path, text]:
                mount = next(m for m in process.mounts if path.startswith(m.target))
                self.write(mount.source + path.removeprefix(mount.target), text)
            case ["fail", status]:
                return int(status)
            case ["platform", path]:
                self.write(root + path, str(process.platform))
            case ["true"]:
                pass
            case _:
                raise AssertionError(words)
        return 0

    def write(self, path, text):
        with open(path, "w") as f:
            f.write(text)


@dataclass
class Bench:
    """Everything a build needs, in memory and below one directory."""

    path: str
    snapshots: DirectorySnapshotter
    execute: WordExecute
    images: MemoryStore = field(default_factory=MemoryStore)
    remote: dict = field(default_factory=dict)
    asked: list = field(default_factory=list)
    archives: dict = field(default_factory=dict)
    events: list = field(default_factory=list)

    @property
    def engine(self):
        origins = self.snapshots.origins = Origins(self.images)
        return Engine(snapshots=self.snapshots, execute=self.execute, origins=origins)

    @property
    def settings(self):
        return Settings(home=os.path.join(self.path, "home"))

    @property
    def ends(self):
        return Ends(images=self.images, repository=self.repository, archive=self.archive)

    def repository(self, reference):
        self.asked.append(str(reference))
        return self.repository_of(reference.locator)

    def repository_of(self, locator):
        return self.remote.setdefault(locator, MemoryStore())

    @asynccontextmanager
    async def archive(self, kind, path):
        store = MemoryStore()
        yield store
        self.archives[kind, path] = store

    def context(self, files, name="context"):
        top = os.path.join(self.path, name)
        for path, text in files.items():
            full = os.path.join(top, path)
            os.makedirs(os.path.dirname(full), exist_ok=True)
            with open(full, "wb") as f:
                f.write(text.encode() if isinstance(text, str) else text)
        return top

    def lines(self, kind):
        return [e.name for e in self.events if e.kind == kind]


@pytest.fixture
def bench(tmp_path):
    if os.geteuid() != 0:
        pytest.skip("needs root: files of an image have owners")
    return Bench(str(tmp_path), DirectorySnapshotter(tmp_path / "snapshots"), WordExecute())
