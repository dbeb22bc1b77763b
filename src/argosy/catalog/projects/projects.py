"""Projects, the tenants of a registry: who they are, what they may take, and their end.

A project's name is the first component of the names of its repositories. What others keep
of a project in memory goes by `places.project_key`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import field
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, Row, delete, insert, or_, select, update

from argosy.catalog import schema as t
from argosy.catalog.actor import Actor
from argosy.catalog.audit import Entry, record
from argosy.catalog.caching.cache import Cache
from argosy.catalog.database import Database
from argosy.catalog.databases.announcing import changed
from argosy.catalog.databases.locks import Space, exclusive
from argosy.catalog.people.users import STANDINGS
from argosy.catalog.projects.limits import Limits
from argosy.catalog.projects.places import ProjectUnknown, project_key
from argosy.catalog.projects.quotas import Amount, Quota, standing, used_by
from argosy.catalog.registry.removing import remove_below, remove_repository
from argosy.errors import RegistryError, UsageError
from argosy.model.reference import is_name
from argosy.values import frozen

MAX_NAME: Final = 128
_MAX_DESCRIPTION: Final = 1024
_MOST_KEPT: Final = 20_000
_ROUNDS: Final = 10  # of removing what others push meanwhile


@frozen(kw_only=True)
class Project:
    """A project; `version` goes up with each change. Times in microseconds since 1970."""

    id: int
    name: str
    public: bool = False
    description: str = ""
    quota: Quota = Quota()
    limits: Limits = Limits()
    version: int = 1
    created_at: int = 0
    created_by: str = ""


@frozen(kw_only=True)
class ProjectChange:
    """What to set; None leaves it as it is."""

    public: bool | None = None
    description: str | None = None
    quota: Quota | None = None
    limits: Limits | None = None


@frozen(kw_only=True)
class ProjectsQuery:
    """Which projects to list: after a name, at most `count`.

    `prefix`: whose names begin so; `public`: only those that are, or are not. `member`: only
    those in which the user, or one of `groups`, is one; `visible`: that and the public ones.
    """

    after: str = ""
    count: int = 100
    prefix: str = ""
    public: bool | None = None
    member: str | None = None
    groups: Sequence[str] = field(default=())
    visible: bool = False


class ProjectExists(RegistryError):
    """There is a project of that name already."""

    code = "project-exists"

    def __init__(self, name: str) -> None:
        super().__init__(
            f"there is a project {name} already",
            status=409,
            registry_code="CONFLICT",
            remedy="choose another name, or change the one that is there",
            evidence={"project": name},
        )


class ProjectChanged(RegistryError):
    """Somebody changed the project since it was read."""

    code = "project-changed"

    def __init__(self, name: str) -> None:
        super().__init__(
            f"project {name} was changed meanwhile",
            status=412,
            registry_code="CHANGED",
            remedy="read it again, and decide again",
            evidence={"project": name},
        )


class ProjectNotEmpty(RegistryError):
    """A project that holds something is removed only with all of it, when that is asked for."""

    code = "project-not-empty"

    def __init__(self, name: str, repository: str) -> None:
        super().__init__(
            f"project {name} still holds repositories: {repository}, for one",
            status=409,
            registry_code="CONFLICT",
            remedy="delete them first, or delete the project with everything in it (--force)",
            evidence={"project": name, "repository": repository},
        )


@frozen(eq=False)
class Held:
    """What memory has of a name: also that there is no such project."""

    project: Project | None
    limited: bool  # whether it has limits of its own for requests or bytes per second


class Projects:
    """The projects in a database."""

    def __init__(self, database: Database) -> None:
        self._db = database
        self._kept: Cache[tuple[str, ...], Held] = database.changes.cache("project", _MOST_KEPT)

    async def create(self, name: str, about: ProjectChange | None = None, *, by: Actor) -> Project:
        """Make a project; UsageError if the name cannot be one's, ProjectExists."""
        _check_name(name)
        values = {"name": name, "created_at": t.now(), "created_by": by.name}
        values |= _columns(about or ProjectChange())

        def make(conn: Connection) -> Project:
            exclusive(conn, Space.PROJECT, name)
            if find(conn, name) is not None:
                raise ProjectExists(name)
            conn.execute(insert(t.projects).values(**values))
            record(conn, by, _entry("project.create", name, values))
            changed(conn, project_key(name))
            return known(conn, name)

        return await self._db.write(make)

    async def ensure(self, name: str, *, by: Actor) -> None:
        """Make a project unless it is there."""
        if await self.find(name) is None:
            try:
                await self.create(name, by=by)
            except ProjectExists:
                return  # somebody else made it now

    async def get(self, name: str) -> Project:
        """A project as it is now; ProjectUnknown."""
        return await self._db.read(lambda conn: known(conn, name))

    def at_hand(self, name: str) -> Held | None:
        """What memory has of a project: no waiting, no thread; None: ask `held`."""
        return self._kept.get((name,))

    async def held(self, name: str) -> Held:
        """A project as memory has it, which is a moment late where there are several nodes."""
        kept = await self._kept.load((name,), lambda: self._look(name))
        assert kept is not None, "it is always read"
        return kept

    async def find(self, name: str) -> Project | None:
        """As `held`: the project, if there is one."""
        return (await self.held(name)).project

    async def _look(self, name: str) -> Held:
        found = await self._db.glance(lambda conn: find(conn, name))
        return Held(found, found is not None and found.limits.pace)

    async def list(self, query: ProjectsQuery) -> list[Project]:
        """A page of projects, by name."""
        return await self._db.read(lambda conn: page(conn, query))

    async def usage(self, name: str) -> tuple[Project, Amount]:
        """A project and what it uses now; ProjectUnknown."""

        def look(conn: Connection) -> tuple[Project, Amount]:
            found = known(conn, name)
            return found, standing(conn, found.id).used

        return await self._db.read(look)

    async def usages(self, projects: Sequence[Project]) -> dict[int, Amount]:
        """What each of these uses now, by their keys."""
        keys = [one.id for one in projects]
        return await self._db.read(lambda conn: used_by(conn, keys))

    async def update(
        self, name: str, change: ProjectChange, *, by: Actor, version: int | None = None
    ) -> Project:
        """Change a project; ProjectUnknown, or ProjectChanged unless it has that version.

        A quota below what is used is fine: then nothing more goes in.
        """
        values = _columns(change)

        def edit(conn: Connection) -> Project:
            exclusive(conn, Space.PROJECT, name)
            found = _expected(conn, name, version)
            if not values:
                return found
            bumped = {**values, "version": found.version + 1}
            conn.execute(update(t.projects).where(t.projects.c.id == found.id).values(**bumped))
            record(conn, by, _entry("project.update", name, values))
            changed(conn, project_key(name))
            return known(conn, name)

        return await self._db.write(edit)

    async def delete(
        self, name: str, *, by: Actor, force: bool = False, version: int | None = None
    ) -> None:
        """Remove a project with its members, robots, rules and quota; ProjectUnknown.

        ProjectNotEmpty while it holds repositories. With `force` they go first, one after the
        other, so that others need not wait: what breaks off in between is finished by the next
        call. The bytes of blobs are the collector's.
        """
        await self._db.read(lambda conn: _expected(conn, name, version))
        for _ in range(_ROUNDS):
            if (held := await self._db.write(lambda conn: _remove(conn, name, by))) is None:
                return
            if not force:
                raise ProjectNotEmpty(name, held)
            await self._empty(name, by)
        raise ProjectNotEmpty(name, "others push all the time")

    async def _empty(self, name: str, by: Actor) -> None:
        def one(conn: Connection) -> bool:
            held = _any_repository(conn, known(conn, name))
            return held is not None and remove_repository(conn, held, by)

        while await self._db.write(one):
            pass


