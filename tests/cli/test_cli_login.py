"""login and logout: nothing is kept that the registry did not accept."""

import base64
import json
import os
import stat
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from tests.scripted import Reply, Scripted, Seen, Step, refusal

from .conftest import Argosy, Said

Spawn = Callable[..., Awaitable[Said]]
BASIC = {"WWW-Authenticate": 'Basic realm="test"'}


def guarded(user: str, password: str) -> Scripted:
    """A registry that lets one user in."""
    wanted = "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()

    def answer(seen: Seen) -> Reply:
        if seen.headers.get("authorization") == wanted:
            return Reply(200)
        return Reply(401, refusal(401, "UNAUTHORIZED").body, BASIC)

    return Scripted([Step("GET", "/v2/", answer)], ordered=False)


def config() -> Path:
    return Path(os.environ["DOCKER_CONFIG"]) / "config.json"


async def test_login_keeps_what_the_registry_accepts_where_docker_looks(
    argosy_process: Spawn,
) -> None:
    async with guarded("me", "secret") as registry:
        words = ["login", registry.host, "-u", "me", "--password-stdin"]
        said = await argosy_process(*words, stdin=b"secret\n")
    assert said.code == 0, said.err
    assert str(config()) in said.out
    auth = json.loads(config().read_text())["auths"][registry.host]["auth"]
    assert base64.b64decode(auth) == b"me:secret"
    assert stat.S_IMODE(config().stat().st_mode) == 0o600
    assert "secret" not in said.out + said.err


async def test_a_wrong_password_is_code_3_and_nothing_is_kept(argosy_process: Spawn) -> None:
    async with guarded("me", "secret") as registry:
        words = ["login", registry.host, "-u", "me", "--password-stdin"]
        said = await argosy_process(*words, stdin=b"wrong\n")
    assert said.code == 3
    assert not config().exists()
    assert "wrong" not in said.out + said.err


async def test_logout_forgets_only_that_registry(argosy_process: Spawn) -> None:
    config().parent.mkdir()
    entry = {"auth": base64.b64encode(b"me:x").decode()}
    auths = {"a.example": entry, "b.example": entry}
    config().write_text(json.dumps({"auths": auths, "credHelpers": {}, "unknown": 1}))
    assert (await argosy_process("logout", "https://a.example/v2/")).code == 0
    kept = json.loads(config().read_text())
    assert list(kept["auths"]) == ["b.example"]
    assert kept["unknown"] == 1
    said = await argosy_process("logout", "a.example")
    assert (said.code, said.out) == (0, "Not logged in to a.example\n")


@pytest.mark.parametrize(
    "words",
    [
        ["--password-stdin"],
        ["-u", "me", "-p", "x", "--password-stdin"],
        ["-u", "me"],  # and no terminal to ask on
    ],
)
async def test_login_says_what_is_missing(argosy_process: Spawn, words: list[str]) -> None:
    said = await argosy_process("login", "127.0.0.1:1", *words)
    assert said.code == 2


def test_login_to_nothing_is_a_network_error(argosy: Argosy) -> None:
    assert argosy("login", "127.0.0.1:1", "-u", "me", "-p", "x").code == 6
