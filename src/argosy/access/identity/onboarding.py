"""Somebody whom a back end vouches for becomes a user of the catalog, or is recognised as one.

Who somebody is goes by what never changes at their back end. Their name here is the one of
their first login and stays: memberships go by it, and a name that wandered from one person
to another would take them along.
"""

import hashlib
import unicodedata
from typing import Any, Final

from sqlalchemy import Connection

from argosy.access.signing_in.backends import Identity
from argosy.access.signing_in.refused import Refused
from argosy.catalog import schema as t
from argosy.catalog.actor import Actor
from argosy.catalog.audit import Entry, record
from argosy.catalog.people import users
from argosy.catalog.people.users import User

_LONGEST: Final = 255  # bytes: the column's
_LONGEST_ID: Final = 512
_MOST_GROUPS: Final = 1000
_NEVER: Final = frozenset(':$/\\"')  # Basic's separator, the mark of robots, what breaks paths


def onboard(conn: Connection, identity: Identity, by: Actor) -> User | Refused:
    """The user this is, made or brought up to date; Refused with what stands in the way."""
    known_by = external(identity)
    known = users.user_by_external(conn, identity.backend, known_by)
    if known is None:
        return _made(conn, identity, known_by, by)
    if known.disabled:
        return Refused(f"the account {known.name} is disabled", "ask an administrator")
    bring_up_to_date(conn, known, identity, by)
    return _arrived(conn, known.id)


def bring_up_to_date(conn: Connection, known: User, identity: Identity, by: Actor) -> None:
    """What the back end says now of a user: groups, mail, whether they administer the system."""
    values: dict[str, Any] = {}
    email = _address(identity)
    if email and email != known.email:
        values["email"] = email
    if identity.is_admin is not None and identity.is_admin != known.is_admin:
        values["is_admin"] = identity.is_admin
        details = {"is_admin": identity.is_admin, "backend": identity.backend}
        record(conn, by, Entry(action="user.update", resource=known.name, details=details))
    if values:
        users.change_user(conn, known.id, values)
    _set_groups(conn, known.id, identity)


def _made(conn: Connection, identity: Identity, known_by: str, by: Actor) -> User | Refused:
    name = unicodedata.normalize("NFC", identity.name)
    if why := unusable(name):
        return Refused(f"the name {name[:100]!r} cannot be used here: {why}", _OTHER_NAME)
    if (other := users.user(conn, name)) is not None:
        whose = "a local user" if other.backend == users.LOCAL else f"a user of {other.backend}"
        return Refused(
            f"the name {name} is that of {whose} here",
            "ask an administrator to rename or remove that user, or to map another claim or"
            " attribute to names",
        )
    values = {
        "email": _address(identity),
        "backend": identity.backend,
        "external_id": known_by,
        "is_admin": bool(identity.is_admin),
    }
    key = users.add_user(conn, name, values)
    details = {"backend": identity.backend, "is_admin": bool(identity.is_admin)}
    record(conn, by, Entry(action="user.create", resource=name, details=details))
    _set_groups(conn, key, identity)
    return _arrived(conn, key)


_OTHER_NAME: Final = "map another claim or attribute to names ([auth.ldap] or [auth.oidc])"


def _set_groups(conn: Connection, key: int, identity: Identity) -> None:
    kept = [g for g in identity.groups[:_MOST_GROUPS] if _fits(g) and "\0" not in g]
    users.set_groups(conn, key, kept)


def _address(identity: Identity) -> str:
    # Often it is theirs to write, and PostgreSQL has no text with NUL: they would end each round
    # of who is still there (recalling.py).
    return "".join(c for c in identity.email if c.isprintable())[:320]


def _arrived(conn: Connection, key: int) -> User:
    users.touch_user(conn, key, {"last_login_at": t.now()})
    found = users.user_by_id(conn, key)
    assert found is not None  # written just now
    return found


def unusable(name: str) -> str:
    """Why nobody can have that name; empty for one that is fine."""
    if not name or not name.isprintable() or name != name.strip():
        return "it is empty, or has blanks or control characters where none belong"
    if name in (".", ".."):
        return "it is a way in a path: clients of the API could not ask for it"
    if found := sorted(_NEVER & set(name)):
        return f"it has {' '.join(found)} in it"
    return "" if _fits(name) else f"it is longer than {_LONGEST} bytes"


def _fits(name: str) -> bool:
    return 0 < len(name.encode(errors="replace")) <= _LONGEST


def external(identity: Identity) -> str:
    """What the back end knows them by, in the length of the column."""
    found = identity.external_id or identity.name
    if len(found) <= _LONGEST_ID:
        return found
    return "sha256:" + hashlib.sha256(found.encode(errors="surrogateescape")).hexdigest()
