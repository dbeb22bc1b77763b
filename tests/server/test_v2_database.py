"""Over HTTP: a database that is away is an honest 503, kept tags are refused with the rule's name."""

import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from argosy.catalog.actor import SYSTEM
from argosy.catalog.tagging.rules import TagRules
from argosy.server.config.sections import DatabaseSection
from argosy.server.starting.opening import embedded
from tests.peers import run
from tests.postgres import PASSWORD, Postgres
from tests.serving import Client, Serving, digest, served


@pytest.fixture
def on_postgres(tmp_path: Path, postgres_url: str) -> Iterator[tuple[Client, Serving]]:
    section = DatabaseSection(url=postgres_url, patience=0.5)
    settings = replace(embedded(str(tmp_path)), database=section)
    with served(tmp_path, settings=settings) as found:
        yield found


def test_a_database_that_is_away_is_503_with_retry_after_until_it_is_back(
    on_postgres: tuple[Client, Serving], postgres: Postgres
) -> None:
    client = on_postgres[0].at("team/app")
    made = client.push_image("v1")
    postgres.stop()
    try:
        for answer in (
            client("GET", "manifests/v1"),
            client("HEAD", "manifests/v2"),
            client("GET", "tags/list"),
            client("GET", "/v2/_catalog"),
            client("DELETE", "manifests/v1"),
            client.put_manifest(
                "v2",
                b'{"schemaVersion": 2, "manifests": []}',
                "application/vnd.oci.image.index.v1+json",
            ),
        ):
            assert answer.status == 503
            assert int(answer["Retry-After"]) > 0
            if answer.body:
                assert answer.code == "UNAVAILABLE"
                assert PASSWORD not in answer.body.decode()
        assert client("GET", "/readyz").status == 503
        assert client("GET", "/healthz").status == 200
    finally:
        postgres.start()
    assert client("GET", "manifests/v1")["Docker-Content-Digest"] == made["digest"]
    assert client("GET", "manifests/v2").status == 404
    client.push_image("v2", seed="2")


def test_two_servers_on_one_database_serve_what_the_other_has_acknowledged(
    tmp_path: Path, postgres_url: str
) -> None:
    section = DatabaseSection(url=postgres_url)
    settings = [
        replace(embedded(str(tmp_path / name)), database=section) for name in ("one", "two")
    ]
    with (
        served(tmp_path, settings=settings[0]) as (one, _),
        served(tmp_path, settings=settings[1]) as (two, _),
    ):
        clients = [one.at("team/app"), two.at("team/app")]
        bodies = [f'{{"schemaVersion": 2, "manifests": [], "n": {n}}}'.encode() for n in range(2)]
        for move in range(40):
            new, (writer, reader) = bodies[move % 2], clients[:: 1 if move % 3 else -1]
            assert (
                writer.put_manifest("v1", new, "application/vnd.oci.image.index.v1+json").status
                == 201
            )
            assert reader("GET", "manifests/v1").body == new
            assert reader("HEAD", "manifests/v1")["Docker-Content-Digest"] == digest(new)


def test_if_match_lets_one_of_many_movers_win_over_http(
    on_postgres: tuple[Client, Serving],
) -> None:
    client = on_postgres[0].at("team/app")
    first = client.push_image("v1", seed="first")
    bodies = [f'{{"schemaVersion": 2, "manifests": [], "n": {n}}}'.encode() for n in range(16)]
    statuses: list[int] = []

    def move(body: bytes) -> None:
        headers = {
            "Content-Type": "application/vnd.oci.image.index.v1+json",
            "If-Match": f'"{first["digest"]}"',
        }
        statuses.append(client("PUT", "manifests/v1", body, headers).status)

    threads = [threading.Thread(target=move, args=(body,)) for body in bodies]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(statuses) == [201] + [412] * 15


def test_a_deletion_with_if_match_takes_away_only_what_it_saw(
    on_postgres: tuple[Client, Serving],
) -> None:
    client = on_postgres[0].at("team/app")
    first, second = (client.push_image("v1", seed=seed)["digest"] for seed in ("first", "second"))
    for ref in ("v1", second):
        refused = client("DELETE", f"manifests/{ref}", None, {"If-Match": f'"{first}"'})
        assert (refused.status, refused.code) == (412, "DENIED")
    assert client("GET", "manifests/v1")["Docker-Content-Digest"] == second
    for ref in ("v1", second):
        done = client("DELETE", f"manifests/{ref}", None, {"If-Match": f'"{second}"'})
        assert (done.status, done["Argosy-Conditional"]) == (202, "1")
    assert client("GET", f"manifests/{second}").status == 404


def test_a_deletion_by_digest_that_is_refused_speaks_of_no_tag(tmp_path: Path) -> None:
    with served(tmp_path) as (anybody, _):
        client = anybody.at("team/app")
        digest = client.push_image("v1")["digest"]
        refused = client("DELETE", f"manifests/{digest}", None, {"If-None-Match": "*"})
        assert refused.status == 412
        (error,) = refused.json["errors"]
        assert error["message"] == f"{digest} is not what the request asks for"


def test_a_kept_tag_is_refused_with_the_rule_in_the_words_of_the_error(tmp_path: Path) -> None:
    with served(tmp_path) as (client, serving):
        _keep(client, serving)
        refused = client.at("team/app").put_manifest(
            "v1",
            b'{"schemaVersion": 2, "manifests": []}',
            "application/vnd.oci.image.index.v1+json",
        )
        assert (refused.status, refused.code) == (412, "DENIED")
        message = json.loads(refused.body)["errors"][0]["message"]
        assert "rule 1 of project team keeps tags v*" in message
        assert client.at("team/app")("DELETE", "manifests/v1").status == 412


def _keep(client: Client, serving: Serving) -> None:
    client.at("team/app").push_image("v1")
    rules = TagRules(serving.app.catalog.database)
    serving.run(rules.add("team", tags="v*", by=SYSTEM))


@pytest.mark.peer
def test_clients_show_which_rule_keeps_a_tag(tmp_path: Path) -> None:
    with served(tmp_path / "registry") as (client, serving):
        _keep(client, serving)
        client.at("team/app").push_image("other", seed="other")
        there = f"{client.host}:{client.port}/team/app"
        words = ["copy", "--src-tls-verify=false", "--dest-tls-verify=false"]
        with pytest.raises(pytest.fail.Exception) as caught:
            run("skopeo", *words, f"docker://{there}:other", f"docker://{there}:v1")
        assert "rule 1 of project team keeps tags v* in **" in str(caught.value)
