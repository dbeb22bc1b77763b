"""The registry's tables: repositories, blobs and links to them, manifests, tags and their history."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_NAME = sa.String(255).with_variant(sa.String(255, collation="C"), "postgresql")
_DIGEST = sa.String(136)
_ID = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    """Make every table."""
    _repositories_and_blobs()
    _manifests()
    _tags()


def downgrade() -> None:
    """Drop every table, who refers first."""
    for table in (
        "tag_history",
        "tags",
        "manifest_children",
        "manifests",
        "repository_blobs",
        "blobs",
        "repositories",
    ):
        op.drop_table(table)


def _repository(table: str) -> list[sa.schema.SchemaItem]:
    key = sa.ForeignKeyConstraint(
        ["repository_id"], ["repositories.id"], name=f"fk_{table}_repository_id"
    )
    return [sa.Column("repository_id", _ID, nullable=False), key]


def _repositories_and_blobs() -> None:
    op.create_table(
        "repositories",
        sa.Column("id", _ID, nullable=False),
        sa.Column("name", _NAME, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_repositories"),
        sa.UniqueConstraint("name", name="uq_repositories_name"),
    )
    op.create_table(
        "blobs",
        sa.Column("digest", _DIGEST, nullable=False),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("digest", name="pk_blobs"),
    )
    op.create_table(
        "repository_blobs",
        *_repository("repository_blobs"),
        sa.Column("digest", _DIGEST, nullable=False),
        sa.Column("linked_at", sa.BigInteger, nullable=False),
        sa.ForeignKeyConstraint(["digest"], ["blobs.digest"], name="fk_repository_blobs_digest"),
        sa.PrimaryKeyConstraint("repository_id", "digest", name="pk_repository_blobs"),
    )
    op.create_index("ix_repository_blobs_digest", "repository_blobs", ["digest"])


def _manifests() -> None:
    op.create_table(
        "manifests",
        *_repository("manifests"),
        sa.Column("digest", _DIGEST, nullable=False),
        sa.Column("media_type", sa.String(255), nullable=False),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
        sa.Column("subject", _DIGEST),
        sa.Column("artifact_type", sa.String(255), nullable=False),
        sa.Column("annotations", sa.JSON, nullable=False),
        sa.Column("pushed_at", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("repository_id", "digest", name="pk_manifests"),
    )
    op.create_index("ix_manifests_repository_id_subject", "manifests", ["repository_id", "subject"])
    op.create_table(
        "manifest_children",
        *_repository("manifest_children"),
        sa.Column("parent", _DIGEST, nullable=False),
        sa.Column("child", _DIGEST, nullable=False),
        sa.PrimaryKeyConstraint("repository_id", "parent", "child", name="pk_manifest_children"),
    )
    op.create_index(
        "ix_manifest_children_repository_id_child", "manifest_children", ["repository_id", "child"]
    )


def _tags() -> None:
    op.create_table(
        "tags",
        *_repository("tags"),
        sa.Column("name", _NAME, nullable=False),
        sa.Column("digest", _DIGEST, nullable=False),
        sa.Column("updated_at", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("repository_id", "name", name="pk_tags"),
    )
    op.create_index("ix_tags_repository_id_digest", "tags", ["repository_id", "digest"])
    op.create_table(
        "tag_history",
        sa.Column("id", _ID, nullable=False),
        *_repository("tag_history"),
        sa.Column("name", _NAME, nullable=False),
        sa.Column("digest", _DIGEST),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_tag_history"),
    )
    op.create_index(
        "ix_tag_history_repository_id_name_id", "tag_history", ["repository_id", "name", "id"]
    )
