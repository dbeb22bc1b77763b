"""What a write changes, told by the write itself on the connection it was handed."""

from dataclasses import dataclass, field
from typing import Final

from sqlalchemy import Connection

Key = tuple[str, ...]
"""What may be kept in memory, by its kind and its name: ("manifest", "team/app", "sha256:…")."""

EVERYTHING: Final[Key] = ("*",)
"""As if all that anybody may keep had changed."""

_INFO: Final = "argosy.told"


@dataclass(slots=True)
class Told:
    """What one transaction changes; `far` is what other nodes must hear of too."""

    near: list[Key] = field(default_factory=list)
    far: list[Key] = field(default_factory=list)

    @property
    def all(self) -> list[Key]:
        """Each key once, in order."""
        return list(dict.fromkeys([*self.near, *self.far]))


def changed(conn: Connection, *keys: Key) -> None:
    """Whoever keeps one of these forgets it when the transaction is committed."""
    if (told := conn.info.get(_INFO)) is not None:
        told.far += keys


def moved(conn: Connection, *keys: Key) -> None:
    """As `changed`, of what the nodes on PostgreSQL do not keep but always ask for."""
    if (told := conn.info.get(_INFO)) is not None:
        told.near += keys


def listen(conn: Connection) -> Told:
    """Begin to note what is told on a connection; `changed` fills what this returns."""
    told = conn.info[_INFO] = Told()
    return told
