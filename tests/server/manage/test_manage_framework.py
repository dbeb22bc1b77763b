"""How the management API reads requests and answers them, whatever the operation."""

import asyncio
import gzip
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Meta, Struct

from argosy.access.permissions.decision import Allow, Decision, Deny
from argosy.access.permissions.permission import ANYONE, Action, Permission, Resource
from argosy.access.permissions.principal import ANONYMOUS, Principal
from argosy.access.permissions.visible import EVERYTHING, Visible
from argosy.catalog.catalog import open_catalog
from argosy.errors import NotFound, StorageError
from argosy.server.http.messages import Headers, MemoryBody, Request, Response
from argosy.server.manage import idempotency, reading
from argosy.server.manage.api import Manage
from argosy.server.manage.operation import (
    IDENTIFIED,
    PUBLIC,
    Call,
    Nothing,
    Operation,
    Page,
    Paging,
    Reply,
)
from argosy.server.manage.problems import Refusal
from argosy.server.manage.router import Route, Router, Unrouted
from argosy.server.manage.services import Services
from argosy.server.manage.values import ProjectName

ADA = Principal(name="ada", kind="user", id=1)


class Thing(Struct, frozen=True, forbid_unknown_fields=True):
    name: ProjectName
    size: Annotated[int, Meta(ge=0, le=10)] = 0


class Filter(Paging, frozen=True, forbid_unknown_fields=True):
    flag: bool = False
    kind: list[Literal["a", "b"]] = msgspec.field(default_factory=list)


class Guarding:
    """Lets ada do what `allowed` says; others are nobody."""

    def __init__(self) -> None:
        self.allowed: set[str] = set()
        self.asked: list[Permission] = []

    def at_once(self, request: Request, need: Permission) -> Decision | None:
        return None

    async def decide(self, request: Request, need: Permission) -> Decision:
        self.asked.append(need)
        who = request.headers.get("authorization")
        if who == "ada" and (need.resource.value in self.allowed or need == ANYONE):
            return Allow(ADA)
        principal = ADA if who == "ada" else ANONYMOUS
        return Deny(
            principal=principal,
            missing=need,
            reason="no " + need.resource.value,
            known=who == "ada",
            invalid=who == "mallory",
        )

    async def may(self, request: Request, need: Permission) -> bool:
        return isinstance(await self.decide(request, need), Allow)

    async def visible(self, request: Request) -> Visible:
        return EVERYTHING

    def refusal(self, request: Request, decision: Decision) -> Response:
        raise AssertionError("the API refuses in its own format")


class Shop:
    """Operations over one thing, counted."""

    def __init__(self) -> None:
        self.made = 0
        self.version = 1
        self.text = "x"
        self.failure: Exception | None = None

    async def get(self, call: Call[Any, Any]) -> Reply:
        if self.failure:
            raise self.failure
        return Reply(
            value={"text": self.text, "who": call.principal.name}, etag=f'"t.{self.version}"'
        )

    async def listed(self, call: Call[Filter, Nothing]) -> Reply:
        start = int(call.query.after or 0)
        items = list(range(start + 1, start + 1 + call.query.limit))
        return Reply(value=Page(items=items, next=str(items[-1]) if items[-1] < 10 else None))

    async def post(self, call: Call[Nothing, Thing]) -> Reply:
        if self.failure:
            raise self.failure
        self.made += 1
        return Reply(value={"made": self.made, "secret": "s3cret"}, location="/there", secret=True)

    async def patch(self, call: Call[Nothing, Thing]) -> Reply:
        call.expected.check(f'"t.{self.version}"')
        self.version += 1
        return Reply(value={}, etag=f'"t.{self.version}"')

    async def delete(self, call: Call[Nothing, Nothing]) -> Reply:
        return Reply()

    async def stream(self, call: Call[Nothing, Nothing]) -> Reply:
        async def lines() -> AsyncIterator[bytes]:
            yield b"{}\n"

        return Reply(stream=lines())

    def operations(self) -> list[Operation]:
        need = (Resource.PROJECT, Action.READ)

        def one(name: str, method: str, path: str, handler: Any, **more: Any) -> Operation:
            more = {"need": need, "answer": dict, **more}
            return Operation(
                id=name, group="g", method=method, path=path, summary="s", handler=handler, **more
            )

        return [
            one("get", "GET", "/projects/{project}", self.get),
            one("list", "GET", "/projects", self.listed, query=Filter, need=PUBLIC),
            one("me", "GET", "/me", self.get, need=IDENTIFIED),
            one("post", "POST", "/projects", self.post, body=Thing, status=201),
            one("patch", "PATCH", "/projects/{project}", self.patch, body=Thing, guarded=True),
            one("delete", "DELETE", "/projects/{project}", self.delete, answer=None),
            one("lines", "GET", "/lines", self.stream, media_type="application/jsonl", need=PUBLIC),
        ]


