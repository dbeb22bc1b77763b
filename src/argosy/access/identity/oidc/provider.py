"""What is known of a provider: where its doors are, and the keys it signs with.

Both are fetched when first needed and kept. A token with a key that is not known has the
keys fetched anew, but not more often than every ten seconds, whatever tokens come: so a
provider may change its keys at any time, and nobody can have us hammer it.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from authlib.oidc.discovery import OpenIDProviderMetadata, get_well_known_url
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, OKPKey, RSAKey

from argosy.access.identity.oidc.web import Web
from argosy.access.signing_in.backends import BackendUnavailable
from argosy.values import frozen

ALGORITHMS: Final = (
    *("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
    *("ES256", "ES384", "ES512", "EdDSA"),
)
"""Signatures with a public key only: with HS256 a published key would do to sign (key confusion)."""

_METADATA_FOR: Final = 3600.0  # seconds
_KEYS_FOR: Final = 3600.0
_AGAIN_AFTER: Final = 10.0
_MOST_KEYS: Final = 100
_LEAST_RSA: Final = 2048  # bits

Key = RSAKey | ECKey | OKPKey
_TYPES: Final[Mapping[str, type[Key]]] = {"RSA": RSAKey, "EC": ECKey, "OKP": OKPKey}


@frozen(kw_only=True)
class Metadata:
    """The doors of a provider (OpenID Connect Discovery 1.0 §3, RFC 8628 §4)."""

    issuer: str
    authorization: str
    token: str
    keys: str
    userinfo: str = ""
    device: str = ""
    algorithms: tuple[str, ...] = ("RS256",)
    token_auth: tuple[str, ...] = ("client_secret_basic",)
    names_issuer: bool = False  # in its answers: RFC 9207


class Provider:
    """One provider, by its issuer."""

    def __init__(
        self, issuer: str, web: Web, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        web.check(issuer)
        self.issuer: Final = issuer
        self.web: Final = web
        self._clock = clock
        self._lock = asyncio.Lock()
        self._metadata: tuple[float, Metadata] | None = None
        self._keys: tuple[float, dict[str, Key]] | None = None

    async def metadata(self) -> Metadata:
        """Its doors; BackendUnavailable when it never told and does not now."""
        if (known := self._metadata) and self._clock() < known[0] + _METADATA_FOR:
            return known[1]
        async with self._lock:
            return await self._metadata_now()

    async def keys(self, kid: str | None) -> list[Key]:
        """The keys that a token of this `kid` may be signed with: none, or some."""
        keys = await self._keys_with(kid)
        return [key for name, key in keys.items() if kid is None or name == kid]

    async def _keys_with(self, kid: str | None) -> dict[str, Key]:
        if (known := self._keys) and self._good(known, kid):
            return known[1]
        async with self._lock:
            if (known := self._keys) and self._good(known, kid):
                return known[1]
            try:
                found = await self._fetched_keys()
            except BackendUnavailable:
                if known is None or (kid is not None and kid not in known[1]):
                    raise
                found = known[1]  # it is away for a moment: what it signed is still good
            self._keys = (self._clock(), found)
            return found

    def _good(self, known: tuple[float, dict[str, Key]], kid: str | None) -> bool:
        age = self._clock() - known[0]
        return age < (_KEYS_FOR if kid is None or kid in known[1] else _AGAIN_AFTER)

    async def _metadata_now(self) -> Metadata:
        known = self._metadata
        if known and self._clock() < known[0] + _METADATA_FOR:
            return known[1]
        try:
            found = await self._fetched_metadata()
        except BackendUnavailable:
            if known is None:
                raise
            found = known[1]
        self._metadata = (self._clock(), found)
        return found

    async def _fetched_metadata(self) -> Metadata:
        answer = await self.web.get(str(get_well_known_url(self.issuer, external=True)))
        if answer.status != 200:
            raise self._strange(f"its metadata answer {answer.status}")
        return self._read(answer.value)

    def _read(self, value: Mapping[str, Any]) -> Metadata:
        described = OpenIDProviderMetadata(value)
        for name in ("jwks_uri", "authorization_endpoint", "token_endpoint"):
            if not isinstance(described.get(name), str):
                raise self._strange(f"its metadata has no {name}")
        if described.get("issuer") != self.issuer:
            raise self._strange(  # Discovery §4.3: else one provider could speak for another
                f"it calls itself {str(described.get('issuer'))[:200]!r}: [auth.oidc] issuer has to"
                " be that, to the letter"
            )
        optional = {
            "userinfo": described.get("userinfo_endpoint"),
            "device": described.get("device_authorization_endpoint"),
        }
        made = Metadata(
            issuer=self.issuer,
            authorization=described["authorization_endpoint"],
            token=described["token_endpoint"],
            keys=described["jwks_uri"],
            algorithms=_texts(described.get("id_token_signing_alg_values_supported")) or ("RS256",),
            token_auth=_texts(described.get("token_endpoint_auth_methods_supported"))
            or ("client_secret_basic",),
            names_issuer=described.get("authorization_response_iss_parameter_supported") is True,
            **{name: url for name, url in optional.items() if isinstance(url, str)},
        )
        needed = [made.authorization, made.token, made.keys]
        for url in needed + [url for url in (made.userinfo, made.device) if url]:
            self.web.check(url)
        return made

    async def _fetched_keys(self) -> dict[str, Key]:
        metadata = await self._metadata_now()
        answer = await self.web.get(metadata.keys)
        listed = answer.value.get("keys")
        if answer.status != 200 or not isinstance(listed, list):
            raise self._strange("its keys cannot be read")
        return _usable(listed[:_MOST_KEYS])

    def _strange(self, why: str) -> BackendUnavailable:
        return BackendUnavailable(
            f"the identity provider {self.issuer} cannot be used",
            why=why,
            remedy="see [auth.oidc] issuer: argosy config check --connect",
        )


def _texts(value: object) -> tuple[str, ...]:
    return tuple(v for v in value if isinstance(v, str)) if isinstance(value, list) else ()


def _usable(listed: list[Any]) -> dict[str, Key]:
    """The public keys for signatures, by name; what is something else is left out."""
    found: dict[str, Key] = {}
    for place, described in enumerate(listed):
        if not isinstance(described, dict) or described.get("use", "sig") != "sig":
            continue
        kind = _TYPES.get(str(described.get("kty")))
        if kind is None:  # "oct": a secret, which has no business here
            continue
        try:
            key = kind.import_key({k: v for k, v in described.items() if k != "key_ops"})
            if isinstance(key, RSAKey) and key.raw_value.key_size < _LEAST_RSA:
                continue
        except (JoseError, ValueError, TypeError):
            continue
        found[str(described.get("kid", f"#{place}"))] = key
    return found
