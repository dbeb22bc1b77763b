"""Quotas: what a project uses, and how a push is charged exactly without waiting for another.

A blob counts once per project, however many of its repositories link it; a manifest counts
in each repository that has it, as one artifact and with its own bytes. What is charged is
written in the transaction of the change: if one is undone, so is the other, and a refused
push is charged nothing.

Usage is `quota_usage` and every row of `quota_deltas` that has not been folded into it.
Pushes only append there, so they wait for nobody; who pays for a blob is decided by its row
in `project_blobs`, which locks a (project, digest) and not a project.

**Why the limit is never passed.** On SQLite there is one writer: it sees all that was
charged. On PostgreSQL a push does not see what others are charging at the same time, so
before it is charged it takes the project's lock, and only then reads the usage:

- shared, when it is far from the limit L: used + mine <= 90 % of L, and mine <= L / 10 M,
  where M is the server's `max_connections`, so that at most M transactions are under way.
- exclusively otherwise: nobody else is charging then, and the usage it reads is all there is.

Among those with the shared lock look at the last one to read the usage. What it does not
see was charged by transactions that hold the shared lock too: fewer than M, each at most
L / 10 M, together at most L / 10. What it sees and its own share is at most 90 % of L.
The sum is at most L. Those with the exclusive lock see everything, because PostgreSQL makes
a commit visible before it lets go of its locks. What lies below a limit is credited without
a lock: that only frees space. Without a limit there is no lock and no reading.

The lock is the last one of its transaction (`locks.Space`), so who holds it waits for
nothing but the commit, and no two transactions wait for each other.
"""

from collections.abc import Sequence
from functools import cache
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Connection,
    Select,
    bindparam,
    cast,
    delete,
    func,
    insert,
    literal,
    select,
    union_all,
    update,
)

from argosy.catalog import schema as t
from argosy.catalog.databases.dialects import add_up
from argosy.catalog.databases.locks import Space, exclusive, shared
from argosy.errors import RegistryError, UsageError
from argosy.meters import declared as meters
from argosy.model.digest import Digest
from argosy.values import frozen

FOLDED_AT_ONCE: Final = 5000

_MOST: Final = 1 << 60


@frozen
class Amount:
    """Bytes and artifacts: used, or to be charged."""

    bytes: int = 0
    artifacts: int = 0


@frozen
class Quota:
    """What a project may hold; None is no limit."""

    bytes: int | None = None
    artifacts: int | None = None

    @property
    def limited(self) -> bool:
        """Whether there is any limit."""
        return self.bytes is not None or self.artifacts is not None

    def check(self) -> None:
        """UsageError unless the numbers can be limits."""
        for value in (self.bytes, self.artifacts):
            if value is not None and not 0 <= value <= _MOST:
                raise UsageError(
                    f"{value} is no quota",
                    remedy="give a number that is not negative, or none for no limit",
                )


@frozen
class Standing:
    """A project's quota and what it uses; `others` is how many may be charging at once."""

    quota: Quota
    used: Amount
    others: int = 1


@frozen
class Payer:
    """A project that is charged."""

    id: int
    name: str
    quota: Quota


class QuotaExceeded(RegistryError):
    """A push that does not fit in its project's quota; nothing of it was kept or charged."""

    code = "quota-exceeded"
    denial = "the quota of the project"

    def __init__(
        self, project: str, kind: str, *, used: int, limit: int, needed: int, hint: str = ""
    ) -> None:
        self.project, self.kind = project, kind
        self.used, self.limit, self.needed = used, limit, needed
        show = size_text if kind == "bytes" else str
        free = f"free space by deleting what is not needed{hint}, or ask for a larger quota"
        super().__init__(
            f"project {project} uses {show(used)} of its quota of {show(limit)} {_WORDS[kind]}"
            + (f", and this push needs {show(needed)} more" if needed else ""),
            status=403,
            registry_code="DENIED",
            why=free,  # clients show what is in here, and no remedy
            evidence={
                "project": project,
                "quota": kind,
                "used": used,
                "limit": limit,
                "needed": needed,
            },
        )

    def full(self) -> "QuotaExceeded":
        """The same, of a push that has not said yet how much it needs."""
        return QuotaExceeded(self.project, self.kind, used=self.used, limit=self.limit, needed=0)

    def hinting(self, hint: str) -> "QuotaExceeded":
        """The same, with what would free space."""
        return QuotaExceeded(
            self.project,
            self.kind,
            used=self.used,
            limit=self.limit,
            needed=self.needed,
            hint=hint,
        )


