"""Docker's token service: who shows a name gets a token for what they asked for and may have.

    GET  /token?service=&scope=&scope=&account=&offline_token=      with Basic, or without a name
    POST /token   grant_type=password | refresh_token (OAuth2) | …:token-exchange (RFC 8693)
    GET  /.well-known/jwks.json                                     what verifies our tokens

Source: distribution docs/spec/auth/token.md and oauth.md, RFC 6749 §5. To be granted less
than was asked for, or nothing, is an answer and not an error.
"""

import json
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import parse_qs

from argosy.access.permissions.decision import Deny
from argosy.access.permissions.permission import Permission
from argosy.access.permissions.principal import ANONYMOUS, Principal
from argosy.access.secrets import as_name
from argosy.access.service import Access
from argosy.access.signing_in.backends import BackendUnavailable
from argosy.access.signing_in.refused import Refused
from argosy.access.tokens import access_tokens
from argosy.access.tokens.access_tokens import LONGEST
from argosy.access.tokens.scopes import Scope, granted, parse_scopes
from argosy.errors import RegistryUnavailable, StorageError, UsageError
from argosy.meters import declared as meters
from argosy.server.guarding.access_guard import AccessGuard
from argosy.server.http.messages import BodyTooLarge, Request, Response, retry_after
from argosy.values import frozen

JWKS_PATH: Final = "/.well-known/jwks.json"

_FORM: Final = "application/x-www-form-urlencoded"
_LONGEST_FORM: Final = 64 << 10
_MOST_FIELDS: Final = 100
_TYPE: Final = "urn:ietf:params:oauth:token-type:"
_SUBJECTS: Final = frozenset({f"{_TYPE}id_token", f"{_TYPE}jwt"})
_ISSUED: Final = f"{_TYPE}access_token"
EXCHANGE: Final = "urn:ietf:params:oauth:grant-type:token-exchange"
"""RFC 8693: the token of a CI job for one of ours."""

_NUL: Final = "the request has a NUL character in it"  # PostgreSQL has no text with one
_YES: Final = frozenset({"true", "1", "yes"})
_HEADERS: Final = (
    ("Content-Type", "application/json"),
    ("Cache-Control", "no-store"),
    ("Pragma", "no-cache"),  # RFC 6749 §5.1
)


@frozen(kw_only=True)
class _Failure:
    """An answer that is none: OAuth2's word for it, and the registry's."""

    status: int
    error: str
    code: str
    reason: str
    wait: float = 0.0


class TokenService:
    """Answers for the paths above."""

    def __init__(self, access: Access, guard: AccessGuard) -> None:
        self._access = access
        self._guard = guard

    async def __call__(self, request: Request) -> Response:
        """Answer one request."""
        request.route = "jwks" if request.path == JWKS_PATH else "token"
        try:
            return await self._answer(request)
        except (StorageError, BackendUnavailable, RegistryUnavailable) as e:
            return _refused(
                _Failure(
                    status=503,
                    error="temporarily_unavailable",
                    code="UNAVAILABLE",
                    reason=e.summary,
                    wait=1,
                )
            )
        except BodyTooLarge as e:
            return _refused(
                _Failure(status=413, error="invalid_request", code="UNSUPPORTED", reason=e.summary)
            )
        except UsageError as e:
            words = ": ".join(part for part in (e.summary, e.why) if part)
            return _refused(
                _Failure(status=400, error="invalid_request", code="UNSUPPORTED", reason=words)
            )

    async def _answer(self, request: Request) -> Response:
        if "%00" in request.target:
            raise UsageError(_NUL)
        if request.path == JWKS_PATH:
            return self._jwks(request)
        if request.method == "GET":
            return await self._get(request)
        if request.method == "POST":
            return await self._post(request)
        return _not_allowed("GET, POST")

    def _jwks(self, request: Request) -> Response:
        if request.method not in ("GET", "HEAD"):
            return _not_allowed("GET, HEAD")
        headers = [("Content-Type", "application/jwk-set+json"), ("Cache-Control", "max-age=60")]
        return Response(200, headers, json.dumps(self._access.keys.jwks()).encode())

    async def _get(self, request: Request) -> Response:
        asked = request.query
        scopes = parse_scopes(asked.get("scope", ()))
        who = await self._guard.login(request)
        if isinstance(who, Deny):
            return _denied(request, who.reason, who.remedy, who.wait)
        offline = _one(asked, "offline_token").lower() in _YES
        request.principal = who
        return _given(await self._issue(who, scopes, _client(asked) if offline else None))

    async def _post(self, request: Request) -> Response:
        form = await _form(request)
        scopes = parse_scopes(form.get("scope", ()))
        refresh = ""
        match _one(form, "grant_type"):
            case "password":
                who = await self._guard.shown(
                    request, _one(form, "username"), _one(form, "password")
                )
                if isinstance(who, Deny):
                    return _denied(request, who.reason, who.remedy, who.wait)
            case "refresh_token":
                refresh = _one(form, "refresh_token")
                found = await self._access.refreshing.redeem(refresh)
                if isinstance(found, Refused):
                    request.tried = request.tried or "a refresh token"
                    reason = "the refresh token is not good any more"
                    return _denied(request, reason, "log in again")
                who = found
            case grant if grant == EXCHANGE:
                return await self._exchanged(request, form, scopes)
            case other:
                return _refused(_unsupported(other))
        request.principal = who
        offline = not refresh and _one(form, "access_type") == "offline"
        answer = await self._issue(who, scopes, _client(form) if offline else None)
        if refresh:
            answer["refresh_token"] = refresh
        return _given(answer, with_scope=True)

    async def _exchanged(
        self, request: Request, form: Mapping[str, Sequence[str]], scopes: Sequence[Scope]
    ) -> Response:
        """A CI job's token for one of ours, and a refresh token for clients that keep one."""
        if _one(form, "subject_token_type") not in _SUBJECTS:
            raise UsageError(
                "subject_token_type is not one that counts here",
                why="known are " + ", ".join(sorted(_SUBJECTS)),
            )
        logins = self._access.logins
        who = await logins.exchange(_one(form, "subject_token"), _one(form, "robot"))
        if isinstance(who, Refused):
            request.tried = as_name(_one(form, "robot")) or "a CI job"
            return _denied(request, who.reason, who.remedy)
        request.principal = who
        answer = await self._issue(who, scopes, _client(form) or "workload")
        answer |= {"issued_token_type": _ISSUED, "username": who.name}
        return _given(answer, with_scope=True)

    async def _issue(
        self, who: Principal, scopes: Sequence[Scope], client: str | None
    ) -> dict[str, Any]:
        """The answer's fields; `client`: who gets a refresh token as well, None: nobody."""

        async def may(need: Permission) -> bool:
            if who is ANONYMOUS and not self._access.options.anonymous:
                return False
            return await self._access.authority.may(who, need)

        found = await granted(scopes, may)
        options = self._access.options.tokens
        text, made = access_tokens.mint(self._access.keys, options, who, found)
        if len(text) > LONGEST:
            raise UsageError(
                "the token for so many scopes would be too long", remedy="ask for fewer at once"
            )
        meters.TOKENS_ISSUED.add("access")
        answer: dict[str, Any] = {
            "token": text,
            "access_token": text,
            "token_type": "Bearer",
            "expires_in": options.life,
            "issued_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(made)),
            "scope": " ".join(str(one) for one in found),
        }
        if client is not None and who is not ANONYMOUS:
            answer["refresh_token"] = await self._access.refreshing.give(who, client)
            meters.TOKENS_ISSUED.add("refresh")
        return answer


