"""Files of the web: downloaded once, and asked about instead of downloaded again.

What a URL last answered is kept with its ETag and Last-Modified, so that an unchanged
file costs one request without a body. With a checksum there is no request at all once
the content is here. URLs are kept as digests: they may hold credentials.
"""

import base64
import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Self
from urllib.parse import unquote, urlsplit, urlunsplit

from argosy.build.dockerfile.git_reference import shown
from argosy.build.fetch import Page
from argosy.build.files.tree import Tree
from argosy.build.sources.outside import Outside, locked
from argosy.concurrency import in_thread
from argosy.errors import BuildError, ConfigError, DigestMismatch, NetworkError, StorageError
from argosy.model.digest import Digest
from argosy.observe import Event
from argosy.values import frozen

_UNNAMED = "__unnamed__"  # BuildKit's name for what a URL does not name
_OLD = 24 * 3600.0  # seconds after which a former content of a URL is of no use to another build
_SPECIAL = "*?[\\"


@frozen(kw_only=True)
class Kept:
    """A file that is here: where, the digest of its bytes, and what the server said of it."""

    path: str
    digest: Digest
    etag: str = ""
    modified: str = ""
    checksums: tuple[str, ...] = ()  # that it was found to have


@dataclass(slots=True)
class WebFile:
    """A file of the web as a source of ADD: mode 0600, as old as the server says.

    Its key is its name and the digest of its content, which a checksum gives without
    asking anyone.
    """

    url: str
    outside: Outside
    checksum: str = ""
    _kept: Kept | None = None

    @property
    def name(self) -> str:
        """What it is called, from the URL's path."""
        name = unquote(urlsplit(self.url).path).rstrip("/").rpartition("/")[2]
        return _UNNAMED if name in ("", ".", "..") else name

    @property
    def key(self) -> list[Any]:
        """It, and nothing about the way to it."""
        return ["web/1", self.name, self.checksum or (self._kept and self._kept.digest)]

    @property
    def pattern(self) -> str:
        """The file within the tree."""
        return "".join(f"\\{c}" if c in _SPECIAL else c for c in self.name)

    async def resolve(self) -> None:
        """Find out what its content is: asks the server, unless a checksum says it."""
        _check_name(self)
        if not self.checksum:
            self._kept = await self._fetched()

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[Tree]:
        """The directory that holds it, and nothing else; it is fetched if it is not here."""
        kept = await self.file()
        yield Tree(os.path.dirname(kept.path), what=shown(self.url))

    async def file(self) -> Kept:
        """The file, here; BuildError if it cannot be had, DigestMismatch if it is another one."""
        if self._kept is None or not await in_thread(os.path.exists, self._kept.path):
            self._kept = await self._fetched()
        return self._kept

    @property
    def _folder(self) -> str:
        name = hashlib.sha256(self.url.encode()).hexdigest()
        return os.path.join(self.outside.state, "downloads", name)

    async def _fetched(self) -> Kept:
        with _storage():
            await in_thread(self.outside.claim, f"downloads/{os.path.basename(self._folder)}")
            await in_thread(os.makedirs, self._folder, mode=0o700, exist_ok=True)
            async with locked(os.path.join(self._folder, "lock")):
                kept = await in_thread(_read, self._folder, self.name)
                if self.checksum and kept is not None and self.checksum in kept.checksums:
                    return kept
                with _told(self.url):
                    return await self._asked(kept)

    async def _asked(self, kept: Kept | None) -> Kept:
        fetch = self.outside.fetch
        if fetch is None:
            raise BuildError("this build has no way to the web")
        bare, headers = await in_thread(_authorized, self.url, self.outside)
        headers |= {} if self.checksum else _conditions(kept)
        async with fetch(bare, headers) as page:
            same = page.status == HTTPStatus.NOT_MODIFIED or _is_same(page, kept)
            if kept is not None and same and not self.checksum:
                return kept
            if page.status != HTTPStatus.OK:
                raise _refused(self.url, page.status)
            return await self._received(page)

    async def _received(self, page: Page) -> Kept:
        part = await in_thread(tempfile.mkdtemp, dir=self._folder, prefix="part-")
        try:
            with _Incoming(os.path.join(part, self.name), self._algorithm) as incoming:
                await self._written(page, incoming)
            found = incoming.checksums
            if self.checksum and self.checksum not in found:
                raise _mismatch(self, found)
            kept = Kept(
                path=os.path.join(self._folder, found[0].replace(":", "-"), self.name),
                digest=Digest(found[0]),
                etag=page.headers.get("etag", ""),
                modified=page.headers.get("last-modified", ""),
                checksums=tuple(found),
            )
            await in_thread(_keep, part, self._folder, kept)
            return kept
        finally:
            await in_thread(shutil.rmtree, part, ignore_errors=True)

    @property
    def _algorithm(self) -> str:
        return self.checksum.partition(":")[0] or "sha256"

    async def _written(self, page: Page, incoming: "_Incoming") -> None:
        length = page.headers.get("content-length", "")
        total = int(length) if length.isdecimal() else None
        key, name = f"download-{os.path.basename(self._folder)}", f"download {shown(self.url)}"
        report = self.outside.report
        report(Event("started", key, name, total=total))
        try:
            async for piece in page.pieces():
                await in_thread(incoming.write, piece)
                report(Event("advanced", key, name, current=incoming.size, total=total))
            _check_length(incoming.size, total)
        except BaseException:
            report(Event("failed", key, name))
            raise
        report(Event("done", key, name, current=incoming.size, total=total))


