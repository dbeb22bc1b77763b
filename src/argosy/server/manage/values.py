r"""The types that many operations share: names, times, digests, each with its limits and an example.

Patterns end in `\Z`: `$` would let a line break through. The OpenAPI document writes `$`,
which in its regular expressions (ECMA 262) means the same.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final, Literal

from msgspec import Meta

_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
PLAIN = r"^[^\x00-\x1f\x7f]*\Z"
"""No control characters; PostgreSQL has no text with NUL."""
LONGEST: Final = (1 << 53) - 1  # what every reader of JSON can hold

ProjectName = Annotated[
    str,
    Meta(
        pattern=rf"^{_COMPONENT}\Z",
        min_length=1,
        max_length=128,
        description="A project: the first component of its repositories' names.",
        examples=["team"],
    ),
]
RepositoryName = Annotated[
    str,
    Meta(
        pattern=rf"^{_COMPONENT}(?:/{_COMPONENT})*\Z",
        min_length=1,
        max_length=255,
        description="A repository's whole name; in a path its `/` are written %2F.",
        examples=["team/app"],
    ),
]
Tag = Annotated[
    str,
    Meta(pattern=r"^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}\Z", examples=["v1.2"], description="A tag."),
]
DigestText = Annotated[
    str,
    Meta(
        pattern=r"^(?:sha256:[a-f0-9]{64}|sha512:[a-f0-9]{128})\Z",
        description="A digest.",
        examples=["sha256:" + "4e07408562bedb8b60ce05c1decfe3ad16b72230967de01f640b7e4729b49fce"],
    ),
]
UserName = Annotated[
    str,
    Meta(
        pattern=r"""^[^\x00-\x1f\x7f:$/\\"]+\Z""",
        max_length=255,
        description="A user's name; of a directory's users too.",
        examples=["ada"],
    ),
]
NewUserName = Annotated[
    str,
    Meta(
        pattern=r"^[A-Za-z0-9](?:[A-Za-z0-9._@-]*[A-Za-z0-9_-])?\Z",
        min_length=1,
        max_length=128,
        description="The name of a local user.",
        examples=["ada"],
    ),
]
RobotName = Annotated[
    str,
    Meta(
        pattern=rf"^robot\$(?:{_COMPONENT}\+)?[a-z0-9]+(?:[._-][a-z0-9]+)*\Z",
        max_length=255,
        description="A robot's whole name: `robot$project+name`, or `robot$name` of the system.",
        examples=["robot$team+ci"],
    ),
]
RobotShortName = Annotated[
    str,
    Meta(
        pattern=r"^[a-z0-9]+(?:[._-][a-z0-9]+)*\Z",
        min_length=1,
        max_length=100,
        description="The part of a robot's name that is its own.",
        examples=["ci"],
    ),
]
GroupName = Annotated[
    str,
    Meta(
        pattern=r"^[^\x00-\x1f\x7f]+\Z",
        max_length=255,
        description="A group, as the directory or identity provider names it.",
        examples=["cn=builders,ou=groups,dc=example,dc=org"],
    ),
]
# Their length has its limit in the library: generators of examples choke on both together.
_PART = r"(?:[a-z0-9._?-]|\{[a-z0-9._-]+(?:,[a-z0-9._-]+)*\})"
_GLOB = rf"(?:\*\*|\*|\*?{_PART}+(?:\*{_PART}+)*\*?)"
_GLOBS = rf"{_GLOB}(?:/{_GLOB})*"
_OF_REPOSITORY = "(?:pull|push|delete|list|read)"
Pattern = Annotated[
    str,
    Meta(
        pattern=rf"^{_GLOBS}\Z",
        description="Names: `*` is any characters in a component, `**` any components.",
        examples=["app-*"],
    ),
]
_TAG_PART = r"(?:[A-Za-z0-9._?-]|\{[A-Za-z0-9._-]+(?:,[A-Za-z0-9._-]+)*\})"
TagPattern = Annotated[
    str,
    Meta(
        pattern=rf"^(?:\*\*?|\*?{_TAG_PART}+(?:\*{_TAG_PART}+)*\*?)\Z",
        description="Tags: `*` is any characters, `{a,b}` either.",
        examples=["v*"],
    ),
]
GrantText = Annotated[
    str,
    Meta(
        pattern=rf"^(?:repository:{_GLOBS}:{_OF_REPOSITORY}(?:,{_OF_REPOSITORY})*"
        rf"|(?:tag-rule|member|robot|quota|project|audit):{_GLOBS}:(?:read|write)(?:,(?:read|write))*)\Z",
        max_length=300,
        description="What may be done to what: `repository:PATTERN:ACTIONS`.",
        examples=["repository:team/**:pull,push"],
    ),
]
MemberKind = Literal["user", "group"]
RoleName = Literal["limited-guest", "guest", "developer", "maintainer", "project-admin"]
Line = Annotated[str, Meta(pattern=PLAIN, max_length=1024)]
Label = Annotated[
    str,
    Meta(pattern=r"^[^\x00-\x1f\x7f]+\Z", min_length=1, max_length=100, examples=["laptop"]),
]
Amount = Annotated[int, Meta(ge=0, le=LONGEST)]
Days = Annotated[
    int,
    Meta(ge=1, le=3650, description="For how many days from now it is accepted.", examples=[90]),
]
Number = Annotated[int, Meta(ge=1, le=LONGEST, description="Its number.", examples=[7])]

PATH_TYPES: Final[Mapping[str, Any]] = {
    "project": ProjectName,
    "repository": RepositoryName,
    "tag": Tag,
    "digest": DigestText,
    "user": UserName,
    "robot": RobotName,
    "kind": MemberKind,
    "member": GroupName,
    "group": GroupName,
    "token": Number,
    "rule": Number,
}
"""What may stand for each name in a path."""

PATH_EXAMPLES: Final[Mapping[str, Any]] = {"kind": "user", "member": "ada", "token": 7, "rule": 3}
"""Examples where the type has none, or not the best."""

EXAMPLE_TIME: Final = datetime(2026, 11, 21, 9, 30, tzinfo=UTC)
EXAMPLE_DIGEST: Final = "sha256:4e07408562bedb8b60ce05c1decfe3ad16b72230967de01f640b7e4729b49fce"

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def moment(microseconds: int) -> datetime:
    """A time of the catalog as the API tells it."""
    return EPOCH + timedelta(microseconds=microseconds)


def moment_or_none(microseconds: int | None) -> datetime | None:
    """The same for what may not have happened."""
    return None if microseconds is None else moment(microseconds)


def project_of(repository: str) -> str:
    """The project a repository lies in."""
    return repository.partition("/")[0]
