"""Patterns of names: what they fit, and that no pattern makes matching slow."""

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as some

from argosy.catalog.tagging.patterns import PatternInvalid, check, matches

FITS = [
    ("team/app", "team/app"),
    ("team/*", "team/app"),
    ("team/**", "team/app"),
    ("team/**", "team/a/b/c"),
    ("team/**", "team"),
    ("**", "team/app"),
    ("**", "a"),
    ("**/app", "app"),
    ("**/app", "a/b/app"),
    ("team/**/app", "team/app"),
    ("team/**/app", "team/a/b/app"),
    ("*/app", "team/app"),
    ("team/app-?", "team/app-1"),
    ("team/{app,web}", "team/web"),
    ("{team,open}/{a,b}*", "open/bc"),
    ("team/v[0-9]", "team/v3"),
    ("v[!0-9]*", "vx"),
]
MISSES = [
    ("team/app", "team/apps"),
    ("team/app", "teams/app"),
    ("team/*", "team/a/b"),
    ("team/*", "team"),
    ("*", "team/app"),
    ("team/?", "team/ab"),
    ("team/**", "teams/app"),
    ("team/{app,web}", "team/db"),
    ("team/v[!0-9]", "team/v3"),
    ("TEAM/app", "team/app"),
    ("team.app", "team/app"),
    ("team.app", "teamxapp"),
]


@pytest.mark.parametrize(("pattern", "name"), FITS)
def test_it_fits(pattern: str, name: str) -> None:
    assert matches(pattern, name)


@pytest.mark.parametrize(("pattern", "name"), MISSES)
def test_it_does_not_fit(pattern: str, name: str) -> None:
    assert not matches(pattern, name)


@pytest.mark.parametrize(
    "pattern",
    [
        "",
        "/",
        "a//b",
        "/a",
        "a/",
        "a**",
        "**a/b",
        "a/***",
        "{a",
        "a}",
        "{a,{b,c}}",
        "a" * 256,
        "a\nb",
        "{a,b}" * 7,
    ],
)
def test_what_cannot_be_read_is_refused_with_the_reason(pattern: str) -> None:
    with pytest.raises(PatternInvalid) as caught:
        check(pattern)
    assert caught.value.why
    assert caught.value.remedy


def test_a_few_braces_do_not_stand_for_more_patterns_than_there_is_memory() -> None:
    """Whoever may log in may write one, in the scopes of a token: it must not end the server."""
    for bomb in ("{a,b,c,d}" * 28, "*{a,aa,aaa}" * 20, "x/" + "{a,b}" * 40 + "}"):
        with pytest.raises(PatternInvalid, match="not a pattern") as caught:
            check(bomb)
        assert "more than 64" in caught.value.why
    assert matches("{a,b,c,d}{a,b,c,d}{a,b,c,d}", "abd")


def test_a_pattern_has_no_more_parts_than_can_be_tried_for_every_name() -> None:
    for long in ("/".join(["*"] * 127), "{a,b}{a,b}{a,b}{a,b}/*"):
        check(long)
    for longer in ("{a,b}/" * 6 + "*", "/".join(["**", "*"] * 40) + "/{a,b}"):
        with pytest.raises(PatternInvalid, match="not a pattern") as caught:
            check(longer)
        assert "128 parts" in caught.value.why


WORDS = some.text(some.sampled_from("abc/*?{},[]!-."), min_size=1, max_size=30)
NAMES = some.lists(
    some.text(some.sampled_from("abc-."), min_size=1, max_size=5), min_size=1, max_size=5
).map("/".join)


@given(WORDS, NAMES)
def test_every_pattern_is_read_or_refused(pattern: str, name: str) -> None:
    try:
        check(pattern)
    except PatternInvalid:
        return
    assert matches(pattern, name) in (True, False)


@given(NAMES)
def test_a_name_is_a_pattern_for_itself_and_everything_fits_two_stars(name: str) -> None:
    assert matches(name, name)
    assert matches("**", name)
    assert matches(f"{name}/**", name)
    assert matches(f"**/{name}", name)
    assert matches("*", name) == ("/" not in name)


@given(some.lists(some.sampled_from(["a", "b", "*", "**"]), min_size=1, max_size=6), NAMES)
def test_stars_mean_what_a_regular_expression_says(parts: list[str], name: str) -> None:
    text = "/".join(parts)
    regex = "".join({"*": "/[^/]+", "**": "(?:/[^/]+)*"}.get(part, f"/{part}") for part in parts)
    assert matches(text, name) == bool(re.fullmatch(regex, f"/{name}"))


@pytest.mark.parametrize(
    ("pattern", "name"),
    [
        ("*a" * 100 + "b", "a" * 255),
        ("**/*a*a*a*a*a*a*a*a*a*a*a*b/**", "/".join(["a" * 100, "a" * 100])),
        ("**/" * 80 + "b", "/".join("a" * 127)),
        ("{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}" + "*a" * 50 + "b", "a" * 255),
    ],
)
def test_no_pattern_makes_matching_slow(pattern: str, name: str) -> None:
    began = time.process_time()
    assert not matches(pattern, name)
    assert time.process_time() - began < 0.5


def test_what_does_not_fit_is_known_by_its_first_components() -> None:
    """Anybody may give a token such scopes, and ask for such repositories."""
    pattern = "*" + "{,a}" * 5 + "/b" * 3  # as many parts as a pattern may have
    began = time.process_time()
    assert not any(matches(pattern, "aaaaaaa" + "/a" * 60 + f"/c{n}") for n in range(300))
    assert time.process_time() - began < 0.5
