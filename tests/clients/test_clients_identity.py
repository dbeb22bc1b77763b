"""Real clients with identities from elsewhere: LDAP, htpasswd, an OIDC provider, a CI job's token."""

import base64
import json
import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import bcrypt
import pytest
from sqlalchemy import Connection

from argosy.access.identity import totp
from argosy.access.identity.workload import Rule, add_rule
from argosy.access.permissions.permission import Role
from argosy.catalog.actor import SYSTEM
from argosy.catalog.people import robots
from argosy.server.config.sections import (
    AuthSection,
    HtpasswdSection,
    LdapSection,
    OidcSection,
    ServerSection,
    ServerSettings,
    WorkloadSection,
)
from tests.access.ci_claims import GITHUB, GITHUB_HEADER, GITLAB
from tests.browser import Browser
from tests.guarded import ADMIN, PASSWORD, World
from tests.images import multi_platform
from tests.oidc_provider import CLIENT, SECRET, Provider, provider_running
from tests.peers import PATH, Run, argosy, need, run
from tests.serving import served
from tests.slapd import GROUPS, PEOPLE, READER, READER_PASSWORD, slapd_running

pytestmark = pytest.mark.peer

WHO = ("ldap", "htpasswd", "oidc", "github", "gitlab")


@dataclass
class House:
    """A registry that knows people by every back end, and what they log in with."""

    world: World
    oidc: Provider

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.world.client.port}"

    def pair(self, who: str) -> tuple[str, str]:
        """A name and what it shows as password."""
        audience = f"https://{self.host}"
        job = self.world.secrets["robot name"]
        return {
            "ldap": lambda: ("ann", "ann's password"),
            "htpasswd": lambda: ("hal", "hal's password"),
            "oidc": lambda: ("eve", self.world.secrets["oidc"]),
            "github": lambda: (
                job,
                self.oidc.sign({**GITHUB, "aud": audience}, **GITHUB_HEADER),
            ),
            "gitlab": lambda: (job, self.oidc.sign({**GITLAB, "aud": audience})),
        }[who]()


def settings(data: Path, directory: Any, oidc: Provider) -> ServerSettings:
    hashed = bcrypt.hashpw(b"hal's password", bcrypt.gensalt(4)).decode()
    (data / "users").write_text(f"hal:{hashed}\n")
    (data / "groups").write_text("dev: hal\n")
    return ServerSettings(
        server=ServerSection(data=str(data)),
        auth=AuthSection(enabled=True, backends=("local", "htpasswd", "ldap", "oidc")),
        htpasswd=HtpasswdSection(file=str(data / "users"), groups_file=str(data / "groups")),
        ldap=LdapSection(
            urls=(directory.secure,),
            ca_file=str(directory.ca),
            bind_dn=READER,
            bind_password=READER_PASSWORD,
            base_dn=PEOPLE,
            group_base=GROUPS,
            timeout=2.0,
        ),
        oidc=OidcSection(issuer=oidc.issuer, client_id=CLIENT, client_secret=SECRET),
        workload=WorkloadSection(issuers=(oidc.issuer,)),
    )


def job_robot(world: World, oidc: Provider) -> str:
    """A robot that may be a job of GitHub's acme/app or of GitLab's my-group."""
    name, _ = world.robot("ci", "repository:team/**:pull,push", project="team")

    def write(conn: Connection) -> None:
        found = robots.robot(conn, name)
        assert found is not None
        audience = f"https://127.0.0.1:{world.client.port}"
        for claims in ({"repository": "acme/app"}, {"project_path": "my-group/*"}):
            rule = Rule(issuer=oidc.issuer, audience=audience, claims=claims)
            add_rule(conn, found, rule, SYSTEM)

    world.run(world.serving.app.catalog.database.write(write))
    return name


