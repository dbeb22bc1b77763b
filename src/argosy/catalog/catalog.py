"""The catalog: every repository's tags, manifests and blob links, read from memory first.

A manifest is readable only when everything it refers to is, so a tag never names
something incomplete, and who holds a manifest holds all below it: what `copy`
prunes by. A write is on disk, and seen by every later read, when it returns.
"""

from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Final

from sqlalchemy import Connection

from argosy.catalog.actor import SYSTEM, Actor
from argosy.catalog.audit import Entry, record
from argosy.catalog.caching.batching import Batched
from argosy.catalog.caching.cache import Cache
from argosy.catalog.database import DEFAULT, Database, open_database
from argosy.catalog.databases.announcing import changed, moved
from argosy.catalog.databases.locks import Space, exclusive, hold_tags, shared
from argosy.catalog.databases.options import DatabaseOptions
from argosy.catalog.projects.places import place
from argosy.catalog.projects.quotas import Amount, charge, charge_blob, credit, credit_blob
from argosy.catalog.registry import rows
from argosy.catalog.registry.manifests import Incoming, StoredManifest
from argosy.catalog.registry.rows import ReferrersQuery
from argosy.catalog.registry.uploads import publish
from argosy.content.blob_storage import Stored
from argosy.errors import InvalidDigest, ManifestInvalid, NotFound, RegistryError
from argosy.model import media
from argosy.model.descriptor import Descriptor
from argosy.model.digest import Digest
from argosy.model.manifest import Index, parse_manifest

_MANIFEST_MEMORY: Final = 128 << 20
_BLOBS_KNOWN: Final = 200_000
_TRIES: Final = 4  # a tag is looked up that moves all the time

Key = tuple[str, ...]


