"""One running server for all tests that are written from the distribution spec."""

import itertools
from collections.abc import Iterator

import pytest

from tests.serving import Client, served

_count = itertools.count()


@pytest.fixture(scope="session")
def registry_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """A registry of ours, empty when the session begins."""
    with served(tmp_path_factory.mktemp("registry")) as (client, _serving):
        yield client


@pytest.fixture
def repo(registry_server: Client) -> Client:
    """A client at a repository that no other test uses."""
    return registry_server.at(f"spec/case-{next(_count)}")


@pytest.fixture(params=["sha256", "sha512"])
def algorithm(request: pytest.FixtureRequest) -> str:
    """Each digest algorithm of the spec."""
    return str(request.param)
