"""When to try again, and how long to wait first (RFC 9110 §10.2.3, Retry-After)."""

import time

from argosy.concurrency import between
from argosy.settings import Settings

RETRIED = frozenset({408, 429, 500, 502, 503, 504})
"""Statuses that a later try may turn into an answer."""


def retry_after(text: str, now: float | None = None) -> float | None:
    """Seconds a `Retry-After` header asks for, in either form; None if it cannot be read."""
    text = text.strip()
    if text.isascii() and text.isdigit() and len(text) < 10:
        return float(text)
    import email.utils  # noqa: PLC0415 - slow to import, and dates are rare here

    try:
        moment = email.utils.parsedate_to_datetime(text)
        return max(0.0, moment.timestamp() - (time.time() if now is None else now))
    except (ValueError, TypeError, OverflowError, IndexError):
        return None


def backoff(attempt: int, settings: Settings) -> float:
    """Seconds before retry number `attempt` (from 0): doubling, capped, with jitter.

    Jitter takes up to a quarter off, so that many clients do not come back together.
    """
    longest = min(settings.retry_wait * 2.0**attempt, settings.retry_wait_max)
    return longest * between(0.75, 1.0)


def wait(attempt: int, header: str | None, settings: Settings) -> float | None:
    """Seconds to wait before retry `attempt`; None: do not retry.

    The header wins over the backoff. A registry that asks for more than ten times
    the longest wait is obeyed by giving up: the error tells its time.
    """
    if attempt >= settings.retries:
        return None
    asked = retry_after(header) if header else None
    if asked is None:
        return backoff(attempt, settings)
    return asked if asked <= 10 * max(settings.retry_wait_max, 1.0) else None
