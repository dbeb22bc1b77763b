"""Byte ranges mean what RFC 9110 §14 says."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from argosy.server.http.ranges import ByteRange, RangeNotSatisfiable, parse_range


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (None, None),
        ("", None),
        ("bytes=0-0", ByteRange(0, 1)),
        ("bytes=0-9", ByteRange(0, 10)),
        ("Bytes = 2 - 4", ByteRange(2, 3)),
        ("bytes=5-", ByteRange(5, 5)),
        ("bytes=-3", ByteRange(7, 3)),
        ("bytes=-30", ByteRange(0, 10)),
        ("bytes=3-999", ByteRange(3, 7)),
        ("bytes=0-1,4-5", None),
        ("bytes=5-4", None),
        ("bytes=-", None),
        ("bytes=a-b", None),
        ("items=0-1", None),
        ("bytes=0-1x", None),
    ],
)
def test_a_range_field_is_read(header, expected):
    assert parse_range(header, 10) == expected


@pytest.mark.parametrize(
    ("header", "size"),
    [("bytes=10-", 10), ("bytes=99-100", 10), ("bytes=-0", 10), ("bytes=0-", 0), ("bytes=-1", 0)],
)
def test_a_range_outside_is_not_satisfiable_and_names_the_size(header, size):
    with pytest.raises(RangeNotSatisfiable) as outside:
        parse_range(header, size)
    assert outside.value.content_range == f"bytes */{size}"


@given(st.text("bytes=-0123456789, ", max_size=24), st.integers(0, 1000))
def test_any_field_is_ignored_refused_or_inside(text, size):
    try:
        found = parse_range(text, size)
    except RangeNotSatisfiable:
        return
    if found is not None:
        assert found.length > 0
        assert 0 <= found.start < found.start + found.length <= size


@given(st.integers(1, 10**6), st.data())
def test_a_range_selects_what_a_slice_would(size, data):
    start = data.draw(st.integers(0, size - 1))
    end = data.draw(st.integers(start, 2 * size))
    found = parse_range(f"bytes={start}-{end}", size)
    assert found is not None
    assert range(found.start, found.start + found.length) == range(size)[start : end + 1]
    last = min(end, size - 1)
    assert found.content_range(size) == f"bytes {start}-{last}/{size}"


@pytest.mark.parametrize(
    "field", ["bytes={}x", "bytes={}1{}x", "bytes{}=1-{}2{}x", "bytes=1{}-{}x", "bytes{}"]
)
def test_a_range_costs_no_more_than_its_length(field: str) -> None:
    began = time.perf_counter()
    assert parse_range(field.replace("{}", " " * 30_000), 10) is None
    assert time.perf_counter() - began < 1
