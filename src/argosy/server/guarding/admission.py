"""Who is let in, put together from the settings: the guard, and the token service beside it."""

import logging
import os
import stat
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Final

from argosy.catalog.actor import SYSTEM
from argosy.catalog.database import Database
from argosy.concurrency import in_thread
from argosy.errors import ConfigError
from argosy.server.config.sections import ServerSettings, options_as
from argosy.server.guarding.guard import Guard
from argosy.server.guarding.open_guard import OpenGuard
from argosy.server.http.messages import Handler
from argosy.server.observing.addresses import Front, Proxies
from argosy.values import frozen

if TYPE_CHECKING:  # without access control none of it is imported
    from argosy.access.identity.workload import Workloads
    from argosy.access.service import Access, AccessOptions
    from argosy.access.signing_in.backends import Backend
    from argosy.access.tokens.keys import KeyOptions
    from argosy.access.tokens.sealing import Sealer
    from argosy.server.login.door import Door

log = logging.getLogger("argosy.server")

_DATABASE: Final = "argosy.db"
_OTHERS: Final = {  # what they may not, by what is in the data directory
    # SQLite gives its other files the mode of the first, but these may be there before.
    **dict.fromkeys((_DATABASE, f"{_DATABASE}-wal", f"{_DATABASE}-shm"), 0o077),
    **dict.fromkeys(("blobs", "uploads", "metrics"), 0o007),
}
_LEAST_LIFE: Final = 60.0  # token.md


@frozen(kw_only=True, eq=False)
class Admission:
    """The guard; and where access is controlled, what stands behind it and gives tokens."""

    guard: Guard
    access: "Access | None" = None
    tokens: Handler | None = None
    door: "Door | None" = None
    workloads: "Workloads | None" = None
    everybody_makes_projects: bool = False


@asynccontextmanager
async def admission(settings: ServerSettings, database: Database) -> AsyncIterator[Admission]:
    """What the settings say of who gets in. The first start with access control makes an admin."""
    if not settings.auth.enabled:
        yield Admission(guard=OpenGuard())
        return
    from argosy.access.service import open_access  # noqa: PLC0415 - for who needs it
    from argosy.server.guarding.access_guard import AccessGuard  # noqa: PLC0415
    from argosy.server.guarding.token_service import TokenService  # noqa: PLC0415
    from argosy.server.login.opening import open_entrance  # noqa: PLC0415

    async with AsyncExitStack() as stack:
        await in_thread(_close_to_others, settings)
        sealing = await in_thread(sealer, settings)
        backends = await in_thread(backends_of, settings)
        access = await stack.enter_async_context(
            open_access(database, sealing, access_options(settings), backends)
        )
        front = Front(
            public_url=settings.server.public_url,
            proxies=Proxies(settings.server.trusted_proxies),
        )
        guard = AccessGuard(access, front)
        entrance = await stack.enter_async_context(
            open_entrance(settings, access, database, front, backends)
        )
        # The last step: the password is told once, and not by a start that fails after it.
        await _first_admin(access)
        yield Admission(
            guard=guard,
            access=access,
            tokens=TokenService(access, guard),
            door=entrance.door,
            workloads=entrance.workloads,
            everybody_makes_projects=settings.auth.project_creation == "everybody",
        )


def _close_to_others(settings: ServerSettings) -> None:
    """Let no other user of this machine read what the guard keeps from them.

    Hashes of passwords could be guessed at; blobs are everybody's private images.
    """
    for name, others in _OTHERS.items():
        path = os.path.join(settings.server.data, name)
        try:
            mode = stat.S_IMODE(os.stat(path).st_mode)
            if mode & others:
                os.chmod(path, mode & ~others)
        except FileNotFoundError:
            continue  # kept elsewhere
        except OSError as e:
            log.warning("other users of this machine may read %s: %s", path, e.strerror)


def sealer(settings: ServerSettings) -> "Sealer":
    """What seals keys in the database, as the settings say; ConfigError (blocking)."""
    from argosy.access.tokens.sealing import Sealer, secret_in  # noqa: PLC0415

    check_secret(settings)
    return Sealer(settings.auth.secret or secret_in(settings.server.data))


def check_secret(settings: ServerSettings) -> None:
    """ConfigError if nodes would seal with different keys."""
    if settings.database.url and not settings.auth.secret:
        raise ConfigError(
            "access control with PostgreSQL needs the setting auth.secret",
            why="what seals keys in the database has to be the same on every node",
            remedy="make one with `openssl rand -hex 32` and give it to every node, for example"
            " in a file named by ARGOSY_AUTH_SECRET_FILE",
        )


def access_options(settings: ServerSettings) -> "AccessOptions":
    """How tokens are made; ConfigError for what clients could not use."""
    from argosy.access.service import AccessOptions  # noqa: PLC0415
    from argosy.access.tokens.access_tokens import TokenOptions  # noqa: PLC0415

    token = settings.token
    if token.lifetime < _LEAST_LIFE:
        raise ConfigError(
            "token.lifetime is less than 60 s",
            why="clients take every token to be good for that long",
            remedy="set it to 60 s or more; 5 minutes are usual",
        )
    return AccessOptions(
        tokens=TokenOptions(issuer=token.issuer, audience=token.service, life=int(token.lifetime)),
        keys=key_options(settings),
        refresh_life=token.refresh_lifetime,
        anonymous=settings.auth.anonymous,
    )


def key_options(settings: ServerSettings) -> "KeyOptions":
    """How signing keys are changed, as the settings say."""
    from argosy.access.tokens.keys import KeyOptions  # noqa: PLC0415

    return KeyOptions(life=settings.token.rotate_every, after=settings.token.lifetime + 600.0)


def backends_of(settings: ServerSettings) -> "Sequence[Backend]":
    """What knows people by name and password, besides the catalog; ConfigError."""
    found: list[Backend] = []
    for name in settings.auth.backends:
        if name == "htpasswd":
            from argosy.access.identity.htpasswd import Htpasswd, HtpasswdOptions  # noqa: PLC0415

            found.append(Htpasswd(options_as(HtpasswdOptions, settings.htpasswd)))
        elif name == "ldap":
            from argosy.access.identity.ldap.directory import Ldap, LdapOptions  # noqa: PLC0415

            found.append(Ldap(options_as(LdapOptions, settings.ldap)))
        elif name not in ("local", "oidc"):
            raise ConfigError(
                f"auth.backends names {name!r}",
                remedy="known are local, htpasswd, ldap and oidc",
            )
    return found


async def _first_admin(access: "Access") -> None:
    """Where nobody is known yet, make `admin`; its password is told once, here."""
    once = await access.users.first_admin(SYSTEM)
    if once is not None:
        print(  # noqa: T201 - for who starts the server, and for no log
            f"argosy: made the user admin, with the one-time password {once}\n"
            "argosy: change it with `argosy user password admin`; if it gets lost, `argosy admin"
            " reset-password` makes another",
            file=sys.stderr,
            flush=True,
        )
