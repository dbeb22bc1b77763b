"""The settings of `argosy serve`: a class per section of the file, a field per setting.

`ARGOSY_<SECTION>_<NAME>` in the environment, with dots as underscores, stands above
the file; a secret may also come from a file named by `..._FILE`. Times are seconds,
sizes bytes.
"""

from dataclasses import field, fields
from typing import Any, ClassVar, TypeVar

from argosy.server.config.kinds import (
    DURATION,
    NUMBER,
    SHARE,
    SIZE,
    SWITCH,
    TEXT,
    WHOLE,
    WORDS,
    Kind,
    at_least,
    choice,
    url,
)
from argosy.values import frozen

T = TypeVar("T")


def setting(kind: Kind, default: Any, help: str, *, secret: bool = False, flag: str = "") -> Any:  # noqa: A002
    """Declare a setting. `flag`: the option of `argosy serve` that stands above everything."""
    about = {"kind": kind, "help": help, "secret": secret, "flag": flag}
    return field(default=default, repr=not secret, metadata=about)


@frozen(kw_only=True)
class ServerSection:
    """Where the server listens, and what it believes of who is in front of it."""

    NAME: ClassVar[str] = "server"

    listen: str = setting(
        TEXT, "127.0.0.1:5000", "address and port; port 0 takes a free one", flag="--listen"
    )
    data: str = setting(
        TEXT,
        "",
        "directory of the embedded database and of blobs; empty: in ARGOSY_HOME",
        flag="--data",
    )
    workers: int = setting(at_least(1, WHOLE), 1, "processes that share the port", flag="--workers")
    public_url: str = setting(
        url("http", "https"),
        "",
        "what clients call this server, for tokens and links; empty: what they say",
    )
    trusted_proxies: tuple[str, ...] = setting(
        WORDS, (), "addresses or networks whose X-Forwarded-* are believed"
    )
    tls_cert: str = setting(TEXT, "", "PEM certificate with its chain: https", flag="--tls-cert")
    tls_key: str = setting(TEXT, "", "the certificate's PEM key", flag="--tls-key")
    client_ca: str = setting(
        TEXT, "", "PEM authority: only clients with a certificate of it get in", flag="--client-ca"
    )
    insecure_http: bool = setting(
        SWITCH, False, "take passwords over plain http from other machines", flag="--insecure-http"
    )
    max_connections: int = setting(at_least(1, WHOLE), 4096, "connections of one process")
    drain: float = setting(
        DURATION, 0.0, "how long to go on as not ready before stopping, so that balancers notice"
    )
    grace: float = setting(
        DURATION, 10.0, "how long running requests may take to end when stopping"
    )


@frozen(kw_only=True)
class DatabaseSection:
    """The catalog's database."""

    NAME: ClassVar[str] = "database"

    url: str = setting(TEXT, "", "postgresql://user@host/name; empty: SQLite in the data directory")
    password: str = setting(TEXT, "", "instead of one in the URL", secret=True)
    pool: int = setting(at_least(1, WHOLE), 10, "connections of one process")
    statement_timeout: float = setting(DURATION, 30.0, "after which a statement is broken off")
    patience: float = setting(
        DURATION, 10.0, "how long a request waits for a database that is away"
    )


@frozen(kw_only=True)
class StorageSection:
    """Where the bytes of blobs are."""

    NAME: ClassVar[str] = "storage"

    backend: str = setting(
        choice("files", "s3"), "files", "files in the data directory, or objects"
    )


