"""Pages by key: one more than asked for is read, and tells whether there are more."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, TypeVar

from argosy.server.manage.operation import Page, Paging, Reply

T = TypeVar("T")
_MANY: Final = 1000  # rows looked through at once


def page(
    found: Sequence[T], limit: int, shown: Callable[[T], Any], key: Callable[[T], object]
) -> Reply:
    """A page of what was read with `limit + 1`; `key` is what the next page begins after."""
    kept = found[:limit]
    following = str(key(kept[-1])) if len(found) > limit else None
    return Reply(value=Page(items=[shown(one) for one in kept], next=following))


async def looked_through(
    read: Callable[[str, int], Awaitable[Sequence[T]]],
    fits: Callable[[T], bool],
    key: Callable[[T], str],
    asked: Paging,
) -> list[T]:
    """One more than a page of what fits: for conditions that are not the database's."""
    found: list[T] = []
    after, count = asked.after, asked.limit + 1
    while len(found) <= asked.limit:
        rows = await read(after, count)
        found += [row for row in rows if fits(row)]
        if len(rows) < count:
            break
        after, count = key(rows[-1]), _MANY
    return found
