"""The doctor names the stretch of the way that is broken, with evidence and the next step."""

import email.utils
import json
import ssl
import subprocess
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from argosy.cli.health.finding import Finding, words
from argosy.cli.health.probe import parse_head
from tests.peers import free_port
from tests.scripted import Reply, Scripted, Step, refusal

from .conftest import Argosy, Said

pytestmark = pytest.mark.slow

INDEX = "application/vnd.oci.image.index.v1+json"
Spawn = Callable[..., Awaitable[Said]]
WAY = "dns,connect,tls,clock,auth,scope,image"


def by_check(said: Said) -> dict[str, dict[str, Any]]:
    return {finding["check"]: finding for finding in said.json}


def test_a_healthy_way_is_ok_from_name_to_image(argosy: Argosy, layout: Path, host: str) -> None:
    argosy("copy", f"oci:{layout}:v1", f"{host}/cli/doctor:v1")
    said = argosy("doctor", "--json", "--only", WAY, f"{host}/cli/doctor:v1")
    found = by_check(said)
    assert said.code == 0
    assert {c: f["state"] for c, f in found.items()} == dict.fromkeys(WAY.split(","), "ok")
    assert "linux/arm64" in found["image"]["summary"]


def test_a_missing_tag_is_found_with_its_nearest(argosy: Argosy, layout: Path, host: str) -> None:
    argosy("copy", f"oci:{layout}:v1", f"{host}/cli/doctor2:1.0.1")
    said = argosy("doctor", "--json", f"{host}/cli/doctor2:1.0.2")
    found = by_check(said)
    assert said.code == 1
    assert (found["scope"]["state"], found["image"]["state"]) == ("ok", "fail")
    assert found["image"]["next"] == "did you mean 1.0.1?"


def test_nothing_listening_stops_at_connect(argosy: Argosy) -> None:
    port = free_port()
    said = argosy("doctor", "--json", f"127.0.0.1:{port}/x:v1")
    found = by_check(said)
    assert said.code == 1
    assert found["dns"]["state"] == "ok"
    assert found["connect"]["state"] == "fail"
    assert "refused" in found["connect"]["evidence"][0]
    assert "tls" not in found


def test_a_name_that_is_none_stops_at_dns(argosy: Argosy) -> None:
    found = by_check(argosy("doctor", "--json", "no-such-host.invalid/x:v1"))
    assert found["dns"]["state"] == "fail"
    assert "getent hosts no-such-host.invalid" in found["dns"]["next"]


async def test_plain_http_where_tls_is_wanted_names_every_clients_setting(
    argosy_process: Spawn, tmp_path: Path
) -> None:
    async with Scripted([Step("GET", "/v2/")], ordered=False) as registry:
        (tmp_path / "home/.config/argosy").mkdir(parents=True)
        hosts = tmp_path / "home/.config/argosy/hosts.toml"
        hosts.write_text(f'[host."{registry.host}"]\ntls = "on"\n')
        quick = {"ARGOSY_CONNECT_TIMEOUT": "2"}  # the scripted registry never answers a greeting
        found = by_check(await argosy_process("doctor", "--json", registry.host, **quick))
        registry.unexpected.clear()  # a TLS greeting is no request
    assert found["tls"]["state"] == "fail"
    for client in ("--plain-http", "insecure-registries", "--tls-verify=false", "hosts.toml"):
        assert client in found["tls"]["next"]


def certificate(tmp_path: Path, name: str) -> ssl.SSLContext:
    """A self-signed certificate for a host name."""
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj",
         f"/CN={name}", "-addext", f"subjectAltName=DNS:{name}",
         "-keyout", tmp_path / "key.pem", "-out", tmp_path / "cert.pem"],
        check=True, capture_output=True,
    )  # fmt: skip
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
    return context


async def test_an_unknown_authority_is_shown_with_the_path_to_put_it(
    argosy_process: Spawn, tmp_path: Path
) -> None:
    context = certificate(tmp_path, "localhost")
    async with Scripted([Step("GET", "/v2/")], ordered=False, tls=context) as registry:
        host = f"localhost:{registry.port}"
        hosts = tmp_path / "home/.config/argosy/hosts.toml"
        hosts.parent.mkdir(parents=True)
        hosts.write_text(f'[host."{host}"]\ntls = "on"\n')
        found = by_check(await argosy_process("doctor", "--json", host))
        trusted = tmp_path / f"home/.config/argosy/certs.d/{host}"
        trusted.mkdir(parents=True)
        (trusted / "ca.crt").write_bytes((tmp_path / "cert.pem").read_bytes())
        healed = by_check(await argosy_process("doctor", "--json", host))
        registry.unexpected.clear()
    assert found["tls"]["state"] == "fail"
    assert found["tls"]["next"] == f"put the authority's certificate at {trusted}/ca.crt"
    shown = "\n".join(found["tls"]["evidence"])
    assert "CN=localhost" in shown.replace("commonName", "CN")
    assert "DNS:localhost" in shown
    assert healed["tls"]["state"] == "ok"


