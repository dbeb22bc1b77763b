"""Small images to push, and what must hold of a catalog whatever happened to it."""

import asyncio
from typing import Any

from sqlalchemy import Connection, select

from argosy.catalog import schema as t
from argosy.catalog.caching.stamps import NEVER
from argosy.catalog.catalog import Catalog
from argosy.catalog.registry.manifests import Incoming
from argosy.content.blob_storage import Stored
from argosy.model import media
from argosy.model.descriptor import Descriptor
from argosy.model.digest import Digest
from argosy.model.manifest import dump

NAME = "team/app"


def image(seed: bytes, **more: Any) -> Incoming:
    """An image whose only blob is `seed`."""
    config = Descriptor.of(media.OCI_CONFIG, seed).to_json()
    value = {"schemaVersion": 2, "mediaType": media.OCI_MANIFEST, "config": config, "layers": []}
    return Incoming.parse(dump({**value, **more}), media.OCI_MANIFEST)


def index(*children: Incoming) -> Incoming:
    """An index over manifests."""
    listed = [Descriptor.of(media.OCI_MANIFEST, c.body).to_json() for c in children]
    value = {"schemaVersion": 2, "mediaType": media.OCI_INDEX, "manifests": listed}
    return Incoming.parse(dump(value), media.OCI_INDEX)


async def push(catalog: Catalog, *tags: str, seed: bytes = b"{}", name: str = NAME) -> Incoming:
    """Push an image with its blob."""
    await catalog.link_blob(name, Digest.of(seed), Stored(len(seed)))
    new = image(seed)
    await catalog.put_manifest(name, new, tags)
    return new


async def hearing(catalog: Catalog) -> None:
    """Wait until changes by other nodes are heard: before that, nothing is kept in memory."""
    memory = catalog.database.changes._stamps.memory
    while memory[0] == NEVER:
        await asyncio.sleep(0.01)


async def verify(catalog: Catalog) -> int:
    """Every tag stands on a manifest, every manifest on its children, every history on itself.

    Returns how many moves of tags there were.
    """
    return await catalog.database.read(_verify)


def _verify(conn: Connection) -> int:
    manifests = set(conn.execute(select(t.manifests.c.repository_id, t.manifests.c.digest)))
    blobs = set(
        conn.execute(select(t.repository_blobs.c.repository_id, t.repository_blobs.c.digest))
    )
    have = {tuple(row) for row in manifests | blobs}
    pairs = t.manifest_children
    for repository, parent, child in conn.execute(
        select(pairs.c.repository_id, pairs.c.parent, pairs.c.child)
    ):
        assert (repository, parent) in have, "children of a manifest that is gone"
        assert (repository, child) in have, "a manifest without its child"
    standing: dict[tuple[int, str], str | None] = {}
    moves = 0
    history = t.tag_history
    columns = (history.c.repository_id, history.c.name, history.c.previous, history.c.digest)
    for repository, name, previous, digest in conn.execute(select(*columns).order_by(history.c.id)):
        assert standing.get((repository, name)) == previous, f"{name}: the history has a gap"
        standing[repository, name] = digest
        moves += 1
    tags = {
        (r, n): d
        for r, n, d in conn.execute(select(t.tags.c.repository_id, t.tags.c.name, t.tags.c.digest))
    }
    assert {key: d for key, d in standing.items() if d is not None} == tags
    for (repository, _), digest in tags.items():
        assert (repository, digest) in have, "a tag on a manifest that is gone"
    return moves