_WORDS: Final = {"bytes": "of storage", "artifacts": "artifacts"}


def size_text(count: int) -> str:
    """A number of bytes in the units of docker, and of `argosy quota show`: 1.5GB."""
    value, unit = float(count), "B"
    for unit in ("B", "kB", "MB", "GB", "TB", "PB", "EB"):
        if abs(value) < 999.5 or unit == "EB":  # what would be rounded to 1000
            break
        value /= 1000
    return f"{count}B" if unit == "B" else f"{value:.3g}{unit}"


# Charging: the last thing of a transaction that puts something into a repository.


def charge_blob(conn: Connection, payer: Payer, digest: Digest, size: int) -> None:
    """Charge one more link of a blob, which costs the project its bytes once; QuotaExceeded."""
    row = {"project_id": payer.id, "digest": digest, "size": size, "links": 1}
    if add_up(conn, t.project_blobs, row, ("links",)).links == 1:
        charge(conn, payer, Amount(size))


def charge(conn: Connection, payer: Payer, more: Amount) -> None:
    """Add to what a project uses; QuotaExceeded if that is more than it may."""
    if payer.quota.limited:
        _admit(conn, payer, more)
    _append(conn, payer.id, more)


def credit_blob(conn: Connection, project: int | None, digest: Digest) -> None:
    """Take back one link of a blob, and its bytes with the last one."""
    b = t.project_blobs.c
    here = (b.project_id == project) & (b.digest == digest)
    less = update(t.project_blobs).where(here).values(links=b.links - 1)
    found = conn.execute(less.returning(b.links, b.size)).one_or_none()
    if project is not None and found is not None and found.links <= 0:
        conn.execute(delete(t.project_blobs).where(here))
        credit(conn, project, Amount(found.size))


def credit(conn: Connection, project: int | None, less: Amount) -> None:
    """Take from what a project uses (no project: what a node of before quotas put there)."""
    if project is not None and less != Amount():
        _append(conn, project, Amount(-less.bytes, -less.artifacts))


def credit_repository(conn: Connection, project: int, repository: int) -> None:
    """Take back all that a repository costs; its rows are still there."""
    b, links, m = t.project_blobs.c, t.repository_blobs.c, t.manifests.c
    linked = select(links.digest).where(links.repository_id == repository)
    here = (b.project_id == project) & b.digest.in_(linked)
    conn.execute(update(t.project_blobs).where(here).values(links=b.links - 1))
    gone = delete(t.project_blobs).where(here, b.links <= 0).returning(b.size)
    blobs = sum(conn.execute(gone).scalars())
    of = select(func.coalesce(func.sum(m.size), 0), func.count())
    size, artifacts = conn.execute(of.where(m.repository_id == repository)).one()
    credit(conn, project, Amount(blobs + int(size), artifacts))


_APPEND: Final = insert(t.quota_deltas).inline()  # nobody asks for its key


def _append(conn: Connection, project: int, change: Amount) -> None:
    row = {"project_id": project, "bytes": change.bytes, "artifacts": change.artifacts}
    conn.execute(_APPEND, row)


def _admit(conn: Connection, payer: Payer, more: Amount) -> None:
    if conn.dialect.name == "postgresql":
        if _small(payer.quota, more, 100):  # else it is too much for a shared lock in any case
            looking = conn.begin_nested()
            shared(conn, Space.QUOTA, payer.name)
            if _far(standing(conn, payer.id), more):
                looking.commit()
                return
            # Gives the shared lock back: two that wait to make theirs exclusive would wait forever.
            looking.rollback()
        exclusive(conn, Space.QUOTA, payer.name)
    if (refused := exceeded(payer.name, standing(conn, payer.id), more)) is not None:
        meters.QUOTA_REFUSALS.add(refused.kind)
        raise refused


def _far(found: Standing, more: Amount) -> bool:
    """Whether those who are charging now cannot pass a limit together (see above)."""
    return _small(found.quota, more, found.others) and all(
        limit is None or not add or 10 * (used + add) <= 9 * limit
        for limit, used, add in _each(found.quota, found.used, more)
    )


