"""Whether settings work: what contradicts itself in them, and whether what they name can be reached.

Nothing is changed anywhere: no table is made, no user, no object.
"""

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterator
from typing import TYPE_CHECKING, Final, Literal

from sqlalchemy import Connection

from argosy.concurrency import in_thread
from argosy.errors import ArgosyError, ConfigError, StorageUnavailable
from argosy.server.config.sections import S3Section, ServerSettings, options_as
from argosy.values import frozen

if TYPE_CHECKING:
    from argosy.stores.s3.options import S3Options

_PATIENCE: Final = 10.0

Check = Callable[[ServerSettings], Awaitable[str]]
"""Says in a few words what was found; raises an ArgosyError when it does not work."""


@frozen(kw_only=True)
class Finding:
    """What one check found: of `[section]` or a setting, in words."""

    name: str
    state: Literal["ok", "warn", "fail"]
    summary: str
    next: str = ""

    def to_json(self) -> dict[str, str]:
        """As `config check --json` shows it."""
        return {"name": self.name, "state": self.state, "summary": self.summary, "next": self.next}


async def contradictions(settings: ServerSettings) -> list[Finding]:
    """What the server would refuse to start with; only the failures."""
    checks: tuple[tuple[str, Check], ...] = (
        ("server", _listening),
        ("server", _believing),
        ("server", _encrypting),
        ("database", _keeping),
        ("storage", _storing),
        ("auth", _sealing),
        ("auth", _entering),
        ("audit", _forwarding),
    )
    found = [await _one(name, check, settings) for name, check in checks]
    return [finding for finding in found if finding.state == "fail"]


async def foretold(settings: ServerSettings) -> list[Finding]:
    """What the settings leave to the machine they are read on: where the bucket's key comes from."""
    if settings.storage.backend != "s3":
        return []
    return [await _one("storage.s3", _key_source, settings)]


async def reached(settings: ServerSettings) -> list[Finding]:
    """Whether everything that the settings name answers: asked at the same time."""
    async with asyncio.TaskGroup() as group:
        asked = [group.create_task(_one(n, check, settings)) for n, check in _probes(settings)]
    return [task.result() for task in asked]


def _probes(settings: ServerSettings) -> Iterator[tuple[str, Check]]:
    postgres = bool(settings.database.url)
    yield "database", _postgres if postgres else _sqlite
    yield ("storage.s3", _bucket) if settings.storage.backend == "s3" else ("storage", _directory)
    if settings.redis.url:
        yield "redis", _redis
    if settings.auth.enabled:
        known: dict[str, Check] = {"htpasswd": _htpasswd, "ldap": _ldap, "oidc": _oidc}
        yield from ((f"auth.{n}", known[n]) for n in settings.auth.backends if n in known)


async def _one(name: str, check: Check, settings: ServerSettings) -> Finding:
    try:
        async with asyncio.timeout(_PATIENCE):
            return Finding(name=name, state="ok", summary=await check(settings))
    except TimeoutError:
        summary = f"no answer within {_PATIENCE:g} s"
        return Finding(name=name, state="fail", summary=summary, next="see whether it runs")
    except ArgosyError as e:
        summary = e.summary + (f": {e.why}" if e.why else "")
        return Finding(name=name, state="fail", summary=summary, next=e.remedy)


# What the settings say of themselves.


async def _listening(settings: ServerSettings) -> str:
    from argosy.server.starting.running import checked  # noqa: PLC0415 - a command asks, no server

    address = checked(settings)
    return f"listens on {address.host}:{address.port}"


async def _believing(settings: ServerSettings) -> str:
    from argosy.server.observing.addresses import Proxies  # noqa: PLC0415

    Proxies(settings.server.trusted_proxies)
    return f"{len(settings.server.trusted_proxies)} proxies"


async def _encrypting(settings: ServerSettings) -> str:
    from argosy.server.http.tls import tls_context  # noqa: PLC0415

    section = settings.server
    if not section.tls_cert or not section.tls_key:
        return "nothing to read"
    files = section.tls_cert, section.tls_key
    await in_thread(lambda: tls_context(*files, client_ca=section.client_ca or None))
    return section.tls_cert


async def _keeping(settings: ServerSettings) -> str:
    from argosy.catalog.databases.address import parse  # noqa: PLC0415

    section = settings.database
    return parse(section.url, section.password).url if section.url else "SQLite"


async def _storing(settings: ServerSettings) -> str:
    if settings.storage.backend == "s3":
        await _key_source(settings)
    elif settings.database.url:
        where = settings.server.data or "the data directory"
        return f"blobs are files in {where}: one machine only, unless it is a shared file system"
    return settings.storage.backend


async def _sealing(settings: ServerSettings) -> str:
    if not settings.auth.enabled:
        return "nothing is sealed"
    from argosy.server.guarding.admission import access_options, check_secret  # noqa: PLC0415

    check_secret(settings)
    access_options(settings)
    return "can be sealed"


