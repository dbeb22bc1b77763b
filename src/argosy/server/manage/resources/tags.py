"""Tags, their history and the way back; and the rules that keep some of them as they are."""

from datetime import datetime
from typing import Annotated, Final

from msgspec import Meta, Struct

from argosy.access.permissions.permission import Action, Resource
from argosy.catalog.tagging.rules import TagRule as RuleRow
from argosy.catalog.tagging.rules import TagRules
from argosy.catalog.tagging.tags import NEWEST, Move, Tags
from argosy.catalog.tagging.tags import Tag as TagRow
from argosy.model.digest import Digest
from argosy.server.manage import validators
from argosy.server.manage.operation import Call, Nothing, Operation, Page, Paging, Reply
from argosy.server.manage.paging import page
from argosy.server.manage.router import PREFIX
from argosy.server.manage.urls import url
from argosy.server.manage.values import (
    EXAMPLE_DIGEST,
    EXAMPLE_TIME,
    LONGEST,
    DigestText,
    Number,
    Pattern,
    RepositoryName,
    TagPattern,
    moment,
)
from argosy.server.manage.values import Tag as TagName

After = Annotated[int, Meta(ge=0, le=LONGEST, description="`next` of the page before.")]
Limit = Annotated[int, Meta(ge=1, le=1000, description="Entries on a page, at most.")]


class NumberPaging(Struct, frozen=True, forbid_unknown_fields=True):
    """Which page of a list by numbers."""

    limit: Limit = 100
    after: After = 0


class Tag(Struct, frozen=True):
    """A tag and what it stands for."""

    repository: RepositoryName
    name: TagName
    digest: DigestText
    updated_at: datetime


class TagMove(Struct, frozen=True):
    """One entry of a tag's history."""

    id: int
    at: datetime
    actor: Annotated[str, Meta(description="Who moved it.")]
    digest: Annotated[str | None, Meta(description="What it stood for then; null: deleted.")]
    previous: Annotated[str | None, Meta(description="What before; null: there was no such tag.")]
    pullable: Annotated[bool, Meta(description="Whether the digest can still be pulled.")]


class Undo(Struct, frozen=True, forbid_unknown_fields=True):
    """How far back."""

    to: Annotated[
        DigestText | None,
        Meta(description="To this one of its history; else to what it stood for before."),
    ] = None


class TagRule(Struct, frozen=True):
    """Tags that are neither moved nor deleted."""

    id: Number
    project: str
    repositories: str
    tags: str
    disabled: bool
    created_at: datetime
    created_by: str


class NewTagRule(Struct, frozen=True, forbid_unknown_fields=True):
    """Tags to keep as they are."""

    tags: TagPattern
    repositories: Annotated[
        Pattern, Meta(description="Repositories of the project, without its name.")
    ] = "**"


class TagRuleChange(Struct, frozen=True, forbid_unknown_fields=True):
    """Whether the rule counts."""

    disabled: bool


async def listed(call: Call[Paging, Nothing]) -> Reply:
    """A page, by name."""
    asked = call.query
    tags = Tags(call.services.database)
    found = await tags.page(call.names["repository"], asked.after, asked.limit + 1)
    return page(found, asked.limit, _tag, lambda one: one.name)


async def shown(call: Call[Nothing, Nothing]) -> Reply:
    """One tag."""
    found = await Tags(call.services.database).get(call.names["repository"], call.names["tag"])
    return _reply(found)


async def deleted(call: Call[Nothing, Nothing]) -> Reply:
    """The tag alone: what it stood for stays under other tags and by its digest."""
    repository, tag = call.names["repository"], call.names["tag"]
    await call.services.catalog.delete_tag(
        repository, tag, allow=lambda digest: call.expected.check(_mark(digest)), by=call.actor
    )
    return Reply()


async def history(call: Call[NumberPaging, Nothing]) -> Reply:
    """What it stood for, the latest first."""
    asked = call.query
    tags = Tags(call.services.database)
    found = await tags.history(
        call.names["repository"], call.names["tag"], asked.after or NEWEST, asked.limit + 1
    )
    return page(found, asked.limit, _move, lambda one: one.id)


async def undone(call: Call[Nothing, Undo]) -> Reply:
    """Back to what it stood for."""
    to = call.body.to
    found = await Tags(call.services.database).undo(
        call.names["repository"],
        call.names["tag"],
        to=Digest.parse(to) if to else None,
        allow=lambda digest: call.expected.check(_mark(digest)),
        by=call.actor,
    )
    return _reply(found)


async def rules(call: Call[NumberPaging, Nothing]) -> Reply:
    """A page, the oldest first."""
    asked = call.query
    kept = TagRules(call.services.database)
    found = await kept.page(call.names["project"], asked.after, asked.limit + 1)
    return page(found, asked.limit, _rule, lambda one: one.id)


async def rule(call: Call[Nothing, Nothing]) -> Reply:
    """One rule."""
    kept = TagRules(call.services.database)
    return _rule_reply(await kept.get(call.names["project"], call.names["rule"]))


async def rule_added(call: Call[Nothing, NewTagRule]) -> Reply:
    """One more, or the one that says the same."""
    new, project = call.body, call.names["project"]
    made = await TagRules(call.services.database).add(
        project, repositories=new.repositories, tags=new.tags, by=call.actor
    )
    return _rule_reply(made, PREFIX + url("projects", project, "tag-rules", made.id))


async def rule_changed(call: Call[Nothing, TagRuleChange]) -> Reply:
    """Off or on."""
    made = await TagRules(call.services.database).change(
        call.names["project"],
        call.names["rule"],
        disabled=call.body.disabled,
        by=call.actor,
        allow=lambda before: call.expected.check(_rule_mark(before)),
    )
    return _rule_reply(made)


