"""A registry with access control, and people in it: one of each kind that the docs' table has."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, insert

from argosy.access.accounts.personal import NewToken
from argosy.access.accounts.robots import NewRobot
from argosy.access.accounts.users import NewUser
from argosy.access.permissions.permission import Role
from argosy.access.permissions.principal import Principal
from argosy.access.service import Access
from argosy.catalog import schema as t
from argosy.catalog.actor import SYSTEM
from argosy.server.config.sections import AuthSection, ServerSettings
from argosy.server.starting.opening import embedded
from tests.serving import Client, Serving, served

PASSWORD = "correct horse battery"
ADMIN = "root"


@dataclass
class World:
    """A running registry: `team` is private, `open` is public; `root` administers it all."""

    client: Client
    serving: Serving
    secrets: dict[str, str] = field(default_factory=dict)

    @property
    def access(self) -> Access:
        found = self.serving.app.admission.access
        assert found is not None
        return found

    def run(self, coroutine: Any) -> Any:
        """Something on the server's loop."""
        return self.serving.run(coroutine)

    def project(self, name: str, *, public: bool = False) -> None:
        """Make a project."""

        def write(conn: Connection) -> None:
            conn.execute(insert(t.projects).values(name=name, public=public, created_at=t.now()))

        self.run(self.serving.app.catalog.database.write(write))

    def user(
        self, name: str, role: Role | None = None, project: str = "team", **more: Any
    ) -> Client:
        """Make a user, with a role in a project; a client as them."""
        new = NewUser(name=name, password=PASSWORD, **more)
        self.run(self.access.users.create(SYSTEM, new))
        if role is not None:
            self.run(self.access.members.put(SYSTEM, project, "user", name, role))
        return self.client.by(name, PASSWORD)

    def principal(self, name: str) -> Principal:
        """A user as the guard knows them."""
        user = self.run(self.access.users.get(name))
        return Principal(name=name, kind="user", id=user.id, is_admin=user.is_admin)

    def robot(self, name: str, *grants: str, maker: str = ADMIN, **more: Any) -> tuple[str, str]:
        """Make a robot; its full name and its secret."""
        new = NewRobot(name=name, grants=grants, **more)
        robot, secret = self.run(self.access.robots.create(SYSTEM, self.principal(maker), new))
        return robot.name, secret

    def token(self, owner: str, *scopes: str, **more: Any) -> str:
        """Make a personal access token."""
        new = NewToken(name=f"for {scopes}", scopes=scopes, **more)
        return str(self.run(self.access.personal.create(SYSTEM, self.principal(owner), new))[1])


@contextmanager
def guarded(
    path: Path, *, watched: bool = False, plain: ServerSettings | None = None, **auth: Any
) -> Iterator[World]:
    """A registry with access control on `path`; `plain`: its other settings."""
    plain = plain or embedded(str(path))
    settings: ServerSettings = replace(plain, auth=AuthSection(enabled=True, **auth))
    with served(path, watched=watched, settings=settings) as (client, serving):
        world = World(client, serving)
        world.user(ADMIN, is_admin=True)
        world.project("team")
        world.project("open", public=True)
        yield world
