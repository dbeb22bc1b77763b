"""`argosy serve` with logs and traces on: one request, told the same everywhere."""

import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.serving import Client

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


@pytest.fixture
def collector() -> Iterator[tuple[str, list[Any]]]:
    """An OTLP receiver: its address, and the spans it got."""
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    got: list[Any] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                for scope in resource.scope_spans:
                    got.extend(scope.spans)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", got
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_push_is_one_request_in_the_answer_the_log_the_audit_log_and_the_trace(
    tmp_path: Path, collector: tuple[str, list[Any]]
) -> None:
    url, spans = collector
    environ = {
        **os.environ,
        "ARGOSY_LOG_LEVEL": "info",
        "ARGOSY_LOG_FORMAT": "json",
        "ARGOSY_TRACING_ENDPOINT": url,
        "ARGOSY_TRACING_SAMPLE": "0",  # only who asks for it is traced
    }
    words = ["-m", "argosy", "serve", "--listen", "127.0.0.1:0", "--data", str(tmp_path)]
    pipe = subprocess.PIPE
    with subprocess.Popen(
        [sys.executable, *words], stdout=pipe, stderr=pipe, text=True, env=environ
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        client = Client("127.0.0.1", int(re.findall(r":(\d+) ", process.stdout.readline())[0]))
        repo = client.at("team/app")
        repo.push_image("v1", "x")
        body = repo("GET", "manifests/v1").body
        put = repo(
            "PUT",
            "manifests/v2",
            body,
            {
                "Content-Type": "application/vnd.oci.image.manifest.v1+json",
                "traceparent": f"00-{TRACE}-00f067aa0ba902b7-01",
            },
        )
        assert put.status == 201
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=60)
        assert process.returncode == 0
    (line,) = [
        found
        for text in said.splitlines()
        if text.startswith("{") and (found := json.loads(text)).get("trace") == TRACE
    ]
    assert line["request"] == put["X-Request-Id"]
    assert (line["method"], line["status"], line["project"]) == ("PUT", 201, "team")
    with closing(sqlite3.connect(tmp_path / "argosy.db")) as conn:
        asked = (
            "SELECT resource, request FROM audit WHERE action = 'manifest.push' ORDER BY id DESC"
        )
        assert conn.execute(asked).fetchone() == ("team/app:v2", put["X-Request-Id"])
    assert {span.trace_id.hex() for span in spans} == {TRACE}
    server = next(span for span in spans if span.name == "PUT manifests")
    assert server.parent_span_id.hex() == "00f067aa0ba902b7"
    children = [span for span in spans if span.parent_span_id == server.span_id]
    assert "database.write" in {span.name for span in children}
