"""The answer to "may they?": a value with its reason, so that it can be told, logged and tested."""

from argosy.access.permissions.permission import Permission
from argosy.access.permissions.principal import Principal
from argosy.values import frozen


@frozen
class Allow:
    """They may."""

    principal: Principal


@frozen(kw_only=True)
class Deny:
    """They may not: `missing` says what they would need, `known` whether we know who they are.

    `reason` is for the client: it never tells whether something exists that they may not see.
    `invalid`: what they showed is no (longer a) credential, or not one for this.
    `wait`: seconds until the next try is looked at, after too many wrong ones.
    """

    principal: Principal
    missing: Permission
    reason: str
    remedy: str = ""
    known: bool = False
    invalid: bool = False
    wait: float = 0.0


Decision = Allow | Deny
