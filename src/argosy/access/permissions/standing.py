"""What somebody may do: read from the catalog once, then a matter of looking it up."""

import time
from collections.abc import Iterable, Mapping
from dataclasses import field, replace
from typing import Final

from sqlalchemy import Connection

from argosy.access.permissions.grants import Grant, covered, parse_grants
from argosy.access.permissions.permission import (
    OF_EVERYBODY,
    OF_ROLE,
    ONESELF,
    Action,
    Permission,
    Resource,
    Role,
)
from argosy.access.permissions.principal import Principal
from argosy.access.secrets import hashed
from argosy.catalog.people import robots, tokens, users
from argosy.values import frozen

_ROLES: Final = {role.value: role for role in Role}
_ORDER: Final = {role: place for place, role in enumerate(Role)}


@frozen(kw_only=True)
class Standing:
    """What somebody may do, and what proves that it is them.

    `limit` narrows it: what a robot was given, what a token is for. `maker` narrows it once
    more: a robot never may what its maker may not, even if the maker could when making it.
    `gone` says why they may nothing at all; empty while they are who they were.
    """

    principal: Principal
    roles: Mapping[str, Role] = field(default_factory=dict)
    limit: tuple[Grant, ...] | None = None
    project: str = ""  # of a robot: it may nothing outside
    maker: "Standing | None" = None
    proofs: frozenset[str] = frozenset()
    until: float = float("inf")  # seconds since 1970: it has to be read again then
    gone: str = ""

    def may(self, need: Permission, *, public: bool = False) -> bool:
        """Whether they may do that; `public`: in a project that is open to everybody."""
        if self.gone:
            return False
        if need.resource is Resource.REGISTRY:
            # Robots, and tokens with scopes, are not who made them.
            return self.limit is None or need.action is not Action.WRITE
        if public and (need.resource, need.action) in OF_EVERYBODY:
            return True
        narrowed = self.limit is not None and not covered(self.limit, need)
        outside = bool(self.project) and need.project != self.project
        if narrowed or outside:
            return False
        if self.maker is not None:
            return self.maker.may(need, public=public)
        return self._has(need)

    def _has(self, need: Permission) -> bool:
        # A robot without a maker is the system's: its limit is all there is to it.
        if self.principal.kind in ("robot", "system") or self.principal.is_admin:
            return True
        role = self.roles.get(need.project)
        return role is not None and (need.resource, need.action) in OF_ROLE[role]

    def proven(self, proof: str) -> bool:
        """Whether what they proved themselves with still proves it."""
        return not self.gone and proof in self.proofs


def read(conn: Connection, principal: Principal) -> Standing:
    """The standing of somebody, as the catalog has it now."""
    if principal.kind == "robot":
        return _of_robot(conn, principal)
    if principal.kind == "token":
        return _of_token(conn, principal)
    if principal.kind == "user":
        return _of_user(conn, principal)
    return Standing(principal=principal)


def _of_user(conn: Connection, principal: Principal) -> Standing:
    found = users.user_by_id(conn, principal.id)
    if found is None or found.disabled:
        return Standing(principal=principal, gone="the account is disabled or was removed")
    groups = users.groups(conn, found.id)
    password = users.password_of(conn, found.id)
    proof = password_proof(password) if password else backend_proof(found.backend)
    if found.second_factor:
        proof = with_second_factor(proof)  # what the password alone has proven, it proves no more
    return Standing(
        principal=Principal(
            name=found.name,
            kind="user",
            id=found.id,
            is_admin=found.is_admin,
            groups=frozenset(groups),
        ),
        roles=_highest(users.roles(conn, found.name, groups)),
        # With a second factor the password alone proves nothing: sessions and tokens do.
        proofs=frozenset() if found.second_factor else frozenset({proof}),
        gone=MUST_CHANGE if found.must_change else "",
    )


MUST_CHANGE: Final = "the one-time password has to be changed first"


def _of_token(conn: Connection, principal: Principal) -> Standing:
    now = time.time()
    found = tokens.token_by_id(conn, principal.credential)
    if found is None or found.user != principal.id or not found.good(int(now * 1e6)):
        return Standing(principal=principal, gone="the token has expired or was revoked")
    owner = _behind(conn, found.user)
    whose = owner.principal
    return Standing(
        principal=Principal(
            name=whose.name,
            kind="token",
            id=whose.id,
            is_admin=whose.is_admin and not found.scopes,
            groups=whose.groups,
            credential=found.id,
        ),
        limit=parse_grants(found.scopes) if found.scopes else None,
        maker=owner,
        proofs=frozenset({token_proof(found.id)}),
        until=_seconds(found.expires_at),
        gone=owner.gone,
    )


def _behind(conn: Connection, key: int) -> Standing:
    """The standing of who is behind a token or robot."""
    found = _of_user(conn, Principal(name="", kind="user", id=key))
    # A one-time password that waits to be changed is no reason for these to stop.
    return replace(found, gone="") if found.gone == MUST_CHANGE else found


def _of_robot(conn: Connection, principal: Principal) -> Standing:
    now = time.time()
    found = robots.robot_by_id(conn, principal.id)
    if found is None or found.disabled or now >= _seconds(found.expires_at):
        return Standing(
            principal=principal, gone="the robot has expired, is disabled or was removed"
        )
    maker = None if found.maker is None else _behind(conn, found.maker)
    proofs, until = {found.secret}, _seconds(found.expires_at)
    if found.previous_secret and now < _seconds(found.previous_until):
        proofs.add(found.previous_secret)
        until = min(until, _seconds(found.previous_until))
    return Standing(
        principal=Principal(name=found.name, kind="robot", id=found.id),
        limit=parse_grants(found.grants),
        project=found.project,
        maker=maker,
        proofs=frozenset(proofs),
        until=until,
    )


def password_proof(stored: str) -> str:
    """The proof of who knows the password of which this is the hash: new with every change."""
    return hashed(stored)


def backend_proof(backend: str) -> str:
    """The proof of whom another back end has vouched for."""
    return f"backend:{backend}"


def with_second_factor(proof: str) -> str:
    """The proof of who has shown a second factor, too."""
    return f"{proof}+second-factor"


def token_proof(key: int) -> str:
    """The proof of who has shown that personal access token."""
    return f"token:{key}"


def _highest(pairs: Iterable[tuple[str, str]]) -> dict[str, Role]:
    """The best role in each project; a role that this version does not know is none."""
    found: dict[str, Role] = {}
    for project, name in pairs:
        role = _ROLES.get(name)
        if role and (project not in found or _ORDER[role] > _ORDER[found[project]]):
            found[project] = role
    return found


def _seconds(at: int | None) -> float:
    return float("inf") if at is None else at / 1e6


def shown(need: Permission) -> str:
    """A permission in words, for who lacks it: nothing of whether its object exists."""
    if need == ONESELF:
        return "all rights of a user (a password, or a token without scopes)"
    if need.resource is Resource.REGISTRY:
        return "a name with a password or token"
    if need.resource is Resource.SYSTEM:
        return f"{need.action} on the system (a system admin may)"
    if not need.name:
        return f"{need.action} on {need.resource} of the system (a system admin may)"
    return f"{need.action} on {need.resource} {need.name}"
