"""--filter, durations, and amounts of disk: buildx's words."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from argosy.build.disk.filters import filters_of, moment
from argosy.build.disk.items import Item
from argosy.build.disk.space import Space
from argosy.errors import UsageError
from argosy.settings import duration

STEP = Item(
    id="abc", kind="regular", description="[2/3] RUN make", size=5, used=1000.0, parents=("xyz",)
)
MOUNT = Item(id="m", kind="exec.cachemount", description="cache mount /c", size=1, mutable=True)


@pytest.mark.parametrize(
    ("word", "step", "mount"),
    [
        ("id=abc", True, False),
        ("id!=abc", False, True),
        ("id~=^a.c$", True, False),
        ("parents=xyz", True, False),
        ("parents!=xyz", False, True),
        ("description~=RUN", True, False),
        ("type=exec.cachemount", False, True),
        ("type!=regular", False, True),
        ("type~=exec|reg", True, True),
        ("mutable", False, True),
        ("mutable=false", True, False),
        ("mutable!=true", True, False),
        ("immutable", True, False),
        ("inuse", False, False),
        ("inuse=false", True, True),
        ("shared", False, False),
        ("private=true", True, True),
        ("until=1s", True, True),
        ("until=2h", False, True),
    ],
)
def test_a_filter_means_these_items(word, step, mount):
    meant = filters_of([word], now=8000.0)
    assert (meant(STEP), meant(MOUNT)) == (step, mount)


def test_of_several_filters_all_must_hold():
    meant = filters_of(["type=regular", "description~=make"])
    assert meant(STEP)
    assert not filters_of(["type=regular", "mutable"])(STEP)
    assert filters_of([])(STEP)


@pytest.mark.parametrize(
    "word",
    ["", "=", "size>5", "nothing", "id", "until", "until~=1h", "until=soon", "inuse=perhaps",
     "inuse~=t", "id~=(", "type"],
)  # fmt: skip
def test_a_filter_that_cannot_be_read_is_told_with_what_can(word):
    with pytest.raises(UsageError) as told:
        filters_of([word])
    assert repr(word) in told.value.summary or "until=" in told.value.summary
    assert told.value.why


@given(st.text())
def test_any_text_is_a_filter_or_a_usage_error(text):
    with suppress(UsageError):
        assert filters_of([text])(STEP) in (True, False)


@given(st.integers(0, 99), st.integers(0, 59), st.integers(0, 59))
def test_durations_are_those_of_go(hours, minutes, secs):
    assert duration(f"{hours}h{minutes}m{secs}s") == hours * 3600 + minutes * 60 + secs


def test_times_may_be_durations_dates_or_unix_times():
    assert moment("1h", 5000.0) == 1400.0
    assert moment("2d", 200000.0) == 200000.0 - 172800
    assert moment("1970-01-01T00:20:00Z", 0) == 1200.0
    assert moment("1234567", 0) == 1234567.0
    assert (duration("1.5s"), duration("250ms"), duration("90")) == (1.5, 0.25, 90)


@pytest.mark.parametrize(
    ("text", "bytes_"),
    [("", 0), ("512", 512), ("1GB", 1 << 30), ("10%", 100), ("80%,500", 500), ("20%,500", 200)],
)
def test_space_is_bytes_or_a_part_of_the_disk_or_the_lesser(text, bytes_):
    assert Space.read(text).of(1000) == bytes_


@pytest.mark.parametrize("text", ["much", "101%", "-1", "5X", "%"])
def test_space_that_cannot_be_read_names_the_flag(text):
    with pytest.raises(UsageError, match="--max-used-space"):
        Space.parse("--max-used-space", text)
