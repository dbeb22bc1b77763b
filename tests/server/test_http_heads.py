"""Heads are read strictly, and never differently from what another reader would see."""

import httptools
import pytest
from hypothesis import given
from hypothesis import strategies as st

from argosy.server.http.heads import BadRequest, HeadReader


def read(text: str):
    return HeadReader().read(text.encode("latin-1"))


def status_of(text: str) -> int:
    with pytest.raises(BadRequest) as refused:
        read(text)
    return refused.value.status


def test_a_head_is_read_into_its_parts():
    head = read("PUT /v2/a?x=1 HTTP/1.1\r\nHost: h\r\nX-A:  b c \r\nContent-Length: 7\r\n\r\n")
    assert (head.method, head.target, head.minor) == ("PUT", "/v2/a?x=1", "1")
    assert head.fields.headers.pairs == (("host", "h"), ("x-a", "b c"), ("content-length", "7"))
    assert head.fields.length == 7
    assert not head.fields.chunked
    assert head.keeps_alive


@pytest.mark.parametrize(
    ("line", "fields", "keeps"),
    [
        ("GET / HTTP/1.1", "", True),
        ("GET / HTTP/1.1", "Connection: close\r\n", False),
        ("GET / HTTP/1.1", "Connection: keep-alive, Close\r\n", False),
        ("GET / HTTP/1.0", "", False),
        ("GET / HTTP/1.0", "Connection: Keep-Alive\r\n", True),
    ],
)
def test_keeping_the_connection_follows_version_and_field(line, fields, keeps):
    assert read(f"{line}\r\nHost: h\r\n{fields}\r\n").keeps_alive is keeps


SMUGGLING = {
    "length and chunked": "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n",
    "two lengths that differ": "Content-Length: 3\r\nContent-Length: 4\r\n",
    "two lengths that agree": "Content-Length: 3\r\nContent-Length: 3\r\n",
    "a list of lengths": "Content-Length: 3, 3\r\n",
    "a signed length": "Content-Length: +3\r\n",
    "a negative length": "Content-Length: -3\r\n",
    "a hexadecimal length": "Content-Length: 0x3\r\n",
    "an endless length": "Content-Length: 9999999999999999999\r\n",
    "an empty length": "Content-Length: \r\n",
    "a length with underscores": "Content-Length: 1_0\r\n",
    "a folded field": "X-A: b\r\n c\r\n",
    "a fold by tab": "X-A: b\r\n\tc\r\n",
    "a blank before the colon": "Content-Length : 3\r\n",
    "a field without colon": "Content-Length\r\n",
    "a field without name": ": 3\r\n",
    "a bare line feed": "X-A: b\nContent-Length: 3\r\n",
    "a bare carriage return": "X-A: b\rContent-Length: 3\r\n",
    "a zero byte": "X-A: b\0c\r\n",
    "a delete byte": "X-A: b\x7fc\r\n",
    "another coding": "Transfer-Encoding: gzip, chunked\r\n",
    "a quoted coding": 'Transfer-Encoding: "chunked"\r\n',
    "an unknown coding": "Transfer-Encoding: xchunked\r\n",
    "two codings": "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
    "a vertical tab in the coding": "Transfer-Encoding: \x0bchunked\r\n",
    "two hosts": "Host: a\r\n",
}


@pytest.mark.parametrize("fields", SMUGGLING.values(), ids=SMUGGLING)
def test_a_shape_that_two_readers_could_understand_differently_is_refused(fields):
    assert status_of(f"POST / HTTP/1.1\r\nHost: h\r\n{fields}\r\n") == 400


@pytest.mark.parametrize(
    ("line", "status"),
    [
        ("GET /", 400),
        ("GET  / HTTP/1.1", 400),
        ("GET / HTTP/1.1 ", 400),
        (" GET / HTTP/1.1", 400),
        ("GET /a b HTTP/1.1", 400),
        ("GET / http/1.1", 400),
        ("G@T / HTTP/1.1", 400),
        ("GET /\x01 HTTP/1.1", 400),
        ("GET / HTTP/2.0", 505),
        ("PRI * HTTP/2.0", 505),
        ("GET / HTTP/1.2", 505),
        ("GET /" + "a" * 20_000 + " HTTP/1.1", 414),
    ],
)
def test_a_bad_request_line_is_refused_with_its_status(line, status):
    assert status_of(f"{line}\r\nHost: h\r\n\r\n") == status


def test_http_1_1_needs_a_host_and_1_0_does_not():
    assert status_of("GET / HTTP/1.1\r\n\r\n") == 400
    assert read("GET / HTTP/1.0\r\n\r\n").target == "/"


def test_http_1_0_has_no_chunked_bodies():
    assert status_of("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n") == 400


def test_a_hostile_head_costs_no_more_than_its_length():
    blanks = " " * 30_000
    assert status_of(f"GET / HTTP/1.1\r\nHost: h\r\nX:{blanks}\0\r\n\r\n") == 400
    assert status_of(f"GET / HTTP/1.1\r\nHost: h\r\n{'a' * 30_000}\r\n\r\n") == 400


def test_remembered_fields_are_used_only_for_the_same_bytes():
    reader = HeadReader()
    first = reader.read(b"GET /a HTTP/1.1\r\nHost: h\r\nX: 1\r\n\r\n")
    same = reader.read(b"GET /b HTTP/1.1\r\nHost: h\r\nX: 1\r\n\r\n")
    other = reader.read(b"GET /b HTTP/1.1\r\nHost: h\r\nX: 2\r\n\r\n")
    assert first.fields is same.fields
    assert same.target == "/b"
    assert other.fields.headers.get("x") == "2"
    with pytest.raises(BadRequest):
        reader.read(b"GET / HTTP/1.1\r\nX: 2\r\n\r\n")


class _Oracle:
    def __init__(self):
        self.fields = []
        self.complete = False
        self.url = b""

    def on_url(self, url):
        self.url += url

    def on_header(self, name, value):
        self.fields.append((name.decode("latin-1").lower(), value.decode("latin-1")))

    def on_headers_complete(self):
        self.complete = True


_names = st.text("abcXYZ-_0 :\t", min_size=0, max_size=6) | st.sampled_from(
    ["Content-Length", "Transfer-Encoding", "Connection", "Expect"]
)
_values = st.text("ab1, \t\r\n\0\x7f\xe9", max_size=8) | st.sampled_from(["chunked", "3", "close"])
_lines = st.lists(st.tuples(_names, st.sampled_from([":", ": ", " :", ""]), _values), max_size=4)


@given(_lines, st.sampled_from(["GET", "POST", "PATCH"]), st.text("/ab%2?=é ", max_size=8))
def test_what_we_accept_llhttp_reads_the_same(lines, method, target):
    text = f"{method} /{target} HTTP/1.1\r\nHost: h\r\n"
    text += "".join(f"{n}{colon}{v}\r\n" for n, colon, v in lines) + "\r\n"
    data = text.encode("latin-1")
    if data.index(b"\r\n\r\n") + 4 != len(data):
        return  # the session cuts at the first blank line
    try:
        ours = HeadReader().read(data)
    except BadRequest:
        return
    oracle = _Oracle()
    httptools.HttpRequestParser(oracle).feed_data(data)
    assert oracle.complete
    # llhttp leaves the blanks after a value for its caller to take away (RFC 9110 §5.5: no part of it).
    found = tuple((name, value.strip(" \t")) for name, value in oracle.fields)
    assert found == ours.fields.headers.pairs
    assert oracle.url.decode("latin-1") == ours.target
