"""Grants, secrets and what seals them: every form is read exactly, or refused."""

import string
import zlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as some

from argosy.access.permissions.grants import Grant, covered, parse_grants, texts
from argosy.access.permissions.permission import Action, Permission, Resource
from argosy.access.secrets import Secret, hashed, is_secret, new_secret, one_time_password, same
from argosy.access.tokens.scopes import Scope, parse_scopes
from argosy.access.tokens.sealing import FILE, Sealer, secret_in
from argosy.errors import ConfigError, UsageError

REPOSITORY_ACTIONS = ("pull", "push", "delete", "list", "read")


def need(action: str, name: str, resource: Resource = Resource.REPOSITORY) -> Permission:
    return Permission(resource, Action(action), name)


def test_a_grant_covers_its_actions_where_its_pattern_fits() -> None:
    grant = Grant.parse("repository:team/**:pull,push")
    assert grant.covers(need("pull", "team/app"))
    assert grant.covers(need("push", "team/a/b"))
    assert not grant.covers(need("delete", "team/app"))
    assert not grant.covers(need("pull", "teams/app"))
    assert not grant.covers(need("read", "team", Resource.QUOTA))


def test_who_may_pull_may_list_and_nothing_else_follows() -> None:
    grant = Grant.parse("repository:team/**:pull")
    assert grant.covers(need("list", "team/app"))
    assert not Grant.parse("repository:team/**:push").covers(need("list", "team/app"))
    assert not Grant.parse("repository:team/**:push").covers(need("pull", "team/app"))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "repository",
        "repository:team/**",
        "repository:team/**:",
        "repository::pull",
        "repository:team/**:fly",
        "repository:team/**:admin",
        "repository:a//b:pull",
        "system:x:read",
        "registry:x:read",
        "project:team:admin",
        "member:team:pull",
        "nothing:team:read",
    ],
)
def test_what_is_no_grant_is_refused_with_what_would_be_one(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        Grant.parse(text)
    assert caught.value.remedy


@given(
    some.sets(some.sampled_from(REPOSITORY_ACTIONS), min_size=1),
    some.sampled_from(["team/**", "**", "team/app", "team/{a,b}*"]),
)
def test_a_grant_reads_as_it_is_written(actions: set[str], pattern: str) -> None:
    grant = Grant.parse(f"repository:{pattern}:{','.join(actions)}")
    assert Grant.parse(str(grant)) == grant
    assert parse_grants(texts([grant, grant])) == (grant,)
    assert covered([grant], need(min(actions), "team/app")) == grant.covers(
        need(min(actions), "team/app")
    )


@given(some.text(max_size=60))
def test_any_text_is_a_grant_or_refused(text: str) -> None:
    try:
        grant = Grant.parse(text)
    except UsageError:
        return
    assert Grant.parse(str(grant)) == grant


@given(some.text(max_size=80))
def test_any_text_is_scopes_or_refused(text: str) -> None:
    try:
        found = parse_scopes([text])
    except UsageError:
        return
    for scope in found:
        assert scope.kind
        assert scope.name
        assert set(scope.wanted) <= {"pull", "push", "delete"}


def test_a_scopes_name_may_hold_a_port() -> None:
    scope = Scope.parse("repository:example.com:5000/team/app:pull,push")
    assert (scope.kind, scope.name) == ("repository", "example.com:5000/team/app")
    assert scope.wanted == ("pull", "push")
    assert Scope.parse("repository(plugin):team/app:pull").kind == "repository"


@pytest.mark.parametrize("kind", Secret)
def test_a_secret_is_known_by_its_form_and_no_other_kind_by_it(kind: Secret) -> None:
    made = new_secret(kind)
    assert len(made) == 8 + 30 + 6
    assert made != new_secret(kind)
    assert [other for other in Secret if is_secret(made, other)] == [kind]
    number, alphabet = 0, string.digits + string.ascii_uppercase + string.ascii_lowercase
    for letter in made[-6:]:
        number = number * 62 + alphabet.index(letter)
    assert number == zlib.crc32(made[:-6].encode())


@given(some.integers(8, 43), some.sampled_from(string.ascii_letters + string.digits))
def test_a_slip_of_the_hand_is_seen_without_asking_anybody(position: int, letter: str) -> None:
    made = _MADE
    turned = made[:position] + letter + made[position + 1 :]
    assert is_secret(turned, Secret.PERSONAL) == (turned == made)


_MADE = new_secret(Secret.PERSONAL)


@given(some.text(max_size=60))
def test_other_texts_are_no_secrets(text: str) -> None:
    assert not is_secret(text, Secret.PERSONAL)
    assert same(hashed(text), hashed(text))
    assert not same(hashed(text), None)


def test_one_time_passwords_differ_and_can_be_typed() -> None:
    made = {one_time_password() for _ in range(100)}
    assert len(made) == 100
    assert all(len(one) == 27 and one.isascii() and one == one.lower() for one in made)


# Sealing


@given(some.binary(max_size=200))
def test_what_is_sealed_opens_for_its_row_and_purpose_only(plain: bytes) -> None:
    sealer = Sealer("a secret that is long enough for it")
    sealed = sealer.seal("totp", "7", plain)
    assert sealer.open("totp", "7", sealed) == plain
    assert plain not in sealed or len(plain) < 4
    for purpose, row in (("totp", "8"), ("key", "7")):
        with pytest.raises(ConfigError):
            sealer.open(purpose, row, sealed)
    with pytest.raises(ConfigError):
        Sealer("another secret that is long enough").open("totp", "7", sealed)
    with pytest.raises(ConfigError):
        sealer.open("totp", "7", sealed[:-1] + bytes([sealed[-1] ^ 1]))


@pytest.mark.parametrize("sealed", [b"", b"short", b"x" * 12, b"x" * 40])
def test_what_was_never_sealed_does_not_open(sealed: bytes) -> None:
    with pytest.raises(ConfigError):
        Sealer("a secret that is long enough for it").open("totp", "7", sealed)


def test_a_short_secret_is_none() -> None:
    with pytest.raises(ConfigError):
        Sealer("short")


def test_the_file_is_made_once_and_only_for_its_owner(tmp_path: Path) -> None:
    first = secret_in(str(tmp_path))
    assert len(first) == 64
    assert secret_in(str(tmp_path)) == first
    assert (tmp_path / FILE).stat().st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.iterdir()] == [FILE]
    (tmp_path / FILE).chmod(0o640)
    with pytest.raises(ConfigError):
        secret_in(str(tmp_path))


def test_processes_that_start_at_once_take_the_same_secret(tmp_path: Path) -> None:
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(16) as pool:
        found = set(pool.map(lambda _: secret_in(str(tmp_path)), range(64)))
    assert len(found) == 1
