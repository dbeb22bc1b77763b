"""The books of quotas: who uses how much, what would free space, folding, recounting.

A recount compares what was charged with what is there, on one snapshot; as both are written
in the same transactions, they agree at every moment, also while others push. What is off
(by a node of before quotas, or by hand) is a constant, and mending it writes one more delta.
"""

import asyncio
import logging
import time
from typing import Final

from sqlalchemy import Connection, Select, delete, func, select, update

from argosy.catalog import schema as t
from argosy.catalog.actor import Actor
from argosy.catalog.audit import Entry, record
from argosy.catalog.database import Database
from argosy.catalog.databases.dialects import upsert
from argosy.catalog.databases.locks import Space, exclusive
from argosy.catalog.projects.projects import known
from argosy.catalog.projects.quotas import (
    FOLDED_AT_ONCE,
    Amount,
    QuotaExceeded,
    Standing,
    credit,
    exceeded,
    fold,
    size_text,
    standing,
    standings,
    unfolded,
)
from argosy.errors import ArgosyError
from argosy.meters import declared as meters
from argosy.values import frozen

log = logging.getLogger("argosy.catalog")

_FOLD_EVERY: Final = 1.0
_SHOW_EVERY: Final = 30.0
_SHOWN: Final = 100  # projects whose usage is a metric
_FRESH: Final = 2.0  # how long a usage that memory has is good enough for a first look
_HINT_FRESH: Final = 60.0
_MOST: Final = 10_000


@frozen(kw_only=True)
class Recount:
    """What a project was charged, and what is there."""

    project: str
    charged: Amount
    counted: Amount

    @property
    def off(self) -> Amount:
        """What has been charged too little (or, below zero, too much)."""
        return Amount(
            self.counted.bytes - self.charged.bytes, self.counted.artifacts - self.charged.artifacts
        )


@frozen(kw_only=True)
class Share:
    """A repository, and the bytes that only it has in its project: what deleting it frees."""

    repository: str
    bytes: int


class Accounts:
    """What projects use."""

    def __init__(self, database: Database) -> None:
        self._db = database
        self._looks: dict[str, tuple[float, Standing]] = {}
        self._hints: dict[str, tuple[float, str]] = {}

    async def room(
        self, project: str, more: Amount, *, fresh: bool = False
    ) -> QuotaExceeded | None:
        """Why so much more does not fit; None if it may: memory is seconds old, and no promise.

        For a project with a quota only. What it lets through is checked exactly when it is charged;
        what it refuses does not fit now, because then it looks again. `fresh`: it does so at once.
        """
        if not fresh and exceeded(project, await self._look(project, _FRESH), more) is None:
            return None
        return exceeded(project, await self._look(project, 0.0), more)

    async def standing(self, project: str) -> Standing:
        """What a project uses now, and what it may."""
        return await self._look(project, 0.0)

    async def _look(self, project: str, fresh: float) -> Standing:
        at, found = self._looks.get(project, (0.0, None))
        if found is None or time.monotonic() - at > fresh:
            found = await self._db.read(lambda conn: standing(conn, known(conn, project).id))
            self._looks.pop(project, None)
            while len(self._looks) >= _MOST:
                del self._looks[next(iter(self._looks))]
            self._looks[project] = (time.monotonic(), found)
        return found

    async def spared(self, project: str, digest: str) -> bool:
        """Whether the project has the blob already, so that it costs nothing more."""
        b, p = t.project_blobs.c, t.projects.c
        found = select(b.digest).join(t.projects, p.id == b.project_id)
        found = found.where(p.name == project, b.digest == digest)
        return await self._db.glance(lambda conn: conn.execute(found).first()) is not None

    async def explained(self, refused: QuotaExceeded) -> QuotaExceeded:
        """The same refusal with what would free the most space."""
        at, hint = self._hints.get(refused.project, (0.0, ""))
        if not at or time.monotonic() - at > _HINT_FRESH:
            hint = await self._hint(refused)
            if len(self._hints) >= _MOST:
                self._hints.clear()
            self._hints[refused.project] = (time.monotonic(), hint)
        return refused.hinting(hint)

    async def _hint(self, refused: QuotaExceeded) -> str:
        try:
            found = await self.largest(refused.project, 3)
        except ArgosyError:
            return ""
        listed = ", ".join(f"{s.repository} {size_text(s.bytes)}" for s in found if s.bytes)
        return f" (what repositories alone hold: {listed})" if listed else ""

    async def largest(self, project: str, count: int = 10) -> list[Share]:
        """The repositories whose deletion frees the most; ProjectUnknown."""
        return await self._db.read(lambda conn: _largest(conn, known(conn, project).id, count))

    async def recount(self, project: str) -> Recount:
        """What was charged and what is there; ProjectUnknown."""
        return await self._db.read(lambda conn: _recount(conn, project))

    async def mend(self, project: str, *, by: Actor) -> Recount:
        """Charge what was found off; what was found."""
        before = await self.recount(project)
        await self._db.write(lambda conn: _mend_links(conn, project))

        def settle(conn: Connection) -> None:
            exclusive(conn, Space.WORK, f"quota.recount:{project}")  # what is off is charged once
            off = _recount(conn, project).off
            if before.off == Amount() == off:
                return
            credit(conn, known(conn, project).id, Amount(-off.bytes, -off.artifacts))
            details = {"bytes": before.off.bytes, "artifacts": before.off.artifacts}
            entry = Entry(
                action="quota.recount", resource=project, project=project, details=details
            )
            record(conn, by, entry)

        await self._db.write(settle)
        return before

    async def run(self) -> None:
        """Fold what pushes append, and keep the metrics of the largest projects; until cancelled."""
        shown, well = 0.0, True
        while True:
            try:
                await self.fold()
                if time.monotonic() - shown > _SHOW_EVERY:
                    await self._show()
                    shown = time.monotonic()
                well = True
            except ArgosyError as e:
                if well:  # said once: a database that is away is told of elsewhere as well
                    log.warning("usage of projects is not folded for now: %s", e.summary)
                well = False
            await asyncio.sleep(_FOLD_EVERY)

    async def fold(self) -> None:
        """Fold what there is."""
        while await self._db.glance(unfolded):
            if await self._db.write(fold) < FOLDED_AT_ONCE:
                return

    async def _show(self) -> None:
        found = await self._db.read(_busiest)
        meters.PROJECT_BYTES.replace({(name,): used for name, used, _ in found})
        meters.PROJECT_QUOTA.replace({(name,): limit or 0 for name, _, limit in found})


