"""What dead processes leave is swept, and nothing else is."""

import errno
import os
import shutil

import pytest

from argosy.build.files.removal import remove_tree
from argosy.build.sessions import Session


def test_a_session_made_again_without_a_lock_is_swept_and_other_directories_stay(tmp_path):
    (tmp_path / "0123abcd/state").mkdir(parents=True)
    (tmp_path / "of-somebody-else").mkdir()
    with_lock = Session(str(tmp_path), remove_tree)
    second = Session(str(tmp_path), remove_tree)
    assert not (tmp_path / "0123abcd").exists()
    assert (tmp_path / "of-somebody-else").exists()
    assert os.path.isdir(with_lock.path), "it is in use"
    for session in (with_lock, second):
        session.close()
    assert sorted(os.listdir(tmp_path)) == [".lock", "of-somebody-else"]


@pytest.mark.parametrize("code", [errno.ENOTEMPTY, errno.ENOENT])
def test_a_directory_that_changes_while_it_is_removed_is_removed(tmp_path, monkeypatch, code):
    (tmp_path / "d/e").mkdir(parents=True)
    real, failures = shutil.rmtree, [OSError(code, "changed")]

    def rmtree(path):
        if failures:
            raise failures.pop()
        real(path)

    monkeypatch.setattr(shutil, "rmtree", rmtree)
    remove_tree(str(tmp_path / "d"))
    assert os.listdir(tmp_path) == []