@frozen(kw_only=True)
class S3Section:
    """The bucket, for `storage.backend = "s3"`."""

    NAME: ClassVar[str] = "storage.s3"

    endpoint: str = setting(TEXT, "", "URL of the service; empty: AWS by region")
    bucket: str = setting(TEXT, "", "the bucket, which has to exist")
    prefix: str = setting(TEXT, "", "what keys begin with")
    region: str = setting(TEXT, "us-east-1", "the region requests are signed for")
    access_key: str = setting(
        TEXT,
        "",
        "id of the key; empty: where AWS's SDKs look for one (docs/deploy.md)",
        secret=True,
    )
    secret_key: str = setting(TEXT, "", "the key", secret=True)
    session_token: str = setting(TEXT, "", "of temporary keys", secret=True)
    path_style: bool = setting(SWITCH, True, "bucket in the path rather than in the host name")
    ca: str = setting(TEXT, "", "PEM authority of the service; empty: the system's")
    redirect: bool = setting(
        SWITCH, True, "let clients fetch blobs from the bucket, by URLs that expire"
    )
    redirect_endpoint: str = setting(
        url("http", "https"), "", "URL of the service as clients reach it; empty: the same"
    )
    redirect_ttl: float = setting(DURATION, 1200.0, "how long such a URL is good")
    part_size: int = setting(at_least(5 << 20, SIZE), 8 << 20, "bytes of one part of a big upload")
    retries: int = setting(at_least(0, WHOLE), 5, "how often a request is tried again")


@frozen(kw_only=True)
class UploadsSection:
    """Blobs on their way in."""

    NAME: ClassVar[str] = "uploads"

    ttl: float = setting(
        at_least(1, DURATION), 86400.0, "after which an upload nobody writes to is removed"
    )
    in_flight: int = setting(at_least(0, WHOLE), 0, "uploads of one project at once; 0: any number")


@frozen(kw_only=True)
class AuthSection:
    """Who gets in."""

    NAME: ClassVar[str] = "auth"

    enabled: bool = setting(SWITCH, False, "ask everybody who they are", flag="--auth")
    backends: tuple[str, ...] = setting(
        WORDS, ("local",), "in this order: local, htpasswd, ldap, oidc"
    )
    recheck: float = setting(
        DURATION,
        3600.0,
        "how often users of htpasswd and ldap are looked for; who is gone is disabled; 0: never",
    )
    anonymous: bool = setting(SWITCH, True, "let anybody pull from public projects")
    project_creation: str = setting(
        choice("admins", "everybody"), "admins", "who may make projects"
    )
    secret: str = setting(
        TEXT,
        "",
        "seals keys in the database; all nodes need the same; empty: a file in the data directory",
        secret=True,
    )


@frozen(kw_only=True)
class TokenSection:
    """The tokens that clients get for a while."""

    NAME: ClassVar[str] = "token"

    issuer: str = setting(TEXT, "argosy", "who the tokens say they are from")
    service: str = setting(TEXT, "argosy", "what they are for")
    lifetime: float = setting(DURATION, 300.0, "how long one is good; 60 s at least")
    refresh_lifetime: float = setting(DURATION, 2592000.0, "how long a refresh token is good")
    rotate_every: float = setting(DURATION, 7776000.0, "after which a new key signs")


@frozen(kw_only=True)
class HtpasswdSection:
    """Users from a file of Apache's kind, for the back end `htpasswd`."""

    NAME: ClassVar[str] = "auth.htpasswd"

    file: str = setting(TEXT, "", "made by `htpasswd -B`")
    groups_file: str = setting(TEXT, "", "lines of `group: name name`")
    admin_group: str = setting(TEXT, "", "whose members administer the system")