def _busiest(conn: Connection) -> list[tuple[str, int, int | None]]:
    u, p = t.quota_usage.c, t.projects.c
    found = select(p.name, u.bytes, p.quota_bytes).join(t.projects, p.id == u.project_id)
    ordered = found.order_by(u.bytes.desc(), p.id).limit(_SHOWN)
    return [(name, used, limit) for name, used, limit in conn.execute(ordered)]


def _largest(conn: Connection, project: int, count: int) -> list[Share]:
    r, links, b = t.repositories.c, t.repository_blobs.c, t.project_blobs.c
    alone = func.sum(b.size)
    found = (
        select(r.name, alone)
        .join(t.repository_blobs, links.repository_id == r.id)
        .join(t.project_blobs, (b.project_id == r.project_id) & (b.digest == links.digest))
        .where(r.project_id == project, b.links == 1)
        .group_by(r.name)
        .order_by(alone.desc(), r.name)
        .limit(count)
    )
    return [Share(repository=name, bytes=int(size)) for name, size in conn.execute(found)]


def _recount(conn: Connection, project: str) -> Recount:
    """In one statement, so that it is of one moment in any transaction."""
    found = known(conn, project)
    r, links, blobs, m = t.repositories.c, t.repository_blobs.c, t.blobs.c, t.manifests.c
    linked = (
        select(links.digest)
        .join(t.repositories, r.id == links.repository_id)
        .where(r.project_id == found.id)
        .distinct()
        .subquery()
    )
    held = select(func.coalesce(func.sum(blobs.size), 0)).join(
        linked, linked.c.digest == blobs.digest
    )
    pushed = (
        select(func.coalesce(func.sum(m.size), 0).label("size"), func.count().label("artifacts"))
        .join(t.repositories, r.id == m.repository_id)
        .where(r.project_id == found.id)
        .subquery()
    )
    both = standings(conn.dialect.name).add_columns(
        held.scalar_subquery().label("held"),
        select(pushed.c.size).scalar_subquery().label("pushed"),
        select(pushed.c.artifacts).scalar_subquery().label("manifests"),
    )
    row = conn.execute(both, {"project": found.id}).one()
    return Recount(
        project=project,
        charged=Amount(row.bytes, row.artifacts),
        counted=Amount(int(row.held) + int(row.pushed), row.manifests),
    )


def _mend_links(conn: Connection, project: str) -> None:
    found, r = known(conn, project).id, t.repositories.c
    orphans = r.project_id.is_(None) & (r.name.startswith(f"{project}/") | (r.name == project))
    conn.execute(update(t.repositories).where(orphans).values(project_id=found))
    _mend_blobs(conn, found)


def _mend_blobs(conn: Connection, project: int) -> None:
    """Count the links of each blob of a project anew, where they are off.

    A row is locked before its links are counted, and who links a blob does so before it counts
    the link there: so what we do not see is added after us.
    """
    b = t.project_blobs.c
    for digest in _wrong(conn, project):
        locked = select(b.links, b.size).where(b.project_id == project, b.digest == digest)
        row = conn.execute(locked.with_for_update()).one_or_none()
        if row is None:
            sized = select(t.blobs.c.size).where(t.blobs.c.digest == digest)
            new = {"project_id": project, "digest": digest, "links": 0}
            new["size"] = conn.execute(sized).scalar_one()
            upsert(conn, t.project_blobs, [new])
            row = conn.execute(locked.with_for_update()).one()
        links = int(conn.execute(_links(project, digest)).scalar_one())
        here = (b.project_id == project) & (b.digest == digest)
        if links:
            conn.execute(update(t.project_blobs).where(here).values(links=links))
        else:
            conn.execute(delete(t.project_blobs).where(here))
        credit(conn, project, Amount(row.size * ((row.links > 0) - (links > 0))))


def _links(project: int, digest: str) -> Select[int]:
    r, links = t.repositories.c, t.repository_blobs.c
    linked = select(func.count()).select_from(t.repository_blobs)
    found = linked.join(t.repositories, r.id == links.repository_id)
    return found.where(r.project_id == project, links.digest == digest)


def _wrong(conn: Connection, project: int) -> list[str]:
    r, links, b = t.repositories.c, t.repository_blobs.c, t.project_blobs.c
    there = (
        select(links.digest, func.count().label("links"))
        .join(t.repositories, r.id == links.repository_id)
        .where(r.project_id == project)
        .group_by(links.digest)
    )
    counted = {row.digest: row.links for row in conn.execute(there)}
    kept = conn.execute(select(b.digest, b.links).where(b.project_id == project))
    noted = {row.digest: row.links for row in kept}
    both = counted.keys() | noted.keys()
    return sorted(d for d in both if counted.get(d, 0) != noted.get(d, 0))
