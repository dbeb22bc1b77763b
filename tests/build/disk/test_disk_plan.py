"""Which items go: least recently used first, never what something stands on, caps to the byte."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from argosy.build.disk.items import Item
from argosy.build.disk.pruning import Disk, Request, plan

DISK = Disk(size=1000, free=400)
NOW = 10_000.0


def item(name, size=10, used=0.0, parents=(), **more):
    more = {"kind": "regular", "description": name, **more}
    return Item(id=name, size=size, used=used, parents=tuple(parents), **more)


def names(items, now=NOW, **request):
    return [i.id for i in plan(items, Request(**request), DISK, now)]


def test_without_caps_all_that_may_goes_the_least_recently_used_first():
    items = [item("new", used=9), item("old", used=1), item("busy", in_use=True)]
    assert names([*items, item("own", kind="internal", permanent=True)]) == ["old", "new"]


def test_internal_items_go_only_with_all():
    items = [item("digests", kind="source.local"), item("front", kind="frontend")]
    assert names(items) == []
    assert names(items, everything=True) == ["digests", "front"]


def test_a_cap_stops_as_soon_as_it_holds():
    items = [item(f"i{n}", used=n) for n in range(10)]
    assert names(items, most_used=75) == ["i0", "i1", "i2"]
    assert names(items, most_used=70) == ["i0", "i1", "i2"]
    assert names(items, most_used=100) == []
    assert names(items, most_used=20, reserved=90) == ["i0"]


def test_free_space_counts_what_is_missing_of_it():
    items = [item(f"i{n}", used=n) for n in range(10)]
    assert names(items, least_free=400) == []
    assert names(items, least_free=425) == ["i0", "i1", "i2"]


def test_what_was_used_lately_is_kept_even_above_a_cap():
    items = [item("old", used=NOW - 100), item("new", used=NOW - 10)]
    assert names(items, keep=50, most_used=1) == ["old"]


def test_a_parent_goes_after_its_children_and_stays_with_one():
    base = item("base", used=5)
    assert names([base, item("top", used=5, parents=["base"])]) == ["top", "base"]
    assert names([base, item("top", used=5, parents=["base"], in_use=True)]) == []
    only_base = {"wanted": lambda i: i.id == "base"}
    assert names([base, item("top", used=5, parents=["base"])], **only_base) == []


def test_layers_that_stand_on_one_another_in_turn_go_together():
    items = [item("a", parents=["b"]), item("b", parents=["a"])]
    assert sorted(names(items)) == ["a", "b"]


@st.composite
def worlds(draw):
    count = draw(st.integers(0, 12))
    items = []
    for n in range(count):
        parents = draw(st.lists(st.integers(0, n - 1), max_size=2, unique=True)) if n else []
        items.append(
            item(
                f"i{n}",
                size=draw(st.integers(0, 50)),
                used=float(draw(st.integers(0, 5))),
                parents=[f"i{p}" for p in parents],
                in_use=draw(st.booleans()) and draw(st.booleans()),
            )
        )
    return items


@given(worlds(), st.integers(0, 300))
def test_whatever_there_is_the_cap_holds_unless_what_is_used_is_more(items, cap):
    going = plan(items, Request(most_used=cap), DISK, NOW)
    gone = {i.id for i in going}
    left = [i for i in items if i.id not in gone]
    assert len(gone) == len(going)
    assert not any(i.in_use for i in going)
    assert not any(set(i.parents) & gone for i in left)  # nothing stands on what is gone
    pinned = {i.id for i in items if i.in_use}
    while more := {p for i in items if i.id in pinned for p in i.parents} - pinned:
        pinned |= more
    least = sum(i.size for i in items if i.id in pinned)
    if cap:
        assert sum(i.size for i in left) <= max(cap, least)
    else:
        assert {i.id for i in left} == pinned


@pytest.mark.parametrize("cap", [1, 500])
def test_ten_thousand_items_are_planned_at_once(cap):
    items = [item(f"i{n}", used=n, parents=[f"i{n - 1}"] if n % 50 else []) for n in range(10_000)]
    assert len(plan(items, Request(most_used=cap), DISK, NOW)) >= 9_900