async def _entering(settings: ServerSettings) -> str:
    if not settings.auth.enabled:
        return "everybody gets in"
    from argosy.server.guarding.admission import backends_of  # noqa: PLC0415

    await in_thread(backends_of, settings)
    if "htpasswd" in settings.auth.backends and not settings.htpasswd.file:
        raise ConfigError(
            "auth.htpasswd.file is empty", remedy="`htpasswd -B -c FILE NAME` makes one"
        )
    if "oidc" in settings.auth.backends:
        for name in ("issuer", "client_id"):
            if not getattr(settings.oidc, name):
                raise ConfigError(f"auth.oidc.{name} is empty", remedy="the provider tells it")
    return ", ".join(settings.auth.backends)


async def _forwarding(settings: ServerSettings) -> str:
    from argosy.server.observing.setting_up import destinations  # noqa: PLC0415

    return f"{len(await in_thread(destinations, settings.audit))} destinations"


# What they name.


async def _sqlite(settings: ServerSettings) -> str:
    from argosy.catalog.databases.dialects import sqlite_engine  # noqa: PLC0415
    from argosy.catalog.migrations.deciding import standing  # noqa: PLC0415

    path = os.path.join(settings.server.data, "argosy.db")

    def look() -> str:
        if not os.path.exists(path):
            return f"SQLite, {path} will be made"
        engine = sqlite_engine(path)
        try:
            with engine.connect() as conn:
                return f"SQLite {path}, schema {standing(conn).revision}"
        finally:
            engine.dispose()

    return await in_thread(look)


async def _postgres(settings: ServerSettings) -> str:
    from argosy.catalog.databases.address import parse  # noqa: PLC0415
    from argosy.catalog.databases.options import DatabaseOptions  # noqa: PLC0415
    from argosy.catalog.databases.postgres import PostgresDatabase  # noqa: PLC0415
    from argosy.catalog.migrations.deciding import standing  # noqa: PLC0415

    section = settings.database
    options = DatabaseOptions(pool=1, patience=1.0, password=section.password)
    database = PostgresDatabase(parse(section.url, section.password), options)

    def look(conn: Connection) -> str:
        version = conn.exec_driver_sql("SHOW server_version").scalar_one()
        found = standing(conn).revision
        return f"PostgreSQL {version}, " + (f"schema {found}" if found else "still empty")

    try:
        return await database.read(look)
    finally:
        await database.close()


async def _directory(settings: ServerSettings) -> str:
    from argosy.server.observing.readiness import directory_is_writable  # noqa: PLC0415

    data = settings.server.data
    there = data
    while not os.path.isdir(there):
        there = os.path.dirname(there)
    await directory_is_writable(there)()
    return f"files in {data}" + ("" if there == data else ", which will be made")


async def _bucket(settings: ServerSettings) -> str:
    from argosy.stores.s3.bucket import open_bucket  # noqa: PLC0415

    options = _s3(settings.s3)
    bucket = await open_bucket(options)
    try:
        await bucket.check()
    finally:
        await bucket.close()
    return f"bucket {options.bucket} at {options.url()}, by the key of {bucket.keys.origin}"


async def _key_source(settings: ServerSettings) -> str:
    from argosy.stores.s3.bucket import open_bucket  # noqa: PLC0415

    bucket = await open_bucket(_s3(settings.s3))
    try:
        return f"the key is that of {await bucket.keys.foreseen()}"
    finally:
        await bucket.close()


def _s3(section: S3Section) -> "S3Options":
    from argosy.stores.s3.options import S3Options  # noqa: PLC0415

    return options_as(S3Options, section)


async def _redis(settings: ServerSettings) -> str:
    from redis.asyncio import Redis  # noqa: PLC0415
    from redis.exceptions import RedisError  # noqa: PLC0415

    section = settings.redis
    try:
        client = Redis.from_url(section.url, password=section.password or None)
    except ValueError as e:
        remedy = "write redis://host:port/number"
        raise ConfigError("redis.url cannot be used", why=str(e), remedy=remedy) from e
    try:
        found = await client.info("server")
    except (RedisError, OSError) as e:
        remedy = "see whether it runs and is reachable; without it every node limits for itself"
        raise StorageUnavailable("Redis does not answer", why=str(e), remedy=remedy) from e
    finally:
        await client.aclose()
    return f"Redis {found['redis_version']}"


async def _htpasswd(settings: ServerSettings) -> str:
    from argosy.access.identity.htpasswd import Htpasswd, HtpasswdOptions  # noqa: PLC0415

    found = await Htpasswd(options_as(HtpasswdOptions, settings.htpasswd)).check()
    return f"{found} users in {settings.htpasswd.file}"


async def _ldap(settings: ServerSettings) -> str:
    from argosy.access.identity.ldap.directory import Ldap, LdapOptions  # noqa: PLC0415

    return await Ldap(options_as(LdapOptions, settings.ldap)).check()


async def _oidc(settings: ServerSettings) -> str:
    from argosy.access.identity.oidc.provider import Provider  # noqa: PLC0415
    from argosy.access.identity.oidc.web import Web  # noqa: PLC0415

    section = settings.oidc
    web = Web(ca_file=section.ca_file, allow_http=section.allow_http)
    try:
        found = await Provider(section.issuer, web).metadata()
    finally:
        await web.close()
    return found.issuer
