"""From where a blob may be mounted: only from what who asks could pull as well.

Source: distribution-spec, end-11. A source that may not be used is no error: the client
is answered 202 and sends the bytes itself.
"""

from functools import partial
from typing import Final

from sqlalchemy import Connection

from argosy.catalog.catalog import Catalog
from argosy.catalog.registry import listing
from argosy.catalog.registry.listing import Among
from argosy.concurrency import in_thread
from argosy.model.digest import Digest
from argosy.server.guarding.guard import Guard
from argosy.server.http.messages import Request
from argosy.server.v2.needs import need

_LOOKED_AT: Final = 1_000  # repositories that have the blob


async def source(catalog: Catalog, guard: Guard, request: Request, digest: Digest) -> str | None:
    """The repository to mount from: the one that `from` names, or any; None if none may be used."""
    wanted = request.query.get("from", [""])[0]
    if wanted:
        return wanted if await guard.may(request, need("blobs", wanted, "GET")) else None
    seen = await guard.visible(request)
    rows = await catalog.database.read(partial(_holders, digest, seen.among))
    public = {name for name, is_public in rows if is_public}
    for name in await in_thread(seen.seen, rows):
        # A token may have been given for less than its owner may.
        if name in public or await guard.may(request, need("blobs", name, "GET")):
            return name
    return None


def _holders(digest: Digest, among: Among, conn: Connection) -> list[tuple[str, bool]]:
    return listing.holders(conn, digest, _LOOKED_AT, among)
