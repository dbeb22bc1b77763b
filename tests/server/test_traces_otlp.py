"""Traces: what a real OTLP receiver gets of requests, and what unsampled ones cost."""

import asyncio
import gzip
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from argosy import tracing
from argosy.errors import ConfigError, StorageError
from argosy.server.http.messages import Headers, Request, Response
from argosy.server.observing.observer import Observer
from argosy.server.observing.tracing import (
    Parent,
    Tracing,
    TracingOptions,
    traces_url,
    tracing_to,
)
from argosy.settings import Settings
from argosy.stores.remote.transport import Request as Upstream
from argosy.stores.remote.transport import Transport, Trust

pytestmark = pytest.mark.slow

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


class Collector:
    """Takes OTLP/HTTP and reads the protobuf it gets."""

    def __init__(self) -> None:
        self.spans: list[Any] = []
        self.resources: list[dict[str, str]] = []
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.headers.get("Content-Encoding") == "gzip":
                    body = gzip.decompress(body)
                collector.take(self.path, self.headers["Content-Type"], body)
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *args: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def take(self, path: str, kind: str, body: bytes) -> None:
        from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
            ExportTraceServiceRequest,
        )

        assert (path, kind) == ("/v1/traces", "application/x-protobuf")
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            self.resources.append(attributes(resource.resource))
            for scope in resource.scope_spans:
                self.spans += scope.spans

    def named(self, name: str) -> Any:
        (found,) = [span for span in self.spans if span.name == name]
        return found


def attributes(value: Any) -> dict[str, Any]:
    return {a.key: getattr(a.value, a.value.WhichOneof("value")) for a in value.attributes}


@pytest.fixture
def collector() -> Iterator[Collector]:
    made = Collector()
    thread = threading.Thread(target=made.server.serve_forever)
    thread.start()
    yield made
    made.server.shutdown()
    thread.join()
    made.server.server_close()


def request(**headers: str) -> Request:
    fields = Headers((name.replace("_", "-"), value) for name, value in headers.items())
    return Request("GET", "/v2/team/app/manifests/v1?x=secret", headers=fields, peer="10.1.2.3:99")


async def exchange(observer: Observer, asked: Request, status: int = 200) -> None:
    await observer(asked)
    observer.tell(asked, status, 5, 0.1)


async def test_a_request_is_a_span_with_children_for_what_it_waited_for(
    collector: Collector,
) -> None:
    seen: list[tuple[tuple[str, str], ...]] = []

    async def answer(asked: Request) -> Response:
        asked.route, asked.repository = "manifests", "team/app"
        with tracing.span("database.read", db_system="sqlite"):
            seen.append(tracing.headers())
        with pytest.raises(StorageError), tracing.span("s3.GetObject"):
            raise StorageError("it is a test")
        return Response(200)

    async with tracing_to(TracingOptions(endpoint=collector.url, service="reg")) as tracer:
        asked = request(traceparent=f"00-{TRACE}-{SPAN}-01", user_agent="docker/1")
        await exchange(Observer(answer, [], tracer=tracer), asked)
        assert asked.trace == TRACE
        tracing.current.set(None)
    server = collector.named("GET manifests")
    assert server.trace_id.hex() == TRACE
    assert server.parent_span_id.hex() == SPAN
    assert server.kind == 2
    said = attributes(server)
    assert said["http.response.status_code"] == 200
    assert said["http.route"] == "manifests"
    assert said["argosy.repository"] == "team/app"
    assert said["client.address"] == "10.1.2.3"
    assert said["url.path"] == "/v2/team/app/manifests/v1"
    assert "secret" not in str(collector.spans)
    read, stored = collector.named("database.read"), collector.named("s3.GetObject")
    for child in (read, stored):
        assert child.trace_id.hex() == TRACE
        assert child.parent_span_id == server.span_id
        assert child.start_time_unix_nano >= server.start_time_unix_nano
        assert child.end_time_unix_nano <= server.end_time_unix_nano
    assert attributes(read) == {"db.system": "sqlite"}
    assert (read.status.code, stored.status.code, stored.status.message) == (0, 2, "StorageError")
    # What an upstream is told: our trace, and the span that waits for it.
    assert seen == [(("traceparent", f"00-{TRACE}-{read.span_id.hex()}-01"),)]
    assert collector.resources[0]["service.name"] == "reg"


async def test_what_nobody_sampled_makes_no_span_but_its_trace_is_known(
    collector: Collector,
) -> None:
    inside: list[object] = []

    async def answer(asked: Request) -> Response:
        with tracing.span("database.read") as span:
            inside.append((span, tracing.headers()))
        return Response(200)

    async with tracing_to(TracingOptions(endpoint=collector.url, sample=0.0)) as tracer:
        observer = Observer(answer, [], tracer=tracer)
        asked = request(traceparent=f"00-{TRACE}-{SPAN}-00")
        await exchange(observer, asked)
        assert asked.trace == TRACE
        fresh = request()
        await exchange(observer, fresh)
        assert fresh.trace == ""
    assert collector.spans == []
    assert inside == [(None, ())] * 2