def _small(quota: Quota, more: Amount, others: int) -> bool:
    parts = _each(quota, Amount(), more)
    return all(limit is None or 10 * others * add <= limit for limit, _, add in parts)


def _each(quota: Quota, used: Amount, more: Amount) -> tuple[tuple[int | None, int, int], ...]:
    return (
        (quota.bytes, used.bytes, more.bytes),
        (quota.artifacts, used.artifacts, more.artifacts),
    )


def exceeded(project: str, found: Standing, more: Amount) -> QuotaExceeded | None:
    """Why a project may not take so much more; None if it may."""
    parts = zip(("bytes", "artifacts"), _each(found.quota, found.used, more), strict=True)
    for kind, (limit, used, add) in parts:
        if limit is not None and add > 0 and used + add > limit:
            return QuotaExceeded(project, kind, used=used, limit=limit, needed=add)
    return None


# Reading.


def standing(conn: Connection, project: int) -> Standing:
    """A project's quota and usage in one statement, so that folding cannot come between."""
    row = conn.execute(standings(conn.dialect.name), {"project": project}).one()
    return Standing(
        Quota(row.quota_bytes, row.quota_artifacts), Amount(row.bytes, row.artifacts), row.others
    )


@cache
def standings(dialect: str) -> Select[Any]:
    """The statement of `standing`, about the parameter `project`."""
    p, u = t.projects.c, t.quota_usage.c
    d = t.quota_deltas.c
    summed = (
        select(d.project_id, func.sum(d.bytes).label("bytes"), func.sum(d.artifacts).label("count"))
        .where(d.project_id == bindparam("project"))
        .group_by(d.project_id)
        .subquery()
    )
    others: Any = literal(1)
    if dialect == "postgresql":
        others = cast(func.current_setting("max_connections"), BigInteger)
    return (
        select(
            p.quota_bytes,
            p.quota_artifacts,
            _plus(u.bytes, summed.c.bytes).label("bytes"),
            _plus(u.artifacts, summed.c.count).label("artifacts"),
            others.label("others"),
        )
        .select_from(
            t.projects.outerjoin(t.quota_usage, u.project_id == p.id).outerjoin(
                summed, summed.c.project_id == p.id
            )
        )
        .where(p.id == bindparam("project"))
    )


def _plus(folded: Any, appended: Any) -> Any:
    return cast(func.coalesce(folded, 0) + func.coalesce(appended, 0), BigInteger)


def used_by(conn: Connection, projects: Sequence[int]) -> dict[int, Amount]:
    """What each of these projects uses, in one statement; of one that is gone: nothing."""
    u, d = t.quota_usage.c, t.quota_deltas.c
    parts = union_all(
        select(u.project_id, u.bytes, u.artifacts).where(u.project_id.in_(projects)),
        select(d.project_id, d.bytes, d.artifacts).where(d.project_id.in_(projects)),
    ).subquery()
    size, count = _whole(parts.c.bytes), _whole(parts.c.artifacts)
    rows = conn.execute(select(parts.c.project_id, size, count).group_by(parts.c.project_id))
    found = {project: Amount(*used) for project, *used in rows}
    return {project: found.get(project, Amount()) for project in projects}


def _whole(column: Any) -> Any:
    return cast(func.sum(column), BigInteger)


# Folding.


def fold(conn: Connection) -> int:
    """Add deltas to what was folded before; how many. Several nodes may do so at once."""
    d = t.quota_deltas
    chosen = select(d.c.id).order_by(d.c.id).limit(FOLDED_AT_ONCE).with_for_update(skip_locked=True)
    gone = delete(d).where(d.c.id.in_(chosen))
    found = conn.execute(gone.returning(d.c.project_id, d.c.bytes, d.c.artifacts)).all()
    sums: dict[int, Amount] = {}
    for project, size, artifacts in found:
        so_far = sums.get(project, Amount())
        sums[project] = Amount(so_far.bytes + size, so_far.artifacts + artifacts)
    for project, change in sorted(sums.items()):  # in one order, so that no two nodes deadlock
        row = {"project_id": project, "bytes": change.bytes, "artifacts": change.artifacts}
        add_up(conn, t.quota_usage, {**row, "folded_at": t.now()}, ("bytes", "artifacts"))
    return len(found)


def unfolded(conn: Connection) -> bool:
    """Whether there is anything to fold."""
    return conn.execute(select(t.quota_deltas.c.id).limit(1)).first() is not None
