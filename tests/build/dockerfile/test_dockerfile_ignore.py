"""What an ignore file leaves out: tables from the field, and a slow matcher as judge."""

import re
import time
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from argosy.build.dockerfile import ignore
from argosy.build.dockerfile.ignore import Matcher, parse, patterns
from argosy.build.dockerfile.source import Fault
from argosy.build.files import glob
from argosy.errors import DockerfileError


def ignores(lines: list[str], path: str) -> bool:
    return Matcher(patterns(lines)).ignores(path)


@pytest.mark.parametrize(
    ("pattern", "path", "expected"),
    [
        ("**", "a/b", True),
        ("**/", "a", True),
        ("**/**", "dir/file", True),
        ("dir/**", "dir/dir2/file", True),
        ("abc/**", "abc", False),
        ("**/dir", "dir", True),
        ("**/dir", "dir/file", True),
        ("**/dir2/*", "dir/dir2/file", True),
        ("**file", "dir/dir/file", True),
        ("**file", "afile", True),
        ("**/file", "afile", False),
        ("**/file*txt", "dir/dir/file.txt", True),
        ("**/**/*.txt", "file.txt", True),
        ("**/**/*.txt2", "dir/dir/file.txt", False),
        ("a**/*.txt", "a/dir/dir/file.txt", True),
        ("a/*.txt", "a/dir/file.txt", False),
        ("a/*.txt**", "a/file.txt", True),
        ("a[b-d]e", "ace", True),
        ("a[b-d]e", "ae", False),
        ("a[^b-d]e", "aze", True),
        (".*", ".foo", True),
        (".*", "foo", False),
        ("abc.def", "abcZdef", False),
        ("abc?def", "abcZdef", True),
        ("abc?def", "abc/def", False),
        ("**/.foo", "bar.foo", False),
        ("a.|)$(}+{bc", "a.|)$(}+{bc", True),
        (r"a\*b", "a*b", True),
        (r"a\*b", "ab", False),
        (r"[\]a]", "]", True),
        (r"[\-x]", "-", True),
        ("[a-ζ]*", "α", True),
        ("a???b", "a☺b", False),
        ("/foo", "foo", True),
        ("foo/", "foo/bar", True),
        ("./foo/../bar", "bar", True),
        ("../foo", "foo", False),
        (".", "anything", False),
        ("foo", "foobar", False),
        ("a*b*c*d*e*/f", "axbxcxdxexxx/f", True),
        ("a*b*c*d*e*/f", "axbxcxdxe/xxx/f", False),
        ("**/*a/**/b/**/c/**/d", "x/xa/y/b/c/z/d/below", True),
        ("**/*a/**/b/**/c/**/d", "x/xa/y/b/z/d", False),
    ],
)
def test_a_pattern_matches_as_in_the_field(pattern: str, path: str, expected: bool) -> None:
    assert ignores([pattern], path) is expected


@pytest.mark.parametrize(
    ("lines", "path", "expected"),
    [
        (["docs", "!docs/README.md"], "docs/README.md", False),
        (["docs", "!docs/README.md"], "docs/other", True),
        (["!docs/README.md", "docs"], "docs/README.md", True),
        (["**", "!util/web"], "util/web/foo", False),
        (["**", "!util/web", "util/web/foo"], "util/web/foo", True),
        (["*", "!src", "src/*.o"], "src/a.o", True),
        (["*", "!src", "src/*.o"], "src/a.c", False),
        (["a", "!a/b", "a/b/c", "!a/b/c/d"], "a/b/c/d/e", False),
    ],
)
def test_the_last_pattern_that_matches_decides(lines: list[str], path: str, expected: bool) -> None:
    assert ignores(lines, path) is expected


def test_an_ignore_file_has_comments_blank_lines_a_byte_order_mark_and_any_line_end() -> None:
    found = parse("\ufeff# no\r\n\r\n  a/ \r\n ! b/../c\n#x\n /d\n".encode())
    assert [(p.text, p.keeps, p.line) for p in found] == [
        ("a", False, 3),
        ("c", True, 4),
        ("d", False, 6),
    ]


def test_names_that_are_not_utf8_can_be_matched() -> None:
    path = b"caf\xe9/x".decode(errors="surrogateescape")
    assert Matcher(parse(b"caf\xe9\n")).ignores(path)


@pytest.mark.parametrize(
    "bad", ["[", "[]", "[^", "[-x]", "[x-]", "a[", "[a-b-c]", "\\", "!", "[z-a]"]
)
def test_a_malformed_pattern_is_refused_with_its_line(bad: str) -> None:
    with pytest.raises(DockerfileError) as caught:
        parse(f"ok\n{bad}\n".encode())
    assert caught.value.line == 2
    assert caught.value.file == ".dockerignore"


@pytest.mark.parametrize(
    ("lines", "directory", "skips"),
    [
        (["node_modules"], "node_modules", True),
        (["docs", "!docs/README.md"], "docs", False),
        (["docs", "!docs/README.md"], "docs/deep", True),
        (["*", "!src/**/*.py"], "vendor", True),
        (["*", "!src/**/*.py"], "src", False),
        (["*", "!**/*.py"], "vendor", False),
        (["a", "!*"], "a", False),
        (["b"], "a", False),
    ],
)
def test_a_directory_is_skipped_only_if_nothing_in_it_can_be_kept(
    lines: list[str], directory: str, skips: bool
) -> None:
    assert Matcher(patterns(lines)).may_skip(directory) is skips


