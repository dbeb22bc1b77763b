"""Judging a token that a provider signed: signature, issuer, audience, times; then what is asked of it."""

import hmac
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from authlib.oidc.core import IDToken
from joserfc import jws, jwt
from joserfc.errors import ClaimError, ExpiredTokenError, JoseError

from argosy.access.identity.oidc.provider import ALGORITHMS, Key, Provider
from argosy.access.signing_in.refused import Refused
from argosy.concurrency import in_thread
from argosy.values import frozen

LEEWAY: Final = 60  # seconds clocks may differ
_LONGEST: Final = 32 << 10  # characters of a token
_LONGEST_SUBJECT: Final = 255  # Core §2
_TYPES: Final = (None, "JWT", "jwt")  # not at+jwt: an access token proves nothing of who brings it

Claims = Mapping[str, Any]


class _Registry(jws.JWSRegistry):
    max_header_length = 8 << 10  # some send their certificates along (x5c)


_REGISTRY: Final = _Registry(algorithms=list(ALGORITHMS), strict_check_header=False)


@frozen(kw_only=True)
class Wanted:
    """What a token has to be for: one of these audiences, and this nonce if there is one."""

    audiences: tuple[str, ...]
    nonce: str = ""
    client: str = ""  # who it has to be issued to (azp), where it says so
    access_token: str = ""  # the one that came with it (at_hash)


async def judged(token: str, provider: Provider, wanted: Wanted) -> Claims | Refused:
    """The claims of a good token; Refused says what is wrong with it.

    BackendUnavailable when the provider's keys cannot be had.
    """
    header = _header(token)
    if header is None:
        return Refused("it is not a signed token (JWS)")
    algorithm, kid = header.get("alg"), header.get("kid")
    metadata = await provider.metadata()
    if algorithm not in ALGORITHMS or algorithm not in metadata.algorithms:
        return Refused(f"it is signed by {str(algorithm)[:20]!r}, which does not count here")
    if header.get("typ") not in _TYPES:
        return Refused("it is a token for something else")
    keys = await provider.keys(kid if isinstance(kid, str) else None)
    if not keys:
        return Refused("its key is not one of the provider's")
    claims = await in_thread(_signed, token, keys)
    if claims is None:
        return Refused("its signature is not the provider's")
    why = next(_problems(claims, header, provider.issuer, wanted), "")
    return Refused(why) if why else claims


def _header(token: str) -> Mapping[str, Any] | None:
    if len(token) > _LONGEST or token.count(".") != 2 or not token.isascii():
        return None
    try:
        return dict(jws.extract_compact(token.encode()).headers())
    except (JoseError, ValueError, TypeError, RecursionError):
        return None


def _signed(token: str, keys: Sequence[Key]) -> dict[str, Any] | None:
    """The claims, if one of these keys signed them."""
    for key in keys:
        try:
            return dict(jwt.decode(token, key, registry=_REGISTRY).claims)
        except (JoseError, ValueError, TypeError, RecursionError):
            continue
    return None


def _problems(
    claims: dict[str, Any], header: Mapping[str, Any], issuer: str, wanted: Wanted
) -> Iterator[str]:
    """OpenID Connect Core §3.1.3.7, points 2 to 11."""
    subject, audiences = claims.get("sub"), _listed(claims.get("aud"))
    if claims.get("iss") != issuer:
        yield "another issuer made it"
    if not isinstance(subject, str) or not 0 < len(subject) <= _LONGEST_SUBJECT:
        yield "it does not say whom it is about"
    if not set(audiences) & set(wanted.audiences):
        yield f"it is for {', '.join(audiences)[:200] or 'nobody'}, not for this registry"
    if wanted.nonce and not _same(claims.get("nonce"), wanted.nonce):
        yield "it belongs to another login"
    params = {"client_id": wanted.client, "access_token": wanted.access_token}
    try:
        IDToken(claims, dict(header), params=params).validate(int(time.time()), LEEWAY)
    except ExpiredTokenError:
        yield "it has expired"
    except (ClaimError, ValueError, TypeError) as e:
        yield f"its claim {getattr(e, 'claim', None) or 'set'!r} is not in order"


def _listed(audience: object) -> list[str]:
    """`aud` is a string or a list of them (RFC 7519 §4.1.3)."""
    found = audience if isinstance(audience, list) else [audience]
    return [one for one in found if isinstance(one, str)]


def _same(given: object, wanted: str) -> bool:
    return isinstance(given, str) and hmac.compare_digest(given.encode(), wanted.encode())
