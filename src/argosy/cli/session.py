"""One command at work: its settings, its progress, its stores. Rooms are composed here only.

Nothing is opened before it is asked for, so a verb pays for what it uses.
"""

import argparse
import os
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING, Self

from argosy.claims import Claims
from argosy.content.store import Source, Store
from argosy.errors import UsageError
from argosy.model.reference import Reference
from argosy.observe import Report, silent
from argosy.settings import Settings

if TYPE_CHECKING:
    from argosy.stores.layout import OCILayout
    from argosy.stores.locate import Location
    from argosy.stores.remote.client import Client
    from argosy.stores.remote.transport import Answer

LOCAL = "local:"  # the images of this machine, as a transport of the command line


def settings_of(args: argparse.Namespace) -> Settings:
    """Settings from the environment, flags over them."""
    flags = {"jobs": getattr(args, "jobs", None), "retries": getattr(args, "retry_times", None)}
    return replace(Settings.load(), **{k: v for k, v in flags.items() if v is not None})


def full_name(text: str) -> str:
    """A reference as local images are named: registry, repository and tag (or digest), all of them."""
    found = Reference.parse(text)
    return str(found if found.tag or found.digest else found.with_tag("latest"))


class Session:
    """What a verb works with; closes what was opened. Archives are kept only if the block ends well."""

    def __init__(self, args: argparse.Namespace) -> None:
        self._args = args
        self.settings = settings_of(args)
        self.report: Report = silent
        self._stack = AsyncExitStack()
        self._clients: dict[str | None, Client] = {}
        # Of the build engine's state: what is asked for of the local images is not pruned.
        self._claims = self._stack.enter_context(
            Claims(os.path.join(self.settings.home, "build", "in-use"))
        )

    async def __aenter__(self) -> Self:
        if hasattr(self._args, "progress"):
            from argosy.cli.terminal.progress import choose, showing

            quiet = getattr(self._args, "quiet", False)
            kind = choose(self._args.progress, quiet=quiet)
            self.report = self._stack.enter_context(showing(kind))
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool | None:
        return await self._stack.__aexit__(kind, error, trace)

    async def client(self, end: str = "") -> "Client":
        """The registry client, with the TLS flags of an end (`src`, `dest`) of a copy, if given."""
        return self._client(end)

    def _client(self, end: str = "") -> "Client":
        from argosy.cli.access import client, tls_mode

        # One client for both ends where it can be: it mounts blobs between repositories.
        mode = tls_mode(self._args, end)
        if mode not in self._clients:
            made = client(self._args, self.settings, self.report, end)
            self._stack.push_async_exit(made)
            self._clients[mode] = made
        return self._clients[mode]

    def remote(self, reference: Reference) -> Store:
        """A repository of a registry; the client is made with the first one that is asked for."""
        return self._client().repository(reference)

    def fetch(
        self, url: str, headers: Mapping[str, str], /
    ) -> "AbstractAsyncContextManager[Answer]":
        """A file of the web, by the same client."""
        return self._client().web()(url, headers)

    async def repository(self, reference: Reference) -> Store:
        """A repository of a registry."""
        return (await self.client()).repository(reference)

    def images(self) -> "OCILayout":
        """The images of this machine, named by full references."""
        from argosy.stores.layout import OCILayout

        return OCILayout(os.path.join(self.settings.home, "images"), claims=self._claims)

    async def source(self, text: str, end: str = "") -> tuple[Source, str]:
        """What `text` names, open for reading, and the ref to resolve in it."""
        if text.startswith(LOCAL):
            return self.images(), full_name(text.removeprefix(LOCAL))
        from argosy.stores.locate import open_source

        where = _location(text)
        client = None if where.is_local else await self.client(end)
        return await self._stack.enter_async_context(open_source(where, client))

    async def store(self, text: str, end: str = "") -> tuple[Store, str]:
        """What `text` names, open for writing, and the ref to tag in it."""
        if text.startswith(LOCAL):
            return self.images(), full_name(text.removeprefix(LOCAL))
        from argosy.stores.locate import open_store

        where = _location(text)
        client = None if where.is_local else await self.client(end)
        return await self._stack.enter_async_context(open_store(where, client))


def registry_reference(text: str) -> Reference:
    """A reference in a registry; UsageError if `text` names a file or a local image."""
    if text.startswith(LOCAL) or _location(text).is_local:
        raise UsageError(f"{text} is not in a registry", remedy="write registry/repository:tag")
    return Reference.parse(text)


def _location(text: str) -> "Location":
    from argosy.stores.locate import parse_location

    return parse_location(text)
