"""One registry with access control for all tests of a worker: each makes its own projects and people."""

from collections.abc import Iterator

import pytest

from tests.company import Company
from tests.company import company as running


@pytest.fixture(
    scope="session", params=["sqlite", pytest.param("postgresql", marks=pytest.mark.peer)]
)
def company(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Company]:
    """A registry with access control, and its admin, on either database."""
    data = tmp_path_factory.mktemp("company")
    if request.param == "sqlite":
        with running(data) as found:
            yield found
    else:
        server = request.getfixturevalue("postgres")
        url = server.create(request.getfixturevalue("_postgres_template"))
        with running(data, database=url) as found:
            yield found
        server.drop(url)
