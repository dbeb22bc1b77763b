"""SQLite catalogs that are there already: migrated once per worker of the suite, and copied.

Migrating takes some 40 ms and several fsyncs, for each of a thousand tests; a copy takes 1 ms.
The migrations themselves, and servers in processes of their own, go the whole way.
"""

import os
import shutil
import threading
import uuid
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from sqlalchemy import Engine

from argosy.catalog import database
from argosy.catalog.databases.dialects import sqlite_engine
from argosy.catalog.migrations.deciding import bring_up


class _Template:
    """A file at the present schema, made when the first one is asked for."""

    def __init__(self, path: Path) -> None:
        self._path = str(path)
        self._making = threading.Lock()

    def bring_up(self, engine: Engine, path: str) -> None:
        """As the function of that name; a file that is not there is copied first."""
        with self._making:
            if not os.path.exists(self._path):
                made = sqlite_engine(self._path)
                bring_up(made, self._path)
                made.dispose()
        with suppress(OSError):  # what is wrong with the place is told below
            self._copy(path)
        bring_up(engine, path)

    def _copy(self, path: str) -> None:
        """Whole or not at all: others may start on the same file now."""
        if not os.path.exists(path):
            draft = f"{path}.{uuid.uuid4()}"
            shutil.copyfile(self._path, draft)
            with suppress(FileExistsError):
                os.link(draft, path)
            os.unlink(draft)


@pytest.fixture(scope="session", autouse=True)
def _migrated_once(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """For `open_database` in this process."""
    template = _Template(tmp_path_factory.mktemp("catalog") / "template.db")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(database, "bring_up", template.bring_up)
        yield


@pytest.fixture
def real_migrations(monkeypatch: pytest.MonkeyPatch) -> None:
    """For tests of the migrations: `open_database` as it is."""
    monkeypatch.setattr(database, "bring_up", bring_up)
