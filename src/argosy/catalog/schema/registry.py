"""What a repository holds, what may be read through it, and how its tags moved."""

from typing import Final

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Index,
    LargeBinary,
    String,
    Table,
    UniqueConstraint,
    false,
)

from argosy.catalog.schema.columns import NEVER_AGAIN, DigestText, Id, Name, metadata, project_key


def _repository() -> Column[int]:
    return Column("repository_id", Id, ForeignKey("repositories.id"), primary_key=True)


projects: Final = Table(
    "projects",  # a tenant; the first component of its repositories' names
    metadata,
    Column("id", Id, primary_key=True),
    Column("name", Name, nullable=False, unique=True),
    Column("public", Boolean, nullable=False, server_default=false()),
    Column("description", String(1024), nullable=False, server_default=""),
    Column("quota_bytes", BigInteger),  # none: no limit
    Column("quota_artifacts", BigInteger),
    Column("settings", JSON, nullable=False, server_default="{}"),  # limits and switches
    Column("version", BigInteger, nullable=False, server_default="1"),  # its ETag
    Column("created_at", BigInteger, nullable=False),
    Column("created_by", Name, nullable=False, server_default=""),
    sqlite_autoincrement=NEVER_AGAIN,
)

repositories: Final = Table(
    "repositories",
    metadata,
    Column("id", Id, primary_key=True),
    Column("name", Name, nullable=False, unique=True),
    Column("created_at", BigInteger, nullable=False),
    # No foreign key: SQLite could not drop the column again. None: a node of before 0002 made it.
    Column("project_id", Id),
    Index("ix_repositories_project_id_name", "project_id", "name"),
)

blobs: Final = Table(
    "blobs",
    metadata,
    Column("digest", DigestText, primary_key=True),
    Column("size", BigInteger, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("key", String(255), nullable=False, server_default=""),  # where; "": by its digest
)

repository_blobs: Final = Table(
    "repository_blobs",  # which blob may be read through which repository
    metadata,
    _repository(),
    Column("digest", DigestText, ForeignKey("blobs.digest"), primary_key=True),
    Column("linked_at", BigInteger, nullable=False),
    Index("ix_repository_blobs_digest", "digest"),
)

manifests: Final = Table(
    "manifests",
    metadata,
    _repository(),
    Column("digest", DigestText, primary_key=True),
    Column("media_type", String(255), nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("body", LargeBinary, nullable=False),  # as received: the digest is of these bytes
    Column("subject", DigestText),
    Column("artifact_type", String(255), nullable=False),
    Column("annotations", JSON, nullable=False),
    Column("pushed_at", BigInteger, nullable=False),
    Index("ix_manifests_repository_id_subject", "repository_id", "subject"),
)

manifest_children: Final = Table(
    "manifest_children",  # what must stay as long as the parent does
    metadata,
    _repository(),
    Column("parent", DigestText, primary_key=True),
    Column("child", DigestText, primary_key=True),
    Index("ix_manifest_children_repository_id_child", "repository_id", "child"),
)

tags: Final = Table(
    "tags",
    metadata,
    _repository(),
    Column("name", Name, primary_key=True),
    Column("digest", DigestText, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    Index("ix_tags_repository_id_digest", "repository_id", "digest"),
)

tag_history: Final = Table(
    "tag_history",  # append-only; no digest: the tag was removed
    metadata,
    Column("id", Id, primary_key=True),
    Column("repository_id", Id, ForeignKey("repositories.id"), nullable=False),
    Column("name", Name, nullable=False),
    Column("digest", DigestText),
    Column("at", BigInteger, nullable=False),
    Column("previous", DigestText),
    Column("actor", Name, nullable=False, server_default=""),
    Index("ix_tag_history_repository_id_name_id", "repository_id", "name", "id"),
)

tag_rules: Final = Table(
    "tag_rules",  # which tags of a project may not be moved or deleted
    metadata,
    Column("id", Id, primary_key=True),
    project_key(),
    Column("repositories", String(255), nullable=False),  # pattern, without the project's name
    Column("tags", String(255), nullable=False),  # pattern
    Column("disabled", Boolean, nullable=False, server_default=false()),
    Column("created_at", BigInteger, nullable=False),
    Column("created_by", Name, nullable=False, server_default=""),
    UniqueConstraint("project_id", "repositories", "tags"),
)

uploads: Final = Table(
    "uploads",  # blobs on their way, where any node may go on with them (object storage)
    metadata,
    Column("id", String(36), primary_key=True),
    Column("repository", Name, nullable=False),  # its name: the row comes before the repository
    Column("algorithm", String(16), nullable=False),
    Column("key", String(255), nullable=False),  # the final one
    Column("multipart", String(1024), nullable=False, server_default=""),
    # {"parts": [[number, etag, size], …], "drop": [keys that have to go]}; a new one has []
    Column("parts", JSON, nullable=False, server_default="[]"),
    Column("offset", BigInteger, nullable=False, server_default="0"),
    Column("tail", LargeBinary),  # bytes too few for a part
    Column("tail_key", String(255), nullable=False, server_default=""),
    Column("hash_state", LargeBinary),
    Column("hash_tag", String(64), nullable=False, server_default=""),  # what can read the state
    Column("started_at", BigInteger, nullable=False),
    Column("touched_at", BigInteger, nullable=False),
    Column("holder", String(64), nullable=False, server_default=""),
    Column("held_until", BigInteger, nullable=False, server_default="0"),
    Index("ix_uploads_touched_at", "touched_at"),
)
