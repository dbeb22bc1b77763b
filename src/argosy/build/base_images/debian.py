"""Debian as the machine's own apt knows it: which mirrors, which state of the archive.

Source: sources.list(5), both formats; the Release file (DebianRepository/Format).
"""

import email.utils
import glob
import hashlib
import os
import re
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import suppress
from urllib.parse import urlsplit, urlunsplit

from argosy.errors import NetworkError
from argosy.values import frozen

_MOVING = frozenset({"sid", "unstable", "testing", "experimental"})
ARCHITECTURES = {
    "amd64": "amd64",
    "arm64": "arm64",
    "386": "i386",
    "ppc64le": "ppc64el",
    "s390x": "s390x",
    "riscv64": "riscv64",
    "mips64le": "mips64el",
    "loong64": "loong64",
    "arm/v7": "armhf",
    "arm/v6": "armel",
    "arm/v5": "armel",
}
_TIMEOUT = 20.0  # seconds


@frozen
class AptSource:
    """One archive: an address, a suite, its components, and the keys it is signed with."""

    uri: str
    suite: str
    components: tuple[str, ...] = ("main",)
    signed_by: str = ""

    @property
    def line(self) -> str:
        """As in sources.list."""
        option = f"[signed-by={self.signed_by}] " if self.signed_by else ""
        return f"deb {option}{self.uri} {self.suite} {' '.join(self.components)}"

    @property
    def release(self) -> str:
        """Where its signed Release file is."""
        return f"{self.uri.rstrip('/')}/dists/{self.suite}/InRelease"


def machine_suite(path: str = "/etc/os-release") -> str:
    """The suite this machine itself is of, if it is a Debian; else nothing."""
    with suppress(OSError):
        lines = dict(line.partition("=")[::2] for line in _text(path).splitlines())
        if lines.get("ID") == "debian":
            return lines.get("VERSION_CODENAME", "").strip('"')
    return ""


def machine_sources(suite: str, folder: str = "/etc/apt") -> list[AptSource]:
    """What this machine's apt uses for a suite, with its updates and security; maybe nothing."""
    wanted = {suite, f"{suite}-updates", f"{suite}-security", f"{suite}/updates"}
    found = [source for source in _machine(folder) if source.suite in wanted]
    return found if any(source.suite == suite for source in found) else []


def _machine(folder: str) -> Iterator[AptSource]:
    lists = [os.path.join(folder, "sources.list"), *glob.glob(f"{folder}/sources.list.d/*.list")]
    for path in sorted(filter(os.path.exists, lists)):
        yield from parse_lines(_text(path))
    for path in sorted(glob.glob(f"{folder}/sources.list.d/*.sources")):
        yield from parse_stanzas(_text(path))


def _text(path: str) -> str:
    with open(path, encoding="utf-8", errors="replace") as file:
        return file.read()


_LINE = re.compile(
    r"deb\s+(?:\[(?P<options>[^]]*)\]\s+)?(?P<uri>\S+)\s+(?P<suite>\S+)\s+(?P<rest>.+)"
)


def parse_lines(text: str) -> Iterator[AptSource]:
    """Sources in the one-line format."""
    for line in text.splitlines():
        if found := _LINE.fullmatch(line.partition("#")[0].strip()):
            options = dict(o.partition("=")[::2] for o in (found["options"] or "").split())
            yield AptSource(
                found["uri"],
                found["suite"],
                tuple(found["rest"].split()),
                options.get("signed-by", "").strip('"'),
            )


def parse_stanzas(text: str) -> Iterator[AptSource]:
    """Sources in the deb822 format. Keys written into the file itself are left to the default keyring."""
    for stanza in re.split(r"\n\s*\n", text):
        fields: dict[str, list[str]] = {}
        name = ""
        for line in stanza.splitlines():
            if line.startswith("#"):
                continue
            if line[:1].isspace():
                fields.get(name, []).extend(line.split())
                continue
            name, _, rest = line.partition(":")
            name = name.strip().lower()
            fields[name] = rest.split()
        if "deb" not in fields.get("types", ()) or fields.get("enabled") == ["no"]:
            continue
        signed_by = next(iter(fields.get("signed-by", [])), "")
        for uri in fields.get("uris", ()):
            for suite in fields.get("suites", ()):
                yield AptSource(
                    uri,
                    suite,
                    tuple(fields.get("components", ())),
                    signed_by if signed_by.startswith("/") else "",
                )


@frozen
class ArchiveState:
    """A state of the archives: its digest, and its time (seconds since 1970)."""

    digest: str
    epoch: int


def archive_state(sources: Sequence[AptSource]) -> ArchiveState:
    """The state the archives are in now (blocking, one small file each).

    NetworkError if a mirror cannot be reached. The signatures are not looked at here:
    this only says whether something changed; apt checks what it installs.
    """
    state = hashlib.sha256()
    epoch = 0
    for source in sources:
        body = _fetch(source.release)
        state.update(source.line.encode() + b"\0" + body)
        epoch = max(epoch, _date(body))
    return ArchiveState(state.hexdigest(), epoch)


def _fetch(address: str) -> bytes:
    if urlsplit(address).scheme not in ("http", "https", "file"):
        raise NetworkError(
            f"cannot read {without_secret(address)}", why="only http, https and file mirrors can be"
        )
    try:
        with urllib.request.urlopen(address, timeout=_TIMEOUT) as answer:  # noqa: S310
            return bytes(answer.read(16 << 20))
    except (OSError, ValueError) as e:
        if isinstance(e, urllib.error.HTTPError):
            e.close()  # it holds the connection
        reason = e.reason if isinstance(e, urllib.error.URLError) else e
        raise NetworkError(
            f"cannot reach the package mirror {without_secret(address)}",
            why=str(reason),
            remedy="check the network, or name another mirror with --mirror",
        ) from e


def _date(release: bytes) -> int:
    found = re.search(rb"^Date: (.+)$", release, re.MULTILINE)
    try:
        when = email.utils.parsedate_to_datetime(found[1].decode()) if found else None
    except ValueError:
        when = None
    return int(when.timestamp()) if when else 0


def without_secret(address: str) -> str:
    """An address without the user and password that may be in it."""
    parts = urlsplit(address)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def public_lines(text: str) -> str:
    """A sources.list without passwords: what a mirror wants from us is not the image's to tell."""
    return re.sub(r"(://)[^/\s@]+@", r"\1", text)
