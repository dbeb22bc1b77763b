"""What a failure of PostgreSQL means for who wants something of it: again, later, or never.

Source: PostgreSQL documentation, Appendix A (SQLSTATE codes).
"""

from enum import Enum
from typing import Final

from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolExhausted

from argosy.errors import NoSpace, StorageError, StorageUnavailable


class Meaning(Enum):
    """What to do about a failure."""

    LOST = "the connection is gone, or the server is not up: reach it anew"
    RACE = "others were in the way: the same again will do"
    FINAL = "it would fail again"


_RACES: Final = frozenset(
    {
        "40001",  # serialization_failure
        "40P01",  # deadlock_detected
        "55P03",  # lock_not_available
        # Somebody inserted or deleted what was looked for a moment ago: a second look sees it.
        "23505",  # unique_violation
        "23503",  # foreign_key_violation
    }
)
_PLAN_CHANGED: Final = "InvalidCachedStatementError"  # a table was altered: it is prepared anew
_LOST: Final = frozenset(
    {
        "57P01",  # admin_shutdown
        "57P02",  # crash_shutdown
        "57P03",  # cannot_connect_now: starting up or shutting down
        "57P05",  # idle_session_timeout
        "25P03",  # idle_in_transaction_session_timeout
        "25006",  # read_only_sql_transaction: a standby, after a failover
        "53300",  # too_many_connections
    }
)
_LOCKED_OUT: Final = (
    StorageError,
    "the catalog's database does not let us in",
    "look at the user, the password and the database in [database] of the settings",
)
_BY_STATE: Final[dict[str, tuple[type[StorageError], str, str]]] = {
    "53100": (  # disk_full
        NoSpace,
        "the catalog cannot be written",
        "free some space on the database's disk",
    ),
    "57014": (  # query_canceled: statement_timeout
        StorageUnavailable,
        "the catalog's database took too long",
        "try again; if it stays, look at the database's load, or raise database.statement_timeout",
    ),
    "28P01": _LOCKED_OUT,  # invalid_password
    "28000": _LOCKED_OUT,  # invalid_authorization_specification
    "3D000": _LOCKED_OUT,  # invalid_catalog_name
    "42501": _LOCKED_OUT,  # insufficient_privilege
}


def meaning(error: BaseException) -> Meaning:
    """What `error` means; for those that are not of the database, FINAL."""
    state = _state(error)
    if state in _RACES or type(getattr(error, "orig", None)).__name__ == _PLAN_CHANGED:
        return Meaning.RACE
    if state in _LOST or state.startswith("08"):
        return Meaning.LOST
    if state:
        return Meaning.FINAL
    if isinstance(error, DBAPIError) and error.connection_invalidated:
        return Meaning.LOST
    if type(error).__module__.startswith("asyncpg"):  # "connection was closed", and the like
        return Meaning.LOST
    return Meaning.LOST if isinstance(error, OSError | PoolExhausted) else Meaning.FINAL


def translated(error: Exception) -> Exception:
    """The error as the rest of Argosy knows it; itself if it is not of the database."""
    why = _words(error)
    if (known := _BY_STATE.get(_state(error))) is not None:
        kind, summary, remedy = known
        return kind(summary, why=why, remedy=remedy)
    if isinstance(error, PoolExhausted):
        return StorageUnavailable(
            "the catalog's database cannot be asked now",
            why="every connection to it is busy",
            remedy="try again in a moment; if it stays, raise the setting database.pool",
        )
    if meaning(error) is not Meaning.FINAL:
        remedy = "try again in a moment; if it stays, see whether PostgreSQL runs and is reachable"
        return StorageUnavailable("the catalog's database is away", why=why, remedy=remedy)
    if isinstance(error, DBAPIError):
        remedy = "look at the logs of the server and of the database"
        return StorageError("the catalog's database failed", why=why, remedy=remedy)
    return error


def unknown_outcome(error: Exception) -> StorageUnavailable:
    """For a write whose commit was under way when the database was lost."""
    return StorageUnavailable(
        "it cannot be known whether the change was made",
        why=f"the database was lost while it was committed: {_words(error)}",
        remedy="do it again: what was made before is then found made",
    )


def _state(error: BaseException) -> str:
    found = getattr(getattr(error, "orig", error), "sqlstate", None)
    return found if isinstance(found, str) else ""


def _words(error: Exception) -> str:
    """One line, without SQLAlchemy's statement and parameters: they may hold a secret."""
    orig = getattr(error, "orig", None)
    inner = getattr(orig, "__cause__", None) or orig or error
    return str(inner).splitlines()[0] if str(inner) else type(inner).__name__
