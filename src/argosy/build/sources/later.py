"""A repository that is opened only when something of it is needed."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from argosy.content.store import Source
from argosy.model.descriptor import Descriptor
from argosy.model.reference import Reference


class Later:
    """The Source of a base image whose manifest is known already: a warm build asks nobody."""

    def __init__(self, repository: Callable[[Reference], Source], reference: Reference) -> None:
        self._repository = repository
        self._reference = reference
        self._opened: Source | None = None

    @property
    def _source(self) -> Source:
        if self._opened is None:
            self._opened = self._repository(self._reference)
        return self._opened

    async def resolve(self, ref: str) -> Descriptor:
        """As the repository does."""
        return await self._source.resolve(ref)

    async def exists(self, desc: Descriptor) -> bool:
        """As the repository does."""
        return await self._source.exists(desc)

    @asynccontextmanager
    async def open(
        self, desc: Descriptor, *, start: int = 0
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """As the repository does."""
        async with self._source.open(desc, start=start) as body:
            yield body

    def origin(self, desc: Descriptor) -> Source:
        """The repository."""
        del desc
        return self._source
