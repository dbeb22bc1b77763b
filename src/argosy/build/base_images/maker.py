"""Base images from distribution packages: the smallest Debian there is, for any platform.

mmdebstrap makes the file tree from signed packages; here it becomes an image: cleaned
of what differs from run to run, every time no later than the archive's own, so that
the same packages give the same digest. Kept by content, so a second call is instant.
"""

import asyncio
import hashlib
import json
import os
import secrets
import shutil
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress

from argosy.build.base_images.debian import (
    ARCHITECTURES,
    AptSource,
    ArchiveState,
    archive_state,
    machine_sources,
)
from argosy.build.base_images.recipes import recipe_of
from argosy.build.base_images.tree import write_clean
from argosy.build.execute.emulation import emulation
from argosy.build.execute.spec import PATH
from argosy.build.layers.blob import LayerOptions, put_layer
from argosy.build.sessions import storage_errors
from argosy.concurrency import gather, in_thread
from argosy.content.store import Store, put_bytes
from argosy.errors import BuildError, InvalidPlatform, NetworkError, RuntimeUnavailable
from argosy.model import media
from argosy.model.descriptor import Descriptor
from argosy.model.digest import Digest
from argosy.model.manifest import dump
from argosy.model.platform import Platform
from argosy.observe import Event, Report
from argosy.values import frozen

_FRESH = 24 * 3600.0  # seconds for which the archive is not asked again
_RECIPE = 3  # raise it when what is made of the same packages changes
_TAIL = 20  # lines of mmdebstrap's that an error shows


@frozen(kw_only=True)
class BaseSpec:
    """What to make. `what` is `debian:RELEASE`, with `-slim` without documentation, or `busybox`."""

    what: str
    platforms: tuple[Platform, ...] = ()  # none: this machine's
    packages: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()  # full references, as the store has its names
    mirror: str = ""  # none: what this machine's apt uses
    refresh: bool = False  # make it anew, whatever is known


async def make_base(spec: BaseSpec, *, images: Store, workdir: str, report: Report) -> Descriptor:
    """Make the image of each platform, put it in `images` and tag it; an index for several.

    `workdir` keeps the file trees as tars, and what is known. Raises UsageError,
    RuntimeUnavailable (a tool or emulator is missing), NetworkError, BuildError.
    """
    platforms = spec.platforms or (Platform.host(),)
    with storage_errors(f"use {workdir}"):
        await in_thread(os.makedirs, workdir, exist_ok=True)
    maker = _Maker(spec, images, workdir, report)
    desc = await maker.known(platforms, _FRESH)
    if desc is None and not await maker.look_at_archive():
        desc = await maker.known(platforms, float("inf"))  # better an old one than none
    if desc is None:
        await in_thread(_check_tools, platforms, maker.recipe.runs)
        # Two at once: unpacking waits for the disk, configuring for the processor.
        slots = asyncio.Semaphore(2)
        made = await gather(_within(slots, maker.image, p) for p in platforms)
        desc = made[0] if len(made) == 1 else await _index(images, made)
        await maker.remember(platforms, desc)
    for tag in spec.tags:
        await images.tag(desc, tag)
    return desc


async def _within(
    slots: asyncio.Semaphore, make: Callable[[Platform], Awaitable[Descriptor]], p: Platform
) -> Descriptor:
    async with slots:
        return await make(p)


def _check_tools(platforms: Iterable[Platform], runs: bool) -> None:
    if shutil.which("mmdebstrap") is None:
        raise RuntimeUnavailable(
            "base images are made by mmdebstrap, which is not installed",
            remedy="run: apt-get install --yes mmdebstrap",
        )
    for platform in platforms:
        if debian_architecture(platform) is None:
            raise InvalidPlatform(
                f"there is no Debian for {platform}",
                why="Debian has: " + ", ".join(f"linux/{a}" for a in ARCHITECTURES),
                remedy="choose one of them with --platform",
            )
        if runs:
            emulation(platform).require()


def debian_architecture(platform: Platform) -> str | None:
    """What Debian calls the architecture of a platform; None if it has none for it."""
    if platform.os != "linux":
        return None
    variant = f"/{platform.variant}" if platform.architecture == "arm" else ""
    return ARCHITECTURES.get(platform.architecture + variant)


