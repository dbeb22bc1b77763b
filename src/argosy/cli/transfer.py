"""A copy as the verbs ask for it: copy, push, pull, save, load and tag are all this one."""

from collections.abc import Sequence
from typing import Any

from argosy.cli.looking import suggesting
from argosy.cli.session import Session
from argosy.content.copy import copy
from argosy.model.descriptor import Descriptor
from argosy.model.platform import Platform
from argosy.values import frozen


@frozen(kw_only=True)
class Transfer:
    """What goes where: locations as typed, the platforms wanted (none: all), referrers or not."""

    source: str
    destination: str
    platforms: Sequence[Platform] = ()
    referrers: bool = True


async def move(session: Session, what: Transfer) -> Descriptor:
    """Copy it; the descriptor that is at the destination now."""
    source, ref = await session.source(what.source, "src")
    store, name = await session.store(what.destination, "dest")
    if what.platforms:
        from argosy.content.select import narrowed

        source, ref = await narrowed(source, ref, what.platforms)
    async with suggesting(source, what.source, ref):
        return await copy(
            source,
            ref,
            store,
            name,
            jobs=session.settings.jobs,
            verify_timeout=session.settings.verify_timeout,
            referrers=what.referrers and not what.destination.startswith("docker-archive:"),
            report=session.report,
        )


def told(what: Transfer, moved: Descriptor) -> dict[str, Any]:
    """The result for `--json`."""
    return {
        "source": what.source,
        "destination": what.destination,
        "mediaType": moved.media_type,
        "digest": str(moved.digest),
        "size": moved.size,
    }
