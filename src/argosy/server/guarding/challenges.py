"""How the registry says no: where a token can be had, what it would have to be for, and why.

Source: RFC 9110 §11, RFC 6750 §3, distribution docs/spec/auth/token.md.
"""

import json
from typing import Any, Final

from argosy.access.permissions.decision import Deny
from argosy.access.permissions.permission import CATALOG, Action, Permission, Resource
from argosy.server.http.messages import Request, Response, retry_after
from argosy.server.v2.errors import JSON, VERSION
from argosy.values import frozen

TOKEN_PATH: Final = "/token"  # noqa: S105 - a path
_SCOPES: Final = {
    Action.PULL: "pull",
    Action.LIST: "pull",
    Action.READ: "pull",
    Action.PUSH: "pull,push",
    Action.DELETE: "delete",
}


@frozen
class Realm:
    """Where tokens are had, and for what service."""

    url: str
    service: str


def refusal(denied: Deny, realm: Realm, request: Request) -> Response:
    """The answer to a request that was denied."""
    if denied.wait > 0:
        status, code = 429, "TOOMANYREQUESTS"
    elif denied.known and not denied.invalid:
        status, code = 403, "DENIED"
    else:
        status, code = 401, "UNAUTHORIZED"
    headers = [VERSION, JSON]
    if status == 429:
        headers.append(retry_after(denied.wait))
    if status == 401:
        headers.append(("WWW-Authenticate", challenge(denied, realm, request)))
    words = "; ".join(part for part in (denied.reason, denied.remedy) if part)
    entry: dict[str, Any] = {"code": code, "message": words}
    if denied.missing.resource is not Resource.REGISTRY:
        entry["detail"] = [_detail(denied.missing)]
    return Response(status, headers, json.dumps({"errors": [entry]}).encode())


def challenge(denied: Deny, realm: Realm, request: Request) -> str:
    """What to get, and where."""
    fields = {"realm": realm.url, "service": realm.service}
    if scope := _scope(denied.missing, request):
        fields["scope"] = scope
    if "authorization" in request.headers:
        fields["error"] = "insufficient_scope" if denied.known else "invalid_token"
    return "Bearer " + ",".join(f'{name}="{value}"' for name, value in fields.items())


def _scope(need: Permission, request: Request) -> str:
    """The scopes that would do, in Docker's words; a mount needs two."""
    if need == CATALOG:
        return "registry:catalog:*"
    if need.resource is not Resource.REPOSITORY or need.action not in _SCOPES:
        return ""
    found = f"repository:{need.name}:{_SCOPES[need.action]}"
    source = request.query.get("from", [""])[0] if "mount" in request.query else ""
    if source and source != need.name and source.isascii() and '"' not in source:
        found += f" repository:{source[:255]}:pull"
    return found


def _detail(need: Permission) -> dict[str, str]:
    return {"Type": need.resource, "Class": "", "Name": need.name, "Action": need.action}
