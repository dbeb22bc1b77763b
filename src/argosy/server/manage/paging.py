"""Pages by key: one more than asked for is read, and tells whether there are more."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from argosy.server.manage.operation import Page, Reply

T = TypeVar("T")


def page(
    found: Sequence[T], limit: int, shown: Callable[[T], Any], key: Callable[[T], object]
) -> Reply:
    """A page of what was read with `limit + 1`; `key` is what the next page begins after."""
    kept = found[:limit]
    following = str(key(kept[-1])) if len(found) > limit else None
    return Reply(value=Page(items=[shown(one) for one in kept], next=following))
