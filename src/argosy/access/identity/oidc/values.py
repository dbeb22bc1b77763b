"""What logins at a provider are told by and tell. (`login.py` does them, and is slow to import.)"""

from dataclasses import field

from argosy.access.signing_in.backends import Identity
from argosy.values import frozen


@frozen(kw_only=True)
class OidcOptions:
    """The provider, our name there, and what its claims mean here.

    `name_claim` is looked up first in the ID token, then in the answer of the userinfo
    endpoint; so are the others. `admin_group` administers the system.
    """

    issuer: str
    client_id: str
    client_secret: str = field(default="", repr=False)
    scopes: tuple[str, ...] = ("openid", "profile", "email")
    name_claim: str = "preferred_username"
    email_claim: str = "email"
    groups_claim: str = "groups"
    required_group: str = ""
    admin_group: str = ""
    title: str = "single sign-on"
    ca_file: str = ""
    allow_http: bool = False


@frozen(kw_only=True)
class Begun:
    """Where to send the browser, and what it has to bring back as a cookie."""

    url: str
    binding: str = field(repr=False)


@frozen(kw_only=True)
class Finished:
    """Who logged in, and where they wanted to go."""

    identity: Identity
    go_on: str


@frozen(kw_only=True)
class DeviceBegun:
    """What to show: an address, and a code to type there. `handle` is the provider's device code."""

    handle: str = field(repr=False)
    user_code: str
    address: str
    address_with_code: str
    interval: float
    expires_in: float


@frozen
class Pending:
    """Nobody has said yes or no yet; `slower` when we asked too often."""

    slower: bool = False
