"""The tables: what a repository holds, what may be read through it, and how its tags moved.

Times are microseconds since 1970 UTC. Names sort by their bytes in every
database, as tag lists must (distribution-spec, Listing Tags).
"""

import time
from typing import Final

from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
)

REVISION: Final = "0001"
"""The migration that makes these tables; a test compares the two."""

metadata: Final = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    }
)

_Name = String(255).with_variant(String(255, collation="C"), "postgresql")
_Digest = String(136)
_Id = BigInteger().with_variant(Integer, "sqlite")  # only INTEGER keys count up there


def _repository() -> Column[int]:
    return Column("repository_id", _Id, ForeignKey("repositories.id"), primary_key=True)


repositories: Final = Table(
    "repositories",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("name", _Name, nullable=False, unique=True),
    Column("created_at", BigInteger, nullable=False),
)

blobs: Final = Table(
    "blobs",
    metadata,
    Column("digest", _Digest, primary_key=True),
    Column("size", BigInteger, nullable=False),
    Column("created_at", BigInteger, nullable=False),
)

repository_blobs: Final = Table(
    "repository_blobs",  # which blob may be read through which repository
    metadata,
    _repository(),
    Column("digest", _Digest, ForeignKey("blobs.digest"), primary_key=True),
    Column("linked_at", BigInteger, nullable=False),
    Index("ix_repository_blobs_digest", "digest"),
)

manifests: Final = Table(
    "manifests",
    metadata,
    _repository(),
    Column("digest", _Digest, primary_key=True),
    Column("media_type", String(255), nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("body", LargeBinary, nullable=False),  # as received: the digest is of these bytes
    Column("subject", _Digest),
    Column("artifact_type", String(255), nullable=False),
    Column("annotations", JSON, nullable=False),
    Column("pushed_at", BigInteger, nullable=False),
    Index("ix_manifests_repository_id_subject", "repository_id", "subject"),
)

manifest_children: Final = Table(
    "manifest_children",  # what must stay as long as the parent does
    metadata,
    _repository(),
    Column("parent", _Digest, primary_key=True),
    Column("child", _Digest, primary_key=True),
    Index("ix_manifest_children_repository_id_child", "repository_id", "child"),
)

tags: Final = Table(
    "tags",
    metadata,
    _repository(),
    Column("name", _Name, primary_key=True),
    Column("digest", _Digest, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    Index("ix_tags_repository_id_digest", "repository_id", "digest"),
)

tag_history: Final = Table(
    "tag_history",  # append-only; no digest: the tag was removed
    metadata,
    Column("id", _Id, primary_key=True),
    Column("repository_id", _Id, ForeignKey("repositories.id"), nullable=False),
    Column("name", _Name, nullable=False),
    Column("digest", _Digest),
    Column("at", BigInteger, nullable=False),
    Index("ix_tag_history_repository_id_name_id", "repository_id", "name", "id"),
)


def now() -> int:
    """The present, in the unit of the tables."""
    return time.time_ns() // 1000
