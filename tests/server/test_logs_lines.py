"""The log: one event is one line, whatever a client sends, and it never slows the server."""

import contextlib
import json
import logging
import os
import re
import threading
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from argosy.meters import declared as meters
from argosy.server.http.messages import Headers, Request
from argosy.server.observing.log_lines import as_json, as_text, stamp
from argosy.server.observing.log_writer import LogWriter
from argosy.server.observing.logs import AccessLog, LogOptions, logging_to, serving
from tests.server.http_serving import Raw
from tests.server.http_serving import serving as http_serving

NASTY = st.text() | st.sampled_from(
    [
        "a\nlevel=error",
        "\r\n",
        "\x1b[31m",
        "\x9b2J",
        "\u202eabc",
        "\ud800",
        'x" level="error',
        "\\",
        "\u2028",
        "\x00",
    ]
)


class Pipe:
    """A log's reader."""

    def __init__(self) -> None:
        self.reading, self.writing = os.pipe()

    def lines(self) -> list[str]:
        os.close(self.writing)
        with os.fdopen(self.reading, "rb") as file:
            return file.read().decode().split("\n")[:-1]


def request(target: str = "/v2/team/app/manifests/v1", **headers: str) -> Request:
    fields = Headers((name.replace("_", "-"), value) for name, value in headers.items())
    made = Request("GET", target, headers=fields, peer="10.0.0.1:5")
    made.route, made.repository = "manifests", "team/app"
    return made


def logged(options: LogOptions, act: Any) -> list[str]:
    pipe = Pipe()
    with logging_to(pipe.writing, options) as access:
        act(access)
    return pipe.lines()


@given(NASTY, NASTY)
@example("x\nlevel=error request=forged", "y")
def test_what_a_client_sent_stays_in_its_field_on_its_line(first: str, second: str) -> None:
    fields = {"level": "info", "path": first, "agent": second, "exception": f"{first}\n{second}"}
    line = as_json(fields)
    assert line.count(b"\n") == 1
    found = json.loads(line)
    assert set(found) == set(fields)
    assert all(value.isprintable() for value in found.values())
    text = as_text(fields).decode()
    assert all(part.isprintable() for part in text.split("\n"))
    head, *rest = text.rstrip("\n").split("\n")
    assert all(part.startswith("  | ") for part in rest)
    pairs = re.findall(r'(\w+)=("(?:[^"\\]|\\.)*"|[^\s"=]*)(?: |$)', head)
    assert [name for name, _ in pairs] == ["level", "path", "agent"]


def test_text_is_kept_as_it_is_where_it_can_be() -> None:
    assert as_text({"a": "plain", "b": "two words", "c": 1.5, "d": "Größe"}) == (
        'a=plain b="two words" c=1.5 d="Größe"\n'.encode()
    )
    assert json.loads(as_json({"a": "Größe"})) == {"a": "Größe"}


def test_times_are_in_utc_with_milliseconds() -> None:
    assert stamp(1_700_000_000.9996) == "2023-11-14T22:13:20.999Z"
    assert stamp(1_700_000_001.0) == "2023-11-14T22:13:21.000Z"


def test_an_answer_is_a_line_with_what_one_looks_for() -> None:
    asked = request(
        "/v2/team/app/manifests/v1?token=hush", user_agent="docker/1", x_request_id="me-1"
    )
    asked.headers  # noqa: B018
    asked.trace, asked.principal = "ab" * 16, SimpleNamespace(name="alice", secret="hush")
    asked.body.received = 7  # type: ignore[misc]
    (line,) = logged(LogOptions(format="json"), lambda access: access.tell(asked, 201, 5, 0.25))
    found = json.loads(line)
    assert found.pop("time").endswith("Z")
    assert found == {
        "level": "info",
        "event": "request",
        "request": "me-1",
        "method": "GET",
        "path": "/v2/team/app/manifests/v1",
        "status": 201,
        "bytes": 5,
        "seconds": 0.25,
        "address": "10.0.0.1",
        "trace": "ab" * 16,
        "received": 7,
        "principal": "alice",
        "project": "team",
        "agent": "docker/1",
    }
    asked.body.received = 0  # type: ignore[misc]  # it is shared by all without a body


@pytest.mark.parametrize("form", ["text", "json"])
def test_no_secret_of_a_request_is_in_the_log(form: Any) -> None:
    asked = request(
        "/token?password=hush-1&refresh_token=hush-2",
        authorization="Basic aHVzaC0z",
        cookie="session=hush-4",
        proxy_authorization="hush-5",
    )

    def act(access: AccessLog) -> None:
        serving.set(asked)
        access.tell(asked, 500, 5, 0.25)
        logging.getLogger("argosy.server").error("it failed")
        serving.set(None)

    whole = "\n".join(logged(LogOptions(format=form), act))
    assert "hush" not in whole
    assert "aHVzaC0z" not in whole


@pytest.mark.parametrize(
    ("options", "statuses"),
    [
        (LogOptions(), [200, 401, 403, 404, 500]),
        (LogOptions(access="failed"), [403, 500]),
        (LogOptions(access="off"), []),
        (LogOptions(level="warning"), [403, 500]),
        (LogOptions(sample=0.0), [403, 500]),
    ],
    ids=["all", "failed", "off", "warning", "sampled out"],
)
def test_which_answers_get_a_line_is_a_setting(options: LogOptions, statuses: list[int]) -> None:
    def act(access: AccessLog) -> None:
        for status in (200, 401, 403, 404, 500):
            access.tell(request(), status, 0, 0.1)

    lines = logged(options, act)
    assert [int(re.findall(r"status=(\d+)", line)[0]) for line in lines] == statuses