@frozen(kw_only=True)
class LdapSection:
    """Users from a directory, for the back end `ldap`."""

    NAME: ClassVar[str] = "auth.ldap"

    urls: tuple[str, ...] = setting(WORDS, (), "servers, ldaps:// or ldap://, asked in this order")
    start_tls: bool = setting(SWITCH, False, "encrypt ldap:// connections")
    ca_file: str = setting(TEXT, "", "PEM authority of the servers; empty: the system's")
    allow_plain: bool = setting(SWITCH, False, "send passwords unencrypted to other machines")
    bind_dn: str = setting(TEXT, "", "who searches; empty: nobody in particular")
    bind_password: str = setting(TEXT, "", "their password", secret=True)
    user_dn: str = setting(
        TEXT, "", "template to bind as the user directly, such as uid={name},ou=people,dc=example"
    )
    base_dn: str = setting(TEXT, "", "below which users are searched")
    user_filter: str = setting(TEXT, "(uid={name})", "finds the user")
    name_attribute: str = setting(TEXT, "uid", "the user's name here")
    email_attribute: str = setting(TEXT, "mail", "their address")
    id_attribute: str = setting(
        TEXT, "", "what never changes; empty: entryUUID, objectGUID or the DN"
    )
    member_of: str = setting(TEXT, "memberOf", "attribute of users that lists their groups")
    group_base: str = setting(TEXT, "", "below which groups are searched")
    group_filter: str = setting(
        TEXT, "(|(member={dn})(uniqueMember={dn})(memberUid={name}))", "finds a user's groups"
    )
    group_name: str = setting(TEXT, "cn", "what a group is called here: an attribute, or dn")
    nested: bool = setting(SWITCH, False, "groups in groups count")
    admin_group: str = setting(TEXT, "", "whose members administer the system")
    timeout: float = setting(DURATION, 5.0, "for one answer of a server")
    group_cache: float = setting(DURATION, 30.0, "how long groups are remembered")


@frozen(kw_only=True)
class OidcSection:
    """Users from an OpenID provider, for the back end `oidc`."""

    NAME: ClassVar[str] = "auth.oidc"

    issuer: str = setting(url("http", "https"), "", "URL of the provider")
    client_id: str = setting(TEXT, "", "our name there")
    client_secret: str = setting(TEXT, "", "and our secret", secret=True)
    scopes: tuple[str, ...] = setting(WORDS, ("openid", "profile", "email"), "what is asked for")
    name_claim: str = setting(TEXT, "preferred_username", "the user's name here")
    email_claim: str = setting(TEXT, "email", "their address")
    groups_claim: str = setting(TEXT, "groups", "their groups")
    required_group: str = setting(TEXT, "", "only its members get in")
    admin_group: str = setting(TEXT, "", "whose members administer the system")
    title: str = setting(TEXT, "single sign-on", "what the button says")
    ca_file: str = setting(TEXT, "", "PEM authority of the provider; empty: the system's")
    allow_http: bool = setting(SWITCH, False, "take a provider without TLS")


@frozen(kw_only=True)
class WorkloadSection:
    """CI jobs that become robots by the token of their own provider."""

    NAME: ClassVar[str] = "auth.workload"

    issuers: tuple[str, ...] = setting(
        WORDS,
        ("https://token.actions.githubusercontent.com", "https://gitlab.com"),
        "providers whose tokens count; rules of robots say which jobs",
    )
    ca_file: str = setting(TEXT, "", "PEM authority of the providers; empty: the system's")
    allow_http: bool = setting(SWITCH, False, "take providers without TLS")


@frozen(kw_only=True)
class RedisSection:
    """A Redis that nodes share limits through. Losing it loosens limits and breaks nothing."""

    NAME: ClassVar[str] = "redis"

    url: str = setting(
        url("redis", "rediss", "unix"), "", "redis://host:port/number; empty: every node for itself"
    )
    password: str = setting(TEXT, "", "instead of one in the URL", secret=True)


@frozen(kw_only=True)
class LimitsSection:
    """What one project or one account may take; 0 is no limit. Projects may have their own."""

    NAME: ClassVar[str] = "limits"

    requests: float = setting(
        at_least(0, NUMBER), 0.0, "requests per second of one account (of an address, without one)"
    )
    burst: float = setting(at_least(0, NUMBER), 0.0, "its requests at once; 0: two seconds' worth")
    account_download: int = setting(SIZE, 0, "bytes per second out, for one account")
    account_upload: int = setting(SIZE, 0, "bytes per second in, for one account")
    project_requests: float = setting(
        at_least(0, NUMBER), 0.0, "requests per second to one project"
    )
    project_burst: float = setting(at_least(0, NUMBER), 0.0, "those at once; 0: two seconds' worth")
    download: int = setting(SIZE, 0, "bytes per second out, for one project")
    upload: int = setting(SIZE, 0, "bytes per second in, for one project")
    nodes: int = setting(
        at_least(1, WHOLE), 1, "nodes that share the limits where there is no Redis"
    )


