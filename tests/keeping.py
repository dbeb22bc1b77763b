"""Where a server under test keeps things: each pair of a database and a blob storage."""

from dataclasses import fields

import pytest

from argosy.server.config.sections import (
    DatabaseSection,
    S3Section,
    ServerSection,
    ServerSettings,
    StorageSection,
)
from argosy.stores.s3.options import S3Options
from tests.postgres import Postgres
from tests.seaweed import Seaweed

PAIRS = ("sqlite/files", "postgres/files", "sqlite/s3", "postgres/s3")


def section(options: S3Options) -> S3Section:
    """The section of the settings that says the same."""
    names = [field.name for field in fields(S3Section())]
    return S3Section(**{name: getattr(options, name) for name in names})


def kept_in(pair: str, data: str, request: pytest.FixtureRequest) -> ServerSettings:
    """The settings of a server that keeps things in such a pair."""
    database, storage = pair.split("/")
    url, bucket = "", S3Section()
    if database == "postgres":
        server: Postgres = request.getfixturevalue("postgres")
        url = server.create(request.getfixturevalue("_postgres_template"))
    if storage == "s3":
        weed: Seaweed = request.getfixturevalue("seaweed")
        bucket = section(weed.options(redirect=False))
    return ServerSettings(
        server=ServerSection(data=data),
        database=DatabaseSection(url=url),
        storage=StorageSection(backend=storage),
        s3=bucket,
    )