@pytest.fixture
async def shop(tmp_path: Path) -> AsyncIterator[Any]:
    """The shop behind the API, and a function that asks."""
    shop, guard = Shop(), Guarding()
    guard.allowed = {"project"}
    async with open_catalog(str(tmp_path / "c.db")) as catalog:
        api = Manage(shop.operations(), guard, Services(catalog=catalog))

        async def ask(method: str, path: str, body: Any = None, /, **headers: str) -> Any:
            raw = (
                body
                if isinstance(body, bytes)
                else b""
                if body is None
                else json.dumps(body).encode()
            )
            fields = {"authorization": "ada", "host": "here"}
            if body is not None:
                fields["content-type"] = "application/json"
            fields |= {k.replace("_", "-"): v for k, v in headers.items()}
            return await api(
                Request(
                    method,
                    f"/api/v1{path}",
                    headers=Headers([(k, v) for k, v in fields.items() if v]),
                    body=MemoryBody(raw),
                )
            )

        shop.ask, shop.guard, shop.catalog = ask, guard, catalog
        yield shop


def header(response: Response, name: str) -> str | None:
    found = [value for key, value in response.headers if key.lower() == name.lower()]
    assert len(found) <= 1, f"{name} twice"
    return found[0] if found else None


def problem(response: Response) -> Any:
    assert header(response, "content-type") == "application/problem+json"
    found = json.loads(response.body)  # type: ignore[arg-type]
    assert found["status"] == response.status
    assert found["type"] == f"urn:argosy:problem:{found['code']}"
    assert found["request"]
    return found


async def test_a_value_comes_with_its_etag_and_is_not_sent_twice(shop: Any) -> None:
    first = await shop.ask("GET", "/projects/team")
    assert (first.status, header(first, "etag")) == (200, '"t.1"')
    again = await shop.ask("GET", "/projects/team", if_none_match='W/"x", "t.1"')
    assert (again.status, again.body) == (304, b"")
    assert (await shop.ask("GET", "/projects/team", if_none_match='"t.0"')).status == 200


async def test_a_change_needs_the_etag_of_what_was_read(shop: Any) -> None:
    body = {"name": "a"}
    assert (
        problem(await shop.ask("PATCH", "/projects/team", body))["code"] == "precondition-required"
    )
    done = await shop.ask("PATCH", "/projects/team", body, if_match='"t.1"')
    assert (done.status, header(done, "etag")) == (200, '"t.2"')
    late = await shop.ask("PATCH", "/projects/team", body, if_match='"t.1"')
    assert problem(late)["code"] == "changed-meanwhile"
    assert header(late, "etag") == '"t.2"'
    assert (await shop.ask("PATCH", "/projects/team", body, if_match="*")).status == 200
    assert shop.version == 3


async def test_the_etag_of_a_compressed_answer_is_taken_back(shop: Any) -> None:
    shop.text = "x" * 5000
    sent = await shop.ask("GET", "/projects/team", accept_encoding="br;q=1, gzip;q=0.5")
    assert header(sent, "content-encoding") == "gzip"
    assert json.loads(gzip.decompress(sent.body))["text"] == shop.text
    tag = header(sent, "etag")
    assert tag == '"t.1-gzip"'
    assert (await shop.ask("GET", "/projects/team", if_none_match=tag)).status == 304
    assert (await shop.ask("PATCH", "/projects/team", {"name": "a"}, if_match=tag)).status == 200


@pytest.mark.parametrize("field", ["", "gzip;q=0", "identity", "br"])
async def test_nothing_is_compressed_that_was_not_asked_for(shop: Any, field: str) -> None:
    shop.text = "x" * 5000
    sent = await shop.ask("GET", "/projects/team", accept_encoding=field)
    assert header(sent, "content-encoding") is None
    assert header(sent, "vary") == "Accept-Encoding"


@pytest.mark.parametrize(
    ("body", "field", "words"),
    [
        ({"name": 1}, "name", "Expected str"),
        ({}, "name", "it is missing"),
        ({"name": "a", "other": 1}, "other", "there is no such field"),
        ({"name": "a", "size": 11}, "size", "it has to be at most 10"),
        ({"name": "A"}, "name", "it has to be lower-case letters and digits"),
        ({"name": "a\n"}, "name", "it has to be lower-case letters and digits"),
        ([], "", "Expected object"),
    ],
)
async def test_a_wrong_body_is_refused_by_field(
    shop: Any, body: Any, field: str, words: str
) -> None:
    said = problem(await shop.ask("POST", "/projects", body))
    assert (said["status"], said["code"]) == (400, "invalid")
    assert [e["field"] for e in said["errors"]] == [field]
    assert words in said["errors"][0]["detail"]
    assert shop.made == 0


