"""The address of a PostgreSQL database, its password taken out of it at once.

libpq's URLs: `postgresql://USER@HOST:PORT/DATABASE?sslmode=verify-full&sslrootcert=FILE`,
several hosts (`HOST1,HOST2` with `target_session_attrs=read-write`), a socket's
directory as `host=`; and its variables (PGPASSWORD, PGPASSFILE). asyncpg reads them.
"""

from dataclasses import field
from typing import Final
from urllib.parse import unquote, urlsplit, urlunsplit

from argosy.errors import ConfigError
from argosy.values import frozen

_SCHEMES: Final = ("postgresql", "postgres")


@frozen(kw_only=True)
class Address:
    """Where a database is: `url` has no password and may be shown."""

    url: str
    password: str | None = field(default=None, repr=False)


def is_address(where: str) -> bool:
    """Whether it is an address, not a path."""
    return "://" in where


def parse(where: str, password: str = "") -> Address:
    """Read an address; a password given aside counts more than the one in it. ConfigError."""
    try:
        parts = urlsplit(where)
    except ValueError as e:  # its words may show the password
        raise _refused("it is no URL") from e
    if parts.scheme not in _SCHEMES:
        raise _refused(f"{parts.scheme}:// is not a database that the catalog can be in")
    if not parts.path.strip("/") and "dbname=" not in parts.query:
        raise _refused("it names no database")
    if "password=" in parts.query:
        raise _refused("a password may stand before the host, but not among the parameters")
    user, at, hosts = parts.netloc.rpartition("@")
    name, colon, secret = user.partition(":")
    url = urlunsplit(parts._replace(scheme="postgresql", netloc=f"{name}{at}{hosts}"))
    return Address(url=url, password=password or (unquote(secret) if colon else None))


def _refused(why: str) -> ConfigError:
    return ConfigError(
        "the address of the database cannot be used",
        why=why,
        remedy="write postgresql://USER@HOST/DATABASE, and the password into a file of its own",
    )
