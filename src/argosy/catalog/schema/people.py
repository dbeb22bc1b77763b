"""Who there is, what they may do, and what proves that it is them. Secrets are hashed or sealed."""

from typing import Final

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    String,
    Table,
    UniqueConstraint,
    false,
)

from argosy.catalog.schema.columns import NEVER_AGAIN, Id, Name, metadata, project_key

users: Final = Table(
    "users",
    metadata,
    Column("id", Id, primary_key=True),
    Column("name", Name, nullable=False, unique=True),
    Column("email", String(320), nullable=False, server_default=""),
    Column("backend", String(64), nullable=False, server_default="local"),
    Column("external_id", String(512)),  # issuer and subject, or the DN: what never changes there
    Column("password", String(255)),  # argon2id; none where another back end knows it
    Column("must_change", Boolean, nullable=False, server_default=false()),
    Column("is_admin", Boolean, nullable=False, server_default=false()),
    Column("disabled", Boolean, nullable=False, server_default=false()),
    Column("totp", LargeBinary),  # sealed
    Column("totp_confirmed", Boolean, nullable=False, server_default=false()),
    Column("totp_step", BigInteger, nullable=False, server_default="0"),  # the last one used
    Column("version", BigInteger, nullable=False, server_default="1"),
    Column("created_at", BigInteger, nullable=False),
    Column("last_login_at", BigInteger),
    UniqueConstraint("backend", "external_id"),
    sqlite_autoincrement=NEVER_AGAIN,
)

recovery_codes: Final = Table(
    "recovery_codes",
    metadata,
    Column("user_id", Id, ForeignKey("users.id", ondelete="CASCADE"), primary_key=True),
    Column("hash", String(64), primary_key=True),
    Column("used_at", BigInteger),
)

user_groups: Final = Table(
    "user_groups",  # as the back end said last; what its tokens go by between two logins
    metadata,
    Column("user_id", Id, ForeignKey("users.id", ondelete="CASCADE"), primary_key=True),
    Column("name", Name, primary_key=True),
    Index("ix_user_groups_name", "name"),
)

members: Final = Table(
    "members",
    metadata,
    project_key(primary_key=True),
    Column("kind", String(16), primary_key=True),  # user | group
    Column("name", Name, primary_key=True),
    Column("role", String(32), nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("created_by", Name, nullable=False, server_default=""),
    Index("ix_members_kind_name", "kind", "name"),
)

robots: Final = Table(
    "robots",
    metadata,
    Column("id", Id, primary_key=True),
    Column("name", Name, nullable=False, unique=True),  # robot$project+name or robot$name
    project_key(nullable=True),  # none: of the system
    Column("description", String(1024), nullable=False, server_default=""),
    Column("secret", String(64), nullable=False),  # SHA-256: it is random and long
    Column("previous_secret", String(64)),  # accepted until previous_until
    Column("previous_until", BigInteger),
    Column("grants", JSON, nullable=False),  # [{"repository": pattern, "actions": [...]}, ...]
    Column("created_by_id", Id, ForeignKey("users.id")),
    Column("created_by", Name, nullable=False, server_default=""),
    Column("disabled", Boolean, nullable=False, server_default=false()),
    Column("version", BigInteger, nullable=False, server_default="1"),
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger),
    Column("last_used_at", BigInteger),
    Index("ix_robots_project_id_name", "project_id", "name"),
    sqlite_autoincrement=NEVER_AGAIN,
)

tokens: Final = Table(
    "tokens",  # personal access tokens
    metadata,
    Column("id", Id, primary_key=True),
    Column("user_id", Id, ForeignKey("users.id", ondelete="CASCADE"), nullable=False),
    Column("name", Name, nullable=False),
    Column("hash", String(64), nullable=False, unique=True),
    Column("scopes", JSON, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger),
    Column("last_used_at", BigInteger),
    Column("revoked_at", BigInteger),
    Index("ix_tokens_user_id_name", "user_id", "name"),
    sqlite_autoincrement=NEVER_AGAIN,
)

refresh_tokens: Final = Table(
    "refresh_tokens",
    metadata,
    Column("hash", String(64), primary_key=True),
    Column("kind", String(16), nullable=False),  # of the principal
    Column("principal_id", BigInteger, nullable=False),
    Column("client", String(255), nullable=False, server_default=""),
    Column("data", JSON, nullable=False, server_default="{}"),  # what it was given for
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
    Column("revoked_at", BigInteger),
    Index("ix_refresh_tokens_kind_principal_id", "kind", "principal_id"),
    Index("ix_refresh_tokens_expires_at", "expires_at"),
)

signing_keys: Final = Table(
    "signing_keys",
    metadata,
    Column("kid", String(64), primary_key=True),
    Column("algorithm", String(16), nullable=False),
    Column("private", LargeBinary, nullable=False),  # sealed
    Column("public", JSON, nullable=False),  # JWK
    Column("created_at", BigInteger, nullable=False),
    Column(
        "signs_from", BigInteger, nullable=False
    ),  # published before, so that every node knows it
    Column("accepted_until", BigInteger),
)

failures: Final = Table(
    "failures",  # of logins, by account and by address
    metadata,
    Column("key", String(300), primary_key=True),
    Column("count", Integer, nullable=False),
    Column("until", BigInteger, nullable=False),  # when the next try is looked at
    Column("updated_at", BigInteger, nullable=False),
)

sessions: Final = Table(
    "sessions",  # of browsers
    metadata,
    Column("hash", String(64), primary_key=True),
    Column("user_id", Id, ForeignKey("users.id", ondelete="CASCADE"), nullable=False),
    Column("data", JSON, nullable=False, server_default="{}"),
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
    Index("ix_sessions_expires_at", "expires_at"),
)

login_flows: Final = Table(
    "login_flows",  # logins at an identity provider that have begun: state, nonce, verifier
    metadata,
    Column("hash", String(64), primary_key=True),
    Column("kind", String(32), nullable=False),
    Column("data", LargeBinary, nullable=False),  # sealed
    Column("expires_at", BigInteger, nullable=False),
    Index("ix_login_flows_expires_at", "expires_at"),
)

workload_rules: Final = Table(
    "workload_rules",  # which CI jobs may be a robot
    metadata,
    Column("id", Id, primary_key=True),
    Column("robot_id", Id, ForeignKey("robots.id", ondelete="CASCADE"), nullable=False),
    Column("issuer", String(512), nullable=False),
    Column("audience", String(255), nullable=False),
    Column("claims", JSON, nullable=False),  # claim: pattern
    Column("created_at", BigInteger, nullable=False),
    Column("created_by", Name, nullable=False, server_default=""),
    Index("ix_workload_rules_issuer", "issuer"),
    Index("ix_workload_rules_robot_id", "robot_id"),
)
