"""Where credentials are found and kept: files of Docker and podman, variables, helpers."""

import asyncio
import base64
import json
import os
import stat
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from argosy.errors import ConfigError
from argosy.stores.remote.auth import Credential
from argosy.stores.remote.credentials import Credentials, _plain


def auth(user, password):
    return {"auth": base64.b64encode(f"{user}:{password}".encode()).decode()}


def written(path: Path, value) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))
    return str(path)


def helper(folder: Path, name: str, script: str) -> dict[str, str]:
    folder.mkdir(exist_ok=True)
    program = folder / f"docker-credential-{name}"
    program.write_text("#!/bin/sh\n" + script)
    program.chmod(0o755)
    return {"PATH": f"{folder}:{os.environ['PATH']}", "HOME": str(folder)}


async def test_docker_config_and_podman_auth_are_both_read(tmp_path):
    written(tmp_path / "docker/config.json", {"auths": {"a:5000": auth("docker", "1")}})
    written(
        tmp_path / "run/containers/auth.json",
        {"auths": {"b:5000": auth("podman", "2"), "a:5000": auth("no", "no")}},
    )
    environ = {
        "DOCKER_CONFIG": str(tmp_path / "docker"),
        "XDG_RUNTIME_DIR": str(tmp_path / "run"),
        "HOME": "/nowhere",
    }
    found = Credentials(environ)
    assert (await found.find("a:5000")).username == "docker"
    assert (await found.find("b:5000")).password == "2"
    assert await found.find("c:5000") is None
    assert str(tmp_path / "docker/config.json") in (await found.find("a:5000")).source


async def test_the_home_directory_is_where_docker_looks(tmp_path):
    written(tmp_path / ".docker/config.json", {"auths": {"a": auth("u", "p")}})
    assert (await Credentials({"HOME": str(tmp_path)}).find("a")).username == "u"


async def test_registry_auth_file_replaces_the_search(tmp_path):
    written(tmp_path / ".docker/config.json", {"auths": {"a": auth("u", "p")}})
    file = written(tmp_path / "mine.json", {"auths": {"b": auth("v", "q")}})
    found = Credentials({"HOME": str(tmp_path), "REGISTRY_AUTH_FILE": file})
    assert await found.find("a") is None
    assert (await found.find("b")).username == "v"


async def test_docker_auth_config_wins_and_falls_back(tmp_path):
    written(
        tmp_path / ".docker/config.json",
        {"auths": {"a": auth("file", "p"), "b": auth("file", "p")}},
    )
    variable = json.dumps({"auths": {"a": auth("variable", "p")}})
    found = Credentials({"HOME": str(tmp_path), "DOCKER_AUTH_CONFIG": variable})
    assert (await found.find("a")).username == "variable"
    assert (await found.find("b")).username == "file"


@pytest.mark.parametrize(
    "key",
    ["https://index.docker.io/v1/", "docker.io", "index.docker.io", "https://registry-1.docker.io"],
)
async def test_every_spelling_of_docker_hub_is_found(tmp_path, key):
    file = written(tmp_path / "c.json", {"auths": {key: auth("hub", "p")}})
    assert (
        await Credentials({}, authfile=file).find("docker.io", "library/debian")
    ).username == "hub"


@pytest.mark.parametrize("key", ["h:1", "http://h:1", "https://h:1/", "https://h:1/v1/", "h:1/v2/"])
async def test_old_keys_with_scheme_and_path_match_their_host(tmp_path, key):
    file = written(tmp_path / "c.json", {"auths": {key: auth("u", "p")}})
    assert (await Credentials({}, authfile=file).find("h:1", "x")).username == "u"


async def test_the_most_specific_namespace_wins(tmp_path):
    keys = {"h": auth("host", ""), "h/team": auth("team", ""), "h/team/app": auth("app", "")}
    file = written(tmp_path / "c.json", {"auths": keys})
    found = Credentials({}, authfile=file)
    for repository, user in [
        ("team/app", "app"),
        ("team/app/x", "app"),
        ("team/b", "team"),
        ("teams", "host"),
        ("", "host"),
    ]:
        assert (await found.find("h", repository)).username == user


