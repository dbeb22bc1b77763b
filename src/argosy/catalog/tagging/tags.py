"""Tags with their past: what they stand for, what they stood for, and back again.

Every move is an entry of the history, a deletion and an undo too; entries are in the order
of the moves, because who moves a tag holds its lock until he has committed.
"""

from collections.abc import Callable
from typing import Any, Final

from sqlalchemy import Connection, select

from argosy.catalog import schema as t
from argosy.catalog.actor import Actor
from argosy.catalog.audit import Entry, record
from argosy.catalog.database import Database
from argosy.catalog.databases.announcing import moved
from argosy.catalog.databases.locks import hold_tags
from argosy.catalog.registry import rows
from argosy.errors import NotFound, RegistryError
from argosy.model.digest import Digest
from argosy.values import frozen

NEWEST: Final = (1 << 63) - 1
"""The key before which everything is, for the first page of a history."""


@frozen(kw_only=True)
class Tag:
    """A tag and what it stands for; `at` in microseconds."""

    repository: str
    name: str
    digest: Digest
    at: int


@frozen(kw_only=True)
class Move:
    """One entry of a history: `actor` moved the tag from `previous` to `digest`.

    No digest: it was deleted; no previous: it was made. `here`: `digest` can still be pulled.
    """

    id: int
    at: int
    actor: str
    digest: Digest | None
    previous: Digest | None
    here: bool


class NothingToUndo(RegistryError):
    """A tag cannot be put back: it stood for nothing before, or for what is gone."""

    code = "nothing-to-undo"

    def __init__(self, summary: str, *, why: str, remedy: str) -> None:
        super().__init__(summary, status=409, registry_code="DENIED", why=why, remedy=remedy)


class Tags:
    """The tags of every repository, and their histories."""

    def __init__(self, database: Database) -> None:
        self._db = database

    async def get(self, repository: str, name: str) -> Tag:
        """What a tag stands for; NotFound."""
        return await self._db.read(lambda conn: _get(conn, repository, name))

    async def page(self, repository: str, last: str, count: int) -> list[Tag]:
        """At most `count` tags after `last`, by name; NotFound without the repository."""

        def read(conn: Connection) -> list[Tag]:
            tags = t.tags.c
            found = select(tags.name, tags.digest, tags.updated_at).where(
                tags.repository_id == rows.known(conn, repository), tags.name > last
            )
            page = conn.execute(found.order_by(tags.name).limit(count))
            return [_tag(repository, row) for row in page]

        return await self._db.read(read)

    async def history(
        self, repository: str, name: str, before: int = NEWEST, count: int = 100
    ) -> list[Move]:
        """At most `count` moves of a tag older than the entry `before`, the latest first.

        NotFound if there never was such a tag.
        """

        def read(conn: Connection) -> list[Move]:
            key = rows.known(conn, repository)
            found = _moves(conn, key, name, before, count)
            if not found and not _moves(conn, key, name, NEWEST, 1):
                raise _no_tag(repository, name)
            return found

        return await self._db.read(read)

    async def undo(
        self,
        repository: str,
        name: str,
        *,
        to: Digest | None = None,
        allow: Callable[[str | None], object] = lambda _: None,
        by: Actor,
    ) -> Tag:
        """Put a tag back to what it stood for before its last move, or to `to`, of its history.

        A move like any other: undone again, it is where it was. `allow` sees what the tag
        stands for now, and may raise. NotFound, NothingToUndo or TagKept.
        """

        def back(conn: Connection) -> Tag:
            hold_tags(conn, repository, [name])
            key = rows.known(conn, repository)
            target = _target(conn, key, repository, name, to)
            allow(rows.tagged(conn, key, name))
            rows.set_tags(conn, key, [name], target, by)
            _record(conn, by, repository, name, target)
            moved(conn, ("manifest", repository, name))
            return _get(conn, repository, name)

        return await self._db.write(back)


def _target(conn: Connection, key: int, repository: str, name: str, to: Digest | None) -> Digest:
    latest = _moves(conn, key, name, NEWEST, 1)
    if not latest:
        raise _no_tag(repository, name)
    target = to or _before(conn, key, name, latest[0])
    if target is None:
        raise NothingToUndo(
            f"tag {name} of {repository} stood for nothing before",
            why="its last move made it",
            remedy="delete the tag, if that is what you want",
        )
    if to is not None and not _ever_stood_for(conn, key, name, to):
        raise NothingToUndo(
            f"tag {name} of {repository} never stood for {to}",
            why="undo goes back to what is in the history of the tag",
            remedy="see `argosy tags history`; to point it at something else, use `argosy tag`",
        )
    if not rows.has_manifest(conn, key, target):
        raise NothingToUndo(
            f"tag {name} of {repository} cannot be put back to {target}",
            why="that manifest has been deleted from the repository",
            remedy="push it again, or go back to another one of `argosy tags history` with --to",
        )
    return target


def _before(conn: Connection, key: int, name: str, last: Move) -> Digest | None:
    """What the tag stood for before; an entry of an old node does not say it itself."""
    older = _moves(conn, key, name, last.id, 1)
    return last.previous or (older[0].digest if older else None)


def _ever_stood_for(conn: Connection, key: int, name: str, digest: Digest) -> bool:
    h = t.tag_history.c
    found = select(h.id).where(h.repository_id == key, h.name == name)
    stood = found.where((h.digest == digest) | (h.previous == digest))
    return conn.execute(stood.limit(1)).scalar() is not None


def _moves(conn: Connection, key: int, name: str, before: int, count: int) -> list[Move]:
    h, m = t.tag_history.c, t.manifests.c
    same = (m.repository_id == h.repository_id) & (m.digest == h.digest)
    found = select(h.id, h.at, h.actor, h.digest, h.previous, m.digest.label("here"))
    found = found.outerjoin(t.manifests, same).where(
        h.repository_id == key, h.name == name, h.id < before
    )
    return [_move(row) for row in conn.execute(found.order_by(h.id.desc()).limit(count))]


def _move(row: Any) -> Move:
    return Move(
        id=row.id,
        at=row.at,
        actor=row.actor,
        digest=Digest(row.digest) if row.digest else None,
        previous=Digest(row.previous) if row.previous else None,
        here=row.here is not None,
    )


def _get(conn: Connection, repository: str, name: str) -> Tag:
    tags = t.tags.c
    found = select(tags.name, tags.digest, tags.updated_at).where(
        tags.repository_id == rows.known(conn, repository), tags.name == name
    )
    if (row := conn.execute(found).one_or_none()) is None:
        raise _no_tag(repository, name)
    return _tag(repository, row)


def _tag(repository: str, row: Any) -> Tag:
    return Tag(repository=repository, name=row.name, digest=Digest(row.digest), at=row.updated_at)


def _no_tag(repository: str, name: str) -> NotFound:
    return NotFound(f"no tag {name} in {repository}", evidence={"name": repository, "tag": name})


def _record(conn: Connection, by: Actor, repository: str, name: str, digest: Digest) -> None:
    entry = Entry(
        action="tag.undo",
        resource=f"{repository}:{name}",
        project=rows.project_of(repository),
        digest=digest,
    )
    record(conn, by, entry)