async def test_each_request_of_a_connection_has_a_trace_of_its_own(collector: Collector) -> None:
    async def answer(_asked: Request) -> Response:
        with tracing.span("database.read"):
            pass
        return Response(500)

    async with tracing_to(TracingOptions(endpoint=collector.url)) as tracer:
        observer = Observer(answer, [], tracer=tracer)
        asked = [request(), request()]
        for one in asked:  # in one task, as a session does
            await exchange(observer, one, status=500)
    assert asked[0].trace != asked[1].trace
    assert {span.trace_id.hex() for span in collector.spans} == {one.trace for one in asked}
    servers = [span for span in collector.spans if span.kind == 2]
    assert [span.parent_span_id for span in servers] == [b"", b""]
    assert [span.status.code for span in servers] == [2, 2]


async def test_a_collector_that_is_away_disturbs_nobody(caplog: pytest.LogCaptureFixture) -> None:
    async with tracing_to(TracingOptions(endpoint="http://127.0.0.1:1")) as tracer:
        assert isinstance(tracer, Tracing)
        tracer.begin(asked := request())
        tracer.end(asked, 200, 0)
        tracing.current.set(None)


async def test_without_an_endpoint_nothing_of_opentelemetry_is_needed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "opentelemetry.sdk.trace", None)
    async with tracing_to(TracingOptions(endpoint="")) as tracer:
        assert tracer is None
    with pytest.raises(ConfigError) as caught:
        async with tracing_to(TracingOptions(endpoint="http://127.0.0.1:4318")):
            pass
    assert "not installed" in caught.value.summary
    assert "argosy[telemetry]" in caught.value.remedy


@pytest.mark.parametrize(
    ("endpoint", "url"),
    [
        ("http://c:4318", "http://c:4318/v1/traces"),
        ("https://c/", "https://c/v1/traces"),
        ("https://c/otlp/v1/traces", "https://c/otlp/v1/traces"),
    ],
)
def test_the_address_of_a_collector_is_enough(endpoint: str, url: str) -> None:
    assert traces_url(endpoint) == url


@pytest.mark.parametrize("endpoint", ["collector:4318", "grpc://c", "file:///x", "http://"])
def test_what_is_no_address_is_refused(endpoint: str) -> None:
    with pytest.raises(ConfigError, match=r"tracing\.endpoint"):
        traces_url(endpoint)


@pytest.mark.parametrize(
    "field",
    [
        "", "00", f"00-{TRACE}-{SPAN}", f"00-{'0' * 32}-{SPAN}-01", f"00-{TRACE}-{'0' * 16}-01",
        f"ff-{TRACE}-{SPAN}-01", f"00-{TRACE.upper()}-{SPAN}-01", f"00-{TRACE}-{SPAN}-01-more",
        f"00-{TRACE}-{SPAN}-1", f"00-{TRACE[:-1]}-{SPAN}-01",
    ],
)  # fmt: skip
def test_a_traceparent_that_means_nothing_is_not_there(field: str) -> None:
    assert Parent.read(field) is None


def test_a_traceparent_of_a_later_version_is_understood() -> None:
    assert Parent.read(f"01-{TRACE}-{SPAN}-03-what-comes") == Parent(TRACE, SPAN, sampled=True)


@given(st.text(alphabet="0123456789abcdefx-", max_size=70))
def test_no_traceparent_raises(field: str) -> None:
    found = Parent.read(field)
    assert found is None or len(found.trace) == 32


async def test_calls_of_other_services_are_part_of_the_trace_and_say_so(
    collector: Collector,
) -> None:
    heads: list[str] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append((await reader.readuntil(b"\r\n\r\n")).decode())
        writer.write(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
        await writer.drain()
        writer.close()

    upstream = await asyncio.start_server(serve, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{upstream.sockets[0].getsockname()[1]}/x"
    transport = Transport(Settings(), lambda _url: Trust())

    async def answer(_asked: Request) -> Response:
        async with await transport.send(Upstream(method="GET", url=url)) as found:
            return Response(found.status)

    async with upstream:
        async with tracing_to(TracingOptions(endpoint=collector.url)) as tracer:
            asked = request(traceparent=f"00-{TRACE}-{SPAN}-01")
            await exchange(Observer(answer, [], tracer=tracer), asked, 204)
            unsampled = request(traceparent=f"00-{TRACE}-{SPAN}-00")
            await exchange(Observer(answer, [], tracer=tracer), unsampled, 204)
        await transport.close()
    call = collector.named("HTTP GET")
    assert call.parent_span_id == collector.named("GET nowhere").span_id
    assert f"traceparent: 00-{TRACE}-{call.span_id.hex()}-01" in heads[0].lower()
    assert "traceparent" not in heads[1].lower()
