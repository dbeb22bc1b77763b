"""The audit log: searched, written out, and checked."""

from datetime import datetime, timedelta
from typing import Annotated, Any, Final, Literal

from msgspec import Meta, Struct

from argosy.access.permissions.permission import Action, Resource
from argosy.catalog.auditing import searching, verifying
from argosy.catalog.auditing.searching import AuditEntry as EntryRow
from argosy.catalog.auditing.searching import AuditQuery
from argosy.catalog.auditing.verifying import Checkpoint
from argosy.server.manage.operation import Call, Nothing, Operation, Page, Reply
from argosy.server.manage.paging import page
from argosy.server.manage.values import EPOCH, EXAMPLE_DIGEST, EXAMPLE_TIME, LONGEST, moment

Words = Annotated[str, Meta(pattern=r"^[^\x00-\x1f\x7f]*\Z", max_length=512)]
Moment = Annotated[datetime, Meta(tz=True)]


class AuditFilter(Struct, frozen=True, forbid_unknown_fields=True):
    """Which entries; of several filters all must hold."""

    actor: Annotated[Words, Meta(description="Done by this user or robot.")] = ""
    action: Annotated[
        Words, Meta(description="This was done: `tag.move`; or all of a kind: `tag.`.")
    ] = ""
    resource: Annotated[Words, Meta(description="Done to this: `team/app:v1`.")] = ""
    digest: Annotated[Words, Meta(description="About this digest.")] = ""
    outcome: Literal["", "done", "denied", "failed"] = ""
    since: Annotated[Moment | None, Meta(description="From this time on.")] = None
    until: Annotated[Moment | None, Meta(description="Before this time.")] = None


class SystemFilter(AuditFilter, frozen=True, forbid_unknown_fields=True):
    """Which entries of all projects."""

    project: Annotated[Words, Meta(description="Only those of this project.")] = ""


class AuditPaging(AuditFilter, frozen=True, forbid_unknown_fields=True):
    """Which entries of a project, and which page of them, the latest first."""

    limit: Annotated[int, Meta(ge=1, le=1000, description="Entries on a page, at most.")] = 100
    after: Annotated[int, Meta(ge=0, le=LONGEST, description="`next` of the page before.")] = 0


class SystemPaging(SystemFilter, frozen=True, forbid_unknown_fields=True):
    """Which entries, and which page of them, the latest first."""

    limit: Annotated[int, Meta(ge=1, le=1000, description="Entries on a page, at most.")] = 100
    after: Annotated[int, Meta(ge=0, le=LONGEST, description="`next` of the page before.")] = 0


class AuditEntry(Struct, frozen=True):
    """Something that was done, or refused."""

    id: int
    at: datetime
    actor: str
    actor_kind: Annotated[str, Meta(description="user, robot, token, anonymous, system, several.")]
    address: Annotated[str, Meta(description="Where the request came from.")]
    request: Annotated[str, Meta(description="The request's name in the server's log.")]
    action: Annotated[str, Meta(examples=["tag.move"])]
    project: str
    resource: str
    digest: str
    outcome: Annotated[str, Meta(description="done, denied or failed.")]
    details: dict[str, Any]
    count: Annotated[int, Meta(description="How often: the same again and again is one entry.")]
    sequence: Annotated[int | None, Meta(description="Its place in the chain; null: not yet.")]
    hash: Annotated[str | None, Meta(description="Its link of the chain.")]


class VerifyFilter(Struct, frozen=True, forbid_unknown_fields=True):
    """What is known of the log from before."""

    checkpoint: (
        Annotated[
            str,
            Meta(
                pattern=r"^[0-9]{1,18}:[0-9a-f]{64}\Z",
                description="`last` and `hash` of an earlier answer, with a colon between: the chain"
                " has to pass through it. Finds a chain that somebody computed anew.",
                examples=["17:" + "ab" * 32],
            ),
        ]
        | None
    ) = None


class Verification(Struct, frozen=True):
    """Whether the log is what was written."""

    intact: bool
    entries: Annotated[int, Meta(description="Entries that were checked.")]
    first: int
    last: int
    hash: Annotated[str, Meta(description="Of the last one: keep it to check again later.")]
    broken_at: Annotated[int | None, Meta(description="The first entry that is wrong.")] = None
    why: str = ""


async def listed(call: Call[AuditPaging | SystemPaging, Nothing]) -> Reply:
    """A page, the latest first."""
    limit = call.query.limit
    query = _query(call, count=limit + 1, after=call.query.after)
    found = await call.services.database.read(lambda conn: searching.search(conn, query))
    return page(found, limit, _entry, lambda one: one.id)


