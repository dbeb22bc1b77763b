"""--chown and --chmod in terms of the image's accounts."""

import os
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from argosy.build.files.owners import Owner, mode, owner
from argosy.errors import BuildError


@pytest.fixture
def root(tmp_path):
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/passwd").write_text(
        "root:x:0:0::/root:/bin/sh\napp:x:1000:1001::/:/bin/sh\nbroken\n"
    )
    (tmp_path / "etc/group").write_text("root:x:0:\nstaff:x:50:app\n")
    return str(tmp_path)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("app", (1000, 1001)),
        ("app:staff", (1000, 50)),
        ("1", (1, 1)),
        ("1:2", (1, 2)),
        ("55:staff", (55, 50)),
        ("app:0", (1000, 0)),
        (":staff", (0, 50)),
    ],
)
def test_names_and_numbers_are_read_as_docker_does(root, text, found):
    assert owner(root, text) == Owner(*found)


@pytest.mark.parametrize("text", ["root", "root:root", "0:root", "root:0"])
def test_root_is_known_to_an_image_without_accounts(tmp_path, text):
    assert owner(str(tmp_path), text) == Owner(0, 0)


@pytest.mark.parametrize("text", ["nobody", "app:nogroup", "broken"])
def test_a_name_the_image_lacks_is_an_error(root, text):
    with pytest.raises(BuildError, match="in the image"):
        owner(root, text)


def test_numbers_need_no_accounts_at_all(tmp_path):
    assert owner(str(tmp_path), "3:4") == Owner(3, 4)


def test_a_passwd_that_links_out_of_the_image_is_not_followed(root, tmp_path_factory):
    outside = tmp_path_factory.mktemp("outside") / "passwd"
    outside.write_text("app:x:666:666::/:\n")
    os.unlink(os.path.join(root, "etc/passwd"))
    os.symlink(outside, os.path.join(root, "etc/passwd"))
    with pytest.raises(BuildError):
        owner(root, "app")


@pytest.mark.parametrize(
    ("text", "old", "directory", "new"),
    [
        ("755", 0o600, False, 0o755),
        ("0644", 0o777, True, 0o644),
        ("4755", 0, False, 0o4755),
        ("u=rwX,go=rX", 0o600, False, 0o644),
        ("u=rwX,go=rX", 0o700, False, 0o755),
        ("u=rwX,go=rX", 0o600, True, 0o755),
        ("+x", 0o644, False, 0o755),
        ("a-w", 0o666, False, 0o444),
        ("g=u", 0o740, False, 0o770),
        ("u+s,g+s,+t", 0o755, False, 0o7755),
        ("o=", 0o757, False, 0o750),
        ("u+x-w", 0o600, False, 0o500),
    ],
)
def test_modes_are_changed_as_chmod_does(text, old, directory, new):
    assert mode(text)(old, directory) == new


def test_no_mode_keeps_the_old_one():
    assert mode("") is None


@pytest.mark.parametrize("text", ["8", "99999", "rwx", "u=q", "u", ",", "u=rw x", "z+x"])
def test_a_mode_that_cannot_be_read_is_refused(text):
    with pytest.raises(BuildError, match="chmod"):
        mode(text)


CLAUSE = st.from_regex(r"[ugoa]{1,3}[-+=](?:[rwxXst]{0,3}|[ugo])", fullmatch=True)


@pytest.mark.slow
@given(st.lists(CLAUSE, min_size=1, max_size=3), st.integers(0, 0o777), st.booleans())
def test_modes_agree_with_chmod_itself(tmp_path_factory, clauses, old, directory):
    path = tmp_path_factory.mktemp("chmod") / "x"
    path.mkdir() if directory else path.touch()
    text = ",".join(clauses)
    os.chmod(path, old)
    subprocess.run(["chmod", text, str(path)], check=True)
    found = os.stat(path).st_mode & 0o7777
    assert mode(text)(old, directory) == found
