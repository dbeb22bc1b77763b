"""CI jobs that bring a token of their own provider become a robot, by rules on the token's claims.

No secret is kept at the CI system. The providers are those of the settings: a rule can only
name one of them, so that nobody has this server fetch keys from an address of their choice.
"""

import base64
import binascii
import importlib
import json
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from sqlalchemy import Connection, delete, insert, select

from argosy.access.identity import claims as patterns
from argosy.access.identity.jobs import Job, looks_like_one
from argosy.access.identity.oidc.addresses import check_address
from argosy.access.permissions.principal import Principal
from argosy.access.signing_in.refused import Refused
from argosy.catalog import schema as t
from argosy.catalog.actor import Actor
from argosy.catalog.audit import Entry, record
from argosy.catalog.database import Database
from argosy.catalog.people import robots
from argosy.catalog.people.robots import Robot
from argosy.concurrency import in_thread
from argosy.errors import NotFound, UsageError
from argosy.values import frozen

if TYPE_CHECKING:  # slow to import, and only needed where a job comes
    from argosy.access.identity.oidc.provider import Provider
    from argosy.access.identity.oidc.web import Web

GITHUB: Final = "https://token.actions.githubusercontent.com"
GITLAB: Final = "https://gitlab.com"

_MOST_RULES: Final = 100  # of one robot
_r = t.workload_rules.c


@frozen(kw_only=True)
class Rule:
    """Which jobs may be a robot: those with a token of `issuer`, for `audience`, with these claims."""

    id: int = 0
    issuer: str
    audience: str
    claims: Mapping[str, str]
    created_at: int = 0
    created_by: str = ""


def add_rule(conn: Connection, robot: Robot, rule: Rule, by: Actor) -> Rule:
    """Keep a rule; UsageError when it is too wide, or one too many."""
    patterns.check(rule.claims)
    if not 0 < len(rule.audience) <= 255 or not rule.audience.isprintable():
        raise UsageError(
            "a rule needs the audience that jobs ask their token for",
            remedy="use this registry's address, such as https://registry.example",
        )
    if len(rules_of(conn, robot.id)) >= _MOST_RULES:
        raise UsageError(f"{robot.name} has {_MOST_RULES} rules already")
    values = {"robot_id": robot.id, "issuer": rule.issuer, "audience": rule.audience}
    values |= {"claims": dict(rule.claims), "created_at": t.now(), "created_by": by.name}
    made = conn.execute(insert(t.workload_rules).values(**values))
    assert made.inserted_primary_key is not None
    details = {"issuer": rule.issuer, "audience": rule.audience, "claims": dict(rule.claims)}
    _tell(conn, by, "robot-rule.create", robot, details)
    kept = rules_of(conn, robot.id)
    return next(one for one in kept if one.id == made.inserted_primary_key[0])


def remove_rule(conn: Connection, robot: Robot, key: int, by: Actor) -> None:
    """Drop a rule of a robot; NotFound when it has none of that number."""
    gone = conn.execute(delete(t.workload_rules).where(_r.id == key, _r.robot_id == robot.id))
    if not gone.rowcount:
        raise NotFound(f"{robot.name} has no rule {key}")
    _tell(conn, by, "robot-rule.delete", robot, {"rule": key})


def rules_of(conn: Connection, robot: int) -> list[Rule]:
    """The rules of a robot, oldest first."""
    found = select(t.workload_rules).where(_r.robot_id == robot).order_by(_r.id)
    return [_rule(row) for row in conn.execute(found)]


def _rule(row: Any) -> Rule:
    return Rule(
        id=row.id,
        issuer=row.issuer,
        audience=row.audience,
        claims=row.claims,
        created_at=row.created_at,
        created_by=row.created_by,
    )


def _tell(
    conn: Connection, by: Actor, action: str, robot: Robot, details: Mapping[str, Any]
) -> None:
    entry = Entry(action=action, resource=robot.name, project=robot.project, details=details)
    record(conn, by, entry)


@frozen(kw_only=True)
class WorkloadOptions:
    """Whose tokens count: the issuers, and how they are reached."""

    issuers: tuple[str, ...] = (GITHUB, GITLAB)
    ca_file: str = ""
    allow_http: bool = False


