"""Whether an upload has room: in its project's quota, and among the uploads under way.

A first look, so that nobody sends gigabytes that will be refused: usage as memory has it,
seconds old. What is let through is checked exactly when it is charged (catalog/projects/quotas.py).
A blob that the project has already costs nothing; that can be seen only where the client says
the digest, so without one a full project refuses it too: mount it instead.
"""

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final

from sqlalchemy import Connection, func, or_, select

from argosy.catalog import schema as t
from argosy.catalog.actor import Actor
from argosy.catalog.database import Database
from argosy.catalog.projects.accounts import Accounts
from argosy.catalog.projects.places import makes_projects
from argosy.catalog.projects.projects import Project, Projects
from argosy.catalog.projects.quotas import Amount, QuotaExceeded, exceeded
from argosy.catalog.registry.rows import project_of
from argosy.errors import RateLimited
from argosy.meters import declared as meters
from argosy.model.digest import Digest

Write = Callable[[bytes | memoryview], None]
StillThere = Callable[[str, str], Awaitable[bool]]
"""Whether an upload, by its repository and id, has not ended."""

_LOOK_AGAIN: Final = 1.0  # seconds; each look at those under way costs a system call for each


class TooManyUploads(RateLimited):
    """A project has as many uploads under way as it may (429)."""

    code = "too-many-uploads"

    def __init__(self, project: str, most: int) -> None:
        super().__init__(
            f"project {project} has {most} uploads under way, as many as it may",
            status=429,
            registry_code="TOOMANYREQUESTS",
            why="finish or cancel some of them first; those that nobody writes to expire",
            evidence={"limit": "uploads of the project", "project": project, "most": most},
        )
        self.headers: Final = (("Retry-After", "5"),)


@dataclass(slots=True)
class _UnderWay:
    """The uploads of a project: their repositories, and since when, by id."""

    uploads: dict[str, tuple[str, float]] = field(default_factory=dict)
    looked: float = float("-inf")


class Room:
    """Asked about uploads, before their bytes are taken.

    `in_flight`: uploads that a project may have under way if it has no limit of its own (0: any
    number), counted in this process, or in the database where that has them (`in_database`).
    """

    def __init__(
        self,
        database: Database,
        projects: Projects,
        *,
        in_flight: int = 0,
        ttl: float = 86400.0,
        in_database: bool = False,
    ) -> None:
        self._db = database
        self._projects = projects
        self.accounts: Final = Accounts(database)
        self._in_flight = in_flight
        self._ttl = ttl
        self._in_database = in_database
        self._under_way: dict[str, _UnderWay] = {}

    async def known(self, name: str, by: Actor) -> None:
        """ProjectUnknown if there is no such project, and a push by them makes none."""
        project = project_of(name)
        if not makes_projects(by) and await self._projects.find(project) is None:
            await self._projects.get(project)  # memory may be a moment late

    async def begin(self, name: str, still: StillThere) -> bool:
        """An upload is to begin: TooManyUploads, or QuotaExceeded when the project is full.

        Whether it has to be told of by `began`.
        """
        if (project := await self._limited(name)) is None:
            return False
        most = self._most(project)
        if most and await self._count(project.name, most, still) >= most:
            meters.THROTTLED.add("uploads")
            raise TooManyUploads(project.name, most)
        if project.quota.bytes is not None:
            await self.check(name, 0)
        return bool(most) and not self._in_database

    def began(self, name: str, id: str) -> None:  # noqa: A002
        """It has begun."""
        under_way = self._under_way.setdefault(project_of(name), _UnderWay())
        under_way.uploads[id] = (name, time.monotonic())

    def ended(self, name: str, id: str) -> None:  # noqa: A002
        """It has ended here; those that end otherwise are seen when there are too many."""
        if (under_way := self._under_way.get(project_of(name))) is None:
            return
        under_way.uploads.pop(id, None)
        if not under_way.uploads:
            del self._under_way[project_of(name)]

    async def check(
        self, name: str, size: int, digest: Digest | None = None, *, fresh: bool = False
    ) -> None:
        """QuotaExceeded if a blob of so many bytes surely does not fit; 0: if nothing does."""
        project = await self._projects.find(project_of(name))
        if project is None or project.quota.bytes is None:
            return
        refused = await self.accounts.room(project.name, Amount(max(size, 1)), fresh=fresh)
        if refused is None or (digest and await self.accounts.spared(project.name, digest)):
            return
        meters.QUOTA_REFUSALS.add("bytes")
        raise refused if size else refused.full()

    async def bounded(self, name: str, offset: int, write: Write) -> Write:
        """`write` for a body of unknown length: QuotaExceeded where it passes what is left."""
        project = await self._projects.find(project_of(name))
        if project is None or project.quota.bytes is None:
            return write
        standing, size = await self.accounts.standing(project.name), offset

        def bounded(piece: bytes | memoryview) -> None:
            nonlocal size
            size += len(piece)
            if refused := exceeded(project.name, standing, Amount(size)):
                meters.QUOTA_REFUSALS.add("bytes")
                raise refused
            write(piece)

        return bounded

    async def explained(self, refused: QuotaExceeded) -> QuotaExceeded:
        """The refusal with what would free space."""
        return await self.accounts.explained(refused)

    def _most(self, project: Project) -> int:
        own = project.limits.uploads
        return self._in_flight if own is None else own

    async def _limited(self, name: str) -> Project | None:
        project = await self._projects.find(project_of(name))
        if project is None and self._in_flight:
            return Project(id=0, name=project_of(name))  # this push will make it
        if project is None or not (self._most(project) or project.quota.limited):
            return None
        return project

    async def _count(self, project: str, most: int, still: StillThere) -> int:
        if self._in_database:
            return await self._db.glance(lambda conn: _rows(conn, project))
        if (under_way := self._under_way.get(project)) is None:
            return 0
        now = time.monotonic()
        if len(under_way.uploads) >= most and now - under_way.looked > _LOOK_AGAIN:
            under_way.looked = now
            # Refused, swept, or ended in another process that shares the directory.
            for id, (name, at) in list(under_way.uploads.items()):  # noqa: A001
                if now - at > self._ttl or not await still(name, id):
                    self.ended(name, id)
        return len(under_way.uploads)


def _rows(conn: Connection, project: str) -> int:
    u = t.uploads.c.repository
    below = or_(u == project, (u > f"{project}/") & (u < f"{project}0"))
    return int(conn.execute(select(func.count()).select_from(t.uploads).where(below)).scalar_one())
