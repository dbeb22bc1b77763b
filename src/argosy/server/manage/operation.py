"""What the management API is made of: operations, each stated once, apart from how it is served.

From the table of them come the router, the OpenAPI document, the pages of the docs and
the tests of who may do what.
"""

from collections.abc import AsyncIterable, Awaitable, Callable, Mapping, Sequence
from typing import Annotated, Any, Final, Generic, TypeVar

from msgspec import Meta, Struct

from argosy.access.permissions import permission
from argosy.access.permissions.permission import Action, Permission, Resource
from argosy.access.permissions.principal import Principal
from argosy.access.permissions.visible import Visible
from argosy.access.service import Access
from argosy.catalog.actor import Actor
from argosy.server.guarding.who import address
from argosy.server.http.messages import Request
from argosy.server.manage.problems import Refusal
from argosy.server.manage.services import Services
from argosy.server.manage.validators import Expectation
from argosy.values import frozen

Q = TypeVar("Q")
B = TypeVar("B")
T = TypeVar("T")

PUBLIC: Final = "public"
"""The permission of what everybody may ask, without a name."""

IDENTIFIED: Final = "identified"
"""The permission of what everybody may ask who says who they are."""

ONESELF: Final = "oneself"
"""The permission of people to change what is their own: no robot, no token for only some things."""


class Nothing(Struct, frozen=True, forbid_unknown_fields=True):
    """No query, or no body."""


NOTHING: Final = Nothing()


class Paging(Struct, frozen=True, forbid_unknown_fields=True):
    """Which page of a list."""

    limit: Annotated[int, Meta(ge=1, le=1000, description="Entries on a page, at most.")] = 100
    after: Annotated[
        str,
        Meta(
            pattern=r"^[^\x00-\x1f\x7f]*\Z",
            max_length=512,
            description="Where to go on: `next` of the page before.",
        ),
    ] = ""


class Page(Struct, Generic[T], frozen=True):
    """A part of a list. `next` is what to ask for with `after`; null on the last page."""

    items: list[T]
    next: str | None = None


def _of_robot(names: Mapping[str, Any]) -> str:
    """The project that a robot's name says it is of."""
    head, plus, _ = str(names.get("robot", "")).removeprefix("robot$").partition("+")
    return head if plus else ""


@frozen(kw_only=True)
class Reply:
    """What a handler answers: the value, and what goes into the head of the answer."""

    value: Any = None
    etag: str = ""
    location: str = ""
    secret: bool = False  # what is shown once must not be kept by anybody on the way
    stream: AsyncIterable[bytes] | None = None


@frozen(kw_only=True)
class Came:
    """A request that was let in: whose it is, and what can be done for it."""

    request: Request
    principal: Principal
    services: Services
    visible: Callable[[], Awaitable[Visible]]  # which repositories may be listed


class Call(Generic[Q, B]):
    """One request to one operation: read, checked and allowed."""

    __slots__ = (
        "actor",
        "body",
        "expected",
        "names",
        "principal",
        "query",
        "request",
        "services",
        "visible",
    )

    def __init__(self, came: Came, names: Mapping[str, Any], query: Q, body: B) -> None:
        self.services = came.services
        self.visible = came.visible
        self.request = request = came.request
        self.names = names
        self.query = query
        self.body = body
        self.principal = principal = came.principal
        self.expected = Expectation(request)
        self.actor = Actor(
            name=principal.name, kind=principal.kind, address=address(request), request=request.id
        )

    @property
    def people(self) -> Access:
        """Who knows the users; Refusal 409 where nobody is asked who they are."""
        if self.services.access is None:
            raise Refusal(
                409,
                "access-control-off",
                "this registry knows nobody: access control is off",
                remedy="start it with access control",
            )
        return self.services.access


_NEEDS: Final = {IDENTIFIED: permission.ANYONE, ONESELF: permission.ONESELF}

Handler = Callable[[Call[Any, Any]], Awaitable[Reply]]
"""`async (Call) -> Reply`: parse, call one function of the library, render."""

Need = tuple[Resource, Action] | str
"""What an operation needs: a permission on what its path names, PUBLIC, IDENTIFIED or ONESELF."""


@frozen(kw_only=True)
class Operation:
    """One thing the API does."""

    id: str  # operationId: what clients name their methods by
    group: str
    method: str
    path: str  # below /api/v1; {name} stands for one segment
    summary: str
    need: Need
    handler: Handler
    description: str = ""
    query: type[Any] = Nothing
    body: type[Any] = Nothing
    answer: Any = None  # none: no body
    status: int = 200
    media_type: str = "application/json"
    example: Any = None  # of the body, else of the answer
    guarded: bool = False  # If-Match is needed
    refusals: Sequence[int] = ()  # statuses beyond those that every such operation has

    @property
    def parameters(self) -> list[str]:
        """The names in the path."""
        return [part[1:-1] for part in self.path.split("/") if part.startswith("{")]

    def permission(self, names: Mapping[str, Any]) -> Permission | None:
        """The permission it needs on what a path names; None for PUBLIC."""
        if isinstance(self.need, str):
            return _NEEDS.get(self.need)
        name = names.get("repository") or names.get("project") or _of_robot(names) or ""
        return Permission(*self.need, name)

    @property
    def repeatable(self) -> bool:
        """Whether it counts once when it is sent twice under one Idempotency-Key.

        Not where nobody says who they are: each would be a row that anybody can have written.
        """
        return self.method == "POST" and self.need != PUBLIC

    @property
    def safe(self) -> bool:
        """Whether it changes nothing."""
        return self.method == "GET"
