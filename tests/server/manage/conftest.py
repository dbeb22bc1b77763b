"""One registry with access control for all tests of a worker: each makes its own projects and people."""

from collections.abc import Iterator

import pytest

from tests.company import Company
from tests.company import company as running


@pytest.fixture(scope="session")
def company(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Company]:
    """A registry with access control, and its admin."""
    with running(tmp_path_factory.mktemp("company")) as found:
        yield found
