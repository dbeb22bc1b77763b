"""`argosy` of a release to come: it has one migration more, found in the folder $NEWER_VERSIONS.

A program of its own: `python tests/newer_argosy.py serve …`.
"""

import os

from alembic.config import Config
from sqlalchemy import Connection

from argosy.catalog import schema
from argosy.catalog.migrations import deciding, run
from argosy.cli.main import main

REVISION = "0003"
MIGRATION = '''\
"""What a release to come adds: a column, an index, a table."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("tags", sa.Column("pinned", sa.Boolean, nullable=False, server_default=sa.false()))
    op.add_column("uploads", sa.Column("note", sa.Text))
    op.add_column("blobs", sa.Column("seen_at", sa.BigInteger))
    op.create_index("ix_blobs_seen_at", "blobs", ["seen_at"])
    op.create_table("to_come", sa.Column("id", sa.Integer, primary_key=True))
'''


def as_newer() -> None:
    """Be that program."""
    schema.REVISION = deciding.REVISION = REVISION  # type: ignore[misc]  # Final
    ours = run.config

    def config(connection: Connection | None = None) -> Config:
        found = ours(connection)
        own = os.path.join(os.path.dirname(run.__file__), "versions")
        places = os.pathsep.join((own, os.environ["NEWER_VERSIONS"]))
        found.set_main_option("path_separator", "os")
        found.set_main_option("version_locations", places)
        return found

    run.config = config


if __name__ == "__main__":
    as_newer()
    main()
