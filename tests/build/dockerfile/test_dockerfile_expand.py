"""Variables in words: tables of every form, properties, and bounds on time and size."""

import fnmatch
import time
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from argosy.build.dockerfile.expand import (
    MAX_VALUE,
    expand,
    expand_document,
    expand_words,
)
from argosy.build.dockerfile.source import Fault

ENV = {
    "x": "value",
    "empty": "",
    "path": "/usr/lib/libfoo.so.1",
    "two": "a b",
    "star": "a*b*c",
    "aba": "abracadabra",
    "1": "one",
}


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("", ""),
        ("plain", "plain"),
        ("$x", "value"),
        ("${x}", "value"),
        ("a$x.b", "avalue.b"),
        ("$xy", ""),
        ("${x}y", "valuey"),
        ("$1x", "onex"),
        ("$", "$"),
        ("a$", "a$"),
        ("$.", "$."),
        ("$unset", ""),
        ("'$x'", "$x"),
        ('"$x"', "value"),
        (r"\$x", "$x"),
        (r'"\$x"', "$x"),
        (r'"a\"b"', 'a"b'),
        (r'"a\b"', r"a\b"),
        (r"a\b", "ab"),
        (r"'a\b'", r"a\b"),
        ("a\\", "a"),
        ("'it'\"'\"'s'", "it's"),
        ("${x:-w}", "value"),
        ("${unset:-w}", "w"),
        ("${empty:-w}", "w"),
        ("${empty-w}", ""),
        ("${unset-w}", "w"),
        ("${x:+w}", "w"),
        ("${empty:+w}", ""),
        ("${empty+w}", "w"),
        ("${unset+w}", ""),
        ("${unset:-$x}", "value"),
        ("${unset:-${other:-${x}}}", "value"),
        ("${unset:-'}'}", "}"),
        ('${unset:-"a b"}', "a b"),
        (r"${unset:-\}}", "}"),
        ("${x:?no}", "value"),
        ("${empty?no}", ""),
        ("${path#*/}", "usr/lib/libfoo.so.1"),
        ("${path##*/}", "libfoo.so.1"),
        ("${path%.*}", "/usr/lib/libfoo.so"),
        ("${path%%.*}", "/usr/lib/libfoo"),
        ("${path#nothing}", "/usr/lib/libfoo.so.1"),
        ("${path#/usr}", "/lib/libfoo.so.1"),
        ("${path#????}", "/lib/libfoo.so.1"),
        ("${path%?}", "/usr/lib/libfoo.so."),
        (r"${star#a\*}", "b*c"),
        ("${star##*b}", "*c"),
        ("${aba/a/X}", "Xbracadabra"),
        ("${aba//a/X}", "XbrXcXdXbrX"),
        ("${aba/a*a/X}", "X"),
        ("${aba//a?/X}", "XrXXXra"),
        ("${aba//b*d/-}", "a-abra"),
        (r"${path//\//:}", ":usr:lib:libfoo.so.1"),
        ("${aba//z/X}", "abracadabra"),
        ("${aba//a/}", "brcdbr"),
        ("${aba/*/X}", "X"),
        ("${unset/a/b}", ""),
    ],
)
def test_a_form_of_substitution_gives(word: str, expected: str) -> None:
    assert expand(word, ENV) == expected


@pytest.mark.parametrize(
    "word",
    [
        "${",
        "${x",
        "${}",
        "${:}",
        "${{x}}",
        "${x:",
        "${x:-",
        "${x:z}",
        "${x!y}",
        "${x/a}",
        "${x/a/b",
        "'a",
        '"a',
        r"${x#\a}",
        "${unset?}",
        "${empty:?needed}",
        "${unset:?needed}",
    ],
)
def test_a_malformed_or_refused_word_is_a_fault(word: str) -> None:
    with pytest.raises(Fault):
        expand(word, ENV)


def test_a_required_variable_says_its_own_words_and_what_to_pass() -> None:
    with pytest.raises(Fault) as caught:
        expand("${VERSION:?which version?}", {})
    assert caught.value.summary == "VERSION: which version?"
    assert "--build-arg VERSION=" in caught.value.remedy