@frozen(kw_only=True)
class AuditSection:
    """The record of who did what."""

    NAME: ClassVar[str] = "audit"

    pulls: bool = setting(SWITCH, False, "record pulls as well")
    keep: float = setting(DURATION, 31536000.0, "how long entries are kept; 0: for ever")
    keep_rows: int = setting(at_least(0, WHOLE), 10_000_000, "how many at most; 0: any number")
    syslog: str = setting(TEXT, "", "forward to udp://, tcp:// or tls://host:port (RFC 5424)")
    syslog_ca: str = setting(TEXT, "", "PEM authority of that server; empty: the system's")
    http: str = setting(TEXT, "", "forward in batches of JSON lines by POST to this URL")
    http_ca: str = setting(TEXT, "", "PEM authority of that server; empty: the system's")
    http_token: str = setting(TEXT, "", "sent there as bearer token", secret=True)


@frozen(kw_only=True)
class LogSection:
    """What the server says of itself, on standard error."""

    NAME: ClassVar[str] = "log"

    format: str = setting(choice("text", "json"), "text", "for people or for machines")
    level: str = setting(
        choice("debug", "info", "warning", "error"), "warning", "the least that is told"
    )
    access: str = setting(
        choice("all", "failed", "off"),
        "all",
        "which answers get a line, at level info; good ones of /healthz and /readyz never do",
    )
    sample: float = setting(SHARE, 1.0, "the share of good answers that get a line")


@frozen(kw_only=True)
class MetricsSection:
    """The page that Prometheus reads."""

    NAME: ClassVar[str] = "metrics"

    projects: int = setting(
        at_least(0, WHOLE), 50, "projects that get series of their own; the rest is `other`"
    )
    token: str = setting(
        TEXT,
        "",
        "bearer token that /metrics asks for; empty: with auth on only this machine may read it",
        secret=True,
    )


@frozen(kw_only=True)
class TracingSection:
    """Spans for OpenTelemetry; needs argosy[telemetry]."""

    NAME: ClassVar[str] = "tracing"

    endpoint: str = setting(
        url("http", "https"), "", "OTLP/HTTP address of the collector; empty: no traces"
    )
    sample: float = setting(SHARE, 1.0, "the share of requests that begin a trace here")
    service: str = setting(TEXT, "argosy", "the name of this service in traces")


@frozen(kw_only=True)
class ServerSettings:
    """Everything that can be set, section by section."""

    server: ServerSection = ServerSection()
    database: DatabaseSection = DatabaseSection()
    storage: StorageSection = StorageSection()
    s3: S3Section = S3Section()
    uploads: UploadsSection = UploadsSection()
    auth: AuthSection = AuthSection()
    token: TokenSection = TokenSection()
    htpasswd: HtpasswdSection = HtpasswdSection()
    ldap: LdapSection = LdapSection()
    oidc: OidcSection = OidcSection()
    workload: WorkloadSection = WorkloadSection()
    redis: RedisSection = RedisSection()
    limits: LimitsSection = LimitsSection()
    audit: AuditSection = AuditSection()
    log: LogSection = LogSection()
    metrics: MetricsSection = MetricsSection()
    tracing: TracingSection = TracingSection()


def options_as(kind: type[T], section: Any) -> T:
    """A section as the options that a library takes: the same names."""
    return kind(**{one.name: getattr(section, one.name) for one in fields(section)})
