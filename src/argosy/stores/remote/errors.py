"""What a registry's refusal means: from a status and an error body to a typed error with a remedy.

Source: distribution-spec, Error Codes; the causes are those people really meet.
"""

import json
from typing import Any
from urllib.parse import urlsplit

from argosy.errors import (
    ArgosyError,
    Denied,
    NotFound,
    RateLimited,
    RegistryError,
    RegistryUnavailable,
    Unauthorized,
)
from argosy.stores.remote.auth import quoted
from argosy.stores.remote.failures import bare
from argosy.stores.remote.transport import Answer
from argosy.values import frozen

_BY_CODE: dict[str, tuple[type[RegistryError], str]] = {
    "MANIFEST_BLOB_UNKNOWN": (
        RegistryError,
        "copy the whole image: the registry lacks something this manifest names",
    ),
    "MANIFEST_INVALID": (
        RegistryError,
        "the registry may be too old for this type: look at its version and the manifest's media type",
    ),
    "NAME_INVALID": (RegistryError, "use a lower-case repository name this registry allows"),
    "TAG_INVALID": (RegistryError, "use a tag this registry allows"),
    "UNSUPPORTED": (RegistryError, "the registry has this switched off or does not know it"),
}


@frozen
class Said:
    """The first error of an error body: what the registry itself said."""

    code: str = ""
    message: str = ""
    detail: Any = None

    def __str__(self) -> str:
        return ": ".join(p for p in (self.code, self.message) if p)


def parse_said(body: bytes) -> Said:
    """Read an error body; an empty Said if it is none (a proxy's web page)."""
    try:
        errors = json.loads(body).get("errors")
        first = errors[0]
        return Said(
            quoted(str(first.get("code") or "")),
            quoted(str(first.get("message") or "")),
            _quoted(first.get("detail")),
        )
    except (ValueError, AttributeError, TypeError, LookupError, RecursionError):
        return Said()


def _quoted(detail: Any) -> Any:
    if isinstance(detail, str):
        return quoted(detail)
    if isinstance(detail, dict):
        return {key: _quoted(value) for key, value in detail.items()}
    return [_quoted(item) for item in detail] if isinstance(detail, list) else detail


@frozen(kw_only=True)
class Asked:
    """What was asked for, in words: for messages."""

    what: str  # "pull manifest 1.2 of host/repository"
    scopes: tuple[str, ...] = ()
    credential: str = ""  # where the credential used came from
    looked_in: tuple[str, ...] = ()


async def refusal(answer: Answer, asked: Asked) -> ArgosyError:
    """The typed error for an answer that is not the one hoped for."""
    body = await answer.read() if answer.method != "HEAD" else b""
    await answer.close()
    said = parse_said(body)
    facts = {
        "url": bare(answer.url),
        "method": answer.method,
        **({"detail": said.detail} if said.detail else {}),
        **_limits(answer),
    }
    host = urlsplit(answer.url).netloc.rpartition("@")[2]
    return _typed(answer, said, asked, host, facts)


def _typed(
    answer: Answer, said: Said, asked: Asked, host: str, facts: dict[str, Any]
) -> ArgosyError:
    status = answer.status
    words: dict[str, Any] = {
        "status": status,
        "registry_code": said.code,
        "evidence": facts,
    }
    if status == 401:
        return Unauthorized(
            f"{host} wants credentials to {asked.what}",
            why=_why(said, status) + _sources(asked),
            remedy=f"argosy login {host}",
            **words,
        )
    if status == 403:
        return Denied(
            f"{host} does not allow to {asked.what}",
            why=_why(said, status) + _sources(asked),
            remedy=_allowed(said, host),
            **words,
        )
    if status == 404 and said.code != "MANIFEST_BLOB_UNKNOWN":
        return NotFound(
            f"cannot {asked.what}: {host} has no such thing",
            why=_why(said, status),
            remedy=_found(said, asked),
            evidence={**facts, "status": status, "registry_code": said.code},
        )
    if status == 429:
        return RateLimited(
            f"{host} asks to slow down",
            why=_why(said, status),
            remedy=_later(answer) + "log in for a higher limit, or use a mirror",
            **words,
        )
    if status == 408 or (status >= 500 and status != 507):  # a full disk is full for longer
        return RegistryUnavailable(
            f"{host} failed to {asked.what}",
            why=_why(said, status),
            remedy="try again later; look at the registry's log and at the proxy in front of it",
            **words,
        )
    kind, remedy = _BY_CODE.get(said.code, (RegistryError, _remedy(status)))
    return kind(f"{host} refused to {asked.what}", why=_why(said, status), remedy=remedy, **words)


def _why(said: Said, status: int) -> str:
    return f"it said {said}" if str(said) else f"it answered with status {status}"


def _sources(asked: Asked) -> str:
    scopes = f"; asked for {' '.join(asked.scopes)}" if asked.scopes else ""
    if asked.credential:
        return f"; credentials from {asked.credential}{scopes}"
    places = ", ".join(asked.looked_in)
    return f"; no credentials found in {places}{scopes}" if places else scopes


def _later(answer: Answer) -> str:
    after = answer.headers.get("retry-after")
    return f"wait ({after} s by its Retry-After); " if after else "wait; "


def _limits(answer: Answer) -> dict[str, Any]:
    names = ("retry-after", "ratelimit-limit", "ratelimit-remaining", "server")
    return {name: answer.headers[name] for name in names if name in answer.headers}


def _remedy(status: int) -> str:
    if status == 413:
        return (
            "a proxy limits the size of requests: raise it (nginx: client_max_body_size 0) "
            "or upload in chunks: ARGOSY_CHUNK_SIZE=10MB"
        )
    if status == 405:
        return "the registry has this switched off (for deletes: enable them in its settings)"
    if status == 412:
        return "a rule of the registry keeps it as it is: use another tag, or have the rule changed"
    if status == 507:
        return "its disk is full: ask who runs it to make room"
    return "look at the registry's log"


def _allowed(said: Said, host: str) -> str:
    if "quota" in said.message.lower():
        return "make room in the project, or ask for a larger quota: argosy quota show"
    return f"check the namespace; log in as someone with the right: argosy login {host}"


def _found(said: Said, asked: Asked) -> str:
    if said.code == "NAME_UNKNOWN" and asked.what.startswith("push"):
        return (
            "check the name; many registries want the project or repository to be made first"
            " (argosy project create)"
        )
    return "check repository and tag: argosy tags lists what is there"