def token_by_browser(home: str, oidc: Provider, user: str) -> str:
    """Log in at the provider, make a personal access token."""
    oidc.clients[CLIENT]["redirect_uris"] = [f"{home}/auth/oidc/callback"]
    browser = Browser(home)
    page = browser.get("/auth/oidc/login")
    page = browser.press(page, "Log in", user=user, password=user[::-1])
    return browser.press(page, "Make a token", name="docker", days="1").codes[0]


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    data = tmp_path_factory.mktemp("identity")
    with slapd_running() as directory, provider_running() as oidc:
        oidc.add_user("eve", groups=["dev"])
        with served(data, settings=settings(data, directory, oidc)) as (client, serving):
            world = World(client, serving)
            world.user(ADMIN, is_admin=True)
            world.project("team")
            world.run(world.access.members.put(SYSTEM, "team", "group", "dev", Role.DEVELOPER))
            world.secrets["robot name"] = job_robot(world, oidc)
            home = f"http://127.0.0.1:{client.port}"
            world.secrets["oidc"] = token_by_browser(home, oidc, "eve")
            yield House(world, oidc)


def fails(program: str, *args: str | Path) -> str:
    """Run a peer that has to fail; what it said."""
    done = subprocess.run(
        [need(program), *map(str, args)],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "PATH": PATH},
    )
    assert done.returncode, done.stdout
    return done.stdout + done.stderr


def layout(path: Path, seed: str) -> str:
    multi_platform(path, payload=seed.encode())
    return f"oci:{path}:v1"


@pytest.mark.parametrize("who", WHO)
def test_skopeo_pushes_and_pulls_by_the_role_of_the_group(
    house: House, tmp_path: Path, who: str
) -> None:
    name, secret = house.pair(who)
    source, auth = layout(tmp_path / "in", f"skopeo {who}"), tmp_path / "auth.json"
    remote = f"docker://{house.host}/team/skopeo-{who}:v1"
    plain = ["--tls-verify=false", "--authfile", auth]
    run("skopeo", "login", *plain, "-u", name, "-p", secret, house.host)
    run(
        "skopeo",
        "copy",
        "--all",
        "--dest-tls-verify=false",
        "--authfile",
        auth,
        source,
        remote,
    )
    tags = json.loads(run("skopeo", "list-tags", *plain, remote[:-3]))
    assert tags["Tags"] == ["v1"]
    # A developer does not delete.
    assert "denied" in fails("skopeo", "delete", *plain, remote).lower()


def test_somebody_without_the_group_may_log_in_and_nothing_else(
    house: House, tmp_path: Path
) -> None:
    auth = tmp_path / "auth.json"
    plain = ["--tls-verify=false", "--authfile", auth]
    run("skopeo", "login", *plain, "-u", "bob", "-p", "bob's password", house.host)
    said = fails(
        "skopeo",
        "copy",
        "--dest-tls-verify=false",
        "--authfile",
        auth,
        layout(tmp_path / "in", "bob"),
        f"docker://{house.host}/team/bob:v1",
    )
    assert "403" in said


@pytest.mark.root
@pytest.mark.parametrize("who", WHO)
def test_docker_logs_in_pulls_and_pushes(
    house: House, dockerd: Run, tmp_path: Path, who: str
) -> None:
    name, secret = house.pair(who)
    config = ["--config", str(tmp_path / "docker")]
    image = f"{house.host}/team/docker-{who}:v1"
    source = layout(tmp_path / "in", f"docker {who}")
    root = ["--dest-tls-verify=false", "--dest-creds", f"{ADMIN}:{PASSWORD}"]
    run("skopeo", "copy", *root, source, f"docker://{image}")
    assert "Login Succeeded" in dockerd(*config, "login", "-u", name, "-p", secret, house.host)
    dockerd(*config, "pull", image)
    dockerd("tag", image, f"{image}-again")
    dockerd(*config, "push", f"{image}-again")
    assert secret not in (tmp_path / "docker/config.json").read_text()


