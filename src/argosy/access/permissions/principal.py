"""Whose a request is."""

from typing import Final, Literal

from argosy.values import frozen

Kind = Literal["user", "robot", "token", "anonymous", "system"]


@frozen(kw_only=True)
class Principal:
    """Somebody who has shown who they are, or nobody in particular.

    `id` is the row of the user or robot (0: none). A personal access token is its
    owner's, with `kind` token: `name` and `id` are the owner's, `credential` is the token's row.
    `until`: what they showed is good for so long (seconds since 1970), and what is made from it
    not much longer; 0: as long as they are who they are.
    """

    name: str
    kind: Kind
    id: int = 0
    is_admin: bool = False
    groups: frozenset[str] = frozenset()
    credential: int = 0
    until: float = 0.0

    @property
    def key(self) -> tuple[str, int]:
        """What memory knows them by: the same name may be another's tomorrow, this never."""
        return (self.kind, self.credential or self.id)


ANONYMOUS: Final = Principal(name="", kind="anonymous")
EVERYBODY: Final = Principal(name="", kind="system", is_admin=True)
"""Whoever it is, where access is not controlled."""
