"""The end of a body is found exactly, however its bytes are cut up."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from argosy.server.http.framing import ChunkedFraming, LengthFraming
from argosy.server.http.heads import BadRequest


def decode(raw: bytes, cuts: list[int]) -> tuple[bytes, bytes, bool]:
    framing = ChunkedFraming()
    whole = b""
    edges = sorted({0, len(raw), *(c for c in cuts if c < len(raw))})
    rest = b""
    for start, end in itertools.pairwise(edges):
        if framing.done:
            rest += raw[start:end]
            continue
        view = memoryview(bytearray(raw[start:end]))
        whole += bytes(view[: framing.feed(view)])
    return whole, framing.rest + rest, framing.done


@given(
    st.lists(st.binary(min_size=1, max_size=200), max_size=8),
    st.lists(st.integers(1, 2000), max_size=30),
    st.binary(max_size=20),
    st.sampled_from([b"", b";a=b", b' ; x="y"']),
    st.sampled_from([b"", b"X-Sum: 1\r\n"]),
)
def test_chunks_come_out_whole_however_they_are_cut(chunks, cuts, after, extension, trailer):
    raw = b"".join(b"%x%b\r\n%b\r\n" % (len(c), extension, c) for c in chunks)
    raw += b"0\r\n" + trailer + b"\r\n" + after
    assert decode(raw, cuts) == (b"".join(chunks), after, True)


@given(st.binary(max_size=80), st.lists(st.integers(1, 80), max_size=10))
def test_any_bytes_are_decoded_or_refused_and_the_cuts_do_not_matter(raw, cuts):
    def outcome(cuts):
        try:
            return decode(raw, cuts)
        except BadRequest:
            return "refused"

    assert outcome(cuts) == outcome([])


@pytest.mark.parametrize(
    "raw",
    [
        b"-1\r\n",
        b"+5\r\nhello\r\n",
        b"0x5\r\nhello\r\n",
        b" 5\r\nhello\r\n",
        b"5 \r\nhello\r\n",
        b"5\nhello\r\n",
        b"g\r\n",
        b"\r\n",
        b"ffffffffffffffff\r\n",
        b"5\r\nhelloX\r\n0\r\n\r\n",
        b"5\r\nhello0\r\n\r\n",
        b"5;\x00\r\nhello\r\n",
        b"5;a\nb\r\nhello\r\n",
        b"0\r\nno trailer\r\n\r\n",
        b"0\r\n folded: x\r\n\r\n",
        b"5;" + b"a" * 2000 + b"\r\n",
        b"0\r\n" + b"X-A: " + b"b" * 900 + b"\r\n" + (b"X-B: " + b"b" * 900 + b"\r\n") * 10,
    ],
)
def test_broken_chunking_is_refused(raw):
    with pytest.raises(BadRequest):
        decode(raw, [])


def test_a_length_ends_after_exactly_that_many_bytes():
    framing = LengthFraming(5)
    assert framing.want() == 5
    assert framing.feed(memoryview(bytearray(b"abc"))) == 3
    assert not framing.done
    assert framing.feed(memoryview(bytearray(b"deNEXT"))) == 2
    assert framing.done
    assert framing.rest == b"NEXT"