names = st.text("ab.", min_size=1, max_size=3).filter(lambda n: n not in (".", ".."))
paths = st.lists(names, min_size=1, max_size=5).map("/".join)
pieces = st.sampled_from(["a", "b", ".", "*", "**", "?", "/", "[ab]", "[^a]", r"\*"])
globs = st.lists(pieces, min_size=1, max_size=9).map("".join).filter(lambda t: t.strip("/."))


def ends(pattern: str, path: str, start: int) -> Iterator[int]:
    """Where a match of the pattern that starts at `start` may end: the slow and simple way."""
    if not pattern:
        yield start
    elif pattern.startswith("**"):
        rest = pattern[2:].removeprefix("/")
        if not rest:
            yield from range(start, len(path) + 1)
            return
        starts = [start, *(n for n in range(start + 1, len(path) + 1) if path[n - 1] == "/")]
        for begin in starts:
            yield from ends(rest, path, begin)
    elif pattern[0] == "*":
        stop = start
        while True:
            yield from ends(pattern[1:], path, stop)
            if stop == len(path) or path[stop] == "/":
                return
            stop += 1
    elif start < len(path):
        single = re.match(r"\[\^?ab?\]|\\.|.", pattern)
        assert single
        one = "[^/]" if single[0] == "?" else single[0].replace(".", r"\.")
        if re.match(one, path[start], re.DOTALL):
            yield from ends(pattern[single.end() :], path, start + 1)


def judged(line: str, path: str) -> bool:
    (pattern,) = patterns([line])
    text = pattern.text
    if re.fullmatch(r"\*\*[ab./]+", text) and text[2] != "/":
        parents = [path[: m.start()] for m in re.finditer("/", path)]
        return any(p.endswith(text[2:]) for p in (*parents, path))
    return any(e == len(path) or path[e] == "/" for e in ends(text, path, 0)) and text != "."


@given(globs, paths)
def test_a_matcher_says_what_the_slow_matcher_says(glob: str, path: str) -> None:
    try:
        expected = judged(glob, path)
    except Fault:
        return
    assert ignores([glob], path) is expected


@given(globs, paths)
def test_the_automaton_and_the_regular_expression_agree(glob: str, path: str) -> None:
    try:
        (pattern,) = patterns([glob])
    except Fault:
        return
    parts = ignore._parts(pattern.text)
    compiled = re.compile(f"(?:{''.join(parts)})(?:/|\\Z)", re.DOTALL)
    assert ignore._Automaton(parts)(path) is (compiled.match(path) is not None)


@given(st.lists(st.tuples(st.booleans(), globs), max_size=5), paths, paths)
def test_what_is_below_a_skipped_directory_is_ignored(
    rules: list[tuple[bool, str]], directory: str, below: str
) -> None:
    try:
        matcher = Matcher(patterns([("!" if keeps else "") + glob for keeps, glob in rules]))
    except Fault:
        return
    if matcher.may_skip(directory):
        assert matcher.ignores(f"{directory}/{below}")


@given(st.binary(max_size=300))
def test_any_bytes_are_patterns_or_an_error_that_says_where(content: bytes) -> None:
    try:
        matcher = Matcher(parse(content))
    except DockerfileError as e:
        line = e.line
    else:
        line = 1 + matcher.ignores("a/b/c")
    assert line > 0


@pytest.mark.parametrize(
    ("pattern", "path"),
    [
        ("*a" * 20 + "b", "a" * 4000),
        ("**/*a/" * 10 + "b", "a/" * 2000),
        ("**a" * 10 + "b", "a/" * 2000),
        ("**/" + "*a*" * 5 + "/**/b", "a" * 255 + "/a" * 1000),
    ],
)
def test_no_pattern_takes_long(pattern: str, path: str) -> None:
    started = time.process_time()
    assert not ignores([pattern], path)
    assert time.process_time() - started < 1


@given(st.text(alphabet="ab/*?[]^-\\!.é \n", max_size=12))
def test_any_text_is_a_pattern_or_a_fault(text: str) -> None:
    try:
        expression = glob.element(text)
    except glob.BadPattern as e:
        assert e.why  # noqa: PT017 - both ends are fine
    else:
        expression.fullmatch("a/b")
    try:
        matcher = ignore.Matcher(ignore.patterns([text]))
    except Fault:
        return
    for path in ("a", "a/b", "ab/a/b", "é"):
        assert matcher.ignores(path) in (True, False)
        if matcher.may_skip(path):
            assert matcher.ignores(path)


@given(st.text(min_size=1, max_size=8).filter(lambda t: "/" not in t and "\0" not in t))
def test_a_name_with_every_character_escaped_matches_itself_alone(name: str) -> None:
    expression = glob.element("".join(f"\\{c}" for c in name))
    assert expression.fullmatch(name)
    assert not expression.fullmatch(name + "x")