@pytest.mark.parametrize(
    ("skew", "state"), [(0, "ok"), (100, "warn"), (-100, "warn"), (4000, "fail")]
)
async def test_the_clock_is_compared_with_the_registrys(
    argosy_process: Spawn, skew: int, state: str
) -> None:
    date = {"Date": email.utils.formatdate(time.time() - skew, usegmt=True)}
    async with Scripted([Step("GET", "/v2/", Reply(200, b"", date))], ordered=False) as registry:
        found = by_check(await argosy_process("doctor", "--json", "--plain-http", registry.host))
    assert found["clock"]["state"] == state


async def test_refused_access_names_credentials_and_where_they_were_looked_for(
    argosy_process: Spawn,
) -> None:
    denied = refusal(401, "UNAUTHORIZED", WWW_Authenticate='Basic realm="x"')
    rules = [Step("GET", ".*", denied, pattern=True), Step("HEAD", ".*", denied, pattern=True)]
    async with Scripted(rules, ordered=False) as registry:
        said = await argosy_process("doctor", "--json", "--plain-http", f"{registry.host}/a/b:v1")
    found = by_check(said)
    assert said.code == 1
    assert found["scope"]["state"] == "fail"
    assert "config.json" in "\n".join(found["scope"]["evidence"])


def test_the_disk_is_looked_at(argosy: Argosy) -> None:
    found = by_check(argosy("doctor", "--json", "--only", "disk"))
    assert "free" in found["disk"]["summary"]


def test_a_finding_reads_well() -> None:
    finding = Finding(
        check="tls", state="fail", summary="no", evidence=("a\nb",), next="first\nsecond"
    )
    assert words(finding).splitlines() == [
        "FAIL tls      no",
        "              a",
        "              b",
        "              do: first",
        "                  second",
    ]


@pytest.mark.parametrize("head", [b"SSH-2.0-x\r\n\r\n", b"\r\n\r\n", b"HTTP/1.1 abc\r\n\r\n"])
def test_what_is_not_http_is_said_to_be_so(head: bytes) -> None:
    with pytest.raises(ConnectionError):
        parse_head(head)


def test_an_unknown_check_is_a_usage_error_that_lists_them(argosy: Argosy) -> None:
    said = argosy("doctor", "--only", "nothing")
    assert said.code == 2
    assert "runtime" in said.err


async def test_runtime_and_emulation_are_really_tried(argosy_process: Spawn) -> None:
    found = by_check(await argosy_process("doctor", "--json", "--only", "runtime,binfmt"))
    assert found["runtime"]["state"] in ("ok", "warn", "fail", "skip")
    assert "linux/amd64 (native)" in found["binfmt"]["summary"]


async def test_with_push_the_right_to_push_is_tried_and_nothing_stays(
    argosy_process: Spawn, layout: Path, host: str
) -> None:
    await argosy_process("copy", f"oci:{layout}:v1", f"{host}/cli/doctor3:v1")
    words = ["doctor", "--json", "--push", "--only", "scope"]
    found = by_check(await argosy_process(*words, f"{host}/cli/doctor3:v1"))
    assert found["scope"]["summary"].endswith("may be read and pushed to")

    manifest = json.loads((layout / "index.json").read_text())
    body = Reply(200, json.dumps(manifest).encode(), {"Content-Type": INDEX})
    rules = [
        Step("GET", "/v2/", Reply(200)),
        Step("GET", ".*", body, pattern=True),
        Step("HEAD", ".*", Reply(404), pattern=True),
        Step("POST", ".*", refusal(403, "DENIED", "read only here"), pattern=True),
    ]
    async with Scripted(rules, ordered=False) as registry:
        said = await argosy_process(*words, "--plain-http", f"{registry.host}/a/b:v1")
    found = by_check(said)
    assert found["scope"]["state"] == "fail"
    assert "read only here" in json.dumps(found["scope"])
