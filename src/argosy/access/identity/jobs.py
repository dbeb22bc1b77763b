"""What a CI job is, once it was let in. (`workload.py` judges them, and is slow to import.)"""

from typing import Final

from argosy.access.permissions.principal import Principal
from argosy.values import frozen

_LONGEST: Final = 32 << 10  # characters of a token


@frozen(kw_only=True)
class Job:
    """A job that was let in: the robot it is, until its token expires (seconds since 1970).

    `subject` is what its provider calls it, for the audit. `proof`: the hash of the robot's
    secret; with a new secret what was let in before has to show its token again.
    """

    principal: Principal
    subject: str
    expires: float
    proof: str


def looks_like_one(text: str) -> bool:
    """Whether a password could be a job's token: a question of form."""
    return text.count(".") == 2 and text.startswith("eyJ") and len(text) <= _LONGEST