@pytest.mark.parametrize(
    "raw", [b"", b"{", b'{"name":"\xff"}', b'{"name":"\\ud800"}', b"[" * 100_000, b"null x"]
)
async def test_what_is_no_json_is_refused(shop: Any, raw: bytes) -> None:
    assert problem(await shop.ask("POST", "/projects", raw))["status"] == 400


@given(raw=st.binary(max_size=60) | st.text(max_size=30).map(str.encode))
def test_no_body_makes_the_server_fail(raw: bytes) -> None:
    try:
        found = reading.decoded(raw, Thing)
    except Refusal as e:
        status = e.status
    else:
        assert isinstance(found, Thing)
        status = 400
    assert status == 400


@pytest.mark.parametrize(
    ("raw", "size"),
    [
        (b"7", 7),
        (b"7.0", 7),
        (b"1e0", 1),
        (b"7.5", None),
        (b"1e400", None),
        (b'"7"', None),
        (b"true", None),
        (b"-0.0", 0),
    ],
)
def test_a_whole_number_may_be_written_with_a_point(raw: bytes, size: int | None) -> None:
    body = b'{"name":"a","size":' + raw + b"}"
    if size is None:
        with pytest.raises(Refusal, match="size"):
            reading.decoded(body, Thing)
    else:
        assert reading.decoded(body, Thing).size == size


async def test_only_json_is_taken_and_given(shop: Any) -> None:
    said = await shop.ask("POST", "/projects", {"name": "a"}, content_type="text/plain")
    assert problem(said)["status"] == 415
    assert header(said, "accept-post") == "application/json"
    for kind in ("application/json; charset=utf-8", "application/merge-patch+json"):
        assert (await shop.ask("POST", "/projects", {"name": "a"}, content_type=kind)).status == 201
    for kind in ("text/html", "application/json;q=0", "image/*"):
        assert problem(await shop.ask("GET", "/projects/team", accept=kind))["status"] == 406
    for kind in ("*/*", "text/html, application/*;q=0.1", "application/problem+json"):
        assert (await shop.ask("GET", "/projects/team", accept=kind)).status == 200


@pytest.mark.parametrize("field", ["accept", "accept_encoding"])
@pytest.mark.parametrize("filling", ["x/y,{},", "gzip;{};q=0;{}", ";{}q=0{}", "x{}y"])
async def test_a_field_of_what_a_client_takes_costs_no_more_than_its_length(
    shop: Any, field: str, filling: str
) -> None:
    """Read with care: nobody needs a name to send one, and the loop stands still meanwhile."""
    hostile = filling.replace("{}", " " * 30_000)
    began = time.perf_counter()
    await shop.ask("GET", "/projects/team", **{field: hostile})
    assert time.perf_counter() - began < 2


async def test_a_body_that_is_too_long_is_refused(shop: Any) -> None:
    said = await shop.ask("POST", "/projects", b'{"name":"' + b"a" * (256 << 10) + b'"}')
    assert problem(said)["status"] == 413


async def test_a_body_nobody_wants_is_refused(shop: Any) -> None:
    assert problem(await shop.ask("DELETE", "/projects/team", {"a": 1}))["status"] == 400
    assert (await shop.ask("DELETE", "/projects/team", {})).status == 204


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("limit=0", "limit"),
        ("limit=1001", "limit"),
        ("limit=1e2", "limit"),
        ("limit=1&limit=2", "limit"),
        ("limit=99999999999999999999999999", "limit"),
        ("flag=1", "flag"),
        ("flag=", "flag"),
        ("kind=c", "kind[0]"),
        ("Limit=1", "Limit"),
        ("nope", "nope"),
        ("limit=%ff", "query"),
        ("after=" + "x" * 513, "after"),
    ],
)
async def test_a_wrong_query_is_refused_by_field(shop: Any, query: str, field: str) -> None:
    said = problem(await shop.ask("GET", f"/projects?{query}"))
    assert (said["status"], said["errors"][0]["field"]) == (400, field)


