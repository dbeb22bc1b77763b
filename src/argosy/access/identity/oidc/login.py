"""People log in at their provider: the authorization code flow with PKCE, or by device.

begin   a state, a nonce and a verifier are kept (sealed, for ten minutes), the browser
        is sent to the provider with the state, the nonce and the verifier's hash
finish  the state comes back with a code, from the same browser, once; the code and
        the verifier are turned into an ID token, and that into an Identity
"""

import json
import secrets
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlencode

from authlib.oauth2.rfc7636 import create_s256_code_challenge

from argosy.access.identity.flows import Flows
from argosy.access.identity.oidc.provider import Metadata, Provider
from argosy.access.identity.oidc.tokens import Claims, Wanted, judged
from argosy.access.identity.oidc.values import (
    Begun,
    DeviceBegun,
    Finished,
    OidcOptions,
    Pending,
)
from argosy.access.identity.oidc.web import Answered, Web, basic
from argosy.access.signing_in.backends import BackendUnavailable, Identity
from argosy.access.signing_in.refused import Refused
from argosy.errors import ConfigError

BACKEND: Final = "oidc"
_KIND: Final = "oidc-login"
_MINUTES: Final = 10
_DEVICE_GRANT: Final = "urn:ietf:params:oauth:grant-type:device_code"  # RFC 8628 §3.4