async def test_tokens_and_plain_fields_are_read(tmp_path):
    entries = {
        "i": {"identitytoken": "idt"},
        "r": {"registrytoken": "reg"},
        "p": {"username": "u", "password": "p:w"},
        "c": auth("u", "with:colon"),
        "e": {},
    }
    found = Credentials({}, authfile=written(tmp_path / "c.json", {"auths": entries}))
    assert (await found.find("i")).identity_token == "idt"
    assert (await found.find("r")).registry_token == "reg"
    assert (await found.find("p")).password == "p:w"
    assert (await found.find("c")).password == "with:colon"
    assert await found.find("e") is None  # what docker leaves where a helper keeps the secret


@pytest.mark.parametrize("text", ["{", "[]", '{"auths": {"h": {"auth": "%%%"}}}', "\xff"])
async def test_a_file_that_cannot_be_read_is_named(tmp_path, text):
    file = tmp_path / "c.json"
    file.write_text(text, encoding="latin-1")
    with pytest.raises(ConfigError) as e:
        await Credentials({}, authfile=str(file)).find("h")
    assert str(file) in e.value.summary


async def test_a_helper_is_asked_for_the_host(tmp_path):
    environ = helper(
        tmp_path / "bin",
        "fake",
        'read host; echo "{\\"ServerURL\\":\\"$host\\",\\"Username\\":\\"u\\",\\"Secret\\":\\"$host-$1\\"}"',
    )
    file = written(
        tmp_path / "c.json", {"credHelpers": {"h:1": "fake"}, "auths": {"x": auth("file", "p")}}
    )
    found = Credentials(environ, authfile=file)
    credential = await found.find("h:1")
    assert (credential.username, credential.password) == ("u", "h:1-get")
    assert credential.source == "docker-credential-fake"
    assert (await found.find("x")).username == "file"


async def test_a_helpers_token_user_means_an_identity_token(tmp_path):
    environ = helper(
        tmp_path / "bin", "t", """cat >/dev/null; echo '{"Username":"<token>","Secret":"idt"}'"""
    )
    file = written(tmp_path / "c.json", {"credsStore": "t"})
    assert (await Credentials(environ, authfile=file).find("h")).identity_token == "idt"


async def test_a_helper_without_the_credential_falls_back_to_the_file(tmp_path):
    environ = helper(
        tmp_path / "bin", "no", "echo credentials not found in native keychain; exit 1"
    )
    file = written(tmp_path / "c.json", {"credsStore": "no", "auths": {"h": auth("file", "p")}})
    found = Credentials(environ, authfile=file)
    assert (await found.find("h")).username == "file"
    assert await found.find("other") is None


async def test_a_helper_that_fails_is_named_with_its_words(tmp_path):
    environ = helper(tmp_path / "bin", "bad", "echo the keychain is locked; exit 1")
    file = written(tmp_path / "c.json", {"credsStore": "bad"})
    with pytest.raises(ConfigError) as e:
        await Credentials(environ, authfile=file).find("h")
    assert "docker-credential-bad" in e.value.summary
    assert e.value.why == "the keychain is locked"


async def test_a_helper_that_is_not_there_is_named(tmp_path):
    file = written(tmp_path / "c.json", {"credsStore": "absent"})
    with pytest.raises(ConfigError) as e:
        await Credentials({"PATH": str(tmp_path)}, authfile=file).find("h")
    assert "docker-credential-absent" in e.value.remedy


async def test_a_helper_that_hangs_is_stopped(tmp_path):
    marker = tmp_path / "pid"
    environ = helper(tmp_path / "bin", "hang", f"echo $$ > {marker}; exec sleep 600")
    file = written(tmp_path / "c.json", {"credsStore": "hang"})
    began = time.monotonic()
    with pytest.raises(ConfigError) as e:
        await Credentials(environ, authfile=file, helper_timeout=0.5).find("h")
    assert "0.5 seconds" in e.value.why
    assert time.monotonic() - began < 5
    with pytest.raises(ProcessLookupError):
        os.kill(int(marker.read_text()), 0)


