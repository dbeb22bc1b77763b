"""Answers as bytes."""

from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from argosy.server.http.messages import Response
from argosy.server.http.rendering import Clock, declared_length, http_date, problem, render


@given(st.integers(0, 4_102_444_800))
def test_dates_are_what_the_standard_library_writes(second):
    assert http_date(second) == formatdate(second, usegmt=True)


def test_the_clock_has_the_date_as_a_whole_field():
    clock = Clock()
    assert clock.date.startswith(b"Date: ")
    assert clock.date.endswith(b" GMT\r\n")
    assert clock.date_and_end == clock.date + b"\r\n"


def test_framing_fields_of_a_handler_do_not_reach_the_client_twice():
    response = Response(
        200,
        [
            ("Content-Length", "99"),
            ("connection", "upgrade"),
            ("Transfer-Encoding", "x"),
            ("A", "b"),
        ],
        b"abc",
    )
    assert render(response) == b"HTTP/1.1 200 OK\r\nA: b\r\nContent-Length: 3\r\n"
    assert response.rendered == render(response)


def test_a_status_without_a_known_phrase_is_sent_all_the_same():
    assert render(Response(599)).startswith(b"HTTP/1.1 599 \r\n")


@given(st.lists(st.tuples(st.text(max_size=8), st.text(max_size=8)), max_size=4))
def test_no_field_can_forge_another(fields):
    try:
        head = render(Response(200, fields))
    except ValueError:
        return
    lines = head.decode("latin-1").split("\r\n")[1:-2]
    kept = [
        f
        for f in fields
        if f[0].lower() not in {"content-length", "date", "connection", "transfer-encoding"}
    ]
    assert lines == [f"{name}: {value}" for name, value in kept]


def test_the_length_a_stream_declares_is_found():
    assert declared_length(Response(200, [("content-LENGTH", "12")])) == 12
    assert declared_length(Response(200)) is None


def test_a_problem_has_the_shape_registry_clients_read():
    answer = problem(413, "too much", detail={"request": "x"})
    assert answer.status == 413
    assert (
        answer.body
        == b'{"errors": [{"code": "UNKNOWN", "message": "too much", "detail": {"request": "x"}}]}'
    )


@pytest.mark.parametrize("status", [204, 304])
def test_answers_without_content_get_no_length(status):
    assert b"Content-Length" not in render(Response(status))