async def test_pages_are_linked(shop: Any) -> None:
    sent = await shop.ask("GET", "/projects?kind=a&limit=5&kind=b&flag=true")
    assert json.loads(sent.body) == {"items": [1, 2, 3, 4, 5], "next": "5"}
    link = header(sent, "link")
    assert link == '</api/v1/projects?kind=a&limit=5&kind=b&flag=true&after=5>; rel="next"'
    last = await shop.ask("GET", link[len("</api/v1") : link.index(">")])
    assert json.loads(last.body) == {"items": [6, 7, 8, 9, 10], "next": None}
    assert header(last, "link") is None


async def test_who_may_not_is_told_what_is_missing_before_anything_is_read(shop: Any) -> None:
    shop.guard.allowed = set()
    denied = await shop.ask("POST", "/projects", b"no json", content_type="text/plain")
    assert problem(denied)["detail"] == "no project"
    assert denied.status == 403
    for who in ("mallory", ""):
        refused = await shop.ask("GET", "/projects/team", authorization=who)
        assert refused.status == 401
        assert header(refused, "www-authenticate") == 'Basic realm="argosy", charset="UTF-8"'
    assert shop.made == 0


async def test_the_guard_is_asked_about_what_the_path_names(shop: Any) -> None:
    await shop.ask("GET", "/projects/team")
    assert shop.guard.asked == [Permission(Resource.PROJECT, Action.READ, "team")]


async def test_an_identified_operation_asks_for_no_permission_but_for_a_name(shop: Any) -> None:
    shop.guard.allowed = set()
    mine = await shop.ask("GET", "/me")
    assert json.loads(mine.body)["who"] == "ada"
    assert (await shop.ask("GET", "/me", authorization="")).status == 401
    assert (await shop.ask("GET", "/me", authorization="mallory")).status == 401


async def test_a_path_without_operation_says_so(shop: Any) -> None:
    assert problem(await shop.ask("GET", "/nothing"))["code"] == "no-such-path"
    said = await shop.ask("PUT", "/projects/team", {})
    assert problem(said)["status"] == 405
    assert header(said, "allow") == "DELETE, GET, HEAD, OPTIONS, PATCH"
    options = await shop.ask("OPTIONS", "/projects/team", authorization="")
    assert (options.status, header(options, "allow")) == (204, "DELETE, GET, HEAD, OPTIONS, PATCH")
    assert header(options, "access-control-allow-origin") is None
    assert (await shop.ask("HEAD", "/projects/team")).status == 200


@pytest.mark.parametrize(
    "path",
    [
        "/projects/",
        "/projects//",
        "//projects",
        "/projects/team/",
        "/projects/../me",
        "/projects/team/x",
        "/Projects",
    ],
)
async def test_no_path_is_guessed(shop: Any, path: str) -> None:
    assert problem(await shop.ask("GET", path))["code"] == "no-such-path"


@pytest.mark.parametrize(
    "name", ["..", ".", "%2e%2e", "a%2Fb", "a%252Fb", "a%00", "%ff", "A", "a%0a", "a" * 200, "%20a"]
)
async def test_a_name_that_cannot_be_is_refused(shop: Any, name: str) -> None:
    assert problem(await shop.ask("GET", f"/projects/{name}"))["status"] == 400


async def test_errors_of_the_library_have_their_status(shop: Any) -> None:
    shop.failure = NotFound("no project team", remedy="make it")
    said = problem(await shop.ask("GET", "/projects/team"))
    assert (said["status"], said["code"], said["remedy"]) == (404, "not-found", "make it")
    shop.failure = StorageError("the catalog's database failed")
    sent = await shop.ask("GET", "/projects/team")
    assert (sent.status, header(sent, "retry-after")) == (503, "1")


async def test_a_bug_tells_clients_nothing_but_the_request(
    shop: Any, caplog: pytest.LogCaptureFixture
) -> None:
    shop.failure = RuntimeError("secret words")
    sent = await shop.ask("GET", "/projects/team")
    assert problem(sent)["status"] == 500
    assert b"secret words" not in sent.body
    assert problem(sent)["request"] in caplog.text


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"sec_fetch_site": "cross-site"}, 403),
        ({"sec_fetch_site": "same-site"}, 403),
        ({"sec_fetch_site": "same-origin"}, 201),
        ({"sec_fetch_site": "none"}, 201),
        ({"origin": "https://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"origin": "http://[bad"}, 403),
        ({"origin": "https://here"}, 201),
        ({"cookie": "argosy=1", "authorization": ""}, 403),
        ({"cookie": "argosy=1"}, 201),
    ],
)
async def test_other_sites_change_nothing(shop: Any, fields: dict[str, str], status: int) -> None:
    assert (await shop.ask("POST", "/projects", {"name": "a"}, **fields)).status == status
    assert shop.made == (status == 201)


