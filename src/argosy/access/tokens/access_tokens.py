"""Access tokens for the registry: JWTs that say who it is and what they were granted.

Source: distribution docs/spec/auth/jwt.md, RFC 7519, RFC 8725 (best practice: one algorithm,
fixed; audience, issuer and times always checked). What is not exactly as we make it is refused.
"""

import base64
import binascii
import json
import secrets
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from argosy.access.permissions.principal import ANONYMOUS, Kind, Principal
from argosy.access.tokens.keys import ALGORITHM, KeyRing, SigningKey
from argosy.access.tokens.scopes import Granted
from argosy.values import frozen

LONGEST: Final = 16 << 10  # characters of a token; servers take no longer header either
_CLOCKS: Final = 60  # seconds they may be apart
_WHO: Final = "argosy"  # the claim that says whose it is, beyond its name
_KINDS: Final[Mapping[str, Kind]] = {
    "user": "user",
    "robot": "robot",
    "token": "token",
    "anonymous": "anonymous",
}


@frozen(kw_only=True)
class TokenOptions:
    """Who gives tokens, whom they are for, and how long they are good (seconds, at least 60)."""

    issuer: str = "argosy"
    audience: str = "argosy"
    life: int = 300


@frozen(kw_only=True)
class AccessToken:
    """A token that was verified: `actions` by (type, name), until `expires` (since 1970)."""

    principal: Principal
    actions: Mapping[tuple[str, str], frozenset[str]]
    expires: float

    def allows(self, kind: str, name: str, action: str) -> bool:
        """Whether it was given for that."""
        return action in self.actions.get((kind, name), _NOTHING)


_NOTHING: Final[frozenset[str]] = frozenset()


@frozen
class Unfit:
    """Not a token of ours, or not any more; `unknown_key`: another node's key, perhaps."""

    reason: str
    unknown_key: str = ""


def mint(
    keys: KeyRing, options: TokenOptions, principal: Principal, granted: Iterable[Granted]
) -> tuple[str, int]:
    """A token for what was granted, and when it was made (seconds since 1970)."""
    from joserfc import jwt  # noqa: PLC0415 - 40 ms

    now = int(time.time())
    signing = keys.signing()
    claims = {
        "iss": options.issuer,
        "sub": principal.name,
        "aud": options.audience,
        "exp": now + options.life,
        "nbf": now - _CLOCKS,
        "iat": now,
        "jti": secrets.token_urlsafe(12),
        "access": [one.to_json() for one in granted if one.actions],
        _WHO: [principal.kind, principal.id, principal.credential],
    }
    header = {"alg": ALGORITHM, "kid": signing.kid, "typ": "JWT"}
    return jwt.encode(header, claims, signing.key, algorithms=[ALGORITHM]), now


def verify(keys: KeyRing, options: TokenOptions, text: str) -> AccessToken | Unfit:
    """The token if it is ours, for us and still good."""
    header = _header(text)
    if isinstance(header, Unfit):
        return header
    if (key := keys.find(header["kid"])) is None:
        return Unfit("its key is not known", unknown_key=header["kid"])
    claims = _claims(text, key)
    if isinstance(claims, Unfit):
        return claims
    return _checked(claims, options)


def _header(text: str) -> dict[str, Any] | Unfit:
    """The protected header, if it is exactly of the kind that we write."""
    if len(text) > LONGEST or not text.isascii() or text.count(".") != 2:
        return Unfit("it has not the form of a token")
    found = _parsed(text.partition(".")[0])
    if found is None:
        return Unfit("its header cannot be read")
    # No `crit`, no `jwk`, `jku`, `x5c`: what a header could say about its own key is not asked.
    if set(found) != {"alg", "kid", "typ"} or found["typ"] != "JWT":
        return Unfit("its header is not one of ours")
    if found["alg"] != ALGORITHM or not isinstance(found["kid"], str):
        return Unfit("its algorithm is not ours")
    return found


def _claims(text: str, key: SigningKey) -> dict[str, Any] | Unfit:
    from joserfc import jws  # noqa: PLC0415 - 40 ms
    from joserfc.errors import JoseError  # noqa: PLC0415 - 40 ms

    try:
        jws.deserialize_compact(text, key.key, algorithms=[ALGORITHM])
    except (JoseError, ValueError):
        return Unfit("its signature is wrong")
    found = _parsed(text.split(".")[1])
    return Unfit("its claims cannot be read") if found is None else found


def _parsed(part: str) -> dict[str, Any] | None:
    """A JSON object in base64url, without padding and without the same key twice."""
    try:
        raw = base64.b64decode(part + "=" * (-len(part) % 4), altchars=b"-_", validate=True)
        found = json.loads(raw, object_pairs_hook=_unique)
    except (ValueError, binascii.Error, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _unique(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key is there twice")
    return found


def _checked(claims: dict[str, Any], options: TokenOptions) -> AccessToken | Unfit:
    now = time.time()
    if claims.get("iss") != options.issuer or claims.get("aud") != options.audience:
        return Unfit("it is not for this registry")
    expires, begins = claims.get("exp"), claims.get("nbf")
    if type(expires) is not int or type(begins) is not int:
        return Unfit("it does not say how long it is good")
    if now >= expires:
        return Unfit("it has expired")
    if now < begins:
        return Unfit("it is not good yet")
    principal, actions = _principal(claims), _actions(claims.get("access"))
    if principal is None or actions is None:
        return Unfit("it does not say whose it is, or for what")
    return AccessToken(principal=principal, actions=actions, expires=float(expires))


def _principal(claims: Mapping[str, Any]) -> Principal | None:
    who, name = claims.get(_WHO), claims.get("sub")
    if not isinstance(who, list) or len(who) != 3 or not isinstance(name, str):
        return None
    kind, key, credential = who
    if type(key) is not int or type(credential) is not int or kind not in _KINDS:
        return None
    if kind == "anonymous":
        return ANONYMOUS
    return Principal(name=name, kind=_KINDS[kind], id=key, credential=credential)


def _actions(access: Any) -> dict[tuple[str, str], frozenset[str]] | None:
    if not isinstance(access, list):
        return None
    found: dict[tuple[str, str], frozenset[str]] = {}
    for entry in access:
        if (one := Granted.from_json(entry)) is None:
            return None
        key = (one.kind, one.name)
        found[key] = found.get(key, _NOTHING) | frozenset(one.actions)
    return found
