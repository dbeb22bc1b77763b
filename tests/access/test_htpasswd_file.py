"""The htpasswd back end: what it takes, what it refuses, and that it keeps up with the file."""

import logging
import os
import subprocess
from pathlib import Path

import bcrypt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from argosy.access.identity.htpasswd import (
    Htpasswd,
    HtpasswdOptions,
    matches,
    parse,
    parse_groups,
)
from argosy.access.signing_in.backends import BackendUnavailable
from argosy.errors import ConfigError
from tests.peers import need


def line(name: str, password: str) -> str:
    return f"{name}:{bcrypt.hashpw(password.encode(), bcrypt.gensalt(4)).decode()}\n"


def backend(path: Path, **more: str) -> Htpasswd:
    return Htpasswd(HtpasswdOptions(file=str(path), **more))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    found = tmp_path / "htpasswd"
    found.write_text("# people\n\n" + line("ann", "correct horse") + line("bob", "staple"))
    return found


async def test_the_right_password_is_the_user_and_any_other_is_nobody(file: Path) -> None:
    users = backend(file)
    found = await users.verify("ann", "correct horse")
    assert found is not None
    assert (found.name, found.backend, found.is_admin) == ("ann", "htpasswd", None)
    for name, password in (("ann", "staple"), ("ann", ""), ("eve", "staple"), ("", "")):
        assert await users.verify(name, password) is None


async def test_a_changed_file_counts_at_once(file: Path) -> None:
    users = backend(file)
    assert await users.verify("bob", "staple")
    new = file.with_name("new")
    new.write_text(line("cid", "battery"))
    os.replace(new, file)
    assert await users.verify("bob", "staple") is None
    assert await users.verify("cid", "battery")


async def test_a_file_that_cannot_be_read_is_an_outage_and_not_a_refusal(file: Path) -> None:
    users = backend(file)
    assert await users.verify("ann", "correct horse")
    file.unlink()
    with pytest.raises(BackendUnavailable, match="cannot read the users"):
        await users.verify("ann", "correct horse")


async def test_a_bad_line_locks_out_its_own_user_only_and_says_where(
    file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file.write_text(file.read_text() + "eve:plain-text-secret\n")
    users = backend(file)
    with caplog.at_level(logging.ERROR, "argosy.access.htpasswd"):
        assert await users.verify("eve", "plain-text-secret") is None
    assert "line 5" in caplog.text
    assert "plain-text-secret" not in caplog.text
    assert await users.verify("ann", "correct horse")


@pytest.mark.parametrize(
    ("flag", "kind"),
    [("-m", "MD5 (apr1)"), ("-s", "SHA-1"), ("-d", "crypt or plain"), ("-p", "crypt or plain")],
)
@pytest.mark.peer
async def test_apaches_other_formats_are_refused_by_name(
    tmp_path: Path, flag: str, kind: str
) -> None:
    path = tmp_path / "users"
    subprocess.run(
        [need("htpasswd"), "-c", "-b", flag, path, "ann", "secret"], check=True, capture_output=True
    )
    with pytest.raises(ConfigError) as caught:
        await backend(path).check()
    assert kind in caught.value.why
    assert "htpasswd -B" in caught.value.remedy
    assert await backend(path).verify("ann", "secret") is None


@pytest.mark.parametrize("password", ["plain", "ümläut ☃", "a" * 72, "with: colon", " "])
@pytest.mark.peer
async def test_what_apaches_htpasswd_writes_is_read(tmp_path: Path, password: str) -> None:
    path = tmp_path / "users"
    subprocess.run(
        [need("htpasswd"), "-c", "-i", "-B", "-C", "5", path, "ann"],
        input=password.encode(),
        check=True,
        capture_output=True,
    )
    users = backend(path)
    assert await users.check() == 1
    assert await users.verify("ann", password)
    assert await users.verify("ann", password[:-1] + "x") is None


@pytest.mark.peer
async def test_apache_agrees_about_our_hashes(file: Path) -> None:
    done = subprocess.run(
        [need("htpasswd"), "-v", "-i", file, "ann"], input=b"correct horse", capture_output=True
    )
    assert done.returncode == 0, done.stderr


async def test_groups_come_from_their_file_and_one_of_them_administers(
    file: Path, tmp_path: Path
) -> None:
    groups = tmp_path / "groups"
    groups.write_text("# of the house\nops: ann\ndev: ann bob\n")
    users = backend(file, groups_file=str(groups), admin_group="ops")
    ann, bob = await users.verify("ann", "correct horse"), await users.verify("bob", "staple")
    assert ann
    assert bob
    assert (ann.groups, ann.is_admin) == (("dev", "ops"), True)
    assert (bob.groups, bob.is_admin) == (("dev",), False)


def test_a_nul_does_not_end_a_password() -> None:
    hashed = bcrypt.hashpw(b"secret", bcrypt.gensalt(4))
    assert matches("secret", hashed)
    assert not matches("secret\0more", hashed)


@given(st.text())
def test_any_text_is_read_or_refused_line_by_line(text: str) -> None:
    users, bad = parse(text)
    assert len(users) + len(bad) <= text.count("\n") + 1
    assert all(0 < line.line <= text.count("\n") + 1 for line in bad)
    parse_groups(text)


@given(st.text(alphabet="abc:$2y\n #", max_size=60))
def test_no_hash_but_bcrypts_is_taken(text: str) -> None:
    assert parse(text)[0] == {}