class Catalog:
    """The metadata of every repository of one server."""

    def __init__(self, database: Database) -> None:
        self._db = database
        self._manifests: Cache[Key, StoredManifest] = database.changes.cache(
            "manifest", _MANIFEST_MEMORY, lambda kept: len(kept.body) + 1024
        )
        self._standings: Batched[Key, tuple[Digest, str]] = Batched(self._ask)
        self._blobs: Cache[Key, Stored] = database.changes.cache("blob", _BLOBS_KNOWN)

    @property
    def database(self) -> Database:
        """The database it is in, for what else is kept there."""
        return self._db

    def at_hand(self, name: str, ref: str) -> StoredManifest | None:
        """The manifest if it is in memory: no waiting, no thread."""
        return self._manifests.get((name, ref))

    async def manifest(self, name: str, ref: str) -> StoredManifest | None:
        """The manifest a tag or digest stands for; None if there is none."""
        if self._db.changes.late and ":" not in ref:
            return await self._standing(name, ref)
        return await self._manifests.load(
            (name, ref), lambda: self._db.glance(lambda conn: rows.manifest(conn, name, ref))
        )

    async def _standing(self, name: str, tag: str) -> StoredManifest | None:
        """As `manifest`, where other nodes move tags: the database is asked where it stands now."""
        for _ in range(_TRIES):
            asked = await self._standings.get((name, tag))
            if asked is None:
                return None
            digest, media_type = asked
            found = await self.manifest(name, digest)
            if found is not None and found.media_type == media_type:
                return found
            self._manifests.drop((name, digest))  # it was pushed anew, or the tag moved meanwhile
        return await self._db.glance(lambda conn: rows.manifest(conn, name, tag))

    async def _ask(self, tags: Sequence[Key]) -> Mapping[Key, tuple[Digest, str]]:
        return await self._db.glance(lambda conn: rows.standings(conn, tags))

    async def blob(self, name: str, digest: Digest) -> Stored | None:
        """A blob that may be read through the repository: its size, and where; None if it may not."""
        key = (name, digest)
        if (kept := self._blobs.get(key)) is not None:
            return kept
        return await self._blobs.load(
            key, lambda: self._db.glance(lambda conn: rows.blob(conn, name, digest))
        )

    async def link_blob(
        self, name: str, digest: Digest, stored: Stored, *, by: Actor = SYSTEM
    ) -> Stored:
        """Let a blob whose bytes are stored for good be read through the repository; QuotaExceeded.

        What is in force from now on: this one, or what was stored of it before. UploadLost if
        the upload it comes from has been taken over.
        """
        return await self._db.write(lambda conn: _link(conn, name, digest, stored, by))

    async def mount(
        self, name: str, digest: Digest, source: str | None, *, by: Actor = SYSTEM
    ) -> bool:
        """Link a blob that `source` (any repository, if None) has; False if it has not."""

        def link(conn: Connection) -> bool:
            if (held := rows.blob(conn, source, digest)) is None:
                return False
            _link(conn, name, digest, held, by)
            # Bytes of one repository can now be read through another; what is pushed as bytes
            # is in the entry of the manifest that needs it.
            record(conn, by, replace(_entry("blob.mount", name, digest), details={"from": source}))
            return True

        return await self._db.write(link)

    async def unlink_blob(self, name: str, digest: Digest, *, by: Actor = SYSTEM) -> None:
        """Take a blob out of the repository; NotFound, or RegistryError while a manifest needs it."""

        def unlink(conn: Connection) -> None:
            exclusive(conn, Space.REPOSITORY, name)  # nobody pushes a manifest that needs it
            repository = rows.known(conn, name)
            if rows.blob(conn, name, digest) is not None:
                _nobody_needs(conn, repository, digest)
            if not rows.unlink_blob(conn, repository, digest):
                raise NotFound(f"no blob {digest} in {name}")
            credit_blob(conn, rows.project(conn, repository), digest)
            record(conn, by, _entry("blob.delete", name, digest))
            changed(conn, ("blob", name, digest))

        await self._db.write(unlink)

    async def put_manifest(
        self,
        name: str,
        new: Incoming,
        tags: Sequence[str] = (),
        *,
        allow: Callable[[str | None], object] | None = None,
        by: Actor = SYSTEM,
    ) -> None:
        """Keep a manifest and point tags at it, all or nothing.

        `allow` sees what the first tag stands for, and may raise. RegistryError
        MANIFEST_BLOB_UNKNOWN or SIZE_INVALID names the children that are not here, or are
        of another size.
        """

        def put(conn: Connection) -> None:
            hold_tags(conn, name, tags)
            where = place(conn, name, by)
            repository = where.repository
            if allow is not None:
                allow(rows.tagged(conn, repository, tags[0]))
            _refuse_gaps(name, *rows.missing(conn, repository, new.children))
            kept = rows.put_manifest(conn, repository, new)
            if kept.retyped is not None:
                changed(conn, ("manifest", name, new.digest))
            rows.set_tags(conn, repository, tags, new.digest, by)
            record(conn, by, _entry("manifest.push", name, new.digest, tags))
            moved(conn, *_keys(name, [new.digest, *tags, *(kept.retyped or ())]))
            if kept.new:
                charge(conn, where.payer, Amount(len(new.body), 1))

        await self._db.write(put)

    async def tag(self, name: str, digest: Digest, tag: str, *, by: Actor = SYSTEM) -> None:
        """Point a tag at a manifest that is here; NotFound if it is not."""

        def point(conn: Connection) -> None:
            hold_tags(conn, name, [tag])
            repository = rows.known(conn, name)
            if not rows.has_manifest(conn, repository, digest):
                raise NotFound(f"no manifest {digest} in {name} to tag {tag!r}")
            rows.set_tags(conn, repository, [tag], digest, by)
            record(conn, by, _entry("tag.move", name, digest, [tag]))
            moved(conn, *_keys(name, [tag]))

        await self._db.write(point)

    async def delete_tag(
        self,
        name: str,
        tag: str,
        *,
        allow: Callable[[str | None], object] = lambda _: None,
        by: Actor = SYSTEM,
    ) -> None:
        """Forget a tag, only the tag; NotFound if there is none. `allow` as in `put_manifest`."""

        def remove(conn: Connection) -> None:
            hold_tags(conn, name, [tag])
            repository = rows.known(conn, name)
            allow(rows.tagged(conn, repository, tag))
            if not rows.delete_tag(conn, repository, tag, by):
                raise NotFound(f"no tag {tag!r} in {name}")
            record(conn, by, _entry("tag.delete", name, tags=[tag]))
            moved(conn, *_keys(name, [tag]))

        await self._db.write(remove)

    async def delete_manifest(self, name: str, digest: Digest, *, by: Actor = SYSTEM) -> None:
        """Forget a manifest and every tag on it; NotFound, or RegistryError while an index needs it."""

        def remove(conn: Connection) -> None:
            exclusive(conn, Space.REPOSITORY, name)  # nobody tags it, or pushes what needs it
            repository = rows.known(conn, name)
            if not rows.has_manifest(conn, repository, digest):
                raise NotFound(f"no manifest {digest} in {name}")
            _nobody_needs(conn, repository, digest)
            size = rows.manifest_sizes(conn, repository, [digest])[digest]
            tags = rows.delete_manifest(conn, repository, digest, by)
            credit(conn, rows.project(conn, repository), Amount(size, 1))
            record(conn, by, _entry("manifest.delete", name, digest, tags))
            moved(conn, *_keys(name, tags))
            changed(conn, *_keys(name, [digest]))

        await self._db.write(remove)

    async def tags(self, name: str, last: str, count: int) -> list[str]:
        """At most `count` tags after `last`; NotFound if there is no such repository."""
        return await self._db.read(
            lambda conn: rows.tags_page(conn, rows.known(conn, name), last, count)
        )

    async def repositories(self, last: str, count: int) -> list[str]:
        """At most `count` names of repositories after `last`."""
        return await self._db.glance(lambda conn: rows.repositories_page(conn, last, count))

    async def referrers(self, name: str, query: ReferrersQuery) -> list[Descriptor]:
        """The next manifests about a subject, by digest; none if there are no more."""

        def find(conn: Connection) -> list[Descriptor]:
            if (repository := rows.repository(conn, name)) is None:
                return []
            listed, cut = rows.referrers(conn, repository, query)
            older = _from_fallback_tag(conn, repository, name, query)
            if cut:  # what follows the cut has not been read: it must not be skipped
                older = [d for d in older if d.digest < listed[-1].digest]
            return _merged(listed, older, query.count)

        return await self._db.read(find)