async def rule_removed(call: Call[Nothing, Nothing]) -> Reply:
    """One less."""
    await TagRules(call.services.database).remove(
        call.names["project"],
        call.names["rule"],
        by=call.actor,
        allow=lambda before: call.expected.check(_rule_mark(before)),
    )
    return Reply()


def _mark(digest: str | None) -> str:
    return f'"{digest}"' if digest else ""


def _reply(row: TagRow) -> Reply:
    return Reply(value=_tag(row), etag=_mark(row.digest))


def _tag(row: TagRow) -> Tag:
    return Tag(
        repository=row.repository,
        name=row.name,
        digest=str(row.digest),
        updated_at=moment(row.at),
    )


def _move(row: Move) -> TagMove:
    return TagMove(
        id=row.id,
        at=moment(row.at),
        actor=row.actor,
        digest=row.digest and str(row.digest),
        previous=row.previous and str(row.previous),
        pullable=row.here,
    )


def _rule_reply(row: RuleRow, location: str = "") -> Reply:
    return Reply(value=_rule(row), etag=_rule_mark(row), location=location)


def _rule_mark(row: RuleRow) -> str:
    return validators.of_value(_rule(row))


def _rule(row: RuleRow) -> TagRule:
    return TagRule(
        id=row.id,
        project=row.project,
        repositories=row.repositories,
        tags=row.tags,
        disabled=row.disabled,
        created_at=moment(row.created_at),
        created_by=row.created_by,
    )


_TAG: Final = Tag(
    repository="team/app", name="v1.2", digest=EXAMPLE_DIGEST, updated_at=EXAMPLE_TIME
)
_MOVE: Final = TagMove(
    id=12,
    at=EXAMPLE_TIME,
    actor="robot$team+ci",
    digest=EXAMPLE_DIGEST,
    previous=None,
    pullable=True,
)
_RULE: Final = TagRule(
    id=3,
    project="team",
    repositories="**",
    tags="v*",
    disabled=False,
    created_at=EXAMPLE_TIME,
    created_by="ada",
)
_R: Final = Resource.REPOSITORY
_RULES: Final = "/projects/{project}/tag-rules"
_ONE: Final = "/repositories/{repository}/tags/{tag}"

OPERATIONS: Final = (
    Operation(
        id="listTags",
        group="tags",
        method="GET",
        path="/repositories/{repository}/tags",
        summary="The tags of a repository, and what they stand for",
        need=(_R, Action.LIST),
        handler=listed,
        query=Paging,
        answer=Page[Tag],
        example=Page(items=[_TAG], next="v1.2"),
    ),
    Operation(
        id="getTag",
        group="tags",
        method="GET",
        path=_ONE,
        summary="What a tag stands for",
        need=(_R, Action.READ),
        handler=shown,
        answer=Tag,
        example=_TAG,
    ),
    Operation(
        id="deleteTag",
        group="tags",
        method="DELETE",
        path=_ONE,
        summary="Delete a tag, only the tag",
        description="Refused (409) while a rule keeps it.",
        need=(_R, Action.DELETE),
        handler=deleted,
        refusals=(409,),
    ),
    Operation(
        id="getTagHistory",
        group="tags",
        method="GET",
        path=f"{_ONE}/history",
        summary="What a tag has stood for, the latest first",
        need=(_R, Action.READ),
        handler=history,
        query=NumberPaging,
        answer=Page[TagMove],
        example=Page(items=[_MOVE]),
    ),
    Operation(
        id="undoTag",
        group="tags",
        method="POST",
        path=f"{_ONE}/undo",
        summary="Put a tag back to what it stood for before",
        description="A move like any other: undone again, it is where it was. With If-Match it is"
        " refused when somebody has moved the tag meanwhile.",
        need=(_R, Action.PUSH),
        handler=undone,
        body=Undo,
        answer=Tag,
        example=Undo(to=EXAMPLE_DIGEST),
    ),
    Operation(
        id="listTagRules",
        group="tag rules",
        method="GET",
        path=_RULES,
        summary="The rules that keep tags of a project as they are",
        need=(Resource.TAG_RULE, Action.READ),
        handler=rules,
        query=NumberPaging,
        answer=Page[TagRule],
        example=Page(items=[_RULE]),
    ),
    Operation(
        id="createTagRule",
        group="tag rules",
        method="POST",
        path=_RULES,
        summary="Keep tags of a project from being moved or deleted",
        description="A rule that says the same is not made twice.",
        need=(Resource.TAG_RULE, Action.WRITE),
        handler=rule_added,
        body=NewTagRule,
        answer=TagRule,
        status=201,
        example=NewTagRule(tags="v*"),
    ),
    Operation(
        id="getTagRule",
        group="tag rules",
        method="GET",
        path=f"{_RULES}/{{rule}}",
        summary="One rule",
        need=(Resource.TAG_RULE, Action.READ),
        handler=rule,
        answer=TagRule,
        example=_RULE,
    ),
    Operation(
        id="updateTagRule",
        group="tag rules",
        method="PATCH",
        path=f"{_RULES}/{{rule}}",
        summary="Switch a rule off or on",
        need=(Resource.TAG_RULE, Action.WRITE),
        handler=rule_changed,
        body=TagRuleChange,
        answer=TagRule,
        guarded=True,
        example=TagRuleChange(disabled=True),
    ),
    Operation(
        id="deleteTagRule",
        group="tag rules",
        method="DELETE",
        path=f"{_RULES}/{{rule}}",
        summary="Remove a rule",
        need=(Resource.TAG_RULE, Action.WRITE),
        handler=rule_removed,
    ),
)
