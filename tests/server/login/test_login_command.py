"""`argosy login --web | --oidc | --workload` against a real server, and docker's own file."""

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection

from argosy.access.accounts.users import NewUser
from argosy.access.identity.workload import Rule, add_rule
from argosy.catalog.actor import SYSTEM
from argosy.catalog.people import robots, users
from argosy.server.config.sections import (
    AuthSection,
    OidcSection,
    ServerSection,
    ServerSettings,
    WorkloadSection,
)
from tests.access.ci_claims import GITHUB, GITHUB_HEADER
from tests.browser import Browser
from tests.oidc_provider import CLIENT, SECRET, Provider
from tests.scripted import Reply, Scripted, Seen, Step
from tests.serving import Client, Serving, served

pytestmark = pytest.mark.slow

ROBOT = "robot$team+ci"


@dataclass(frozen=True)
class House:
    client: Client
    serving: Serving
    oidc: Provider

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.client.port}"

    def write(self, function: Callable[[Connection], Any]) -> Any:
        return self.serving.run(self.serving.app.catalog.database.write(function))

    def login(self, *words: str, **env: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [sys.executable, "-m", "argosy", "login", *words, self.host],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **env},
        )


@pytest.fixture
def house(tmp_path: Path, oidc: Provider) -> Iterator[House]:
    settings = ServerSettings(
        server=ServerSection(data=str(tmp_path)),
        auth=AuthSection(enabled=True, backends=("local", "oidc")),
        oidc=OidcSection(issuer=oidc.issuer, client_id=CLIENT, client_secret=SECRET),
        workload=WorkloadSection(issuers=(oidc.issuer,)),
    )
    with served(tmp_path, settings=settings) as (client, serving):
        yield House(client, serving, oidc)


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
    return tmp_path / "docker" / "config.json"


def told(process: "subprocess.Popen[str]") -> str:
    """The address that the command line asks to open."""
    assert process.stderr is not None
    line = process.stderr.readline()
    assert line.startswith("Open "), line + process.stderr.read()
    return line.split()[1]


def ended(process: "subprocess.Popen[str]") -> tuple[int, str, str]:
    out, err = process.communicate(timeout=60)
    return process.returncode, out, err


def test_login_web_keeps_a_token_that_somebody_allowed(house: House, config: Path) -> None:
    access = house.serving.app.admission.access
    assert access is not None
    new = NewUser(name="ann", password="correct horse battery")
    house.serving.run(access.users.create(SYSTEM, new))
    process = house.login("--web")
    browser = Browser(f"http://{house.host}")
    page = browser.press(
        browser.get(told(process)), "Log in", name="ann", password="correct horse battery"
    )
    browser.press(page, "Yes")
    code, out, err = ended(process)
    assert code == 0, err
    assert f"Logged in to {house.host} as ann" in out
    kept = json.loads(config.read_text())["auths"][house.host]
    assert "correct horse" not in config.read_text()
    answer = house.client(
        "GET", "/token?service=argosy", None, {"Authorization": f"Basic {kept['auth']}"}
    )
    assert answer.status == 200


def test_login_oidc_goes_to_the_providers_own_page(house: House, config: Path) -> None:
    process = house.login("--oidc")
    where = told(process)
    assert where.startswith(f"{house.oidc.issuer}/activate")
    house.oidc.decided[where.partition("user_code=")[2]] = ("ann", True)
    code, out, err = ended(process)
    assert code == 0, err
    assert "as ann" in out
    assert house.host in config.read_text()


def test_login_that_is_declined_keeps_nothing_and_is_code_3(house: House, config: Path) -> None:
    process = house.login("--oidc")
    house.oidc.decided[told(process).partition("user_code=")[2]] = ("ann", False)
    code, _, err = ended(process)
    assert code == 3
    assert "does not let you in" in err
    assert not config.exists()


def robot(house: House) -> None:
    """A robot that may be a job of acme/app."""

    def write(conn: Connection) -> None:
        maker = users.add_user(conn, "maker", {"is_admin": True})
        values = {
            "name": ROBOT,
            "secret": "x" * 64,
            "grants": ["repository:team/**:pull,push"],
            "created_by_id": maker,
        }
        key = robots.add_robot(conn, values)
        found = robots.robot_by_id(conn, key)
        assert found is not None
        claims = {"repository": "acme/app", "ref": "refs/heads/main"}
        rule = Rule(issuer=house.oidc.issuer, audience=f"https://{house.host}", claims=claims)
        add_rule(conn, found, rule, SYSTEM)

    house.write(write)


def job_token(house: House, **more: Any) -> str:
    return house.oidc.sign({**GITHUB, "aud": f"https://{house.host}", **more}, **GITHUB_HEADER)


def test_a_job_becomes_its_robot_for_an_hour(house: House, config: Path) -> None:
    robot(house)
    code, out, err = ended(house.login("--workload", ARGOSY_ID_TOKEN=job_token(house)))
    assert code == 0, err
    assert f"as {ROBOT}" in out
    kept = json.loads(config.read_text())["auths"][house.host]
    body = "&".join(
        [
            "grant_type=refresh_token",
            f"refresh_token={kept['identitytoken']}",
            "service=argosy",
            "scope=repository:team/app:pull,push+repository:other/app:pull",
        ]
    )
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    given = house.client("POST", "/token", body, form)
    assert given.status == 200
    assert given.json["scope"] == "repository:team/app:pull,push"

    def life(conn: Connection) -> float:
        from argosy.catalog import schema as t

        return conn.execute(t.refresh_tokens.select()).one().expires_at / 1e6 - time.time()

    assert 3000 < house.write(life) <= 3600


def test_github_s_runner_is_asked_for_the_token(house: House, config: Path) -> None:
    robot(house)
    seen: list[Seen] = []

    def answer(request: Seen) -> Reply:
        seen.append(request)
        return Reply(200, json.dumps({"value": job_token(house)}).encode())

    async def run() -> tuple[int, str, str]:
        async with Scripted([Step("GET", "/job", answer)], ordered=False) as runner:
            process = house.login(
                "--workload",
                ACTIONS_ID_TOKEN_REQUEST_URL=f"http://{runner.host}/job?api=1",
                ACTIONS_ID_TOKEN_REQUEST_TOKEN="the runner's",
            )
            return await asyncio.to_thread(ended, process)

    code, _, err = asyncio.run(run())
    assert code == 0, err
    assert seen[0].headers["authorization"] == "Bearer the runner's"
    assert seen[0].query == {"api": ["1"], "audience": [f"https://{house.host}"]}


def test_a_job_of_others_is_refused_without_its_token_in_the_message(
    house: House, config: Path
) -> None:
    robot(house)
    token = job_token(house, repository="evil/app")
    code, out, err = ended(house.login("--workload", ARGOSY_ID_TOKEN=token))
    assert code == 3
    assert "no robot has a rule" in err
    assert token not in out + err
    assert not config.exists()


def test_the_token_itself_is_a_password_while_it_is_good(house: House) -> None:
    robot(house)
    client = house.client.by(ROBOT, job_token(house))
    assert client("GET", "/token?service=argosy&scope=repository:team/app:push").status == 200
    assert house.client.by("robot$team+other", job_token(house))("GET", "/token").status == 401
    assert house.client.by("maker", job_token(house))("GET", "/token").status == 401


def test_the_ways_exclude_each_other(house: House) -> None:
    for words in (["--web", "--oidc"], ["--web", "-u", "ann"], ["--oidc", "-p", "x"]):
        code, _, err = ended(house.login(*words))
        assert code == 2, err
