"""Finding what a reference names, and helping who mistyped it."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from argosy.content.store import ListsTags, Source
from argosy.errors import ArgosyError, CopyError, NotFound, UsageError
from argosy.model.descriptor import Descriptor
from argosy.model.platform import Platform
from argosy.values import frozen

if TYPE_CHECKING:
    from argosy.cli.session import Session

_PATIENCE = 3.0  # seconds a suggestion may take
_MANY = 10_000  # tags looked at


@frozen
class Found:
    """What a reference names, and where."""

    source: Source
    desc: Descriptor


async def look_up(session: "Session", image: str, platforms: Sequence[Platform] = ()) -> Found:
    """The manifest or index a reference names; with a platform, the image of it."""
    if len(platforms) > 1:
        raise UsageError(
            f"{len(platforms)} platforms were given, one is expected",
            remedy="ask for one platform at a time",
        )
    source, ref = await session.source(image)
    async with suggesting(source, image, ref):
        desc = await source.resolve(ref)
    if platforms:
        from argosy.content.select import pick

        desc = await pick(source, desc, platforms[0])
    return Found(source, desc)


@asynccontextmanager
async def suggesting(source: Source, image: str, ref: str) -> AsyncIterator[None]:
    """Add the nearest tags to a NotFound that is about `ref`."""
    try:
        yield
    except NotFound as e:
        await _suggest(e, source, image, ref)
        raise
    except CopyError as e:
        if e.operation == "resolve" and isinstance(e.cause, NotFound):
            await _suggest(e, source, image, ref)
        raise


async def _suggest(error: ArgosyError, source: Source, image: str, ref: str) -> None:
    near = await nearest(source, ref)
    if near:
        error.evidence["nearest"] = near
        listing = "images" if image.startswith("local:") else f"tags {_repository(image)}"
        error.remedy = f"did you mean {' or '.join(near)}? `argosy {listing}` lists all"


async def nearest(source: Source, ref: str) -> list[str]:
    """The tags most like `ref`; none if the source cannot say, or not in time."""
    if not isinstance(source, ListsTags) or (":" in ref and "/" not in ref):
        return []
    import difflib

    tags: list[str] = []
    try:
        async with asyncio.timeout(_PATIENCE):
            async for tag in source.tags():
                tags.append(tag)
                if len(tags) >= _MANY:
                    break
    except (ArgosyError, TimeoutError):
        return []
    return difflib.get_close_matches(ref, tags, n=3, cutoff=0.5)


def _repository(image: str) -> str:
    head, at, _ = image.partition("@")
    name, colon, tag = head.rpartition(":")
    return head if at or not colon or "/" in tag else name