async def test_a_helpers_nonsense_is_an_error(tmp_path):
    environ = helper(tmp_path / "bin", "odd", "cat >/dev/null; echo hello")
    file = written(tmp_path / "c.json", {"credsStore": "odd"})
    with pytest.raises(ConfigError):
        await Credentials(environ, authfile=file).find("h")


async def test_a_helper_is_a_name_not_a_path(tmp_path):
    file = written(tmp_path / "c.json", {"credsStore": "../../bin/sh"})
    with pytest.raises(ConfigError):
        await Credentials({}, authfile=file).find("h")


async def test_login_keeps_what_it_does_not_know_and_is_for_the_owner_only(tmp_path):
    file = tmp_path / "deep/config.json"
    written(file, {"HttpHeaders": {"X": "1"}, "auths": {"old": auth("o", "p")}, "psFormat": "x"})
    file.chmod(0o644)
    credentials = Credentials({}, authfile=str(file))
    assert await credentials.store("new:5000", Credential(username="n", password="s")) == str(file)
    value = json.loads(file.read_text())
    assert value["HttpHeaders"] == {"X": "1"}
    assert value["psFormat"] == "x"
    assert set(value["auths"]) == {"old", "new:5000"}
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert (await credentials.find("new:5000")).password == "s"
    assert [p.name for p in file.parent.iterdir()] == ["config.json"]


async def test_login_makes_the_file_where_docker_looks(tmp_path):
    credentials = Credentials({"HOME": str(tmp_path)})
    await credentials.store("docker.io", Credential(username="n", password="s"))
    value = json.loads((tmp_path / ".docker/config.json").read_text())
    assert list(value["auths"]) == ["https://index.docker.io/v1/"]


async def test_login_writes_through_a_symlink(tmp_path):
    real = tmp_path / "real.json"
    real.write_text("{}")
    link = tmp_path / "config.json"
    link.symlink_to(real)
    await Credentials({}, authfile=str(link)).store("h", Credential(username="n", password="s"))
    assert link.is_symlink()
    assert "h" in json.loads(real.read_text())["auths"]


async def test_logout_forgets_every_spelling_and_says_so_when_there_was_none(tmp_path):
    file = written(
        tmp_path / "c.json",
        {"auths": {"https://h:1/v1/": auth("a", "b"), "h:1": auth("c", "d"), "k": auth("e", "f")}},
    )
    credentials = Credentials({}, authfile=file)
    assert await credentials.erase("h:1") == file
    assert list(json.loads(Path(file).read_text())["auths"]) == ["k"]
    assert await credentials.erase("h:1") == ""


async def test_a_helper_keeps_and_forgets_what_it_is_in_charge_of(tmp_path):
    log = tmp_path / "log"
    environ = helper(tmp_path / "bin", "log", f'echo "$1 $(cat)" >> {log}')
    file = written(tmp_path / "c.json", {"credsStore": "log"})
    credentials = Credentials(environ, authfile=file)
    assert await credentials.store("h", Credential(identity_token="idt")) == "docker-credential-log"
    await credentials.erase("h")
    stored, erased = log.read_text().splitlines()
    assert json.loads(stored.removeprefix("store ")) == {
        "ServerURL": "h",
        "Username": "<token>",
        "Secret": "idt",
    }
    assert erased == "erase h"
    assert "auths" not in json.loads(Path(file).read_text())


async def test_concurrent_logins_leave_a_whole_file(tmp_path):
    file = tmp_path / "c.json"
    credentials = Credentials({}, authfile=str(file))
    await asyncio.gather(
        *[credentials.store(f"h{n}", Credential(username="u", password="p")) for n in range(8)]
    )
    assert len(json.loads(file.read_text())["auths"]) == 8


@given(st.text(max_size=60))
def test_any_key_is_read_without_failing(key):
    assert isinstance(_plain(key), str)


@given(
    st.from_regex(r"[a-z]{1,8}(\.[a-z]{1,5})?(:[0-9]{2,4})?", fullmatch=True),
    st.sampled_from(["", "http://", "https://"]),
    st.sampled_from(["", "/", "/v1/", "/v2/", "/v1"]),
)
def test_a_host_is_found_in_every_form_of_key(host, scheme, path):
    assert _plain(f"{scheme}{host}{path}") == host
