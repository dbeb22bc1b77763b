"""CI jobs that may be a robot without a secret, by rules on the claims of their tokens."""

from datetime import datetime
from typing import Annotated, Final

from msgspec import Meta, Struct
from sqlalchemy import Connection

from argosy.access.identity import workload
from argosy.access.identity.workload import Rule as RuleRow
from argosy.access.permissions.permission import Action, Resource
from argosy.catalog.people import robots
from argosy.catalog.people.robots import Robot
from argosy.errors import NotFound
from argosy.server.manage.operation import Call, Nothing, Operation, Page, Reply
from argosy.server.manage.problems import Refusal
from argosy.server.manage.router import PREFIX
from argosy.server.manage.urls import url
from argosy.server.manage.values import EXAMPLE_TIME, Number, moment

ClaimName = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.:/-]{0,99}\Z")]
ClaimPattern = Annotated[
    str, Meta(pattern=r"^[^\x00-\x1f\x7f]+\Z", min_length=1, max_length=512, examples=["team/*"])
]
Issuer = Annotated[
    str,
    Meta(
        pattern=r"^https://[^\x00-\x20\x7f]+\Z",
        max_length=512,
        description="Who signs the jobs' tokens: one of the issuers in the server's settings.",
        examples=["https://token.actions.githubusercontent.com"],
    ),
]
Audience = Annotated[
    str,
    Meta(
        pattern=r"^[!-~]+\Z",
        min_length=1,
        max_length=255,
        description="Whom the jobs ask their token for: this registry's address.",
        examples=["https://registry.example"],
    ),
]


class WorkloadRule(Struct, frozen=True):
    """Which jobs may be the robot: those whose token has every one of these claims."""

    id: Number
    issuer: str
    audience: str
    claims: Annotated[
        dict[str, str], Meta(description="Patterns: `*` is any characters but /, `**` any.")
    ]
    created_at: datetime
    created_by: str


class NewWorkloadRule(Struct, frozen=True, forbid_unknown_fields=True):
    """A rule to make."""

    issuer: Issuer
    audience: Audience
    claims: Annotated[dict[ClaimName, ClaimPattern], Meta(min_length=1, max_length=20)]


async def listed(call: Call[Nothing, Nothing]) -> Reply:
    """All of a robot's: there are a hundred at most."""
    name = call.names["robot"]
    _ = call.people

    def find(conn: Connection) -> list[RuleRow]:
        return workload.rules_of(conn, _robot(conn, name).id)

    found = await call.services.database.read(find)
    return Reply(value=Page(items=[_rule(one) for one in found]))


async def created(call: Call[Nothing, NewWorkloadRule]) -> Reply:
    """One more."""
    name, new, by = call.names["robot"], call.body, call.actor
    await call.people.robots.may_be(call.principal, name)
    if call.services.workloads is None:
        raise Refusal(
            409,
            "no-issuers",
            "no CI job's token counts here",
            remedy="a system admin names the issuers that do: [auth.workload] issuers",
        )
    issuer = call.services.workloads.known(new.issuer)

    def write(conn: Connection) -> RuleRow:
        rule = RuleRow(issuer=issuer, audience=new.audience, claims=new.claims)
        return workload.add_rule(conn, _robot(conn, name), rule, by)

    made = await call.services.database.write(write)
    where = PREFIX + url("robots", name, "workload-rules", made.id)
    return Reply(value=_rule(made), location=where)


async def removed(call: Call[Nothing, Nothing]) -> Reply:
    """One less."""
    name, key, by = call.names["robot"], call.names["rule"], call.actor
    _ = call.people

    def write(conn: Connection) -> None:
        workload.remove_rule(conn, _robot(conn, name), key, by)

    await call.services.database.write(write)
    return Reply()


def _robot(conn: Connection, name: str) -> Robot:
    if (found := robots.robot(conn, name)) is None:
        raise NotFound(f"no robot {name}")
    return found


def _rule(row: RuleRow) -> WorkloadRule:
    return WorkloadRule(
        id=row.id,
        issuer=row.issuer,
        audience=row.audience,
        claims=dict(row.claims),
        created_at=moment(row.created_at),
        created_by=row.created_by,
    )


_CLAIMS: Final = {"repository": "team/app", "ref": "refs/heads/main"}
_RULE: Final = WorkloadRule(
    id=3,
    issuer=workload.GITHUB,
    audience="https://registry.example",
    claims=_CLAIMS,
    created_at=EXAMPLE_TIME,
    created_by="ada",
)
_WRITE: Final = (Resource.ROBOT, Action.WRITE)
_PATH: Final = "/robots/{robot}/workload-rules"

OPERATIONS: Final = (
    Operation(
        id="listWorkloadRules",
        group="robots",
        method="GET",
        path=_PATH,
        summary="Which CI jobs may be a robot",
        need=(Resource.ROBOT, Action.READ),
        handler=listed,
        answer=Page[WorkloadRule],
        example=Page(items=[_RULE]),
        refusals=(409,),
    ),
    Operation(
        id="createWorkloadRule",
        group="robots",
        method="POST",
        path=_PATH,
        summary="Let CI jobs be a robot",
        description="Refused (422) when the claims would fit anybody's jobs.",
        need=_WRITE,
        handler=created,
        body=NewWorkloadRule,
        answer=WorkloadRule,
        status=201,
        example=NewWorkloadRule(
            issuer=workload.GITHUB, audience="https://registry.example", claims=_CLAIMS
        ),
    ),
    Operation(
        id="deleteWorkloadRule",
        group="robots",
        method="DELETE",
        path=f"{_PATH}/{{rule}}",
        summary="Let those CI jobs be the robot no more",
        need=_WRITE,
        handler=removed,
        refusals=(409,),
    ),
)
