"""One-time passwords that an authenticator app shows (RFC 4226, RFC 6238), and codes for when it is lost.

A code is good once: the step of the last one used is kept, and no code of it or of an
earlier one counts again (RFC 6238 §5.2).
"""

import base64
import hashlib
import hmac
import re
import secrets
import struct
import time
from typing import Final
from urllib.parse import quote, urlencode

DIGITS: Final = 6
PERIOD: Final = 30  # seconds
WINDOW: Final = 1  # steps a clock may be off, either way
RECOVERY_CODES: Final = 10

_SECRET_BYTES: Final = 20  # RFC 4226 §4, R6: 160 bits
_ALPHABET: Final = "23456789abcdefghjkmnpqrstuvwxyz"  # nothing that reads as something else
_RECOVERY: Final = re.compile(rf"[{_ALPHABET}]{{5}}(-[{_ALPHABET}]{{5}}){{2}}")


def hotp(secret: bytes, counter: int, *, digits: int = DIGITS, algorithm: str = "sha1") -> str:
    """The code for a counter (RFC 4226 §5.3)."""
    mac = hmac.digest(secret, struct.pack(">Q", counter), algorithm)
    offset = mac[-1] & 0x0F
    (number,) = struct.unpack_from(">I", mac, offset)
    return str((number & 0x7FFFFFFF) % 10**digits).zfill(digits)


def step_at(seconds: float) -> int:
    """The time step of a moment (RFC 6238 §4.2)."""
    return int(seconds // PERIOD)


def matching_step(
    secret: bytes, code: str, *, after: int, now: float | None = None, window: int = WINDOW
) -> int | None:
    """The step whose code this is, later than `after`; None when there is none.

    Every candidate is compared, so that the time taken does not tell which one it was.
    """
    present, found = step_at(time.time() if now is None else now), None
    given = code.replace(" ", "").encode()
    for step in range(max(present - window, 0), present + window + 1):
        if hmac.compare_digest(hotp(secret, step).encode(), given) and step > after:
            found = step
    return found


def new_secret() -> bytes:
    """A secret for one app."""
    return secrets.token_bytes(_SECRET_BYTES)


def base32(secret: bytes) -> str:
    """The secret as people type it in."""
    return base64.b32encode(secret).decode().rstrip("=")


def otpauth_uri(secret: bytes, *, account: str, issuer: str) -> str:
    """What the app reads from a QR code (Key URI Format)."""
    label = f"{quote(issuer, safe='')}:{quote(account, safe='')}"
    query = {"secret": base32(secret), "issuer": issuer, "digits": DIGITS, "period": PERIOD}
    return f"otpauth://totp/{label}?{urlencode(query, quote_via=quote)}&algorithm=SHA1"


def new_recovery_codes(count: int = RECOVERY_CODES) -> list[str]:
    """Codes that stand in for the app, each once. 74 random bits: a plain hash of one is enough."""
    return ["-".join(_letters() for _ in range(3)) for _ in range(count)]


def _letters() -> str:
    return "".join(secrets.choice(_ALPHABET) for _ in range(5))


def recovery_hash(code: str) -> str | None:
    """What is stored of a recovery code; None for what cannot be one."""
    plain = code.strip().lower()
    if not _RECOVERY.fullmatch(plain):
        return None
    return hashlib.sha256(plain.encode()).hexdigest()