class Oidc:
    """Logins at one provider."""

    def __init__(self, options: OidcOptions, flows: Flows, web: Web | None = None) -> None:
        """ConfigError for settings that cannot work. `web` is closed by who made it."""
        if not options.client_id or "openid" not in options.scopes:
            raise ConfigError(
                "[auth.oidc] needs a client_id, and openid among the scopes",
                remedy="register this registry at the provider and write its client id here",
            )
        self.options: Final = options
        self._flows = flows
        web = web or Web(ca_file=options.ca_file, allow_http=options.allow_http)
        self.provider: Final = Provider(options.issuer, web)

    async def close(self) -> None:
        """Give the connections back."""
        await self.provider.web.close()

    async def check(self) -> str:
        """What the provider offers; BackendUnavailable when it cannot be asked."""
        metadata = await self.provider.metadata()
        keys = await self.provider.keys(None)
        device = "with" if metadata.device else "without"
        return f"{metadata.issuer}: {len(keys)} keys, {device} device flow"

    async def begin(self, callback: str, go_on: str) -> Begun:
        """Start a login that comes back to `callback` (ours) and goes on to a page of ours."""
        metadata = await self.provider.metadata()
        nonce, verifier, binding = (secrets.token_urlsafe(32) for _ in range(3))
        kept = {"nonce": nonce, "verifier": verifier, "binding": binding, "callback": callback}
        state = await self._flows.begin(_KIND, {**kept, "go_on": go_on}, minutes=_MINUTES)
        query = {
            "response_type": "code",
            "client_id": self.options.client_id,
            "redirect_uri": callback,
            "scope": " ".join(self.options.scopes),
            "state": state,
            "nonce": nonce,
            "code_challenge": str(create_s256_code_challenge(verifier)),
            "code_challenge_method": "S256",
        }
        joint = "&" if "?" in metadata.authorization else "?"
        return Begun(url=f"{metadata.authorization}{joint}{urlencode(query)}", binding=binding)

    async def finish(self, query: Mapping[str, str], binding: str) -> Finished | Refused:
        """Who came back with this query and cookie."""
        kept = await self._flows.take(_KIND, query.get("state", ""))
        if kept is None or not secrets.compare_digest(
            binding.encode(errors="replace"), kept["binding"].encode()
        ):
            return Refused("this login was not begun in this browser, or too long ago", _AGAIN)
        metadata = await self.provider.metadata()
        if query.get("iss", metadata.issuer) != metadata.issuer or (
            metadata.names_issuer and "iss" not in query
        ):
            return Refused("another provider answered (RFC 9207)", _AGAIN)
        if "error" in query or "code" not in query:
            return Refused(f"the provider says: {_words(query) or 'nothing'}", _AGAIN)
        fields = {
            "grant_type": "authorization_code",
            "code": query["code"],
            "redirect_uri": kept["callback"],
            "code_verifier": kept["verifier"],
        }
        answer = await self._ask(metadata, metadata.token, fields)
        identity = await self._identity(answer, metadata, kept["nonce"])
        if isinstance(identity, Refused):
            return identity
        return Finished(identity=identity, go_on=kept["go_on"])

    async def begin_device(self) -> DeviceBegun | None:
        """Start a login on another device (RFC 8628 §3.1); None when the provider has no such thing."""
        metadata = await self.provider.metadata()
        if not metadata.device:
            return None
        answer = await self._ask(
            metadata, metadata.device, {"scope": " ".join(self.options.scopes)}
        )
        said = answer.value
        try:
            if answer.status != 200:
                return None  # not for our client: our own page does it as well
            return DeviceBegun(
                handle=said["device_code"],
                user_code=said["user_code"],
                address=said["verification_uri"],
                address_with_code=said.get("verification_uri_complete", ""),
                interval=float(said.get("interval", 5)),
                expires_in=float(said["expires_in"]),
            )
        except (KeyError, ValueError, TypeError) as e:
            raise BackendUnavailable(
                f"the identity provider {metadata.issuer} answers a device login with nonsense",
                why=f"no usable {e}",
            ) from e

    async def poll_device(self, handle: str) -> Identity | Pending | Refused:
        """Who said yes on the other device, if anybody has yet (RFC 8628 §3.4)."""
        metadata = await self.provider.metadata()
        fields = {"grant_type": _DEVICE_GRANT, "device_code": handle}
        answer = await self._ask(metadata, metadata.token, fields)
        error = answer.value.get("error")
        if error in ("authorization_pending", "slow_down"):
            return Pending(slower=error == "slow_down")
        return await self._identity(answer, metadata, "")

    async def _ask(self, metadata: Metadata, url: str, fields: dict[str, str]) -> Answered:
        """POST as the client we are: with the secret as the provider takes it, or as a public one."""
        options = self.options
        if not options.client_secret:
            return await self.provider.web.post(url, {**fields, "client_id": options.client_id})
        if "client_secret_basic" in metadata.token_auth:
            given = basic(options.client_id, options.client_secret)
            return await self.provider.web.post(url, fields, given)
        secret = {"client_id": options.client_id, "client_secret": options.client_secret}
        return await self.provider.web.post(url, {**fields, **secret})

    async def _identity(
        self, answer: Answered, metadata: Metadata, nonce: str
    ) -> Identity | Refused:
        token, access = answer.value.get("id_token"), answer.value.get("access_token")
        if answer.status != 200 or not isinstance(token, str):
            said = {k: v for k, v in answer.value.items() if isinstance(v, str)}
            return Refused(f"the provider gives no ID token: {_words(said) or 'no reason'}", _AGAIN)
        wanted = Wanted(
            audiences=(self.options.client_id,),
            nonce=nonce,
            client=self.options.client_id,
            access_token=access if isinstance(access, str) else "",
        )
        claims = await judged(token, self.provider, wanted)
        if isinstance(claims, Refused):
            return Refused(f"the ID token does not count: {claims.reason}", _AGAIN)
        return self._mapped(await self._with_userinfo(claims, metadata, wanted.access_token))

    async def _with_userinfo(self, claims: Claims, metadata: Metadata, access: str) -> Claims:
        """The claims with those that only the userinfo endpoint tells; the signed ones count more."""
        options = self.options
        wanted = [options.name_claim, options.groups_claim, options.email_claim]
        if options.name_claim == "email":
            wanted.append(_VERIFIED)
        if not (metadata.userinfo and access) or all(_at(claims, name) for name in wanted if name):
            return claims
        told = await self.provider.web.get(metadata.userinfo, access)
        if told.status != 200 or told.value.get("sub") != claims["sub"]:  # Core §5.3.2
            return claims
        return {**told.value, **claims}

    def _mapped(self, claims: Claims) -> Identity | Refused:
        options = self.options
        name, email = _at(claims, options.name_claim), _at(claims, options.email_claim)
        if not isinstance(name, str) or not name:
            return Refused(
                f"the provider tells no {options.name_claim} of you",
                "an administrator sets [auth.oidc] name_claim, or scopes that it comes with",
            )
        # Core §5.7: anybody can say that an address is theirs, also one that is somebody's name here.
        if options.name_claim == "email" and claims.get(_VERIFIED) in (False, "false"):
            return Refused(
                "the provider has not verified that your mail address is yours",
                "verify it there: it is your name here",
            )
        groups = _names(_at(claims, options.groups_claim))
        if options.required_group and options.required_group not in groups:
            return Refused(
                "you are not in the group that may use this registry", "ask an administrator"
            )
        return Identity(
            name=name,
            backend=BACKEND,
            groups=groups,
            email=email if isinstance(email, str) else "",
            is_admin=options.admin_group in groups if options.admin_group else None,
            external_id=json.dumps([claims["iss"], claims["sub"]]),
        )


_AGAIN: Final = "begin again at the login page"
_VERIFIED: Final = "email_verified"


def _at(claims: Claims, name: str) -> Any:
    """A claim by its name, or by a path as in `realm_access.roles`."""
    if name in claims or not name:
        return claims.get(name)
    found: Any = claims
    for part in name.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found


def _names(value: object) -> tuple[str, ...]:
    """Groups as providers send them: a list, one name, or objects with a name."""
    listed = value if isinstance(value, list) else [value]
    named = [one.get("name") if isinstance(one, Mapping) else one for one in listed]
    return tuple(sorted({one for one in named if isinstance(one, str) and one}))


def _words(said: Mapping[str, str]) -> str:
    """What the provider says went wrong, as it may be shown."""
    text = " ".join(said[k] for k in ("error", "error_description") if k in said)
    return "".join(c if c.isprintable() else " " for c in text)[:300]
