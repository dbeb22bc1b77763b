"""What an S3 service says when it cannot, as errors of ours: what failed, why, and what to do."""

from typing import Any, Final

from argosy.errors import ArgosyError, NetworkError, NoSpace, NotFound, StorageError, TLSError
from argosy.errors import StorageUnavailable as Unavailable
from argosy.stores.s3.documents import parse

_AGAIN: Final = frozenset({408, 429, 500, 502, 503, 504})
_SLOW: Final = frozenset({429, 503})
_AGAIN_CODES: Final = frozenset(
    {"SlowDown", "InternalError", "ServiceUnavailable", "RequestTimeout", "OperationAborted"}
)
_STALE: Final = frozenset({"ExpiredToken", "InvalidToken", "InvalidAccessKeyId"})
_MISSING: Final = frozenset({"NoSuchKey", "NoSuchUpload"})
_FULL: Final = frozenset({"XMinioStorageFull", "InsufficientStorage", "QuotaExceeded"})
_REMEDIES: Final = {
    "NoSuchBucket": "make the bucket, or set storage.s3.bucket to one that exists",
    "AccessDenied": "let this key get, put, delete and list objects and multipart uploads",
    "InvalidAccessKeyId": "check storage.s3.access_key, or where else the key comes from",
    "SignatureDoesNotMatch": "check storage.s3.secret_key and storage.s3.region, and that no"
    " proxy changes requests",
    "ExpiredToken": "renew the temporary key",
    "InvalidToken": "renew the temporary key",
    "RequestTimeTooSkewed": "set this machine's clock",
    "AuthorizationHeaderMalformed": "check storage.s3.region",
    "PermanentRedirect": "check storage.s3.endpoint and storage.s3.region",
    "InvalidBucketName": "check storage.s3.bucket and storage.s3.path_style",
    "EntityTooLarge": "lower storage.s3.part_size",
}


class Refused(StorageError):
    """The object store said no, and will say so again."""

    code = "object-store"


class Missing(NotFound):
    """The object, or the multipart upload, is not there."""

    code = "object-missing"


class Answer:
    """An answer that is none of those that were wanted: its status, and the code in its body."""

    def __init__(self, status: int, body: bytes, retry_after: str = "") -> None:
        self.status = status
        self.code, self.message = _words(body)
        self.retry_after = float(retry_after) if retry_after.isdigit() else 0.0

    @property
    def outcome(self) -> str:
        """For the metrics."""
        if self.status == 404:
            return "missing"
        return "slow_down" if self.status in _SLOW or self.code == "SlowDown" else "error"

    @property
    def again(self) -> bool:
        """Whether the same request may do better in a moment."""
        return self.status in _AGAIN or self.code in _AGAIN_CODES

    @property
    def stale(self) -> bool:
        """Whether it may do better with another key."""
        return self.code in _STALE or (self.status == 400 and not self.code)  # as HEAD is told


def _words(body: bytes) -> tuple[str, str]:
    if not body.lstrip().startswith(b"<"):
        return "", ""
    try:
        found = parse(body)
    except NetworkError:  # a proxy's page: the status has to do
        return "", ""
    return found.get("Code")[:100], found.get("Message")[:300]


def failure(what: str, answer: Answer, evidence: dict[str, Any]) -> ArgosyError:
    """The error for an answer. Neither bucket nor key are in its words: clients may see those."""
    code = answer.code or f"HTTP {answer.status}"
    facts = {**evidence, "s3_code": code, "status": answer.status}
    why = f"the object store says {code}" + (f": {answer.message}" if answer.message else "")
    if code in _MISSING or (answer.status == 404 and code != "NoSuchBucket"):
        return Missing(f"cannot {what}", why=why, evidence=facts)
    if answer.again:
        return Unavailable(
            f"cannot {what} now",
            why=f"{why} (again and again)",
            remedy="try again in a moment; if it stays, look at the object store",
            evidence=facts,
        )
    if answer.status == 507 or code in _FULL:
        return NoSpace(f"cannot {what}", why=why, remedy="free some space there", evidence=facts)
    remedy = _REMEDIES.get(code) or _by_status(answer.status)
    return Refused(f"cannot {what}", why=why, remedy=remedy, evidence=facts)


def _by_status(status: int) -> str:
    if status == 403:
        return "check the key and what it may do, and this machine's clock"
    if status in (301, 307):
        return _REMEDIES["PermanentRedirect"]
    return "look up this code in the object store's documentation"


def keyless(what: str, error: ArgosyError, evidence: dict[str, Any]) -> Unavailable:
    """The error for a request that cannot be signed: the source and its words are for the log alone."""
    return Unavailable(
        f"cannot {what} now",
        why="this server has no key for the object store that is good now",
        remedy="look at the server's log, or ask `argosy config check --connect`",
        evidence={**evidence, "source": f"{error.summary}: {error.why}"},
    )


def unreachable(what: str, error: NetworkError, evidence: dict[str, Any]) -> Unavailable:
    """The error for no answer at all."""
    return Unavailable(
        f"cannot {what} now",
        why=f"the object store cannot be reached: {error.why or error.summary}",
        remedy="set storage.s3.ca to the authority of its certificate, or renew that"
        if isinstance(error, TLSError)
        else "check storage.s3.endpoint and that the service runs",
        evidence={**evidence, "cause": error.code},
    )