def find(conn: Connection, name: str) -> Project | None:
    """The project of that name."""
    row = conn.execute(select(t.projects).where(t.projects.c.name == name)).one_or_none()
    return None if row is None else _project(row)


def known(conn: Connection, name: str) -> Project:
    """The project of that name; ProjectUnknown."""
    if (found := find(conn, name)) is None:
        raise ProjectUnknown(name)
    return found


def page(conn: Connection, query: ProjectsQuery) -> list[Project]:
    """A page of projects, by name."""
    p = t.projects.c
    found = select(t.projects).where(p.name > query.after)
    if query.prefix:
        # Names are ASCII and sort by their bytes: "{" follows every letter they may have.
        found = found.where(p.name >= query.prefix, p.name < f"{query.prefix}{{")
    if query.public is not None:
        found = found.where(p.public == query.public)
    if query.member is not None:
        found = found.where(_in_reach(query))
    return [_project(row) for row in conn.execute(found.order_by(p.name).limit(query.count))]


def _in_reach(query: ProjectsQuery) -> ColumnElement[bool]:
    m = t.members.c
    mine = (m.kind == "user") & (m.name == query.member)
    if query.groups:
        mine |= (m.kind == "group") & m.name.in_(query.groups)
    reached = t.projects.c.id.in_(select(m.project_id).where(mine))
    return or_(reached, t.projects.c.public) if query.visible else reached