@pytest.mark.root
@pytest.mark.parametrize("who", WHO)
def test_podman_logs_in_pulls_and_pushes(
    house: House, podman: Run, tmp_path: Path, who: str
) -> None:
    name, secret = house.pair(who)
    auth, image = tmp_path / "auth.json", f"{house.host}/team/podman-{who}"
    source = layout(tmp_path / "in", f"podman {who}")
    root = ["--dest-tls-verify=false", "--dest-creds", f"{ADMIN}:{PASSWORD}"]
    run("skopeo", "copy", *root, source, f"docker://{image}:v1")
    plain = ["--tls-verify=false", "--authfile", auth]
    podman("login", *plain, "-u", name, "-p", secret, house.host)
    podman("pull", "-q", *plain, f"{image}:v1")
    podman("tag", f"{image}:v1", f"{image}:again")
    podman("push", "-q", *plain, f"{image}:again")


@pytest.mark.root
def test_what_login_workload_keeps_serves_docker_podman_and_skopeo(
    house: House, dockerd: Run, podman: Run, tmp_path: Path
) -> None:
    name, token = house.pair("github")
    config = tmp_path / "docker"
    env = {"DOCKER_CONFIG": str(config), "ARGOSY_ID_TOKEN": token}
    argosy("login", "--workload", "-u", name, house.host, **env)
    auth = config / "config.json"
    image = f"{house.host}/team/workload"
    source = layout(tmp_path / "in", "workload")
    argosy("copy", source, f"docker://{image}:v1", DOCKER_CONFIG=str(config))
    dockerd("--config", str(config), "pull", f"{image}:v1")
    dockerd("tag", f"{image}:v1", f"{image}:docker")
    dockerd("--config", str(config), "push", f"{image}:docker")
    podman("pull", "-q", "--tls-verify=false", "--authfile", auth, f"{image}:v1")
    plain = ["--tls-verify=false", "--authfile", auth]
    tags = json.loads(run("skopeo", "list-tags", *plain, f"docker://{image}"))
    assert tags["Tags"] == ["docker", "v1"]


def test_somebody_of_the_directory_with_a_second_factor_needs_a_token(house: House) -> None:
    name, password = "joerg", "jörg's pässword"
    browser, asked = Browser(f"http://{house.host}"), "/token?service=argosy"
    assert house.world.client.by(name, password)("GET", asked).status == 200
    page = browser.press(browser.get("/login"), "Log in", name=name, password=password)
    page = browser.press(page, "Set it up")
    secret = base64.b32decode(page.codes[0])
    now = totp.step_at(time.time())
    browser.press(page, "Turn it on", code=totp.hotp(secret, now - 1))
    answer = house.world.client.by(name, password)("GET", asked)
    assert answer.status == 401
    assert "personal access token" in answer.body.decode()
    browser.cookies().clear()
    page = browser.press(browser.get("/login"), "Log in", name="JOERG", password=password)
    page = browser.press(page, "Go on", code=totp.hotp(secret, totp.step_at(time.time())))
    token = browser.press(page, "Make a token", name="docker", days="").codes[0]
    assert house.world.client.by(name, token)("GET", asked).status == 200


def test_a_directory_that_is_down_is_503_and_the_others_go_on(tmp_path: Path) -> None:
    asked = "/token?service=argosy"
    with provider_running() as oidc, ExitStack() as stack:
        directory = stack.enter_context(slapd_running())
        made = settings(tmp_path, directory, oidc)
        with served(tmp_path, settings=made) as (client, serving):
            local = World(client, serving).user("local")
            assert client.by("ann", "ann's password")("GET", asked).status == 200
            stack.close()
            answer = client.by("bob", "bob's password")("GET", asked)
            assert answer.status == 503
            assert "cannot be asked" in answer.body.decode()
            assert int(answer["Retry-After"]) > 0
            assert client.by("bob", "bob's password")("GET", "/v2/").status == 503
            assert local("GET", asked).status == 200
            assert client.by("hal", "hal's password")("GET", asked).status == 200
