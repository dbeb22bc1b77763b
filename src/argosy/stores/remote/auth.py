"""How a registry's 401 becomes an Authorization header, without I/O.

`authenticate` is a generator: it yields the requests a token needs, is sent
their replies, and returns a Grant. Whoever drives it does the I/O (`grants.py`),
so every turn of the protocol can be tested as a table.

Sources: RFC 9110 §11 (challenges), RFC 6750 §3 (Bearer), distribution
docs/spec/auth (token.md, oauth.md, scope.md).
"""

import base64
import json
import re
from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import field
from typing import Any
from urllib.parse import urlencode, urlsplit

from argosy.errors import NetworkError, RegistryError, Unauthorized
from argosy.values import frozen

CLIENT_ID = "argosy"
_DEFAULT_LIFE = 60.0  # seconds, when a token does not tell (token.md)
_MARGIN = 0.1  # the share of a token's life in which it is not used any more

_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"  # noqa: S105 - RFC 9110's word for a bare word
_WORD = re.compile(_TOKEN)
_PARAM = re.compile(rf'({_TOKEN})\s*=\s*(?:"((?:[^"\\]|\\.)*)"|({_TOKEN}[^\s,]*))')
_TOKEN68 = re.compile(r"[A-Za-z0-9._~+/-]+=*(?=\s*(?:,|$))")
_LOOPBACK = re.compile(r"127(?:\.[0-9]{1,3}){3}")
_SECRET = re.compile(r"\b(Bearer|Basic)[ \t]+[A-Za-z0-9._~+/=-]{6,}", re.IGNORECASE)
_LONGEST_WORDS = 4096
_SPACE = re.compile(r"[\s,]*")


@frozen(kw_only=True)
class Credential:
    """What someone may prove who they are with; `source` says where it was found."""

    username: str = ""
    password: str = field(default="", repr=False)
    identity_token: str = field(default="", repr=False)
    registry_token: str = field(default="", repr=False)
    source: str = ""

    @property
    def basic(self) -> str:
        """The value of a Basic Authorization header (RFC 7617)."""
        return "Basic " + base64.b64encode(f"{self.username}:{self.password}".encode()).decode()


@frozen
class Challenge:
    """One way a server wants to be approached; scheme and parameter names in lower case."""

    scheme: str
    params: Mapping[str, str] = field(default_factory=dict)


@frozen(kw_only=True)
class Grant:
    """An Authorization header, for some scopes, until `expires` (on the caller's clock)."""

    header: str = field(repr=False)
    scopes: frozenset[str] = frozenset()
    expires: float | None = None
    refresh_token: str = field(default="", repr=False)

    def covers(self, wanted: Iterable[str]) -> bool:
        """Whether it was asked for everything in `wanted`; Basic covers all."""
        return self.expires is None or _atoms(wanted) <= _atoms(self.scopes)


@frozen(kw_only=True)
class TokenRequest:
    """What to send to a token server: a GET, or a POST of a form."""

    method: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: bytes | None = field(default=None, repr=False)


@frozen(kw_only=True)
class TokenReply:
    """What a token server said, and when (on the caller's clock)."""

    status: int
    body: bytes
    now: float


Flow = Generator[TokenRequest, TokenReply, Grant]


def parse_challenges(header: str) -> list[Challenge]:
    """Every challenge in a `WWW-Authenticate` header; what cannot be read is passed over."""
    found: list[Challenge] = []
    at = _past_space(header, 0)
    while at < len(header):
        word = _WORD.match(header, at)
        if word is None:
            at = _past_space(header, at + 1)
            continue
        at = _past_space(header, word.end())
        if _TOKEN68.match(header, at) and not _PARAM.match(header, at):
            at = _past_space(header, _TOKEN68.match(header, at).end())  # type: ignore[union-attr]
            found.append(Challenge(word[0].lower()))
            continue
        params: dict[str, str] = {}
        while param := _PARAM.match(header, at):
            quoted = param[2]
            value = param[3] if quoted is None else re.sub(r"\\(.)", r"\1", quoted)
            params.setdefault(param[1].lower(), value)
            at = _past_space(header, param.end())
        found.append(Challenge(word[0].lower(), params))
    return found


def _past_space(text: str, at: int) -> int:
    match = _SPACE.match(text, at)
    return match.end() if match else at


def repository_scope(repository: str, *actions: str) -> str:
    """The scope of some actions (`pull`, `push`, `delete`) in a repository (scope.md)."""
    return f"repository:{repository}:{','.join(actions)}"


