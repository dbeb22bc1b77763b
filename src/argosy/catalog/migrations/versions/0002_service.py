"""Tenants, people, quotas, the audit log, and uploads that any node may go on with.

Only adds: a node of the version before goes on working beside this schema.
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_NAME = sa.String(255).with_variant(sa.String(255, collation="C"), "postgresql")
_ID = sa.BigInteger().with_variant(sa.Integer, "sqlite")

_TABLES = (
    "projects",
    "tag_rules",
    "uploads",
    "users",
    "recovery_codes",
    "user_groups",
    "members",
    "robots",
    "workload_rules",
    "tokens",
    "refresh_tokens",
    "signing_keys",
    "failures",
    "sessions",
    "login_flows",
    "project_blobs",
    "quota_usage",
    "quota_deltas",
    "audit",
    "audit_anchors",
    "cursors",
    "leases",
    "idempotency",
    "schema_compatibility",
    "commit_marks",
)


def upgrade() -> None:
    """Make the tables and columns, and give what is there its project."""
    _projects()
    _users()
    _robots()
    _tokens()
    _keys()
    _quotas()
    _audit()
    _leases()
    _columns()
    _fill()
    _compatibility()


def downgrade() -> None:
    """Drop them, who refers first."""
    op.drop_index("ix_repositories_project_id_name", "repositories")
    op.drop_column("repositories", "project_id")
    op.drop_column("blobs", "key")
    op.drop_column("tag_history", "previous")
    op.drop_column("tag_history", "actor")
    for table in reversed(_TABLES):
        op.drop_table(table)


def _projects() -> None:
    op.create_table(
        "projects",
        sa.Column("id", _ID, nullable=False),
        sa.Column("name", _NAME, nullable=False),
        sa.Column("public", sa.Boolean, server_default=sa.false(), nullable=False),
        sa.Column("description", sa.String(1024), server_default="", nullable=False),
        sa.Column("quota_bytes", sa.BigInteger, nullable=True),
        sa.Column("quota_artifacts", sa.BigInteger, nullable=True),
        sa.Column("settings", sa.JSON, server_default="{}", nullable=False),
        sa.Column("version", sa.BigInteger, server_default="1", nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("created_by", _NAME, server_default="", nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_projects"),
        sa.UniqueConstraint("name", name="uq_projects_name"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "tag_rules",
        sa.Column("id", _ID, nullable=False),
        sa.Column("project_id", _ID, nullable=False),
        sa.Column("repositories", sa.String(255), nullable=False),
        sa.Column("tags", sa.String(255), nullable=False),
        sa.Column("disabled", sa.Boolean, server_default=sa.false(), nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("created_by", _NAME, server_default="", nullable=False),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name="fk_tag_rules_project_id"),
        sa.PrimaryKeyConstraint("id", name="pk_tag_rules"),
        sa.UniqueConstraint(
            "project_id", "repositories", "tags", name="uq_tag_rules_project_id_repositories_tags"
        ),
    )
    op.create_table(
        "uploads",
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column("repository", _NAME, nullable=False),
        sa.Column("algorithm", sa.String(16), nullable=False),
        sa.Column("key", sa.String(255), nullable=False),
        sa.Column("multipart", sa.String(1024), server_default="", nullable=False),
        sa.Column("parts", sa.JSON, server_default="[]", nullable=False),
        sa.Column("offset", sa.BigInteger, server_default="0", nullable=False),
        sa.Column("tail", sa.LargeBinary, nullable=True),
        sa.Column("tail_key", sa.String(255), server_default="", nullable=False),
        sa.Column("hash_state", sa.LargeBinary, nullable=True),
        sa.Column("hash_tag", sa.String(64), server_default="", nullable=False),
        sa.Column("started_at", sa.BigInteger, nullable=False),
        sa.Column("touched_at", sa.BigInteger, nullable=False),
        sa.Column("holder", sa.String(64), server_default="", nullable=False),
        sa.Column("held_until", sa.BigInteger, server_default="0", nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_uploads"),
    )
    op.create_index("ix_uploads_touched_at", "uploads", ["touched_at"])


def _users() -> None:
    op.create_table(
        "users",
        sa.Column("id", _ID, nullable=False),
        sa.Column("name", _NAME, nullable=False),
        sa.Column("email", sa.String(320), server_default="", nullable=False),
        sa.Column("backend", sa.String(64), server_default="local", nullable=False),
        sa.Column("external_id", sa.String(512), nullable=True),
        sa.Column("password", sa.String(255), nullable=True),
        sa.Column("must_change", sa.Boolean, server_default=sa.false(), nullable=False),
        sa.Column("is_admin", sa.Boolean, server_default=sa.false(), nullable=False),
        sa.Column("disabled", sa.Boolean, server_default=sa.false(), nullable=False),
        sa.Column("totp", sa.LargeBinary, nullable=True),
        sa.Column("totp_confirmed", sa.Boolean, server_default=sa.false(), nullable=False),
        sa.Column("totp_step", sa.BigInteger, server_default="0", nullable=False),
        sa.Column("version", sa.BigInteger, server_default="1", nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("last_login_at", sa.BigInteger, nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_users"),
        sa.UniqueConstraint("backend", "external_id", name="uq_users_backend_external_id"),
        sa.UniqueConstraint("name", name="uq_users_name"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "recovery_codes",
        sa.Column("user_id", _ID, nullable=False),
        sa.Column("hash", sa.String(64), nullable=False),
        sa.Column("used_at", sa.BigInteger, nullable=True),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.id"], name="fk_recovery_codes_user_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("user_id", "hash", name="pk_recovery_codes"),
    )
    op.create_table(
        "user_groups",
        sa.Column("user_id", _ID, nullable=False),
        sa.Column("name", _NAME, nullable=False),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.id"], name="fk_user_groups_user_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("user_id", "name", name="pk_user_groups"),
    )
    op.create_index("ix_user_groups_name", "user_groups", ["name"])
    op.create_table(
        "members",
        sa.Column("project_id", _ID, nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("name", _NAME, nullable=False),
        sa.Column("role", sa.String(32), nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("created_by", _NAME, server_default="", nullable=False),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name="fk_members_project_id"),
        sa.PrimaryKeyConstraint("project_id", "kind", "name", name="pk_members"),
    )
    op.create_index("ix_members_kind_name", "members", ["kind", "name"])


def _robots() -> None:
    op.create_table(
        "robots",
        sa.Column("id", _ID, nullable=False),
        sa.Column("name", _NAME, nullable=False),
        sa.Column("project_id", _ID, nullable=True),
        sa.Column("description", sa.String(1024), server_default="", nullable=False),
        sa.Column("secret", sa.String(64), nullable=False),
        sa.Column("previous_secret", sa.String(64), nullable=True),
        sa.Column("previous_until", sa.BigInteger, nullable=True),
        sa.Column("grants", sa.JSON, nullable=False),
        sa.Column("created_by_id", _ID, nullable=True),
        sa.Column("created_by", _NAME, server_default="", nullable=False),
        sa.Column("disabled", sa.Boolean, server_default=sa.false(), nullable=False),
        sa.Column("version", sa.BigInteger, server_default="1", nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("expires_at", sa.BigInteger, nullable=True),
        sa.Column("last_used_at", sa.BigInteger, nullable=True),
        sa.ForeignKeyConstraint(["created_by_id"], ["users.id"], name="fk_robots_created_by_id"),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name="fk_robots_project_id"),
        sa.PrimaryKeyConstraint("id", name="pk_robots"),
        sa.UniqueConstraint("name", name="uq_robots_name"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_robots_project_id_name", "robots", ["project_id", "name"])
    op.create_table(
        "workload_rules",
        sa.Column("id", _ID, nullable=False),
        sa.Column("robot_id", _ID, nullable=False),
        sa.Column("issuer", sa.String(512), nullable=False),
        sa.Column("audience", sa.String(255), nullable=False),
        sa.Column("claims", sa.JSON, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("created_by", _NAME, server_default="", nullable=False),
        sa.ForeignKeyConstraint(
            ["robot_id"], ["robots.id"], name="fk_workload_rules_robot_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_workload_rules"),
    )
    op.create_index("ix_workload_rules_issuer", "workload_rules", ["issuer"])
    op.create_index("ix_workload_rules_robot_id", "workload_rules", ["robot_id"])


def _tokens() -> None:
    op.create_table(
        "tokens",
        sa.Column("id", _ID, nullable=False),
        sa.Column("user_id", _ID, nullable=False),
        sa.Column("name", _NAME, nullable=False),
        sa.Column("hash", sa.String(64), nullable=False),
        sa.Column("scopes", sa.JSON, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("expires_at", sa.BigInteger, nullable=True),
        sa.Column("last_used_at", sa.BigInteger, nullable=True),
        sa.Column("revoked_at", sa.BigInteger, nullable=True),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.id"], name="fk_tokens_user_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_tokens"),
        sa.UniqueConstraint("hash", name="uq_tokens_hash"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_tokens_user_id_name", "tokens", ["user_id", "name"])
    op.create_table(
        "refresh_tokens",
        sa.Column("hash", sa.String(64), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("principal_id", sa.BigInteger, nullable=False),
        sa.Column("client", sa.String(255), server_default="", nullable=False),
        sa.Column("data", sa.JSON, server_default="{}", nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("expires_at", sa.BigInteger, nullable=False),
        sa.Column("revoked_at", sa.BigInteger, nullable=True),
        sa.PrimaryKeyConstraint("hash", name="pk_refresh_tokens"),
    )
    op.create_index("ix_refresh_tokens_expires_at", "refresh_tokens", ["expires_at"])
    op.create_index(
        "ix_refresh_tokens_kind_principal_id", "refresh_tokens", ["kind", "principal_id"]
    )


def _keys() -> None:
    op.create_table(
        "signing_keys",
        sa.Column("kid", sa.String(64), nullable=False),
        sa.Column("algorithm", sa.String(16), nullable=False),
        sa.Column("private", sa.LargeBinary, nullable=False),
        sa.Column("public", sa.JSON, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("signs_from", sa.BigInteger, nullable=False),
        sa.Column("accepted_until", sa.BigInteger, nullable=True),
        sa.PrimaryKeyConstraint("kid", name="pk_signing_keys"),
    )
    op.create_table(
        "failures",
        sa.Column("key", sa.String(300), nullable=False),
        sa.Column("count", sa.Integer, nullable=False),
        sa.Column("until", sa.BigInteger, nullable=False),
        sa.Column("updated_at", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("key", name="pk_failures"),
    )
    op.create_table(
        "sessions",
        sa.Column("hash", sa.String(64), nullable=False),
        sa.Column("user_id", _ID, nullable=False),
        sa.Column("data", sa.JSON, server_default="{}", nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("expires_at", sa.BigInteger, nullable=False),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.id"], name="fk_sessions_user_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("hash", name="pk_sessions"),
    )
    op.create_index("ix_sessions_expires_at", "sessions", ["expires_at"])
    op.create_table(
        "login_flows",
        sa.Column("hash", sa.String(64), nullable=False),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("data", sa.LargeBinary, nullable=False),
        sa.Column("expires_at", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("hash", name="pk_login_flows"),
    )
    op.create_index("ix_login_flows_expires_at", "login_flows", ["expires_at"])


def _quotas() -> None:
    op.create_table(
        "project_blobs",
        sa.Column("project_id", _ID, nullable=False),
        sa.Column("digest", sa.String(136), nullable=False),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("links", sa.BigInteger, nullable=False),
        sa.ForeignKeyConstraint(
            ["project_id"], ["projects.id"], name="fk_project_blobs_project_id"
        ),
        sa.PrimaryKeyConstraint("project_id", "digest", name="pk_project_blobs"),
    )
    op.create_table(
        "quota_usage",
        sa.Column("project_id", _ID, nullable=False),
        sa.Column("bytes", sa.BigInteger, nullable=False),
        sa.Column("artifacts", sa.BigInteger, nullable=False),
        sa.Column("folded_at", sa.BigInteger, nullable=False),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name="fk_quota_usage_project_id"),
        sa.PrimaryKeyConstraint("project_id", name="pk_quota_usage"),
    )
    op.create_table(
        "quota_deltas",
        sa.Column("id", _ID, nullable=False),
        sa.Column("project_id", _ID, nullable=False),
        sa.Column("bytes", sa.BigInteger, nullable=False),
        sa.Column("artifacts", sa.BigInteger, nullable=False),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name="fk_quota_deltas_project_id"),
        sa.PrimaryKeyConstraint("id", name="pk_quota_deltas"),
    )
    op.create_index("ix_quota_deltas_project_id_id", "quota_deltas", ["project_id", "id"])


def _audit() -> None:
    op.create_table(
        "audit",
        sa.Column("id", _ID, nullable=False),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("actor", _NAME, nullable=False),
        sa.Column("actor_kind", sa.String(16), nullable=False),
        sa.Column("address", sa.String(64), nullable=False),
        sa.Column("request", sa.String(64), nullable=False),
        sa.Column("action", sa.String(64), nullable=False),
        sa.Column("project", _NAME, nullable=False),
        sa.Column("resource", sa.String(512), nullable=False),
        sa.Column("digest", sa.String(136), nullable=False),
        sa.Column("outcome", sa.String(16), nullable=False),
        sa.Column("details", sa.JSON, nullable=False),
        sa.Column("count", sa.Integer, server_default="1", nullable=False),
        sa.Column("sequence", sa.BigInteger, nullable=True),
        sa.Column("hash", sa.String(64), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_audit"),
        sa.UniqueConstraint("sequence", name="uq_audit_sequence"),
    )
    op.create_index("ix_audit_action_id", "audit", ["action", "id"])
    op.create_index("ix_audit_actor_id", "audit", ["actor", "id"])
    op.create_index("ix_audit_at_id", "audit", ["at", "id"])
    op.create_index("ix_audit_digest_id", "audit", ["digest", "id"])
    op.create_index(
        "ix_audit_outcome_id",
        "audit",
        ["outcome", "id"],
        sqlite_where=sa.text("outcome != 'done'"),
        postgresql_where=sa.text("outcome != 'done'"),
    )
    op.create_index("ix_audit_project_id", "audit", ["project", "id"])
    op.create_index("ix_audit_resource_id", "audit", ["resource", "id"])
    op.create_table(
        "audit_anchors",
        sa.Column("sequence", sa.BigInteger, autoincrement=False, nullable=False),
        sa.Column("hash", sa.String(64), nullable=False),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("actor", _NAME, nullable=False),
        sa.PrimaryKeyConstraint("sequence", name="pk_audit_anchors"),
    )


def _leases() -> None:
    op.create_table(
        "cursors",
        sa.Column("name", sa.String(128), nullable=False),
        sa.Column("position", sa.BigInteger, nullable=False),
        sa.Column("updated_at", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_cursors"),
    )
    op.create_table(
        "leases",
        sa.Column("name", sa.String(128), nullable=False),
        sa.Column("holder", sa.String(64), nullable=False),
        sa.Column("until", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_leases"),
    )
    op.create_table(
        "idempotency",
        sa.Column("principal", sa.String(300), nullable=False),
        sa.Column("key", sa.String(255), nullable=False),
        sa.Column("fingerprint", sa.String(64), nullable=False),
        sa.Column("status", sa.Integer, nullable=False),
        sa.Column("headers", sa.JSON, server_default="[]", nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("principal", "key", name="pk_idempotency"),
    )
    op.create_index("ix_idempotency_created_at", "idempotency", ["created_at"])


def _columns() -> None:
    op.add_column("blobs", sa.Column("key", sa.String(255), server_default="", nullable=False))
    op.add_column("repositories", sa.Column("project_id", _ID, nullable=True))
    op.create_index("ix_repositories_project_id_name", "repositories", ["project_id", "name"])
    op.add_column("tag_history", sa.Column("previous", sa.String(136), nullable=True))
    op.add_column("tag_history", sa.Column("actor", _NAME, server_default="", nullable=False))


def _fill() -> None:
    """Every repository gets the project its name begins with, every project its usage."""
    conn = op.get_bind()
    names = conn.execute(sa.text("SELECT id, name, created_at FROM repositories")).all()
    first: dict[str, int] = {}
    for _, name, at in names:
        project = name.partition("/")[0]
        first[project] = min(at, first.get(project, at))
    if not names:
        return
    insert = sa.text("INSERT INTO projects (name, public, created_at) VALUES (:name, :public, :at)")
    conn.execute(insert, [{"name": n, "public": False, "at": at} for n, at in first.items()])
    found = conn.execute(sa.text("SELECT name, id FROM projects"))
    ids: dict[str, int] = {row.name: row.id for row in found}
    conn.execute(
        sa.text("UPDATE repositories SET project_id = :project WHERE id = :id"),
        [{"project": ids[name.partition("/")[0]], "id": key} for key, name, _ in names],
    )
    for statement in _USAGE:
        conn.execute(sa.text(statement))


def _compatibility() -> None:
    op.create_table(
        "commit_marks",
        sa.Column("slot", sa.String(64), nullable=False),
        sa.Column("token", sa.BigInteger, nullable=False),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("slot", name="pk_commit_marks"),
    )
    table = op.create_table(
        "schema_compatibility",
        sa.Column("oldest", sa.String(32), nullable=False),
        sa.PrimaryKeyConstraint("oldest", name="pk_schema_compatibility"),
    )
    op.bulk_insert(table, [{"oldest": "0002"}])


_USAGE = (
    """INSERT INTO project_blobs (project_id, digest, size, links)
    SELECT r.project_id, l.digest, b.size, count(*) FROM repository_blobs l
    JOIN repositories r ON r.id = l.repository_id JOIN blobs b ON b.digest = l.digest
    GROUP BY r.project_id, l.digest, b.size""",
    """INSERT INTO quota_deltas (project_id, bytes, artifacts)
    SELECT project_id, CAST(sum(size) AS BIGINT), 0 FROM project_blobs GROUP BY project_id""",
    """INSERT INTO quota_deltas (project_id, bytes, artifacts)
    SELECT r.project_id, CAST(sum(m.size) AS BIGINT), count(*) FROM manifests m
    JOIN repositories r ON r.id = m.repository_id GROUP BY r.project_id""",
)