async def test_a_session_may_change_things_with_the_header(shop: Any) -> None:
    # Nobody is logged in here by the cookie: past the check, the guard says so.
    sent = await shop.ask(
        "POST", "/projects", {"name": "a"}, cookie="a=1", authorization="", x_argosy_request="1"
    )
    assert sent.status == 401


KEY = "0f8fad5b-d9cb-469f-a165-70867728950e"


async def test_a_request_sent_twice_counts_once(shop: Any) -> None:
    first = await shop.ask("POST", "/projects", {"name": "a"}, idempotency_key=KEY)
    again = await shop.ask("POST", "/projects", {"name": "a"}, idempotency_key=KEY)
    assert (first.status, first.body) == (again.status, again.body)
    assert header(again, "idempotent-replayed") == "true"
    assert header(again, "location") == "/there"
    assert shop.made == 1
    other = await shop.ask("POST", "/projects", {"name": "b"}, idempotency_key=KEY)
    assert problem(other)["status"] == 422
    assert (
        await shop.ask("POST", "/projects", {"name": "b"}, idempotency_key="x" + KEY)
    ).status == 201
    assert shop.made == 2


async def test_the_same_request_at_the_same_time_is_worked_on_once(shop: Any) -> None:
    asked = [shop.ask("POST", "/projects", {"name": "a"}, idempotency_key=KEY) for _ in range(8)]
    statuses = [sent.status for sent in await asyncio.gather(*asked)]
    assert shop.made == 1
    assert set(statuses) <= {201, 409}


async def test_a_failure_is_not_remembered(shop: Any) -> None:
    shop.failure = NotFound("no")
    assert (await shop.ask("POST", "/projects", {"name": "a"}, idempotency_key=KEY)).status == 404
    shop.failure = None
    assert (await shop.ask("POST", "/projects", {"name": "a"}, idempotency_key=KEY)).status == 201


async def test_the_key_of_another_principal_is_another_key(shop: Any, tmp_path: Path) -> None:
    await shop.ask("POST", "/projects", {"name": "a"}, idempotency_key=KEY)
    bob = Principal(name="bob", kind="user", id=2)
    turn = idempotency.Turn(shop.catalog.database, bob, KEY)
    assert await turn.begin(Request("POST", "/api/v1/projects"), b"") is None


async def test_no_secret_of_a_kept_answer_is_in_the_database(shop: Any, tmp_path: Path) -> None:
    await shop.ask("POST", "/projects", {"name": "a"}, idempotency_key=KEY)
    kept = b"".join(p.read_bytes() for p in tmp_path.glob("c.db*"))
    assert b"s3cret" not in kept
    assert KEY.encode() not in kept


@pytest.mark.parametrize("key", ["short", "x" * 256, "ä" * 20])
async def test_a_key_has_to_be_long_enough_to_be_random(shop: Any, key: str) -> None:
    sent = await shop.ask("POST", "/projects", {"name": "a"}, idempotency_key=key)
    assert problem(sent)["errors"][0]["field"] == "Idempotency-Key"


async def test_secrets_are_not_kept_on_the_way(shop: Any) -> None:
    sent = await shop.ask("POST", "/projects", {"name": "a"}, accept_encoding="gzip")
    assert header(sent, "cache-control") == "no-store"
    assert header(sent, "content-encoding") is None


async def test_a_stream_is_sent_as_it_comes(shop: Any) -> None:
    sent = await shop.ask("GET", "/lines", accept="application/jsonl")
    assert header(sent, "content-type") == "application/jsonl"
    assert b"".join([piece async for piece in sent.body]) == b"{}\n"


@given(st.lists(st.sampled_from(["projects", "{project}", "x", "tags"]), min_size=1, max_size=4))
def test_every_operation_is_found_by_its_own_path(parts: list[str]) -> None:
    operation = Operation(
        id="o",
        group="g",
        method="GET",
        path="/" + "/".join(parts),
        summary="s",
        need=PUBLIC,
        handler=Shop().get,
    )
    found = Router([operation]).find(
        "GET", "/" + "/".join(p.replace("{project}", "a%2Fb") for p in parts)
    )
    assert isinstance(found, Route)
    assert found.names == ({"project": "a/b"} if "{project}" in parts else {})


@given(st.text(max_size=40))
def test_no_path_makes_the_router_fail(path: str) -> None:
    router = Router(Shop().operations())
    try:
        found = router.find("GET", "/" + path)
    except UnicodeDecodeError:
        return
    assert isinstance(found, Route | Unrouted)