class _Maker:
    """One run of `make_base`."""

    def __init__(self, spec: BaseSpec, images: Store, workdir: str, report: Report) -> None:
        self._spec = spec
        self.recipe = recipe_of(spec.what, spec.packages)
        self._images = images
        self._workdir = workdir
        self._report = report
        self._sources = self._find_sources()
        self._state = ArchiveState("", 0)

    def _find_sources(self) -> list[AptSource]:
        if self._spec.mirror:
            return [AptSource(self._spec.mirror, self.recipe.suite)]
        return machine_sources(self.recipe.suite)

    # What is known already

    def _record(self, platforms: Iterable[Platform]) -> str:
        lines = [source.line for source in self._sources]
        words = [self._words(), lines, sorted(map(str, platforms))]
        return os.path.join(self._workdir, f"{_short(words)}.json")

    def _words(self) -> list[object]:
        recipe = self.recipe
        kind = [] if recipe.runs else [recipe.variant]
        return [_RECIPE, recipe.suite, recipe.slim, list(recipe.packages), *kind]

    async def known(self, platforms: tuple[Platform, ...], age: float) -> Descriptor | None:
        """The image made before, if it is here and the archive was asked within `age` seconds."""
        if self._spec.refresh:
            return None
        said = await in_thread(_load, self._record(platforms))
        if said is None or not 0 <= time.time() - said.asked < age:
            return None
        if not await self._images.exists(said.image):
            return None
        self._tell("cached", f"base {self._spec.what}", "made before")
        return said.image

    async def remember(self, platforms: tuple[Platform, ...], desc: Descriptor) -> None:
        """Know it next time."""
        await in_thread(_save, self._record(platforms), _Known(time.time(), desc))

    async def look_at_archive(self) -> bool:
        """Find out which state of the archive we are to make an image of; False if it cannot be asked."""
        problem: NetworkError | None = None
        if self._sources:
            try:
                self._state = await in_thread(archive_state, self._sources)
            except NetworkError as e:
                problem = e
                self._tell("warning", "archive", f"{e.summary}: {e.why}")
        if not self._state.digest:
            # Which state mmdebstrap's own mirrors are in is not known: a day is a state.
            day = int(time.time() // 86400)
            self._state = ArchiveState(f"day {day}", day * 86400)
        return problem is None

    # Making one image

    async def image(self, platform: Platform) -> Descriptor:
        """The image of one platform, in the store."""
        arch = debian_architecture(platform)
        assert arch is not None
        key = _short([self._words(), self._state.digest, arch])
        tree = os.path.join(self._workdir, f"{self.recipe.suite}-{arch}-{key}.tar")
        step = f"base {self._spec.what} {platform}"
        self._tell("started", step)
        if self._spec.refresh or not await in_thread(os.path.exists, tree):
            await self._bootstrap(arch, tree, step)
        layer, diff_id = await put_layer(
            lambda write: write_clean(tree, write, self._state.epoch, self.recipe.clean),
            self._images,
            LayerOptions(scratch=self._workdir),
        )
        desc = await self._manifest(platform, layer, diff_id)
        self._tell("done", step, str(desc.digest))
        return desc

    async def _manifest(self, platform: Platform, layer: Descriptor, diff_id: Digest) -> Descriptor:
        body = dump(self._config(platform, diff_id))
        config = await put_bytes(self._images, Descriptor.of(media.OCI_CONFIG, body), body)
        body = dump(
            {
                "schemaVersion": 2,
                "mediaType": media.OCI_MANIFEST,
                "config": config.to_json(),
                "layers": [layer.to_json()],
            }
        )
        desc = Descriptor.of(media.OCI_MANIFEST, body, platform=platform)
        return await put_bytes(self._images, desc, body)

    def _config(self, platform: Platform, diff_id: Digest) -> dict[str, object]:
        created = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self._state.epoch))
        made_by = " ".join(["argosy base", self._spec.what, *sorted(set(self._spec.packages))])
        return {
            "created": created,
            **platform.to_json(),
            "config": {"Env": [f"PATH={PATH}"], "Cmd": [self.recipe.command]},
            "rootfs": {"type": "layers", "diff_ids": [diff_id]},
            "history": [{"created": created, "created_by": made_by}],
        }

    async def _bootstrap(self, arch: str, tree: str, step: str) -> None:
        """Let mmdebstrap make the file tree as a tar, whole or not at all."""
        handle, unfinished = tempfile.mkstemp(prefix=".tree-", suffix=".tar", dir=self._workdir)
        os.close(handle)
        try:
            await self._mmdebstrap(arch, unfinished, step)
            await in_thread(_keep, unfinished, tree)
        finally:
            with suppress(FileNotFoundError):
                os.unlink(unfinished)

    async def _mmdebstrap(self, arch: str, into: str, step: str) -> None:
        child = await asyncio.create_subprocess_exec(
            *self._command(arch, into),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            env={**os.environ, "SOURCE_DATE_EPOCH": str(self._state.epoch), "LC_ALL": "C.UTF-8"},
            start_new_session=True,
        )
        tail: list[str] = []
        try:
            assert child.stderr is not None
            async for line in child.stderr:
                text = line.decode(errors="replace").rstrip()
                tail = [*tail[1 - _TAIL :], text]
                self._tell("log", step, f"{text}\n")
            status = await child.wait()
        finally:
            await _end(child)
        if status != 0:
            raise BuildError(
                f"mmdebstrap could not make {self._spec.what} for {arch}",
                why=_blame(tail) or f"exit code {status}",
                remedy="check the names of the release and of the packages, and the mirror",
                evidence={"output": "\n".join(tail)},
            )

    def _command(self, arch: str, into: str) -> list[str]:
        slim = [f"--dpkgopt=path-exclude={path}/*" for path in _DOCUMENTATION]
        keep = ["--dpkgopt=path-include=/usr/share/doc/*/copyright"]
        packages = ",".join(self.recipe.packages)
        return [
            "mmdebstrap",
            f"--variant={self.recipe.variant}",
            "--format=tar",
            "--skip=check/qemu",  # it wants another program to find out what we know already
            f"--architectures={arch}",
            *([f"--include={packages}"] if packages else []),
            *([*slim, *keep] if self.recipe.slim else []),
            self.recipe.suite,
            into,
            *(source.line for source in self._sources),
        ]

    def _tell(self, kind: str, key: str, text: str = "") -> None:
        self._report(Event(kind, key, key, text=text))  # type: ignore[arg-type]