async def exported(call: Call[AuditFilter | SystemFilter, Nothing]) -> Reply:
    """All of it as JSON lines, the oldest first."""
    return Reply(stream=searching.export(call.services.database, _query(call)))


async def verified(call: Call[VerifyFilter, Nothing]) -> Reply:
    """Walk the chain."""
    marks = []
    if call.query.checkpoint is not None:
        sequence, _, known = call.query.checkpoint.partition(":")
        marks = [Checkpoint(sequence=int(sequence), hash=known, at=0)]
    found = await verifying.verify(call.services.database, marks)
    broken = found.broken
    return Reply(
        value=Verification(
            intact=broken is None,
            entries=found.count,
            first=found.first,
            last=found.last,
            hash=found.hash,
            broken_at=broken.sequence if broken else None,
            why=broken.why if broken else "",
        )
    )


def _query(call: Call[Any, Nothing], **more: int) -> AuditQuery:
    asked = call.query
    return AuditQuery(
        actor=asked.actor,
        action=asked.action,
        project=str(call.names.get("project") or getattr(asked, "project", "")),
        resource=asked.resource,
        digest=asked.digest,
        outcome=asked.outcome,
        since=_microseconds(asked.since),
        until=_microseconds(asked.until),
        **more,
    )


def _microseconds(at: datetime | None) -> int:
    """Since 1970; nothing was written before, and 0 asks for nothing."""
    return 0 if at is None else max((at - EPOCH) // timedelta(microseconds=1), 1)


def _entry(row: EntryRow) -> AuditEntry:
    return AuditEntry(
        id=row.id,
        at=moment(row.at),
        actor=row.actor,
        actor_kind=row.actor_kind,
        address=row.address,
        request=row.request,
        action=row.action,
        project=row.project,
        resource=row.resource,
        digest=row.digest,
        outcome=row.outcome,
        details=dict(row.details),
        count=row.count,
        sequence=row.sequence,
        hash=row.hash,
    )


_ENTRY: Final = AuditEntry(
    id=17,
    at=EXAMPLE_TIME,
    actor="robot$team+ci",
    actor_kind="robot",
    address="192.0.2.7",
    request="4fe1-2a",
    action="tag.move",
    project="team",
    resource="team/app:v1",
    digest=EXAMPLE_DIGEST,
    outcome="done",
    details={"before": "", "tags": ["v1"]},
    count=1,
    sequence=16,
    hash="4e07408562bedb8b60ce05c1decfe3ad16b72230967de01f640b7e4729b49fce",
)
_READ: Final = (Resource.AUDIT, Action.READ)
_LINES: Final = "application/jsonl"

OPERATIONS: Final = (
    Operation(
        id="listAudit",
        group="audit",
        method="GET",
        path="/audit",
        summary="What was done and what was refused, the latest first",
        need=_READ,
        handler=listed,
        query=SystemPaging,
        answer=Page[AuditEntry],
        example=Page(items=[_ENTRY], next="17"),
    ),
    Operation(
        id="exportAudit",
        group="audit",
        method="GET",
        path="/audit/export",
        summary="The audit log as JSON lines, the oldest first",
        need=_READ,
        handler=exported,
        query=SystemFilter,
        answer=str,
        media_type=_LINES,
        example='{"id":17,"action":"tag.move"}\n',
    ),
    Operation(
        id="verifyAudit",
        group="audit",
        method="GET",
        path="/audit/verify",
        summary="Whether the audit log is what was written",
        description="Walks the whole chain; takes a second for some ten thousand entries.",
        need=_READ,
        handler=verified,
        query=VerifyFilter,
        answer=Verification,
        example=Verification(intact=True, entries=17, first=1, last=17, hash=str(_ENTRY.hash)),
    ),
    Operation(
        id="listProjectAudit",
        group="audit",
        method="GET",
        path="/projects/{project}/audit",
        summary="What was done and refused in a project, the latest first",
        need=_READ,
        handler=listed,
        query=AuditPaging,
        answer=Page[AuditEntry],
        example=Page(items=[_ENTRY], next="17"),
    ),
    Operation(
        id="exportProjectAudit",
        group="audit",
        method="GET",
        path="/projects/{project}/audit/export",
        summary="The audit log of a project as JSON lines, the oldest first",
        need=_READ,
        handler=exported,
        query=AuditFilter,
        answer=str,
        media_type=_LINES,
        example='{"id":17,"action":"tag.move"}\n',
    ),
)
