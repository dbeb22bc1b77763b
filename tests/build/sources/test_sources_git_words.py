"""Git repositories as they are written: all the forms, and hostile ones."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from argosy.build.dockerfile.git_reference import GitReference, parse_git, shown
from argosy.errors import UsageError

SHA = "0123456789abcdef0123456789abcdef01234567"


@pytest.mark.parametrize(
    ("text", "fields"),
    [
        ("https://h/x.git", {}),
        ("https://h:8443/a/x.git#main", {"ref": "main"}),
        ("https://h/x.git#main:a/b", {"ref": "main", "subdir": "a/b"}),
        ("https://h/x.git#:a", {"subdir": "a"}),
        ("https://h/x.git#:../../a", {"subdir": "a"}),
        ("https://h/x.git##ref=v1,subdir=d", {"ref": "v1", "subdir": "d"}),
        ("https://h/x.git?ref=v1&subdir=d", {"ref": "v1", "subdir": "d"}),
        ("https://h/x.git?branch=main", {"ref": "refs/heads/main"}),
        ("https://h/x.git?tag=v1", {"ref": "refs/tags/v1"}),
        ("https://h/x.git?keep-git-dir", {"keep_git_dir": True}),
        (
            "https://h/x.git?keep-git-dir=1&submodules=0",
            {"keep_git_dir": True, "submodules": False},
        ),
        (f"https://h/x.git?checksum={SHA}", {"ref": SHA, "checksum": SHA}),
        ("https://h/x.git?ref=v1&checksum=0123456", {"ref": "v1", "checksum": "0123456"}),
        ("git@h:a/x.git#v1:d", {"ref": "v1", "subdir": "d"}),
        ("ssh://git@h:22/x", {}),
        ("git://h/x", {}),
    ],
)
def test_every_form_is_read(text, fields):
    found = parse_git(text)
    assert found == GitReference(remote=text.split("#")[0].split("?")[0], **fields)


@pytest.mark.parametrize(
    "text",
    ["https://h/x", "./git@h:x", "/git@h:x", "file:///x.git", "ftp://h/x.git", "a/b", "x.git", ""],
)
def test_what_is_no_repository_is_a_path_or_a_file_of_the_web(text):
    assert parse_git(text) is None


def test_the_short_form_of_github_is_for_contexts_only():
    assert parse_git("github.com/a/b") is None
    context = parse_git("github.com/a/b.git#c", context=True)
    assert context == GitReference(remote="https://github.com/a/b.git", ref="c")


@pytest.mark.parametrize(
    "text",
    [
        "https://h/x.git#--upload-pack=evil",
        "https://h/x.git#a..b",
        "https://h/x.git#a b",
        "https://h/x.git?ref=a&ref=b",
        "https://h/x.git?ref=a#b",
        "https://h/x.git?tag=a&branch=b",
        "https://h/x.git?what=1",
        "https://h/x.git?ref=",
        "https://h/x.git?checksum=xyz",
        "https://h/x.git?submodules=maybe",
        "ssh://-oProxyCommand=evil/x",
        "https://h\n/x.git",
        "https:///x.git",
        "https://h:port/x.git",
        "https://h/x.git##what=1",
    ],
)
def test_what_cannot_be_meant_is_refused(text):
    with pytest.raises(UsageError, match="cannot be read as a git repository"):
        parse_git(text)


def test_a_refusal_shows_no_credentials():
    with pytest.raises(UsageError) as caught:
        parse_git("https://user:secret@h/x.git?what=token")
    assert "secret" not in str(caught.value.to_json())
    assert "token" not in str(caught.value.to_json())
    assert shown("https://u:p@h/x?a=b#c") == "https://h/x?…"


WORDS = st.text(st.sampled_from("abgit.:/@#?&=-~ %\n\0ütp"), max_size=40)


@given(st.sampled_from(["", "https://", "git@h:", "ssh://", "https://h/x.git"]), WORDS)
def test_whatever_is_written_nothing_reaches_git_as_an_option(start, rest):
    try:
        found = parse_git(start + rest, context=True)
    except UsageError:
        return
    if found is not None:
        assert not found.remote.startswith("-")
        assert not found.ref.startswith("-")
        assert not found.subdir.startswith(("/", "../"))
        assert ".." not in found.subdir.split("/")
        assert not set("\0\n ") & set(found.remote + found.ref)