def _given(answer: dict[str, Any], *, with_scope: bool = False) -> Response:
    if not with_scope:  # only OAuth2 has it
        del answer["scope"]
    return Response(200, _HEADERS, json.dumps(answer).encode())


async def _form(request: Request) -> dict[str, list[str]]:
    kind = (request.headers.get("content-type") or "").partition(";")[0].strip().lower()
    if kind != _FORM:
        raise UsageError(f"the body has to be {_FORM}")
    body = await request.body.read(_LONGEST_FORM)
    if b"%00" in body or b"\0" in body:
        raise UsageError(_NUL)
    try:
        return parse_qs(
            body.decode(), keep_blank_values=True, max_num_fields=_MOST_FIELDS, errors="strict"
        )
    except ValueError as e:
        raise UsageError("the form cannot be read", why=str(e)) from e


def _one(fields: Mapping[str, Sequence[str]], name: str) -> str:
    return fields.get(name, [""])[0]


def _client(fields: Mapping[str, Sequence[str]]) -> str:
    return _one(fields, "client_id")


def _denied(request: Request, reason: str, remedy: str = "", wait: float = 0.0) -> Response:
    """A login that was refused: also for the audit log."""
    request.denial = reason
    return _refused(_wrong(reason, remedy, wait))


def _wrong(reason: str, remedy: str = "", wait: float = 0.0) -> _Failure:
    words = "; ".join(part for part in (reason, remedy) if part)
    if wait > 0:
        return _Failure(
            status=429, error="slow_down", code="TOOMANYREQUESTS", reason=words, wait=wait
        )
    return _Failure(status=401, error="invalid_grant", code="UNAUTHORIZED", reason=words)


def _unsupported(grant_type: str) -> _Failure:
    reason = (
        f"grant_type {grant_type[:100]!r} is neither password, refresh_token nor token-exchange"
    )
    error = "unsupported_grant_type" if grant_type else "invalid_request"
    return _Failure(status=400, error=error, code="UNSUPPORTED", reason=reason)


def _refused(failure: _Failure) -> Response:
    headers = list(_HEADERS)
    if failure.wait > 0:
        headers.append(retry_after(failure.wait))
    if failure.status == 401:
        headers.append(("WWW-Authenticate", 'Basic realm="argosy", charset="UTF-8"'))
    body = {
        "error": failure.error,
        "error_description": failure.reason,
        "errors": [{"code": failure.code, "message": failure.reason}],  # what docker shows
    }
    return Response(failure.status, headers, json.dumps(body).encode())


def _not_allowed(methods: str) -> Response:
    failure = _Failure(
        status=405, error="invalid_request", code="UNSUPPORTED", reason=f"it takes {methods}"
    )
    found = _refused(failure)
    return Response(405, [*found.headers, ("Allow", methods)], found.body)
