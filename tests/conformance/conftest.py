"""Running servers for all tests that are written from the distribution spec.

One on a directory and open to all, and one for each pair of a database and a blob
storage, with access control.
"""

import itertools
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from argosy.access.accounts.users import NewUser
from argosy.catalog.actor import SYSTEM
from argosy.server.config.sections import AuthSection, ServerSettings
from tests.keeping import PAIRS, kept_in
from tests.serving import Client, served

_count = itertools.count()
_PASSWORD = "correct horse battery"


@pytest.fixture(scope="session", params=["open", *PAIRS])
def registry_server(
    tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[Client]:
    """A registry of ours, empty when the session begins."""
    path = tmp_path_factory.mktemp("registry")
    if request.param == "open":
        with served(path) as (client, _serving):
            yield client
        return
    settings = kept_in(request.param, str(path), request)
    guarded = replace(settings, auth=AuthSection(enabled=True, secret="5e" * 32))
    with served(path, settings=guarded) as (client, serving):
        access = serving.app.admission.access
        assert access is not None
        new = NewUser(name="root", password=_PASSWORD, is_admin=True)
        serving.run(access.users.create(SYSTEM, new))
        yield client.by("root", _PASSWORD)


@pytest.fixture(params=PAIRS[1:])
def kept(tmp_path: Path, request: pytest.FixtureRequest) -> ServerSettings:
    """A server that keeps things elsewhere than on its own disk."""
    return kept_in(request.param, str(tmp_path), request)


@pytest.fixture
def repo(registry_server: Client) -> Client:
    """A client at a repository that no other test uses."""
    return registry_server.at(f"spec/case-{next(_count)}")


@pytest.fixture(params=["sha256", "sha512"])
def algorithm(request: pytest.FixtureRequest) -> str:
    """Each digest algorithm of the spec."""
    return str(request.param)
