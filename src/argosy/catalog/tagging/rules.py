"""Rules that keep tags from being moved or deleted, as Harbor's tag immutability has them.

A rule of a project names repositories (without the project) and tags by patterns; a tag
that exists and fits any rule that is not disabled stays what it is. Making a new tag is
never refused, nor is pushing again what the tag stands for already. The rules are read in
the transaction of the move, and only when something would be moved.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from sqlalchemy import Connection, delete, func, select, update

from argosy.catalog import schema as t
from argosy.catalog.actor import Actor
from argosy.catalog.audit import Entry, record
from argosy.catalog.database import Database
from argosy.catalog.databases.dialects import upsert
from argosy.catalog.databases.locks import Space, exclusive
from argosy.catalog.people import users
from argosy.catalog.tagging.patterns import check, matches
from argosy.errors import NotFound, RegistryError, UsageError
from argosy.values import frozen

MOST: Final = 100
"""Rules a project may have: each is looked at when a tag is moved."""

_MANY: Final = 1000


@frozen(kw_only=True)
class TagRule:
    """Tags that stay: in the repositories of `project` that fit, those that fit."""

    id: int
    project: str
    repositories: str
    tags: str
    disabled: bool = False
    created_at: int = 0
    created_by: str = ""

    def keeps(self, repository: str, tag: str) -> bool:
        """Whether it is about this tag; `repository` is the whole name."""
        below = repository.partition("/")[2] or repository
        return not self.disabled and matches(self.repositories, below) and matches(self.tags, tag)


class TagKept(RegistryError):
    """A tag may not be moved or deleted, because a rule of its project keeps it as it is."""

    code = "tag-kept"
    denial = "a rule of the project keeps the tag"

    def __init__(self, repository: str, tag: str, rule: TagRule) -> None:
        self.rule = rule
        super().__init__(
            f"tag {tag} of {repository} stays as it is",
            status=412,
            registry_code="DENIED",  # the one whose words every client shows
            # Clients show this, and no remedy.
            why=f"rule {rule.id} of project {rule.project} keeps tags {rule.tags} in"
            f" {rule.repositories}; use another tag, or have a maintainer change the rule",
            remedy="`argosy tags rules` shows and changes them",
            evidence={"tag": tag, "rule": rule.id, "repositories": rule.repositories}
            | {"tags": rule.tags},
        )


def refuse_kept(conn: Connection, repository_id: int, tags: Iterable[str]) -> None:
    """TagKept if a rule keeps one of these tags, which exist and would be moved or deleted."""
    repository, rules = _active(conn, repository_id)
    if rules:
        _refuse(repository, rules, tags)


def refuse_if_any_kept(conn: Connection, repository_id: int) -> None:
    """TagKept if a rule keeps any tag of the repository, all of which would be deleted."""
    repository, rules = _active(conn, repository_id)
    last = ""
    tags = t.tags.c
    wanted = select(tags.name).where(tags.repository_id == repository_id).order_by(tags.name)
    while rules:
        page = list(conn.execute(wanted.where(tags.name > last).limit(_MANY)).scalars())
        _refuse(repository, rules, page)
        if len(page) < _MANY:
            return
        last = page[-1]


def _refuse(repository: str, rules: Sequence[TagRule], tags: Iterable[str]) -> None:
    for tag in tags:
        for rule in rules:
            if rule.keeps(repository, tag):
                raise TagKept(repository, tag, rule)


def _active(conn: Connection, repository_id: int) -> tuple[str, list[TagRule]]:
    r, rules = t.repositories.c, t.tag_rules.c
    found = select(r.name.label("repository"), *_COLUMNS).join(
        t.repositories, r.project_id == rules.project_id
    )
    found = found.join(t.projects, t.projects.c.id == rules.project_id)
    found = found.where(r.id == repository_id, rules.disabled.is_(False)).order_by(rules.id)
    rows = conn.execute(found).all()
    return (rows[0].repository if rows else ""), [_rule(row) for row in rows]


class TagRules:
    """The rules of projects, to be listed and changed."""

    def __init__(self, database: Database) -> None:
        self._db = database

    async def page(self, project: str, last: int, count: int) -> list[TagRule]:
        """At most `count` rules after the one of number `last`; NotFound without the project."""

        def read(conn: Connection) -> list[TagRule]:
            key = users.project(conn, project)
            rules = t.tag_rules.c
            found = _rules().where(rules.project_id == key, rules.id > last)
            return [_rule(row) for row in conn.execute(found.order_by(rules.id).limit(count))]

        return await self._db.read(read)

    async def get(self, project: str, rule: int) -> TagRule:
        """One rule; NotFound."""
        return await self._db.read(lambda conn: _get(conn, project, rule))

    async def add(self, project: str, *, repositories: str = "**", tags: str, by: Actor) -> TagRule:
        """A new rule, or the one that says the same; PatternInvalid, NotFound or UsageError."""
        check(repositories)
        check(tags)

        def make(conn: Connection) -> TagRule:
            exclusive(conn, Space.WORK, f"tag-rules:{project}")  # so that MOST is the most
            key = users.project(conn, project)
            same = _rules().where(
                t.tag_rules.c.project_id == key,
                t.tag_rules.c.repositories == repositories,
                t.tag_rules.c.tags == tags,
            )
            if (there := conn.execute(same).one_or_none()) is not None:
                return _rule(there)
            _refuse_too_many(conn, project, key)
            row = {"project_id": key, "repositories": repositories, "tags": tags}
            row |= {"created_at": t.now(), "created_by": by.name}
            upsert(conn, t.tag_rules, [row], key=("project_id", "repositories", "tags"))
            rule = _rule(conn.execute(same).one())
            _record(conn, by, "tag-rule.create", rule)
            return rule

        return await self._db.write(make)

    async def change(
        self,
        project: str,
        rule: int,
        *,
        disabled: bool,
        by: Actor,
        allow: Callable[[TagRule], object] = lambda _: None,
    ) -> TagRule:
        """Switch a rule off or on; NotFound. `allow` sees it as it is, and may raise."""

        def switch(conn: Connection) -> TagRule:
            exclusive(conn, Space.WORK, f"tag-rules:{project}")
            allow(_get(conn, project, rule))
            chosen = t.tag_rules.c.id == rule
            conn.execute(update(t.tag_rules).where(chosen).values(disabled=disabled))
            after = _get(conn, project, rule)
            _record(conn, by, "tag-rule.disable" if disabled else "tag-rule.enable", after)
            return after

        return await self._db.write(switch)

    async def remove(
        self,
        project: str,
        rule: int,
        *,
        by: Actor,
        allow: Callable[[TagRule], object] = lambda _: None,
    ) -> None:
        """Take a rule away; NotFound. `allow` sees it as it is, and may raise."""

        def forget(conn: Connection) -> None:
            exclusive(conn, Space.WORK, f"tag-rules:{project}")
            before = _get(conn, project, rule)
            allow(before)
            conn.execute(delete(t.tag_rules).where(t.tag_rules.c.id == rule))
            _record(conn, by, "tag-rule.delete", before)

        await self._db.write(forget)


_COLUMNS: Final = (
    *(t.tag_rules.c[n] for n in ("id", "repositories", "tags", "disabled")),
    *(t.tag_rules.c[n] for n in ("created_at", "created_by")),
    t.projects.c.name.label("project"),
)


def _rules() -> Any:
    return select(*_COLUMNS).join(t.projects, t.projects.c.id == t.tag_rules.c.project_id)


def _rule(row: Any) -> TagRule:
    return TagRule(
        id=row.id,
        project=row.project,
        repositories=row.repositories,
        tags=row.tags,
        disabled=bool(row.disabled),
        created_at=row.created_at,
        created_by=row.created_by,
    )


def _get(conn: Connection, project: str, rule: int) -> TagRule:
    key = users.project(conn, project)
    found = _rules().where(t.tag_rules.c.project_id == key, t.tag_rules.c.id == rule)
    if (row := conn.execute(found).one_or_none()) is None:
        raise NotFound(f"project {project} has no rule {rule}", evidence={"rule": rule})
    return _rule(row)


def _refuse_too_many(conn: Connection, project: str, key: int) -> None:
    counted = select(func.count()).select_from(t.tag_rules).where(t.tag_rules.c.project_id == key)
    if conn.execute(counted).scalar_one() >= MOST:
        raise UsageError(
            f"project {project} has {MOST} rules for tags, which is the most",
            remedy="join some of them with braces: {v*,release-*}",
        )


def _record(conn: Connection, by: Actor, action: str, rule: TagRule) -> None:
    details = {"rule": rule.id, "repositories": rule.repositories, "tags": rule.tags}
    record(
        conn,
        by,
        Entry(action=action, resource=rule.project, project=rule.project, details=details),
    )
