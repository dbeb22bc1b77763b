"""Who makes a change, and by which request: what the audit log tells of it."""

from typing import Final

from argosy.values import frozen


@frozen(kw_only=True)
class Actor:
    """Somebody who acts: `kind` is user, robot, token, anonymous or system."""

    name: str
    kind: str
    address: str = ""  # of the client, as honest as the proxies before us are
    request: str = ""  # its id


SYSTEM: Final = Actor(name="argosy", kind="system")
"""The registry itself: housekeeping, migrations, the command line on its own machine."""

ANYBODY: Final = Actor(name="", kind="anonymous")
"""Whoever it is, where nobody is asked who they are."""
