"""A login that is not let through: a value with its reason."""

from argosy.values import frozen


@frozen
class Refused:
    """Why; fit to be shown to who tried, and what they or an administrator can do about it."""

    reason: str
    remedy: str = ""


@frozen(kw_only=True)
class Slowed(Refused):
    """Too many wrong ones before: this one was not looked at."""

    seconds: float