def _check_length(size: int, total: int | None) -> None:
    if total is not None and size != total:
        raise NetworkError("the body is not whole", why=f"{size} of {total} bytes came")


class _Incoming:
    """A file being written, and hashed on the way."""

    def __init__(self, path: str, algorithm: str) -> None:
        self._path = path
        self._states = {a: hashlib.new(a) for a in dict.fromkeys(("sha256", algorithm))}
        self.size = 0

    def __enter__(self) -> Self:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        self._file = os.fdopen(os.open(self._path, flags, 0o600), "wb", buffering=0)
        return self

    def __exit__(self, *_error: object) -> None:
        self._file.close()

    def write(self, piece: bytes) -> None:
        """One more piece (blocking)."""
        view = memoryview(piece)
        while view:
            view = view[self._file.write(view) :]
        for state in self._states.values():
            state.update(piece)
        self.size += len(piece)

    @property
    def checksums(self) -> list[str]:
        """The digests, SHA-256 first."""
        return [f"{name}:{state.hexdigest()}" for name, state in self._states.items()]


def _authorized(url: str, outside: Outside) -> tuple[str, dict[str, str]]:
    """The URL without user and password, and the header that stands for them.

    Secrets HTTP_AUTH_HEADER_<host> and HTTP_AUTH_TOKEN_<host> as BuildKit has them.
    """
    parts = urlsplit(url)
    user, at, host = parts.netloc.rpartition("@")
    bare = urlunsplit(parts._replace(netloc=host, fragment=""))
    token = outside.secret(f"HTTP_AUTH_TOKEN_{parts.hostname}")
    header = f"Bearer {token}" if token else outside.secret(f"HTTP_AUTH_HEADER_{parts.hostname}")
    if not header and at:
        header = "Basic " + base64.b64encode(unquote(user).encode()).decode()
    return bare, {"Authorization": header} if header else {}


def _conditions(kept: Kept | None) -> dict[str, str]:
    if kept is None:
        return {}
    headers = {"If-None-Match": kept.etag} if kept.etag else {}
    return headers or ({"If-Modified-Since": kept.modified} if kept.modified else {})


def _is_same(page: Page, kept: Kept | None) -> bool:
    """Some servers send ETags, but do not heed them when they are asked."""
    etag = page.headers.get("etag", "")
    strong = etag and not etag.startswith("W/")
    return bool(kept and strong and etag == kept.etag and page.status == HTTPStatus.OK)