def test_a_backtick_escapes_where_the_directive_says_so() -> None:
    assert expand(r"c:\dir\`$x", ENV, "`") == r"c:\dir\$x"


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("a b", ["a", "b"]),
        ("$two", ["a", "b"]),
        ('"$two"', ["a b"]),
        ("x$two", ["xa", "b"]),
        ("${two}y z", ["a", "by", "z"]),
        (r"a\ b", ["a b"]),
        ("$unset", []),
        ("''", []),
    ],
)
def test_words_split_at_blanks_that_are_not_quoted(word: str, expected: list[str]) -> None:
    assert expand_words(word, ENV) == expected


def test_in_a_document_quotes_mean_nothing_and_variables_are_replaced() -> None:
    assert expand_document('it\'s "$x" \\$x\n', ENV) == 'it\'s "value" $x\n'


plain = st.text(st.characters(exclude_characters="$\\'\"`", exclude_categories=["Cs"]))


@given(plain)
def test_text_without_special_characters_is_kept(text: str) -> None:
    assert expand(text, ENV) == text
    assert expand_words(text, ENV) == text.split()


@given(st.text(st.characters(exclude_characters="'", exclude_categories=["Cs"])))
def test_single_quotes_keep_everything(text: str) -> None:
    assert expand(f"'{text}'", ENV) == text


@given(st.text(max_size=40), st.text("abc", max_size=20))
def test_any_word_is_expanded_or_a_fault(word: str, value: str) -> None:
    for text in (word, "${v" + word + "}", '"${v:-' + word + '}"'):
        with suppress(Fault):
            expand(text, {"v": value})
            expand_words(text, {"v": value})


globs = st.text("ab*?", max_size=6)
values = st.text("ab", max_size=9)


@given(globs, values)
def test_prefixes_and_suffixes_are_the_shortest_and_longest_a_shell_would_take(
    glob: str, value: str
) -> None:
    env = {"v": value}
    cuts = [n for n in range(len(value) + 1) if fnmatch.fnmatchcase(value[:n], glob)]
    ends = [n for n in range(len(value) + 1) if fnmatch.fnmatchcase(value[n:], glob)]
    if not glob.startswith(("#", "%")):
        assert expand("${v#" + glob + "}", env) == value[min(cuts, default=0) :]
        assert expand("${v##" + glob + "}", env) == value[max(cuts, default=0) :]
        assert expand("${v%" + glob + "}", env) == value[: max(ends, default=len(value))]
        assert expand("${v%%" + glob + "}", env) == value[: min(ends, default=len(value))]


@given(st.text("ab*?", min_size=1, max_size=5), values)
def test_a_replacement_takes_the_leftmost_longest_match(glob: str, value: str) -> None:
    spans = [
        (start, -end)
        for start in range(len(value) + 1)
        for end in range(start, len(value) + 1)
        if fnmatch.fnmatchcase(value[start:end], glob)
    ]
    start, end = min(spans, default=(0, 0))
    expected = value[:start] + "X" + value[-end:] if spans else value
    assert expand("${v/" + glob + "/X}", {"v": value}) == expected


def test_variables_cannot_grow_without_bound() -> None:
    env = {"v": "a" * (MAX_VALUE // 2)}
    assert len(expand("$v$v", env)) == MAX_VALUE
    with pytest.raises(Fault, match="longer"):
        expand("$v$v$v", env)
    with pytest.raises(Fault, match="longer"):
        expand("${v//a/$v}", env)


def test_nesting_is_bounded() -> None:
    with pytest.raises(Fault, match="nested"):
        expand("${a:-" * 10_000 + "}" * 10_000, {})


@pytest.mark.parametrize(
    "word",
    [
        "${v#" + "*a" * 500 + "b}",
        "${v//" + "*a?" * 500 + "b/x}",
        "${v%%" + "*?a" * 500 + "b}",
        "${v//a/bb}",
        "$v" * 2,
        "'" + "a" * 60_000 + "'",
        "\\a" * 30_000,
        "$a" * 30_000,
    ],
)
def test_no_word_takes_long(word: str) -> None:
    started = time.process_time()
    expand(word, {"v": "a" * 60_000})
    assert time.process_time() - started < 2
