"""The names of objects. Every turn at an upload has a token, and names what it stores by it.

So two requests that believe they hold the same upload never write to the same object, and
of a turn that ended badly it is known what it may have left.
"""

from typing import Final

BLOBS: Final = "blobs/"
TAILS: Final = "tails/"


def blob(token: str) -> str:
    """Where the turn with that token puts a blob."""
    return f"{BLOBS}{token[:2]}/{token}"


def token(key: str) -> str:
    """The token of the turn that named it."""
    return key.rpartition("/")[2]


def tail(token: str) -> str:
    """Where it leaves what is too short for a part."""
    return f"{TAILS}{token}"
