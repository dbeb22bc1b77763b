"""How the services that give keys are asked: one try, in bounded time, and nothing told of what they say.

A key's lifetime is counted from the date of the answer that brought it, so that it does not
matter what time this machine believes it is.
"""

import asyncio
import json
import time
from collections.abc import Mapping
from dataclasses import field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final

from argosy.errors import ArgosyError, ConfigError, NetworkTimeout, StorageUnavailable
from argosy.stores.remote.transport import Request, Transport
from argosy.stores.s3.credentials.sources import Key
from argosy.stores.s3.failures import Refused
from argosy.stores.s3.signing import Credentials
from argosy.values import frozen

_NO_KEY: Final = (
    "there is no key for the object store now"  # and nothing of whose: /readyz shows it
)
_LOOK: Final = 300.0  # seconds, where it is not said how long a key lives


@frozen(kw_only=True)
class Said:
    """An answer: its status, its body, and when it was given, in seconds since 1970."""

    status: int
    body: bytes = field(repr=False)
    at: float


async def ask(transport: Transport, request: Request, patience: float) -> Said:
    """The answer to one request; NetworkError if there is none within `patience` seconds."""
    try:
        async with asyncio.timeout(patience), await transport.send(request) as answer:
            return Said(
                status=answer.status,
                body=await answer.read(),
                at=_date(answer.headers.get("date", "")),
            )
    except TimeoutError as e:
        raise NetworkTimeout("no answer", why=f"no answer within {patience:g} s") from e


def _date(field: str) -> float:
    try:
        return parsedate_to_datetime(field).timestamp()
    except (ValueError, OverflowError):
        return time.time()


def key_in(said: Said, origin: str) -> Key:
    """The key in the JSON that containers and instances get; StorageUnavailable if there is none."""
    found = _object(said.body)
    if (code := found.get("Code", "Success")) != "Success":
        raise unusable(origin, f"it says {plain(code)}")
    words = {
        "AccessKeyId": found.get("AccessKeyId"),
        "SecretAccessKey": found.get("SecretAccessKey"),
        "SessionToken": found.get("Token"),
        "Expiration": found.get("Expiration"),
    }
    return key_of(words, origin, said.at)


def key_of(found: Mapping[str, object], origin: str, at: float) -> Key:
    """The key that these words say, as STS calls them; StorageUnavailable if they say none."""
    texts = {name: value if isinstance(value, str) else "" for name, value in found.items()}
    credentials = Credentials(
        access_key=texts.get("AccessKeyId", ""),
        secret_key=texts.get("SecretAccessKey", ""),
        session_token=texts.get("SessionToken", ""),
    )
    if not credentials.usable or not all(
        is_word(text) for text in (credentials.access_key, credentials.session_token)
    ):
        raise unusable(origin, "there is no key in its answer")
    expires = texts.get("Expiration", "")
    if not expires:
        return Key(credentials=credentials, origin=origin, look=_LOOK)
    return Key(credentials=credentials, origin=origin, lifetime=_time(expires, origin) - at)


def _time(text: str, origin: str) -> float:
    try:
        found = datetime.fromisoformat(text)
        found = found if found.tzinfo else found.replace(tzinfo=UTC)
        return found.timestamp()
    except (ValueError, OverflowError) as e:
        raise unusable(origin, "it does not say when its key ends") from e


def refusal(origin: str, said: Said, *, code: str = "", message: str = "") -> ArgosyError:
    """The error for an answer that is none of those that were wanted."""
    if not code:
        found = _object(said.body) if said.body.lstrip().startswith(b"{") else {}
        code, message = (plain(found.get(name, "")) for name in ("code", "message"))
    why = ": ".join(part for part in (f"HTTP {said.status}", code, message) if part)
    if said.status >= 500 or said.status in (408, 429):
        return unusable(origin, why)
    return Refused(_NO_KEY, why=f"{origin}: {why}", remedy="check what this workload may be given")


def unusable(origin: str, why: str) -> StorageUnavailable:
    """The error for a source that gives no key now."""
    remedy = "see whether this source works"
    return StorageUnavailable(_NO_KEY, why=f"{origin}: {why}", remedy=remedy)


def misset(name: str, why: str, remedy: str) -> ConfigError:
    """The error for a variable that can never work."""
    return ConfigError(f"{name} cannot be used", why=why, remedy=remedy)


def _object(body: bytes) -> dict[str, Any]:
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def plain(text: object) -> str:
    """What a service said, short and on one line."""
    return " ".join(text.split())[:300] if isinstance(text, str) else ""


def is_word(text: str) -> bool:
    """Whether a text may go into a header as it is."""
    return text.isascii() and text.isprintable() and " " not in text
