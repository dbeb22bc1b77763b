"""Whether it is time to look for old build cache, after a build: all that a build pays for.

The rules themselves, and what they need, are imported when it is.
"""

import os
import time
from contextlib import suppress

from argosy.concurrency import in_thread
from argosy.content.store import Store
from argosy.errors import ArgosyError
from argosy.observe import Event, Report
from argosy.settings import Settings

_STAMP = "gc"  # when it was last looked


async def tidied(settings: Settings, images: Store, report: Report) -> int:
    """Remove what the policy says, if it is time to look; bytes. What fails there fails no build."""
    try:
        if not await in_thread(is_due, settings):
            return 0
        # Most builds do not look: their start does not pay for it.
        from argosy.build.disk.policy import apply  # noqa: PLC0415

        return await apply(settings, images)
    except ArgosyError as e:
        text = f"old build cache was not removed: {e.summary}"
        report(Event("warning", "gc", "build cache", text=text))
        return 0


def is_due(settings: Settings) -> bool:
    """Whether it is time to look; it costs one stat (blocking). Where nobody ever did, time begins now."""
    path = os.path.join(settings.home, "build", _STAMP)
    if not settings.gc:
        return False
    try:
        last = os.stat(path).st_mtime
    except FileNotFoundError:
        _looked(path)
        last = time.time()
    if 0 <= time.time() - last < settings.gc_interval:
        return False
    _looked(path)
    return True


def _looked(path: str) -> None:
    with suppress(OSError), open(path, "ab"):
        os.utime(path)
