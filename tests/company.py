"""A registry with access control in this process, and people who ask it things by its API."""

import json
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from argosy.access.accounts.users import NewUser
from argosy.access.permissions.permission import Role
from argosy.access.service import Access
from argosy.catalog.actor import SYSTEM
from argosy.server.config.sections import (
    AuthSection,
    DatabaseSection,
    ServerSection,
    ServerSettings,
)
from tests.serving import Answer, Client, Serving, served

PASSWORD = "correct horse battery"


class Person:
    """Somebody with a name and a password, or nobody."""

    def __init__(self, client: Client, name: str = "", password: str = PASSWORD) -> None:
        self.name, self.password = name, password
        self.client = client.by(name, password) if name else client

    def __call__(self, method: str, path: str, body: Any = None, **fields: str) -> Answer:
        """Ask the API; `fields` are headers, with _ for -."""
        headers = {k.replace("_", "-"): v for k, v in fields.items()}
        raw = None
        if body is not None:
            raw = json.dumps(body)
            headers.setdefault("Content-Type", "application/json")
        return self.client(method, f"/api/v1{path}", raw, headers)

    def get(self, path: str) -> Any:
        """What is there; it has to be."""
        return self._good(self("GET", path))

    def post(self, path: str, body: Any = None) -> Any:
        return self._good(self("POST", path, body))

    def patch(self, path: str, body: Any, etag: str = "*") -> Any:
        return self._good(self("PATCH", path, body, If_Match=etag))

    def delete(self, path: str) -> None:
        self._good(self("DELETE", path))

    def push(self, repository: str, tag: str = "v1") -> dict[str, Any]:
        """A small image, by the registry API."""
        return self.client.at(repository).push_image(tag, seed=uuid.uuid4().hex)

    @staticmethod
    def _good(answer: Answer) -> Any:
        assert answer.status < 300, answer.body
        return answer.json if answer.body else None


class Company:
    """A running registry with an admin; `served` is it."""

    def __init__(self, client: Client, serving: Serving) -> None:
        self.client, self.serving = client, serving
        self.port, self.host = client.port, f"127.0.0.1:{client.port}"
        serving.run(self.access.users.set_password(SYSTEM, "admin", PASSWORD))
        self.admin = Person(client, "admin")
        self.nobody = Person(client)

    @property
    def access(self) -> Access:
        found = self.serving.app.admission.access
        assert found is not None
        return found

    def user(self, prefix: str = "u") -> Person:
        """A new user."""
        name = f"{prefix}-{uuid.uuid4().hex[:12]}"
        new = NewUser(name=name, password=PASSWORD)
        self.serving.run(self.access.users.create(SYSTEM, new))
        return Person(self.client, name)

    def project(self, prefix: str = "p", **more: Any) -> str:
        """A new project; its name."""
        name = f"{prefix}-{uuid.uuid4().hex[:12]}"
        self.admin.post("/projects", {"name": name, **more})
        return name

    def member(self, project: str, role: str) -> Person:
        """A new user with that role."""
        person = self.user(role)
        put = self.access.members.put(SYSTEM, project, "user", person.name, Role(role))
        self.serving.run(put)
        return person


@contextmanager
def company(data: Path, database: str = "", **more: Any) -> Iterator[Company]:
    """A registry with access control on a directory, with the catalog there or in a database."""
    settings = ServerSettings(
        server=ServerSection(data=str(data)),
        database=DatabaseSection(url=database),
        auth=AuthSection(enabled=True, secret="5" * 64 if database else "", **more),
    )
    with served(data, settings=settings) as (client, serving):
        yield Company(client, serving)
