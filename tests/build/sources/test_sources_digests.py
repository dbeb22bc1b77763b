"""The local build context: ignore files, and digests that are not computed twice."""

import os
import sqlite3
import time
from contextlib import closing

import pytest

from argosy.build.files.tree import Choice, Stop
from argosy.build.sources.local import FileDigests, open_context, read_dockerfile, save_digests
from argosy.errors import BuildError, DockerfileError, UsageError


@pytest.fixture
def context(tmp_path):
    top = tmp_path / "context"
    for number in range(5):
        path = top / "d" / f"f{number}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(str(number))
    past(top)
    return top


def past(top):
    """Nothing waits for a clock: files this fresh would not be remembered."""
    fresh = time.time_ns() - 5_000_000_000
    for folder, _, files in os.walk(top):
        for name in files:
            os.utime(os.path.join(folder, name), ns=(fresh, fresh))


def digest(tree):
    return tree.digest(Choice(pattern="."), Stop())


@pytest.fixture(autouse=True)
def _no_wait(monkeypatch):
    # ctime cannot be set back; what is under test is the table, not the clock.
    monkeypatch.setattr("argosy.build.sources.local._SETTLED_NS", -1)


def test_an_unchanged_context_is_not_read_again(context, tmp_path):
    first = open_context(str(context), "", str(tmp_path))
    before = digest(first)
    assert first.file_digest.hashed == 5
    save_digests(first)
    second = open_context(str(context), "", str(tmp_path))
    assert digest(second) == before
    assert second.file_digest.hashed == 0


def test_only_a_changed_file_is_read_again(context, tmp_path):
    first = open_context(str(context), "", str(tmp_path))
    before = digest(first)
    save_digests(first)
    (context / "d" / "f1").write_text("x")
    second = open_context(str(context), "", str(tmp_path))
    assert digest(second) != before
    assert second.file_digest.hashed == 1


def test_a_change_that_keeps_size_and_mtime_is_seen_by_ctime(context, tmp_path):
    first = open_context(str(context), "", str(tmp_path))
    before = digest(first)
    save_digests(first)
    path = context / "d" / "f1"
    old = path.stat()
    path.write_text("x")
    os.utime(path, ns=(old.st_atime_ns, old.st_mtime_ns))
    assert digest(open_context(str(context), "", str(tmp_path))) != before


def test_what_was_changed_just_now_is_not_trusted(context, tmp_path, monkeypatch):
    monkeypatch.setattr("argosy.build.sources.local._SETTLED_NS", 3_600_000_000_000)
    first = open_context(str(context), "", str(tmp_path))
    digest(first)
    save_digests(first)
    second = open_context(str(context), "", str(tmp_path))
    digest(second)
    assert second.file_digest.hashed == 5


def test_a_damaged_table_only_costs_time(context, tmp_path):
    (tmp_path / "files.db").write_bytes(b"no database" * 100)
    tree = open_context(str(context), "", str(tmp_path))
    assert digest(tree)
    save_digests(tree)
    assert isinstance(tree.file_digest, FileDigests)


def test_contexts_that_cannot_be_read_are_refused_with_the_reason(context, tmp_path):
    for path, why in (
        (str(tmp_path / "none"), "does not exist"),
        (str(context / "d" / "f1"), "not a directory"),
    ):
        with pytest.raises(UsageError) as caught:
            open_context(path, "", str(tmp_path))
        assert why in caught.value.why


def test_a_bad_ignore_file_says_where(context, tmp_path):
    (context / ".dockerignore").write_text("ok\n[\n")
    with pytest.raises(DockerfileError) as caught:
        open_context(str(context), "", str(tmp_path))
    assert caught.value.line == 2


def test_the_dockerfile_is_found_as_docker_finds_it(context, tmp_path, monkeypatch):
    (context / "Dockerfile").write_text("in context")
    (context / "Other").write_text("other in context")
    assert read_dockerfile(str(context), "")[0] == b"in context"
    monkeypatch.chdir(tmp_path)
    assert read_dockerfile(str(context), "Other")[0] == b"other in context"
    (tmp_path / "Other").write_text("here")
    assert read_dockerfile(str(context), "Other")[0] == b"here"
    with pytest.raises(BuildError, match="cannot read"):
        read_dockerfile(str(context), "Nope")


def test_the_table_knows_extended_attributes_too(context, tmp_path):
    os.setxattr(context / "d" / "f1", "user.kind", b"one")
    first = open_context(str(context), "", str(tmp_path))
    before = digest(first)
    save_digests(first)
    second = open_context(str(context), "", str(tmp_path))
    assert (digest(second), second.file_digest.hashed) == (before, 0)
    os.setxattr(context / "d" / "f1", "user.kind", b"two")
    third = open_context(str(context), "", str(tmp_path))
    assert digest(third) != before
    assert third.file_digest.hashed == 1


def test_rows_of_an_older_table_that_knew_no_attributes_do_not_count(context, tmp_path):
    first = open_context(str(context), "", str(tmp_path))
    before = digest(first)
    save_digests(first)
    with closing(sqlite3.connect(tmp_path / "files.db")) as db, db:
        db.execute("UPDATE files SET digest = zeroblob(32)")
    second = open_context(str(context), "", str(tmp_path))
    assert (digest(second), second.file_digest.hashed) == (before, 5)