class Workloads:
    """Judges the tokens of jobs. What that takes is imported when the first one comes."""

    def __init__(self, database: Database, options: WorkloadOptions | None = None) -> None:
        """ConfigError for an issuer that is not https."""
        self._db = database
        self._options: Final = options or WorkloadOptions()
        for issuer in self._options.issuers:
            check_address(issuer, allow_http=self._options.allow_http)
        self._web: Web | None = None
        self._providers: dict[str, Provider] = {}

    async def close(self) -> None:
        """Give the connections back."""
        if self._web is not None:
            await self._web.close()

    def known(self, issuer: str) -> str:
        """The issuer, if its tokens count here; UsageError else."""
        if issuer not in self._options.issuers:
            raise UsageError(
                f"tokens of {issuer[:300]!r} do not count here",
                why="those of " + (", ".join(self._options.issuers) or "nobody") + " do",
                remedy="a system admin adds the issuer to [auth.workload] issuers",
            )
        return issuer

    async def check(self) -> list[str]:
        """Ask every issuer for its keys; BackendUnavailable for the first that cannot be asked."""
        found = []
        for issuer in self._options.issuers:
            provider = await self._provider(issuer)
            found.append(f"{issuer}: {len(await provider.keys(None))} keys")
        return found

    async def job(self, token: str, robot: str = "") -> Job | Refused:
        """The robot a job may be; `robot` chooses where several fit.

        BackendUnavailable when the provider's keys cannot be had.
        """
        issuer = _issuer(token)
        if issuer not in self._options.issuers:
            return Refused("the token is not of a provider that counts here", _SETTINGS)
        rules = await self._db.read(lambda conn: _rules_for(conn, issuer, robot))
        if not rules:
            return _NO_RULE
        provider = await self._provider(issuer)
        from argosy.access.identity.oidc.tokens import Wanted, judged  # noqa: PLC0415 - 80 ms

        audiences = tuple(sorted({rule.audience for _, rule in rules}))
        claims = await judged(token, provider, Wanted(audiences=audiences))
        if isinstance(claims, Refused):
            return Refused(f"the token does not count: {claims.reason}", _SETTINGS)
        return await self._chosen(rules, claims)

    async def _provider(self, issuer: str) -> "Provider":
        if (found := self._providers.get(issuer)) is not None:
            return found
        # In a thread: the modules below take a tenth of a second.
        await in_thread(importlib.import_module, "argosy.access.identity.oidc.tokens")
        from argosy.access.identity.oidc.provider import Provider  # noqa: PLC0415
        from argosy.access.identity.oidc.web import Web  # noqa: PLC0415

        if self._web is None:
            options = self._options
            self._web = Web(ca_file=options.ca_file, allow_http=options.allow_http)
        return self._providers.setdefault(issuer, Provider(issuer, self._web))

    async def _chosen(
        self, rules: Sequence[tuple[int, Rule]], claims: Mapping[str, Any]
    ) -> Job | Refused:
        given = claims["aud"] if isinstance(claims["aud"], list) else [claims["aud"]]
        asked = [(key, rule.claims) for key, rule in rules if rule.audience in given]
        fitting = await in_thread(
            lambda: {key for key, wanted in asked if patterns.all_fit(wanted, claims)}
        )
        if len(fitting) > 1:
            return Refused("the token fits more than one robot", "say which one it is to be")
        if not fitting:
            return _NO_RULE
        key = fitting.pop()
        found = await self._db.read(lambda conn: robots.robot_by_id(conn, key))
        if found is None or found.disabled or _over(found):
            return _NO_RULE
        expires, subject = float(claims["exp"]), str(claims["sub"])
        by = Actor(name=found.name, kind="robot")
        details = {"issuer": str(claims["iss"]), "subject": subject}
        await self._db.write(lambda conn: _tell(conn, by, "robot.job", found, details))
        return Job(
            principal=Principal(name=found.name, kind="robot", id=found.id, until=expires),
            subject=subject,
            expires=expires,
            proof=found.secret,
        )


_SETTINGS: Final = "see [auth.workload] issuers, and the audience that the job asks its token for"
_NO_RULE: Final = Refused(
    "no robot has a rule that the token fits",
    "compare the token's claims with the robot's rules: argosy robot trust ROBOT",
)


def _over(robot: Robot) -> bool:
    return robot.expires_at is not None and robot.expires_at <= time.time() * 1e6


def _rules_for(conn: Connection, issuer: str, robot: str) -> list[tuple[int, Rule]]:
    found = select(t.workload_rules).where(_r.issuer == issuer)
    if robot:
        named = select(t.robots.c.id).where(t.robots.c.name == robot)
        found = found.where(_r.robot_id.in_(named))
    return [(row.robot_id, _rule(row)) for row in conn.execute(found.order_by(_r.id))]


def _issuer(token: str) -> str:
    """Whose a token says it is. Nothing is believed yet: it only chooses the keys to ask for."""
    if not looks_like_one(token):
        return ""
    part = token.split(".")[1]
    try:
        raw = base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
        found = json.loads(raw)
    except (ValueError, binascii.Error, RecursionError):
        return ""
    issuer = found.get("iss") if isinstance(found, dict) else None
    return issuer if isinstance(issuer, str) and urlsplit(issuer).scheme else ""