def test_probes_get_a_line_only_when_they_fail() -> None:
    """Of three nodes behind a balancer they would be half a million lines a day."""

    def act(access: AccessLog) -> None:
        for target in ("/healthz", "/readyz"):
            access.tell(request(target), 200, 3, 0.001)
        access.tell(request("/readyz"), 503, 3, 0.001)

    (line,) = logged(LogOptions(), act)
    assert "status=503" in line


def test_a_sample_is_that_share_of_the_good_answers() -> None:
    def act(access: AccessLog) -> None:
        for _ in range(1000):
            access.tell(request(), 200, 0, 0.1)

    assert len(logged(LogOptions(sample=0.05), act)) in (49, 50)


def test_what_the_code_logs_carries_the_request_and_an_exception_forges_no_line() -> None:
    log = logging.getLogger("argosy.server.test")

    def act(_access: AccessLog) -> None:
        asked = request(x_request_id="r-7")
        asked.trace = "cd" * 16
        serving.set(asked)
        error = ValueError("boom\ntime=2020 level=info message=forged")
        log.error("an answer\nfailed for %s", "x", exc_info=error)
        serving.set(None)
        log.debug("not told")
        logging.getLogger("another.library").info("not told either")

    lines = logged(LogOptions(), act)
    assert 'message="an answer\\nfailed for x"' in lines[0]
    assert "request=r-7" in lines[0]
    assert f"trace={'cd' * 16}" in lines[0]
    assert all(line.startswith("  | ") for line in lines[1:])
    assert any("forged" in line for line in lines[1:])
    (line,) = logged(LogOptions(format="json"), act)
    found = json.loads(line)
    assert (found["level"], found["logger"]) == ("error", "argosy.server.test")
    assert "ValueError: boom" in found["exception"]


def test_a_reader_that_does_not_read_costs_lines_and_no_time() -> None:
    pipe = Pipe()
    before = meters.LOG_DROPPED.read().get((), [0.0])[0]
    with LogWriter(pipe.writing, lambda n: b"%d dropped\n" % n, most=200) as writer:
        began = time.monotonic()
        for number in range(5000):
            writer.put(b"%d %s\n" % (number, b"x" * 1000))
        assert time.monotonic() - began < 2.0
        assert len(writer._lines) <= 200
        dropped = meters.LOG_DROPPED.read()[()][0] - before
        assert dropped >= 5000 - 200 - 512
        found: list[str] = []
        reader = threading.Thread(target=lambda: found.extend(_until_end(pipe.reading)))
        reader.start()
    os.close(pipe.writing)
    reader.join()
    told = sum(int(line.split()[0]) for line in found if line.endswith(" dropped"))
    kept = [int(line.split()[0]) for line in found if not line.endswith(" dropped")]
    assert kept == sorted(kept)
    assert len(kept) + told == 5000
    assert told == dropped


def _until_end(fd: int) -> Iterator[str]:
    with os.fdopen(fd, "rb") as file:
        yield from file.read().decode().splitlines()


def test_the_end_of_the_server_does_not_wait_for_who_does_not_read() -> None:
    pipe = Pipe()
    began = time.monotonic()
    with LogWriter(pipe.writing, lambda n: b"") as writer:
        for _ in range(200):
            writer.put(b"x" * 4000)
    assert time.monotonic() - began < 10
    os.close(pipe.reading)  # its thread is let go
    writer._thread.join(10)
    assert not writer._thread.is_alive()
    os.close(pipe.writing)


def test_lines_come_out_in_order_and_whole_from_many_threads() -> None:
    pipe = Pipe()
    found: list[str] = []
    reader = threading.Thread(target=lambda: found.extend(_until_end(pipe.reading)))
    reader.start()
    with LogWriter(pipe.writing, lambda n: b"") as writer:

        def put(name: int) -> None:
            for number in range(500):
                writer.put(lambda number=number: b"%d %d\n" % (name, number))
                if number % 100 == 0:
                    time.sleep(0.01)

        threads = [threading.Thread(target=put, args=(name,)) for name in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    os.close(pipe.writing)
    reader.join()
    assert len(found) == 2000
    for name in range(4):
        mine = [int(line.split()[1]) for line in found if line.startswith(f"{name} ")]
        assert mine == list(range(500))


def test_the_loggers_are_as_before_afterwards() -> None:
    root = logging.getLogger()
    before = (list(root.handlers), logging.getLogger("argosy").level)
    with contextlib.suppress(KeyError):
        logged(LogOptions(level="debug"), lambda _access: {}["x"])
    assert (list(root.handlers), logging.getLogger("argosy").level) == before


async def echo_id(asked: Request) -> Any:
    from argosy.server.http.messages import Response

    return Response(200, (), asked.id.encode())


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("abc-123", True),
        ("A.b_c:d/e+f=@g", True),
        ("x" * 64, True),
        ("x" * 65, False),
        ("", False),
        ("-begins", False),
        ("a b", False),
        ("a\x9b[31m", False),
        ('a"b', False),
        ("a\tb", False),
    ],
)
def test_a_request_id_comes_back_if_it_is_harmless_and_is_ours_if_not(
    given: str, kept: bool
) -> None:
    with http_serving(echo_id, request_ids=True) as server, Raw(server.port) as client:
        client.get("/", f"X-Request-Id: {given}")
        first = client.answer()
        client.get("/", f"X-Request-Id: {given}")
        second = client.answer()
    assert first.headers["x-request-id"] == first.body.decode()
    assert (first.headers["x-request-id"] == given) is kept
    assert (second.headers["x-request-id"] == first.headers["x-request-id"]) is kept


def test_answers_carry_no_request_id_unless_asked_to() -> None:
    with http_serving(echo_id) as server, Raw(server.port) as client:
        client.get("/")
        assert "x-request-id" not in client.answer().headers
