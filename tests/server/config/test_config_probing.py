"""`argosy config check` tells what the server would refuse, and what cannot be reached, and changes nothing."""

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from argosy.server.config.loading import load
from argosy.server.config.probing import Finding, contradictions, foretold, reached
from argosy.server.starting.running import with_data
from tests.peers import free_port, need, running
from tests.postgres import PASSWORD
from tests.seaweed import ACCESS, BUCKET, SECRET
from tests.slapd import BASE, READER, READER_PASSWORD, Slapd


def refused(text: str, path: Path) -> list[Finding]:
    return asyncio.run(contradictions(settings(text, path)))


def probed(text: str, path: Path) -> dict[str, Finding]:
    return {finding.name: finding for finding in asyncio.run(reached(settings(text, path)))}


def settings(text: str, path: Path):
    file = path / "argosy.toml"
    file.write_text(text)
    return with_data(load(str(file), environ={}), str(path / "home"))


@pytest.mark.parametrize(
    ("text", "section", "why"),
    [
        ('[server]\nlisten = "0.0.0.0:1"', "server", "without authentication"),
        ('[server]\nlisten = "here"', "server", "not an address"),
        ('[server]\ntls_cert = "a.pem"', "server", "belong together"),
        ('[server]\ntls_cert = "/no"\ntls_key = "/no"', "server", "/no"),
        ('[server]\ntrusted_proxies = ["proxy"]', "server", "proxy"),
        ('[storage]\nbackend = "s3"', "storage", "no bucket"),
        ('[auth]\nenabled = true\nbackends = ["radius"]', "auth", "radius"),
        ('[auth]\nenabled = true\nbackends = ["ldap"]', "auth", ""),
        ('[auth]\nenabled = true\nbackends = ["oidc"]', "auth", "issuer"),
        ('[auth]\nenabled = true\nbackends = ["htpasswd"]', "auth", "htpasswd.file"),
        ('[database]\nurl = "mysql://h/d"', "database", "mysql://"),
        ('[database]\nurl = "postgresql://h"', "database", "names no database"),
        ('[auth]\nenabled = true\n[database]\nurl = "postgresql://h/d"', "auth", "auth.secret"),
        ("[auth]\nenabled = true\n[token]\nlifetime = 5", "auth", "60 s"),
        ('[audit]\nhttp = "ftp://x"', "audit", ""),
    ],
)
def test_what_the_server_would_refuse_is_told_with_a_remedy(text, section, why, tmp_path):
    (found,) = refused(text, tmp_path)
    assert (found.name, found.state) == (section, "fail")
    assert why in found.summary


def test_one_problem_of_a_section_does_not_hide_another(tmp_path):
    text = """
    [server]
    listen = "0.0.0.0"
    trusted_proxies = ["10.0.0.0/99"]
    tls_cert = "/no"
    tls_key = "/no"
    [database]
    url = "postgresql://h/d"
    [auth]
    enabled = true
    backends = ["kerberos"]
    """
    found = refused(text, tmp_path)
    assert [finding.name for finding in found] == ["server"] * 3 + ["auth"] * 2
    for finding, why in zip(found, ("listen", "/99", "/no", "secret", "kerberos"), strict=True):
        assert why in finding.summary


def test_the_defaults_contradict_nothing_and_checking_them_makes_nothing(tmp_path):
    assert refused("[auth]\nenabled = true", tmp_path) == []
    found = probed("[auth]\nenabled = true", tmp_path)
    assert {f.state for f in found.values()} == {"ok"}
    assert [p.name for p in tmp_path.iterdir()] == ["argosy.toml"]


def test_what_is_away_is_told_each_by_its_section(tmp_path):
    port = free_port()
    text = f"""
    [database]
    url = "postgresql://postgres@127.0.0.1:{port}/x"
    [storage]
    backend = "s3"
    [storage.s3]
    endpoint = "http://127.0.0.1:{port}"
    bucket = "b"
    access_key = "a"
    secret_key = "not-to-be-shown"
    retries = 0
    [redis]
    url = "redis://127.0.0.1:{port}"
    [auth]
    enabled = true
    backends = ["htpasswd", "ldap", "oidc"]
    secret = "0123456789abcdef0123456789abcdef"
    [auth.htpasswd]
    file = "{tmp_path}/none"
    [auth.ldap]
    urls = ["ldap://127.0.0.1:{port}"]
    base_dn = "dc=example"
    [auth.oidc]
    issuer = "http://127.0.0.1:{port}"
    client_id = "argosy"
    allow_http = true
    """
    found = probed(text, tmp_path)
    names = ["auth.htpasswd", "auth.ldap", "auth.oidc", "database", "redis", "storage.s3"]
    assert sorted(found) == names
    assert {f.state for f in found.values()} == {"fail"}
    assert all(f.next for f in found.values()), found
    assert "not-to-be-shown" not in str(found)