@asynccontextmanager
async def open_catalog(where: str, options: DatabaseOptions = DEFAULT) -> AsyncIterator[Catalog]:
    """The catalog in the SQLite file or at the address `where`; its tables are made if need be."""
    async with open_database(where, options) as database:
        yield Catalog(database)


def fallback_tag(subject: Digest) -> str:
    """The tag under which clients keep referrers where the API is missing (Referrers Tag Schema)."""
    return f"{subject.algorithm[:32]}-{subject.hex[:64]}"


def _entry(action: str, name: str, digest: str = "", tags: Sequence[str] = ()) -> Entry:
    """What the audit log says of a change in a repository."""
    return Entry(
        action=action,
        resource=f"{name}:{tags[0]}" if len(tags) == 1 else name,
        project=rows.project_of(name),
        digest=digest,
        details={"tags": list(tags)} if len(tags) > 1 else {},
    )


def _link(conn: Connection, name: str, digest: Digest, stored: Stored, by: Actor) -> Stored:
    # What is charged depends on whether it was here: nobody takes it away meanwhile.
    shared(conn, Space.REPOSITORY, name)
    where = place(conn, name, by)
    new = rows.link_blob(conn, where.repository, digest, stored)
    kept = publish(conn, digest, stored, stored.claim) if stored.claim else stored
    moved(conn, ("blob", name, digest))
    if new:
        charge_blob(conn, where.payer, digest, kept.size)
    return kept


def _keys(name: str, refs: Iterable[str]) -> list[tuple[str, str, str]]:
    return [("manifest", name, ref) for ref in refs]


def _nobody_needs(conn: Connection, repository: int, digest: Digest) -> None:
    if (parent := rows.parent(conn, repository, digest)) is not None:
        raise RegistryError(
            f"{digest} cannot be deleted: {parent} needs it",
            status=405,
            registry_code="UNSUPPORTED",
            why="a manifest that can be read must have everything it refers to",
            remedy=f"delete {parent} first",
            evidence={"digest": digest, "parent": parent},
        )


def _refuse_gaps(
    name: str, lacking: Sequence[Descriptor], wrong: Sequence[tuple[Descriptor, int]]
) -> None:
    if lacking:
        raise RegistryError(
            f"{name} lacks {len(lacking)} of the blobs or manifests referred to",
            status=404,
            registry_code="MANIFEST_BLOB_UNKNOWN",
            remedy="push them first, then the manifest again",
            evidence={"digests": [str(c.digest) for c in lacking]},
        )
    if wrong:
        child, size = wrong[0]
        raise RegistryError(
            f"{child.digest} has {size} bytes; the manifest says {child.size}",
            status=400,
            registry_code="SIZE_INVALID",
            evidence={"digest": child.digest, "size": size, "claimed": child.size},
        )


def _from_fallback_tag(
    conn: Connection, repository: int, name: str, query: ReferrersQuery
) -> list[Descriptor]:
    """What an index under the fallback tag lists and the repository has (spec: Referrers API upgrade)."""
    held = rows.manifest(conn, name, fallback_tag(query.subject))
    if held is None or not media.is_index(held.media_type):
        return []
    try:
        view = parse_manifest(held.body, held.media_type)
    except (ManifestInvalid, InvalidDigest):  # it was checked on its way in
        return []
    listed = view.manifests if isinstance(view, Index) else ()
    asked = [
        d for d in listed if d.digest > query.last and query.artifact_type in ("", d.artifact_type)
    ]
    here = rows.manifest_sizes(conn, repository, [d.digest for d in asked])
    return [d for d in asked if d.digest in here]


def _merged(
    first: Sequence[Descriptor], second: Sequence[Descriptor], count: int
) -> list[Descriptor]:
    by_digest = {d.digest: d for d in (*second, *first)}
    return [by_digest[digest] for digest in sorted(by_digest)][:count]
