"""Signature Version 4: how a request shows that its sender has the key, without sending it.

Source: "Authenticating Requests (AWS Signature Version 4)" of the Amazon S3 API Reference.
Pure functions; the caller says what time it is.
"""

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import field
from datetime import datetime
from functools import lru_cache
from typing import Final
from urllib.parse import quote, unquote, urlsplit

from argosy.values import frozen

UNSIGNED: Final = "UNSIGNED-PAYLOAD"
EMPTY: Final = hashlib.sha256().hexdigest()
LONGEST: Final = 604_800  # seconds a signed URL may be good for

_ALGORITHM: Final = "AWS4-HMAC-SHA256"
_SAFE: Final = "-_.~"  # what is not encoded besides letters and digits
_SIGNED_ALWAYS: Final = frozenset({"host", "content-md5", "content-type", "range", "date"})


@frozen(kw_only=True)
class Credentials:
    """A key: its id may be told, the rest may not."""

    access_key: str = ""
    secret_key: str = field(default="", repr=False)
    session_token: str = field(default="", repr=False)

    @property
    def usable(self) -> bool:
        """Whether there is something to sign with."""
        return bool(self.access_key and self.secret_key)


@frozen(kw_only=True)
class Signer:
    """Signs for one key and one region."""

    credentials: Credentials
    region: str
    service: str = "s3"

    def headers(
        self, method: str, url: str, headers: Mapping[str, str], payload: str, at: datetime
    ) -> dict[str, str]:
        """The headers with which to send the request; `payload` is the body's SHA-256, or UNSIGNED."""
        stamp = at.strftime("%Y%m%dT%H%M%SZ")
        sent = {**headers, "x-amz-date": stamp, "x-amz-content-sha256": payload}
        if self.credentials.session_token:
            sent["x-amz-security-token"] = self.credentials.session_token
        signed = {
            name.lower(): " ".join(value.split())
            for name, value in {**sent, "host": urlsplit(url).netloc}.items()
            if name.lower() in _SIGNED_ALWAYS or name.lower().startswith("x-amz-")
        }
        signature = self._signature(method, url, signed, payload, stamp)
        sent["Authorization"] = (
            f"{_ALGORITHM} Credential={self.credentials.access_key}/{self._scope(stamp)},"
            f"SignedHeaders={';'.join(sorted(signed))},Signature={signature}"
        )
        return sent

    def link(self, method: str, url: str, seconds: int, at: datetime) -> str:
        """The URL with which whoever has it may send that request, for so many seconds."""
        stamp = at.strftime("%Y%m%dT%H%M%SZ")
        query = {
            "X-Amz-Algorithm": _ALGORITHM,
            "X-Amz-Credential": f"{self.credentials.access_key}/{self._scope(stamp)}",
            "X-Amz-Date": stamp,
            "X-Amz-Expires": str(min(max(seconds, 1), LONGEST)),
            "X-Amz-SignedHeaders": "host",
        }
        if self.credentials.session_token:
            query["X-Amz-Security-Token"] = self.credentials.session_token
        mark = "&" if urlsplit(url).query else "?"
        url += mark + "&".join(f"{name}={escaped(value)}" for name, value in query.items())
        signature = self._signature(method, url, {"host": urlsplit(url).netloc}, UNSIGNED, stamp)
        return f"{url}&X-Amz-Signature={signature}"

    def _signature(
        self, method: str, url: str, signed: Mapping[str, str], payload: str, stamp: str
    ) -> str:
        request = canonical(method, url, signed, payload)
        digest = hashlib.sha256(request.encode()).hexdigest()
        text = f"{_ALGORITHM}\n{stamp}\n{self._scope(stamp)}\n{digest}"
        key = _key(self.credentials.secret_key, stamp[:8], self.region, self.service)
        return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()

    def _scope(self, stamp: str) -> str:
        return f"{stamp[:8]}/{self.region}/{self.service}/aws4_request"


def canonical(method: str, url: str, signed: Mapping[str, str], payload: str) -> str:
    """The request as both sides write it down before they sign it."""
    parts = urlsplit(url)
    pairs = [pair.partition("=")[::2] for pair in parts.query.split("&") if pair]
    query = sorted((escaped(unquote(name)), escaped(unquote(value))) for name, value in pairs)
    headers = "".join(f"{name}:{signed[name]}\n" for name in sorted(signed))
    return "\n".join(
        (
            method,
            parts.path or "/",  # S3 signs the path as it is sent: nothing is normalised
            "&".join(f"{name}={value}" for name, value in query),
            headers,
            ";".join(sorted(signed)),
            payload,
        )
    )


def escaped(text: str, *, slashes: bool = False) -> str:
    """Percent-encoded as S3 wants it; `slashes` stay in paths."""
    return quote(text, safe=_SAFE + "/" if slashes else _SAFE)


@lru_cache(maxsize=8)
def _key(secret: str, day: str, region: str, service: str) -> bytes:
    key = f"AWS4{secret}".encode()
    for part in (day, region, service, "aws4_request"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    return key
