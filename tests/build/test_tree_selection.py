"""Finding, walking and naming the files that COPY takes."""

import os
import re
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from argosy.build.dockerfile.ignore import Matcher, patterns
from argosy.build.files.tree import Choice, Found, Stop, Tree, match_expression, resolve
from argosy.errors import BuildError


@pytest.fixture
def top(tmp_path):
    for path, text in {
        "a.txt": "a",
        "b.txt": "b",
        "dir/c.txt": "c",
        "dir/sub/d.txt": "d",
        "dir/sub/e.md": "e",
        "other/f": "f",
    }.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    return tmp_path


def walked(tree, path, exclude=None):
    return [e.path for e in tree.walk(Found(path, path), exclude)]


def digest(top, pattern=".", ignore=None, exclude=None, owners=False):
    tree = Tree(str(top), ignore)
    return tree.digest(Choice(pattern=pattern, exclude=exclude, owners=owners), Stop())


def rules(*lines):
    return Matcher(patterns(lines))


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("a.txt", ["a.txt"]),
        ("*.txt", ["a.txt", "b.txt"]),
        ("?.txt", ["a.txt", "b.txt"]),
        ("[!b].txt", ["b.txt"]),  # in Go `!` is no negation
        ("[^b].txt", ["a.txt"]),
        ("dir/*/*.md", ["dir/sub/e.md"]),
        ("*/c.txt", ["dir/c.txt"]),
        ("no*", []),
        (".", [""]),
        ("dir/", ["dir"]),
    ],
)
def test_patterns_find_what_go_finds(top, pattern, found):
    assert [f.path for f in Tree(str(top)).find(pattern)] == found


def test_a_plain_source_that_is_missing_is_named(top):
    with pytest.raises(BuildError, match="/nope is not in the build context"):
        Tree(str(top)).find("nope")


@pytest.mark.parametrize("pattern", ["[", "[a", "a\\", "[]", "[b-a]"])
def test_a_malformed_pattern_is_refused(top, pattern):
    with pytest.raises(BuildError, match="not a pattern"):
        Tree(str(top)).find("x*" + pattern)


@given(st.text(alphabet="ab*?[]^-\\.", max_size=12))
def test_any_pattern_is_an_expression_or_refused(pattern):
    try:
        found = match_expression(pattern)
    except BuildError:
        return
    assert isinstance(found, re.Pattern)


@given(st.text(alphabet="ab*?[]^-\\.é\n", max_size=12))
def test_an_escaped_name_matches_itself_only(name):
    expression = match_expression("".join(f"\\{c}" for c in name))
    assert expression.fullmatch(name)
    assert not expression.fullmatch(name + "x")


def test_links_are_resolved_inside_the_root_as_chroot_does(top):
    os.symlink("/dir", top / "absolute")
    os.symlink("../../../../etc", top / "dir" / "up")
    os.symlink("loop", top / "loop")
    assert resolve(str(top), "absolute/c.txt") == "dir/c.txt"
    assert resolve(str(top), "dir/up/passwd") == "etc/passwd"
    assert resolve(str(top), "../../x/../a.txt") == "a.txt"
    assert resolve(str(top), "absolute", last=False) == "absolute"
    with pytest.raises(BuildError, match="too many symbolic links"):
        resolve(str(top), "loop/x")


def test_a_link_out_of_the_tree_leads_nowhere(top, tmp_path_factory):
    outside = tmp_path_factory.mktemp("outside") / "secret"
    outside.write_text("secret")
    os.symlink(outside, top / "leak")
    with pytest.raises(BuildError, match="not in the build context"):
        Tree(str(top)).find("leak")
    os.symlink(outside.parent, top / "leaks")
    with pytest.raises(BuildError, match="not in the build context"):
        Tree(str(top)).find("leaks/secret")


def test_a_directory_swapped_for_a_link_during_the_walk_is_not_followed(top, tmp_path_factory):
    outside = tmp_path_factory.mktemp("outside")
    (outside / "secret").write_text("secret")
    walk = Tree(str(top)).walk(Found("", ""))
    seen = []
    with pytest.raises(OSError):
        for entry in walk:
            seen.append(entry.path)
            if entry.path == "b.txt":
                os.rename(top / "dir", top / "moved")
                os.symlink(outside, top / "dir")
    assert not any("secret" in path for path in seen)


