"""Frozen values: what dataclasses promise, at the price of the first instance."""

import dataclasses
import pickle
import threading
from collections.abc import Mapping
from dataclasses import field, replace
from typing import Any

import pytest

from argosy.values import frozen


@frozen(kw_only=True)
class Named:
    size: int
    names: tuple[str, ...] = ()
    more: Mapping[str, int] = field(default_factory=dict)


@frozen
class Point:
    x: int
    y: int = 2


def test_it_is_made_compared_shown_hashed_matched_and_replaced_as_a_dataclass() -> None:
    point = Point(1)
    assert (point, repr(point)) == (Point(1, 2), "Point(x=1, y=2)")
    assert len({Point(1), Point(1, 2), Point(x=1)}) == 1
    assert replace(point, y=5) == Point(1, 5)
    assert Point(1) != Point(2)
    match point:
        case Point(x, y):
            assert (x, y) == (1, 2)
    assert [f.name for f in dataclasses.fields(point)] == ["x", "y"]
    assert pickle.loads(pickle.dumps(point)) == point


def test_it_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Point(1).x = 3  # type: ignore[misc]
    with pytest.raises(dataclasses.FrozenInstanceError):
        del Point(1).y


def test_fields_are_asked_for_by_name_where_it_says_so() -> None:
    with pytest.raises(TypeError):
        Named(1)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="size"):
        Named()  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="other"):
        Named(size=1, other=2)  # type: ignore[call-arg]


def test_every_value_gets_a_default_of_its_own() -> None:
    assert Named(size=1).more == {}
    assert Named(size=1).more is not Named(size=1).more


def test_the_fields_of_a_base_come_first_even_if_no_base_was_ever_made() -> None:
    @frozen
    class Low:
        a: int

    @frozen
    class High(Low):
        b: int = 7

    assert repr(High(1)).endswith("High(a=1, b=7)")
    assert Low(3).a == 3

    class Plain(High):
        def total(self) -> int:
            return self.a + self.b

    assert Plain(1, 2).total() == 3


def test_what_it_checks_is_checked_at_the_first_one_too() -> None:
    @frozen
    class Positive:
        n: int

        def __post_init__(self) -> None:
            if self.n < 0:
                raise ValueError(self.n)

    with pytest.raises(ValueError, match="-1"):
        Positive(-1)
    assert Positive(1).n == 1


def test_values_without_equality_are_themselves() -> None:
    @frozen(eq=False)
    class Vertex:
        n: int

    one, other = Vertex(1), Vertex(1)
    assert one != other
    assert len({one, other}) == 2


def test_many_threads_may_make_the_first_one() -> None:
    for _ in range(50):

        @frozen
        class Fresh:
            n: int
            text: str = "x"

        made: list[object] = []
        begin = threading.Barrier(8)

        def make(cls: type = Fresh, begin: threading.Barrier = begin, made: list = made) -> None:  # type: ignore[type-arg]
            begin.wait()
            made.append(cls(1))

        threads = [threading.Thread(target=make) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert made == [Fresh(1)] * 8


def test_fields_that_do_not_count_or_are_not_shown_are_left_out() -> None:
    @frozen
    class Login:
        user: str
        password: str = field(repr=False)
        seen: int = field(default=0, compare=False)
        tags: list[str] = field(default_factory=list, hash=False)

    one, other = Login("a", "p", 1), Login("a", "p", 2)
    assert one == other
    assert hash(one) == hash(other)
    assert one != Login("a", "q")
    assert one != Login("a", "p", tags=["x"])
    assert repr(one).endswith("Login(user='a', seen=1, tags=[])")


def test_what_a_class_defines_itself_stands() -> None:
    @frozen
    class Loose:
        n: int

        def __eq__(self, other: object) -> bool:
            return isinstance(other, Loose)

        def __hash__(self) -> int:
            return 7

        def __repr__(self) -> str:
            return "loose"

    assert Loose(1) == Loose(2)
    assert (hash(Loose(1)), repr(Loose(1))) == (7, "loose")


def test_values_agree_with_dataclasses_on_equality_hash_and_repr() -> None:
    for names in ((), ("a",), ("a", "b")):
        space = {"__annotations__": dict.fromkeys(names, int), "__doc__": "x", "__qualname__": "V"}
        ours: Any = frozen(type("V", (), dict(space)))
        theirs: Any = dataclasses.dataclass(frozen=True)(type("V", (), dict(space)))
        values = range(len(names))
        assert hash(ours(*values)) == hash(theirs(*values))
        assert repr(ours(*values)) == repr(theirs(*values))
        assert (ours(*values) == ours(*values), ours(*values) == object()) == (True, False)


def test_a_value_that_holds_itself_can_be_shown() -> None:
    @frozen
    class Ring:
        held: list[object]

    ring = Ring([])
    ring.held.append(ring)
    assert repr(ring).endswith("Ring(held=[...])")