_DOCUMENTATION = (
    "/usr/share/doc",
    "/usr/share/man",
    "/usr/share/info",
    "/usr/share/locale",
    "/usr/share/groff",
    "/usr/share/lintian",
)


async def _end(child: asyncio.subprocess.Process) -> None:
    """A cancelled run: mmdebstrap takes its own mounts down when asked to end."""
    if child.returncode is None:
        with suppress(ProcessLookupError):
            child.terminate()
        try:
            async with asyncio.timeout(10):
                await child.wait()
        except TimeoutError:
            child.kill()
            await child.wait()


def _blame(tail: list[str]) -> str:
    # The first error is the cause; what comes after it is who gave up because of it.
    errors = [line for line in tail if line.startswith("E: ")]
    warnings = [line for line in tail if line.startswith("W: ")]
    return next(iter(errors or warnings[::-1]), "")


def _keep(unfinished: str, tree: str) -> None:
    """Let the tree appear, and older ones of its suite and architecture go."""
    os.rename(unfinished, tree)
    folder, name = os.path.split(tree)
    kind = name.rpartition("-")[0]
    for other in os.listdir(folder):
        if other != name and other.endswith(".tar") and other.rpartition("-")[0] == kind:
            path = os.path.join(folder, other)
            with suppress(FileNotFoundError):
                if time.time() - os.stat(path).st_mtime > 7 * 86400:
                    os.unlink(path)


async def _index(images: Store, manifests: list[Descriptor]) -> Descriptor:
    body = dump(
        {
            "schemaVersion": 2,
            "mediaType": media.OCI_INDEX,
            "manifests": [desc.to_json() for desc in manifests],
        }
    )
    return await put_bytes(images, Descriptor.of(media.OCI_INDEX, body), body)


# What is known


@frozen
class _Known:
    """An image made before, and when the archive was asked."""

    asked: float
    image: Descriptor


def _load(path: str) -> _Known | None:
    with suppress(OSError, ValueError, KeyError, TypeError):
        with open(path, encoding="utf-8") as file:
            said = json.load(file)
        return _Known(float(said["asked"]), Descriptor.from_json(said["image"]))
    return None


def _save(path: str, known: _Known) -> None:
    temporary = f"{path}.{secrets.token_hex(4)}"
    with open(temporary, "w", encoding="utf-8") as file:
        json.dump({"asked": known.asked, "image": known.image.to_json()}, file)
    os.replace(temporary, path)


def _short(words: object) -> str:
    return hashlib.sha256(json.dumps(words).encode()).hexdigest()[:16]
