"""What is removed without being asked: after a build, looked at once in a while, as BuildKit does.

Rules as of BuildKit's default policy: sources and cache mounts first, if they are old;
then whatever nobody has used for months; then the least recently used, until the caps hold.
"""

import time

from argosy.build.disk.items import Item
from argosy.build.disk.pruning import Disk, Request, State, plan
from argosy.build.disk.space import Space
from argosy.concurrency import in_thread
from argosy.content.store import Store
from argosy.errors import ConfigError
from argosy.settings import Settings

_SOURCES = ("source.local", "source.git.checkout", "exec.cachemount")


def policy(settings: Settings, disk: Disk) -> tuple[Request, ...]:
    """The rules, one after the other; ConfigError names the variable that cannot be read."""
    sizes = {}
    for name in ("gc_max_used_space", "gc_min_free_space", "gc_reserved_space", "gc_sources_space"):
        try:
            sizes[name] = Space.read(getattr(settings, name)).of(disk.size)
        except ValueError as e:
            raise ConfigError(
                f"ARGOSY_{name.upper()}={getattr(settings, name)!r} cannot be read",
                why=str(e),
                remedy="write 10GB, 20%, or both with a comma for the lesser",
            ) from e
    sources = Request(
        wanted=_is_source, keep=settings.gc_sources_age, most_used=sizes["gc_sources_space"]
    )
    unused = Request(keep=settings.gc_age)
    caps = Request(
        most_used=sizes["gc_max_used_space"],
        least_free=sizes["gc_min_free_space"],
        reserved=sizes["gc_reserved_space"],
    )
    # 0 turns a rule off; a request without a limit would take everything.
    capped = (one for one in (sources, caps) if one.most_used or one.least_free)
    return (*capped, *([unused] if unused.keep else []))


async def apply(settings: Settings, images: Store) -> int:
    """Remove what the rules say; the bytes that went."""
    state = State.of(settings.home, images)
    disk = await in_thread(Disk.of, state.path)
    requests = policy(settings, disk)
    items, now = await state.items(), time.time()
    if not any(plan(items, request, disk, now) for request in requests):
        return 0
    return (await state.prune(*requests)).size


def _is_source(item: Item) -> bool:
    return item.kind in _SOURCES or item.place.startswith("downloads/")
