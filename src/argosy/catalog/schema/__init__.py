"""Every table of the catalog. `REVISION` is the migration that makes them; a test compares the two."""

from typing import Final

from argosy.catalog.schema.accounting import (
    audit,
    audit_anchors,
    commit_marks,
    cursors,
    idempotency,
    leases,
    project_blobs,
    quota_deltas,
    quota_usage,
    schema_compatibility,
)
from argosy.catalog.schema.columns import metadata, now
from argosy.catalog.schema.people import (
    failures,
    login_flows,
    members,
    recovery_codes,
    refresh_tokens,
    robots,
    sessions,
    signing_keys,
    tokens,
    user_groups,
    users,
    workload_rules,
)
from argosy.catalog.schema.registry import (
    blobs,
    manifest_children,
    manifests,
    projects,
    repositories,
    repository_blobs,
    tag_history,
    tag_rules,
    tags,
    uploads,
)

REVISION: Final = "0002"

__all__ = [
    "REVISION",
    "audit",
    "audit_anchors",
    "blobs",
    "commit_marks",
    "cursors",
    "failures",
    "idempotency",
    "leases",
    "login_flows",
    "manifest_children",
    "manifests",
    "members",
    "metadata",
    "now",
    "project_blobs",
    "projects",
    "quota_deltas",
    "quota_usage",
    "recovery_codes",
    "refresh_tokens",
    "repositories",
    "repository_blobs",
    "robots",
    "schema_compatibility",
    "sessions",
    "signing_keys",
    "tag_history",
    "tag_rules",
    "tags",
    "tokens",
    "uploads",
    "user_groups",
    "users",
    "workload_rules",
]