@pytest.mark.peer
def test_what_is_there_is_told_with_its_version(tmp_path, empty_postgres_url, seaweed):
    port = free_port()
    argv = [need("redis-server"), "--port", str(port), "--bind", "127.0.0.1", "--save", ""]
    text = f"""
    [database]
    url = "{empty_postgres_url.replace(":" + PASSWORD, "")}"
    password = "{PASSWORD}"
    [storage]
    backend = "s3"
    [storage.s3]
    endpoint = "{seaweed.endpoint}"
    bucket = "{BUCKET}"
    access_key = "{ACCESS}"
    secret_key = "{SECRET}"
    [redis]
    url = "redis://127.0.0.1:{port}"
    """
    with running(argv, port, tmp_path / "redis.log"):
        found = probed(text, tmp_path)
    assert {f.state for f in found.values()} == {"ok"}, found
    assert found["database"].summary.endswith("still empty")  # nothing was made there
    assert found["redis"].summary.startswith("Redis ")
    assert BUCKET in found["storage.s3"].summary


@pytest.mark.peer
def test_ldap_is_asked_with_the_account_that_searches(tmp_path, slapd: Slapd):
    text = f"""
    [auth]
    enabled = true
    backends = ["ldap"]
    [auth.ldap]
    urls = ["{slapd.url}"]
    base_dn = "{BASE}"
    """
    who = f'bind_dn = "{READER}"\nbind_password = '
    assert probed(f'{text}{who}"{READER_PASSWORD}"', tmp_path)["auth.ldap"].state == "ok"
    assert probed(f'{text}{who}"wrong"', tmp_path)["auth.ldap"].state == "fail"


def test_the_command_tells_all_and_exits_with_2(tmp_path):
    file = tmp_path / "argosy.toml"
    file.write_text('[server]\nlisten = "0.0.0.0:5000"\nlisen = 1\n[token]\nlifetime = "soon"\n')
    argv = [sys.executable, "-m", "argosy", "config", "check", str(file), "--json", "--connect"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2, done.stderr
    found = {item["name"]: item for item in json.loads(done.stdout)}
    assert set(found) == {"server.lisen", "token.lifetime", "server"}
    assert "server.listen" in found["server.lisen"]["next"]


def test_a_misspelt_variable_is_a_warning_and_no_failure(tmp_path):
    argv = [sys.executable, "-m", "argosy", "config", "check"]
    env = {**os.environ, "ARGOSY_SERVER_LISTN": ":5000", "ARGOSY_HOME": str(tmp_path)}
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, env=env)
    assert done.returncode == 0, done.stderr
    assert "warn  ARGOSY_SERVER_LISTN: there is no such setting" in done.stdout
    assert "-> did you mean ARGOSY_SERVER_LISTEN?" in done.stdout


def test_it_is_told_where_the_buckets_key_comes_from_without_asking_for_it(tmp_path, monkeypatch):
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nowhere")
    bucket = '[storage]\nbackend = "s3"\n[storage.s3]\nbucket = "b"\n'
    for more, variable, value, told in [
        ('access_key = "a"\nsecret_key = "s"', "X", "", "settings (storage.s3.access_key)"),
        ("", "AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://127.0.0.1:1/k", "the container"),
        ("", "X", "", "EC2 instance's role (http://169.254.169.254), if there is one"),
    ]:
        with monkeypatch.context() as patch:
            patch.setenv(variable, value)
            assert refused(bucket + more, tmp_path) == []
            (found,) = asyncio.run(foretold(settings(bucket + more, tmp_path)))
        assert (found.name, found.state) == ("storage.s3", "ok")
        assert told in found.summary
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    (none,) = refused(bucket, tmp_path)
    assert "AWS_ROLE_ARN" in none.summary or "AWS_WEB_IDENTITY_TOKEN_FILE" in none.summary
    (half,) = refused(bucket + 'access_key = "a"', tmp_path)
    assert "storage.s3.secret_key is not" in half.summary
    assert asyncio.run(foretold(settings("", tmp_path))) == []