CATALOG_SCOPE = "registry:catalog:*"


def merged(scopes: Iterable[str]) -> tuple[str, ...]:
    """The same scopes, one per resource, their actions joined."""
    actions: dict[str, list[str]] = {}
    for scope in scopes:
        resource, _, wanted = scope.rpartition(":")
        known = actions.setdefault(resource, [])
        known += [a for a in wanted.split(",") if a not in known]
    return tuple(f"{resource}:{','.join(a)}" for resource, a in actions.items())


def _atoms(scopes: Iterable[str]) -> set[tuple[str, str]]:
    pairs = (scope.rpartition(":") for scope in scopes)
    return {(resource, action) for resource, _, a in pairs for action in a.split(",")}


def authenticate(
    challenges: Sequence[Challenge],
    scopes: Sequence[str],
    credential: Credential | None,
    *,
    refresh_token: str = "",
    secure: bool = True,
) -> Flow:
    """Turn challenges into a Grant, Bearer before Basic; Unauthorized if there is no way.

    `secure` says the registry was reached by TLS: credentials then go to no token
    server without.
    """
    by_scheme = {c.scheme: c for c in reversed(challenges)}
    if bearer := by_scheme.get("bearer"):
        return (yield from _bearer(bearer, scopes, credential, refresh_token, secure))
    if "basic" in by_scheme:
        if credential is None or not credential.username:
            raise Unauthorized("the registry wants a user name and password", status=401)
        if credential.identity_token and not credential.password:
            raise Unauthorized(
                "what `docker login` has kept is a token for pushes and pulls alone",
                status=401,
                why="the registry wants a user name and password for this",
                remedy="log in with `argosy login`, which keeps what the registry's API takes as well",
            )
        return Grant(header=credential.basic)
    schemes = ", ".join(by_scheme) or "none at all"
    raise Unauthorized(
        "the registry asks for a kind of authentication Argosy does not know",
        status=401,
        why=f"its WWW-Authenticate header names {schemes}; known are Basic and Bearer",
        remedy="check that the host is a registry and not a web page's login",
    )


def _bearer(
    challenge: Challenge,
    scopes: Sequence[str],
    credential: Credential | None,
    refresh_token: str,
    secure: bool,
) -> Flow:
    if credential is not None and credential.registry_token:
        return Grant(header=f"Bearer {credential.registry_token}")
    wanted = merged([*scopes, *challenge.params.get("scope", "").split()])
    realm = _realm(challenge, secure=secure and (credential is not None or bool(refresh_token)))
    ask = _Ask(realm, challenge.params.get("service", ""), wanted)
    if refresh_token or (credential is not None and credential.identity_token):
        return (yield from _by_refresh_token(ask, credential, refresh_token))
    return (yield from _by_password(ask, credential))


@frozen
class _Ask:
    """What is asked of which token server."""

    realm: str
    service: str
    scopes: tuple[str, ...]

    def get(self, authorization: str = "", account: str = "") -> TokenRequest:
        query = [("service", self.service)] if self.service else []
        query += [("scope", scope) for scope in self.scopes]
        if account:
            query += [("account", account), ("client_id", CLIENT_ID)]
        joint = "&" if "?" in self.realm else "?"
        url = self.realm + (joint + urlencode(query, safe=":,/*") if query else "")
        headers = {"Authorization": authorization} if authorization else {}
        return TokenRequest(method="GET", url=url, headers=headers)

    def post(self, **secrets: str) -> TokenRequest:
        form = {
            "service": self.service,
            "client_id": CLIENT_ID,
            "scope": " ".join(self.scopes),
            **secrets,
        }
        return TokenRequest(
            method="POST",
            url=self.realm,
            headers={"Content-Type": "application/x-www-form-urlencoded"},
            body=urlencode(form).encode(),
        )


def _by_refresh_token(ask: _Ask, credential: Credential | None, refresh_token: str) -> Flow:
    token = refresh_token or (credential.identity_token if credential else "")
    reply = yield ask.post(grant_type="refresh_token", refresh_token=token)
    if reply.status in (400, 401) and refresh_token and credential is not None:
        # The refresh token the server gave us has worn out; what the user gave may not have.
        return (yield from _bearer_again(ask, credential))
    if reply.status in (404, 405) and credential is not None:
        # No OAuth2 endpoint (oauth.md): the older form takes the token as a password.
        user = credential.username or "<token>"
        secret = credential.password or token
        reply = yield ask.get(Credential(username=user, password=secret).basic, user)
    return _granted(reply, ask, token)