def _read(folder: str, name: str) -> Kept | None:
    """What is known of a URL; a record that cannot be read is none."""
    try:
        with open(os.path.join(folder, "answer.json"), encoding="utf-8") as file:
            value = json.load(file)
        digest = Digest.parse(value["digest"])
        path = os.path.join(folder, digest.replace(":", "-"), name)
        kept = Kept(
            path=path,
            digest=digest,
            etag=str(value["etag"]),
            modified=str(value["modified"]),
            checksums=tuple(map(str, value["checksums"])),
        )
        return kept if os.stat(path).st_size == value["size"] else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _keep(part: str, folder: str, kept: Kept) -> None:
    """Move a whole file in, and make the record say so; the record comes last."""
    moment = _moment(kept.modified)
    os.utime(os.path.join(part, os.path.basename(kept.path)), (moment, moment))
    home = os.path.dirname(kept.path)
    shutil.rmtree(home, ignore_errors=True)  # half of it, or the same bytes with another time
    os.rename(part, home)
    value = {
        "digest": kept.digest,
        "etag": kept.etag,
        "modified": kept.modified,
        "checksums": kept.checksums,
        "size": os.stat(kept.path).st_size,
    }
    record = os.path.join(folder, "answer.json")
    with open(f"{record}.new", "w", encoding="utf-8") as file:
        json.dump(value, file)
    os.replace(f"{record}.new", record)
    _sweep(folder, home)


def _sweep(folder: str, home: str) -> None:
    for entry in list(os.scandir(folder)):
        with suppress(OSError):
            aged = time.time() - entry.stat().st_mtime > _OLD
            if entry.is_dir() and entry.path != home and aged:
                shutil.rmtree(entry.path, ignore_errors=True)


def _moment(text: str) -> float:
    """An HTTP date as seconds since 1970; 0, as BuildKit has it, if there is none."""
    if not text:
        return 0.0
    import email.utils  # noqa: PLC0415 - slow to import, and only downloads need it

    try:
        return max(0.0, email.utils.parsedate_to_datetime(text).timestamp())
    except (ValueError, TypeError, OverflowError, IndexError):
        return 0.0


def _check_name(file: WebFile) -> None:
    name = file.name
    if any(ord(c) < 32 or ord(c) == 127 for c in name) or len(os.fsencode(name)) > 255:
        raise BuildError(
            f"the name of {shown(file.url)!r} cannot be that of a file",
            why="it is longer than 255 bytes, or has control characters in it",
            remedy="use another URL, or download the file before the build",
        )


@contextmanager
def _told(url: str) -> Iterator[None]:
    try:
        yield
    except (NetworkError, ConfigError) as e:
        raise BuildError(
            f"cannot download {shown(url)}",
            why=f"{e.summary}: {e.why}" if e.why else e.summary,
            remedy="check the URL, the network and the proxy variables, then build again",
            evidence={"url": shown(url)},
        ) from e


@contextmanager
def _storage() -> Iterator[None]:
    try:
        yield
    except OSError as e:
        raise StorageError(
            f"a download cannot be kept in {e.filename or 'the build directory'}",
            why=e.strerror or str(e),
            remedy="free some space there, or set ARGOSY_HOME to another place",
        ) from e


def _refused(url: str, status: int) -> BuildError:
    try:
        words = f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        words = str(status)
    remedy = "check the URL"
    if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        host = urlsplit(url).hostname
        remedy = f"give a token: --secret id=HTTP_AUTH_TOKEN_{host},env=NAME"
    return BuildError(
        f"cannot download {shown(url)}",
        why=f"the server answers {words}",
        remedy=remedy,
        evidence={"url": shown(url), "status": status},
    )


def _mismatch(file: WebFile, found: list[str]) -> DigestMismatch:
    return DigestMismatch(
        shown(file.url),
        expected=file.checksum,
        actual=found[-1],
        why="the server sends another file than the one --checksum names",
        remedy="if the file was meant to change, write its new checksum into the Dockerfile",
    )
