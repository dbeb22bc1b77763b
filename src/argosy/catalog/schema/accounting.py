"""What is counted and what is remembered: quotas, the audit log, leases, answers given before."""

from typing import Final

from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    Index,
    Integer,
    LargeBinary,
    String,
    Table,
)

from argosy.catalog.schema.columns import DigestText, Id, Name, metadata, project_key

project_blobs: Final = Table(
    "project_blobs",  # a blob counts once per project, however many repositories link it
    metadata,
    project_key(primary_key=True),
    Column("digest", DigestText, primary_key=True),
    Column("size", BigInteger, nullable=False),
    Column("links", BigInteger, nullable=False),
)

quota_usage: Final = Table(
    "quota_usage",  # what was folded; usage is this and every delta
    metadata,
    project_key(primary_key=True),
    Column("bytes", BigInteger, nullable=False),
    Column("artifacts", BigInteger, nullable=False),
    Column("folded_at", BigInteger, nullable=False),
)

quota_deltas: Final = Table(
    "quota_deltas",  # append-only, until folded
    metadata,
    Column("id", Id, primary_key=True),
    project_key(),
    Column("bytes", BigInteger, nullable=False),
    Column("artifacts", BigInteger, nullable=False),
    Index("ix_quota_deltas_project_id_id", "project_id", "id"),
)

audit: Final = Table(
    "audit",  # who did what; written with the change, put in order and chained by the sealer
    metadata,
    Column("id", Id, primary_key=True),
    Column("at", BigInteger, nullable=False),
    Column("actor", Name, nullable=False),
    Column("actor_kind", String(16), nullable=False),
    Column("address", String(64), nullable=False),
    Column("request", String(64), nullable=False),
    Column("action", String(64), nullable=False),
    Column("project", Name, nullable=False),
    Column("resource", String(512), nullable=False),
    Column("digest", String(136), nullable=False),
    Column("outcome", String(16), nullable=False),  # done | denied | failed
    Column("details", JSON, nullable=False),
    Column("count", Integer, nullable=False, server_default="1"),  # the same again and again
    Column("sequence", BigInteger, unique=True),  # none: not sealed yet
    Column("hash", String(64)),
    Index("ix_audit_at_id", "at", "id"),
    Index("ix_audit_actor_id", "actor", "id"),
    Index("ix_audit_project_id", "project", "id"),
    Index("ix_audit_resource_id", "resource", "id"),
    Index("ix_audit_digest_id", "digest", "id"),
    Index("ix_audit_action_id", "action", "id"),
    Index(
        # Partial (outcome != 'done'): few entries, and those that are asked for. The migration says
        # so; saying it here would import both dialects at every start, for 100 ms.
        "ix_audit_outcome_id",
        "outcome",
        "id",
    ),
)

audit_anchors: Final = Table(
    "audit_anchors",  # where the chain begins after trimming
    metadata,
    Column("sequence", BigInteger, primary_key=True, autoincrement=False),
    Column("hash", String(64), nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("actor", Name, nullable=False),
)

cursors: Final = Table(
    "cursors",  # how far somebody has come through a log
    metadata,
    Column("name", String(128), primary_key=True),
    Column("position", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
)

leases: Final = Table(
    "leases",  # work that one node does for all
    metadata,
    Column("name", String(128), primary_key=True),
    Column("holder", String(64), nullable=False),
    Column("until", BigInteger, nullable=False),
)

idempotency: Final = Table(
    "idempotency",  # answers to requests that may be sent twice
    metadata,
    Column("principal", String(300), primary_key=True),
    Column("key", String(255), primary_key=True),
    Column("fingerprint", String(64), nullable=False),
    Column("status", Integer, nullable=False),
    Column("headers", JSON, nullable=False, server_default="[]"),
    Column("body", LargeBinary, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Index("ix_idempotency_created_at", "created_at"),
)

schema_compatibility: Final = Table(
    "schema_compatibility",  # one row, set by migrations: see migrations/README.md
    metadata,
    Column("oldest", String(32), primary_key=True),  # the oldest program that can use the schema
)

commit_marks: Final = Table(
    "commit_marks",  # PostgreSQL only: the last transaction of each connection of each node
    metadata,
    Column("slot", String(64), primary_key=True),
    Column("token", BigInteger, nullable=False),
    Column("at", BigInteger, nullable=False),
)