def _bearer_again(ask: _Ask, credential: Credential) -> Flow:
    if credential.identity_token:
        return (yield from _by_refresh_token(ask, credential, ""))
    return (yield from _by_password(ask, credential))


def _by_password(ask: _Ask, credential: Credential | None) -> Flow:
    if credential is None or not credential.username:
        return _granted((yield ask.get()), ask, "")
    reply = yield ask.get(credential.basic, credential.username)
    if reply.status in (404, 405):
        reply = yield ask.post(
            grant_type="password", username=credential.username, password=credential.password
        )
    return _granted(reply, ask, "")


def _granted(reply: TokenReply, ask: _Ask, refresh_token: str) -> Grant:
    if reply.status in (400, 401, 403):
        raise Unauthorized(
            f"{_host(ask.realm)} refused to give a token",
            status=reply.status,
            why=_said(reply.body),
            evidence={"realm": ask.realm, "scopes": list(ask.scopes)},
        )
    if reply.status != 200:
        raise RegistryError(
            f"{_host(ask.realm)} gave no token",
            status=reply.status,
            why=_said(reply.body) or f"it answered with status {reply.status}",
            remedy="try again later; ask who runs the token server",
            evidence={"realm": ask.realm, "scopes": list(ask.scopes)},
        )
    return _grant(reply, ask, refresh_token)


def _grant(reply: TokenReply, ask: _Ask, refresh_token: str) -> Grant:
    value = _object(reply.body)
    token = value.get("token") or value.get("access_token")
    # A token goes into a header: nothing but visible ASCII may.
    if not isinstance(token, str) or not token.isascii() or not token.isprintable():
        raise RegistryError(
            f"{_host(ask.realm)} answered without a token",
            status=reply.status,
            why="its answer has no usable `token` or `access_token`",
            remedy="ask who runs the token server",
            evidence={"realm": ask.realm},
        )
    life = value.get("expires_in")
    if isinstance(life, bool) or not isinstance(life, int | float) or not 0 < life < 1e9:
        life = _DEFAULT_LIFE
    fresh = value.get("refresh_token")
    return Grant(
        header=f"Bearer {token}",
        scopes=frozenset(ask.scopes),
        expires=reply.now + life * (1 - _MARGIN),
        refresh_token=fresh if isinstance(fresh, str) and fresh else refresh_token,
    )


def _realm(challenge: Challenge, *, secure: bool) -> str:
    realm = challenge.params.get("realm", "")
    try:
        parts = urlsplit(realm)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        usable = False
    if not usable:
        raise NetworkError(
            f"the registry names a token server that cannot be used: {realm!r}",
            why="a realm is an absolute http or https URL (token.md)",
            remedy="whoever runs the registry must correct its auth realm",
            evidence={"phase": "refused"},
        )
    if secure and parts.scheme == "http" and not is_loopback(parts.hostname or ""):
        raise NetworkError(
            f"refused to send credentials to {parts.netloc} without TLS",
            why="the registry was reached by TLS but names a token server without",
            remedy="whoever runs the registry must give an https realm (X-Forwarded-Proto, external URL)",
            evidence={"phase": "refused"},
        )
    return realm


def is_loopback(host: str) -> bool:
    """Whether a host name stands for this machine by its mere form."""
    # Not just what begins with `127.`: that may be a name in somebody's domain.
    return (
        host in ("localhost", "::1")
        or host.endswith(".localhost")
        or _LOOPBACK.fullmatch(host) is not None
    )


def quoted(text: str) -> str:
    """What a server said, fit for an error message: some echo the Authorization they were sent."""
    return _SECRET.sub(r"\1 ***", text[:_LONGEST_WORDS])


def _said(body: bytes) -> str:
    value = _object(body)
    errors = value.get("errors")
    if isinstance(errors, list) and errors and isinstance(errors[0], dict):
        return quoted(f"{errors[0].get('code', '')}: {errors[0].get('message', '')}".strip(": "))
    words = [value.get(k) for k in ("details", "error_description", "message", "error")]
    return quoted(next((w for w in words if isinstance(w, str) and w), ""))


def _object(body: bytes) -> dict[str, Any]:
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _host(url: str) -> str:
    return urlsplit(url).netloc.rpartition("@")[2]
