"""What the settings say of access is so: anonymous pulls, where tokens are had, who is believed."""

from dataclasses import replace
from pathlib import Path

import pytest

from argosy.errors import ConfigError
from argosy.server.config.sections import (
    AuthSection,
    DatabaseSection,
    HtpasswdSection,
    ServerSection,
    ServerSettings,
    TokenSection,
)
from argosy.server.guarding.admission import backends_of, key_options, sealer
from tests.guarded import PASSWORD, guarded
from tests.serving import served

ON = AuthSection(enabled=True)


def challenge(path: Path, server: ServerSection, **headers: str) -> str:
    """What a client is told without a name."""
    settings = ServerSettings(server=replace(server, data=str(path)), auth=ON)
    with served(path, settings=settings) as (client, _):
        return client("GET", "/v2/", headers={"Host": "r.example", **headers})["WWW-Authenticate"]


def test_without_anonymous_access_public_is_for_who_says_a_name(tmp_path: Path) -> None:
    with guarded(tmp_path, anonymous=False) as world:
        world.client.by("root", PASSWORD).at("open/app").push_image("v1")
        stranger = world.user("stranger").at("open/app")
        assert stranger("GET", "manifests/v1").status == 200
        nobody = world.client.at("open/app")
        for _ in range(2):  # also once memory knows the project
            assert nobody("GET", "manifests/v1").status == 401
        token = world.client("GET", "/token?scope=repository:open/app:pull").json["token"]
        assert world.client.bearing(token).at("open/app")("GET", "manifests/v1").status == 401
        listed = world.client("GET", "/token?scope=registry:catalog:*").json["token"]
        assert world.client.bearing(listed)("GET", "/v2/_catalog").json["repositories"] == []


def test_the_public_url_is_where_tokens_are_had(tmp_path: Path) -> None:
    section = ServerSection(public_url="https://registry.example/")
    assert 'realm="https://registry.example/token"' in challenge(tmp_path, section)


def test_a_proxy_is_believed_only_if_it_is_named(tmp_path: Path) -> None:
    forwarded = {"X-Forwarded-Proto": "https"}
    trusting = ServerSection(trusted_proxies=("127.0.0.1",))
    assert 'realm="https://r.example/token"' in challenge(tmp_path / "a", trusting, **forwarded)
    assert 'realm="http://r.example/token"' in challenge(
        tmp_path / "b", ServerSection(), **forwarded
    )


def test_guesses_are_counted_for_the_client_behind_a_trusted_proxy(tmp_path: Path) -> None:
    settings = ServerSettings(
        server=ServerSection(data=str(tmp_path), trusted_proxies=("127.0.0.1",)), auth=ON
    )
    with served(tmp_path, settings=settings) as (client, _):

        def guess(number: int, address: str) -> int:
            shown = client.by("ada", f"guess {number}")
            return shown("GET", "/v2/", headers={"X-Forwarded-For": address}).status

        assert [guess(n, "192.0.2.1") for n in range(7)] == [401] * 5 + [429] * 2
        assert guess(8, "192.0.2.2") == 401


def test_nodes_that_share_a_database_have_to_share_a_secret() -> None:
    settings = ServerSettings(database=DatabaseSection(url="postgresql://u@127.0.0.1/x"), auth=ON)
    with pytest.raises(ConfigError) as caught:
        sealer(settings)
    assert "auth.secret" in caught.value.summary
    sealer(replace(settings, auth=replace(ON, secret="5e" * 32)))


def test_tokens_live_at_least_as_long_as_clients_take_for_granted(tmp_path: Path) -> None:
    plain = ServerSettings(server=ServerSection(data=str(tmp_path)), auth=ON)
    with pytest.raises(ConfigError) as caught:
        with served(tmp_path, settings=replace(plain, token=TokenSection(lifetime=59.0))):
            pass
    assert "token.lifetime" in caught.value.summary
    with served(tmp_path, settings=replace(plain, token=TokenSection(lifetime=60.0))) as (
        client,
        _,
    ):
        assert client("GET", "/token").json["expires_in"] == 60


def test_an_old_key_outlives_its_last_token() -> None:
    settings = ServerSettings(token=TokenSection(lifetime=3600.0))
    assert key_options(settings).after > 3600.0


def test_back_ends_are_those_that_are_named() -> None:
    settings = ServerSettings(
        auth=replace(ON, backends=("local", "htpasswd")), htpasswd=HtpasswdSection(file="/f")
    )
    assert [backend.name for backend in backends_of(settings)] == ["htpasswd"]
    with pytest.raises(ConfigError):
        backends_of(replace(settings, auth=replace(ON, backends=("kerberos",))))