def test_the_walk_is_sorted_parents_first(top):
    assert walked(Tree(str(top)), "dir") == ["", "c.txt", "sub", "sub/d.txt", "sub/e.md"]
    assert walked(Tree(str(top)), "a.txt") == [""]


def test_what_is_ignored_is_left_out_and_exceptions_come_back_with_their_parents(top):
    tree = Tree(str(top), rules("dir", "!dir/sub/e.md", "*.txt"))
    assert walked(tree, "") == ["", "dir", "dir/sub", "dir/sub/e.md", "other", "other/f"]
    assert walked(tree, "dir") == ["", "sub", "sub/e.md"]
    assert [f.path for f in tree.find("*")] == ["other"]


def test_exclude_is_relative_to_the_source(top):
    assert walked(Tree(str(top)), "dir", rules("sub/*.md")) == ["", "c.txt", "sub", "sub/d.txt"]


def test_sockets_are_left_out_and_fifos_are_never_opened(top):
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(top / "other" / "s"))
        assert walked(Tree(str(top)), "other") == ["", "f"]
    os.mkfifo(top / "other" / "fifo")
    assert walked(Tree(str(top)), "other") == ["", "f", "fifo"]
    assert walked(Tree(str(top), special=False), "other") == ["", "f"]
    assert digest(top, "other")


def test_names_may_be_any_bytes(top):
    name = os.fsdecode(b"\xff\xfe name")
    (top / "other" / name).write_text("x")
    assert name in walked(Tree(str(top)), "other")
    first = digest(top)
    (top / "other" / name).write_text("y")
    assert digest(top) != first


def test_the_digest_is_of_content_not_of_time_or_place(top, tmp_path_factory):
    import shutil

    copy = tmp_path_factory.mktemp("copy") / "x"
    shutil.copytree(top, copy, symlinks=True)
    for folder, _, files in os.walk(copy):
        for name in files:
            os.utime(os.path.join(folder, name), (1, 1))
    assert digest(top) == digest(copy)


@pytest.mark.parametrize(
    "change",
    [
        lambda t: (t / "a.txt").write_text("changed"),
        lambda t: (t / "a.txt").chmod(0o755),
        lambda t: (t / "dir").chmod(0o700),
        lambda t: (t / "a.txt").rename(t / "z.txt"),
        lambda t: (t / "new").mkdir(),
        lambda t: os.symlink("a.txt", t / "link"),
        lambda t: os.setxattr(t / "a.txt", "user.x", b"1"),
        lambda t: os.unlink(t / "a.txt"),
    ],
)
def test_the_digest_changes_with_all_that_a_copy_shows(top, change):
    before = digest(top)
    change(top)
    assert digest(top) != before


def test_files_that_are_left_out_do_not_count(top):
    before = digest(top, ignore=rules("other")), digest(top, "dir", exclude=rules("*.txt"))
    (top / "other" / "f").write_text("changed")
    (top / "dir" / "c.txt").write_text("changed")
    after = digest(top, ignore=rules("other", "dir/c.txt"))
    assert digest(top, "dir", exclude=rules("*.txt")) == before[1]
    assert after != before[0]
    (top / "dir" / "c.txt").write_text("c")
    assert digest(top, ignore=rules("other")) == before[0]


def test_entries_cannot_be_confused_with_one_another(tmp_path):
    """No two trees share a digest by moving bytes between names, contents and links."""
    seen = set()
    for number, (name, content) in enumerate([("ab", "c"), ("a", "bc"), ("abc", "")]):
        top = tmp_path / str(number)
        top.mkdir()
        (top / name).write_text(content)
        seen.add(digest(top))
    assert len(seen) == 3


@pytest.mark.root
def test_owners_count_only_when_they_are_copied(top):
    before = digest(top), digest(top, owners=True)
    os.chown(top / "a.txt", 1234, 1234)
    assert digest(top) == before[0]
    assert digest(top, owners=True) != before[1]
