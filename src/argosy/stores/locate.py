"""Where an image is, in words: transports and what they open.

    docker://registry/repository:tag   (or the bare reference)   a registry
    oci:directory[:ref][@digest]                                 an OCI layout
    oci-archive:file[:ref][@digest]                              the same in one tar
    docker-archive:file[:ref][@digest]                           what docker save writes

The words are skopeo's (containers-transports(5)): the first colon after the
transport ends the path.
"""

import os
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Literal, Protocol

from argosy.content.store import Source, Store
from argosy.errors import UsageError
from argosy.model.digest import Digest
from argosy.model.reference import Reference
from argosy.values import frozen

Transport = Literal["docker", "oci", "oci-archive", "docker-archive"]

_LOCAL: tuple[Transport, ...] = ("oci", "oci-archive", "docker-archive")
_FOREIGN = (
    "containers-storage",
    "docker-daemon",
    "dir",
    "ostree",
    "sif",
    "tarball",
    "http",
    "https",
)
_DIGEST = re.compile(r"@((?:sha256|sha512):[^@/]*)$")


class Registries(Protocol):
    """What opens repositories of registries (`argosy.stores.remote.Client`)."""

    def repository(self, reference: Reference, /) -> Store:
        """The repository a reference names."""
        ...


@frozen(kw_only=True)
class Location:
    """One place of an image: a transport, and what it needs."""

    transport: Transport
    reference: Reference | None = None  # of docker
    path: str = ""  # of the local ones
    tag: str = ""  # the image's name in a local store; empty: its only image
    digest: Digest | None = None

    @property
    def ref(self) -> str:
        """What to resolve or tag there: digest, else tag; empty for the only image of a local store."""
        if self.reference is not None:
            return self.reference.name
        return self.digest or self.tag

    @property
    def is_local(self) -> bool:
        """Whether it is a file or directory of this machine."""
        return self.reference is None

    def __str__(self) -> str:
        if self.reference is not None:
            return f"docker://{self.reference}"
        tag = f":{self.tag}" if self.tag else ""
        return f"{self.transport}:{self.path}{tag}" + (f"@{self.digest}" if self.digest else "")


def parse_location(text: str) -> Location:
    """Read a location; UsageError (or InvalidReference) says what is wrong with it."""
    word, colon, rest = text.partition(":")
    for transport in _LOCAL:
        if colon and word == transport:
            return _local(text, transport, rest)
    if colon and word in _FOREIGN:
        raise UsageError(
            f"{text!r}: the transport {word!r} is not one of Argosy's",
            why="Argosy needs no daemon, and keeps images in registries, OCI layouts and archives",
            remedy=f"use docker://, oci:, oci-archive: or docker-archive:; a repository of that"
            f" name is written docker://{text}",
        )
    return Location(transport="docker", reference=Reference.parse(text))


def _local(text: str, transport: Transport, rest: str) -> Location:
    digest = None
    if found := _DIGEST.search(rest):
        rest, digest = rest[: found.start()], Digest.parse(found[1])
    path, _, tag = rest.partition(":")
    if not path:
        raise UsageError(
            f"{text!r} names no path",
            why=f"the form is {transport}:PATH[:REF][@DIGEST]",
            remedy=f"write for example {transport}:./image:latest",
        )
    return Location(transport=transport, path=os.path.expanduser(path), tag=tag, digest=digest)


@asynccontextmanager
async def open_source(
    location: Location, client: Registries | None = None
) -> AsyncIterator[tuple[Source, str]]:
    """The source at a location, open, and the ref to resolve in it. `client` is for registries."""
    if location.reference is not None:
        yield _registries(location, client).repository(location.reference), location.ref
    elif location.transport == "oci":
        from argosy.stores.layout import OCILayout  # noqa: PLC0415 - only what is used is loaded

        yield OCILayout(location.path), location.ref
    else:
        from argosy.stores.archive import read_archive  # noqa: PLC0415

        async with read_archive(location.path) as source:
            yield source, location.ref


@asynccontextmanager
async def open_store(
    location: Location, client: Registries | None = None
) -> AsyncIterator[tuple[Store, str]]:
    """The store at a location, and the ref to tag in it (empty: no name).

    An archive is written when the context ends well, whole or not at all; it
    replaces what was there.
    """
    if location.digest is not None:
        raise UsageError(
            f"{location} cannot be written to by digest",
            why="the digest follows from the content",
            remedy="leave @digest away",
        )
    if location.reference is not None:
        yield _registries(location, client).repository(location.reference), location.ref
    elif location.transport == "oci":
        from argosy.stores.layout import OCILayout  # noqa: PLC0415

        yield OCILayout(location.path), location.ref
    else:
        from argosy.stores.archive import write_archive  # noqa: PLC0415

        async with write_archive(
            location.path, docker=location.transport != "oci-archive"
        ) as store:
            yield store, location.ref


def _registries(location: Location, client: Registries | None) -> Registries:
    if client is None:
        raise UsageError(f"{location} is in a registry, and no registry client was given")
    return client