def _expected(conn: Connection, name: str, version: int | None) -> Project:
    found = known(conn, name)
    if version is not None and found.version != version:
        raise ProjectChanged(name)
    return found


def _any_repository(conn: Connection, project: Project) -> str | None:
    r = t.repositories.c
    found = select(r.name).where(r.project_id == project.id).order_by(r.name)
    return conn.execute(found.limit(1)).scalar()


def _remove(conn: Connection, name: str, by: Actor) -> str | None:
    """Remove a project that is empty; else the name of one of its repositories."""
    exclusive(conn, Space.PROJECT, name)  # nobody makes a repository in it
    found = known(conn, name)
    if (repository := _any_repository(conn, found)) is not None:
        return repository
    remove_below(conn, found.id)
    conn.execute(delete(t.projects).where(t.projects.c.id == found.id))
    record(conn, by, _entry("project.delete", name, {}))
    changed(conn, project_key(name), STANDINGS)
    return None


def _check_name(name: str) -> None:
    if "/" in name or len(name) > MAX_NAME or not is_name(name):
        raise UsageError(
            f"{name[:300]!r} cannot be the name of a project",
            why="it is the first component of repositories' names",
            remedy="use a-z and 0-9, with single . _ or - (or __, or several -) in between;"
            f" at most {MAX_NAME} characters",
        )


def _columns(change: ProjectChange) -> dict[str, Any]:
    values: dict[str, Any] = {}
    if change.public is not None:
        values["public"] = change.public
    if change.description is not None:
        if len(change.description) > _MAX_DESCRIPTION:
            raise UsageError(f"a description has at most {_MAX_DESCRIPTION} characters")
        values["description"] = change.description
    if change.quota is not None:
        change.quota.check()
        values |= {"quota_bytes": change.quota.bytes, "quota_artifacts": change.quota.artifacts}
    if change.limits is not None:
        values["settings"] = {"limits": change.limits.to_json()}
    return values


def _entry(action: str, name: str, values: Mapping[str, Any]) -> Entry:
    hidden = ("name", "created_at", "created_by")
    details = {key: value for key, value in values.items() if key not in hidden}
    return Entry(action=action, resource=name, project=name, details=details)


def _project(row: Row[Any]) -> Project:
    return Project(
        id=row.id,
        name=row.name,
        public=row.public,
        description=row.description,
        quota=Quota(row.quota_bytes, row.quota_artifacts),
        limits=Limits.parse((row.settings or {}).get("limits", {})),
        version=row.version,
        created_at=row.created_at,
        created_by=row.created_by,
    )
