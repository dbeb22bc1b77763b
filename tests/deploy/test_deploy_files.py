"""What is in deploy/ fits the program: settings that exist, files that are there, a balancer that can be started."""

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from argosy.build.dockerfile import ignore
from argosy.build.dockerfile.parser import parse
from argosy.errors import UsageError
from argosy.server.config.loading import read
from argosy.server.starting.listening import Address
from argosy.server.starting.running import checked
from deploy.parts import program
from tests.peers import need

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"


@pytest.fixture(scope="module")
def compose() -> Any:
    return yaml.safe_load((DEPLOY / "compose.yaml").read_text())


def test_every_variable_of_the_nodes_is_a_setting_with_a_good_value(compose, tmp_path):
    nodes = [s for s in compose["services"].values() if s["image"] == "argosy:latest"]
    assert len(nodes) == 3
    secret = tmp_path / "secret"
    secret.write_text("x")
    for node in nodes:
        environ = {
            name: str(secret)
            if name.endswith("_FILE")
            else re.sub(r"\$\{\w+:-(.*)\}", r"\1", value)
            for name, value in node["environment"].items()
        }
        found = read(environ=environ)
        assert found.problems == ()
        assert len(found.origins) == len(environ), set(environ) - set(found.origins)
        assert all(f"/run/secrets/{name}" in str(node["environment"]) for name in node["secrets"])


def test_everything_that_is_named_is_there(compose):
    services, volumes = compose["services"], set(compose["volumes"])
    for name, service in services.items():
        for other in service.get("depends_on", []):
            assert other in services, f"{name} depends on {other}"
        for mount in service.get("volumes", []):
            source = mount.partition(":")[0]
            assert source in volumes or (DEPLOY / source).exists(), mount
        assert set(service.get("secrets", [])) <= set(compose["secrets"])


def test_who_stops_a_node_waits_as_long_as_it_lets_requests_end(compose):
    for name in ("node1", "node2", "node3"):
        node = compose["services"][name]
        said = {
            k: v
            for k, v in node["environment"].items()
            if k in ("ARGOSY_SERVER_DRAIN", "ARGOSY_SERVER_GRACE")
        }
        server = read(environ=said).settings.server
        assert int(node["stop_grace_period"].removesuffix("s")) > server.drain + server.grace > 10


def test_services_come_back_and_their_logs_do_not_fill_the_disk(compose):
    for name, service in compose["services"].items():
        assert service["logging"] == {"driver": "local"}, name  # it rotates; json-file does not
        assert service["restart"] == ("no" if name == "bucket" else "unless-stopped"), name


def test_the_database_is_ready_when_it_answers_by_tcp(compose):
    """While the image makes its files, a server of its own is on the socket, and ends again."""
    words = compose["services"]["postgres"]["healthcheck"]["test"]
    assert words[words.index("-h") + 1] == "127.0.0.1"


@pytest.mark.peer
def test_the_object_storage_knows_its_flags_and_grows_with_the_disk(compose):
    command = compose["services"]["objects"]["command"][0]
    flags = dict(re.findall(r" -([\w.]+)(?:=(\S+))?", command[command.index("exec weed") :]))
    # By default 8 volumes of 30 GB, of which what is in no bucket takes 7.
    assert flags["volume.max"] == "0"
    assert int(flags["master.volumeSizeLimitMB"]) <= 1024
    done = subprocess.run([program("weed"), "server", "-h"], capture_output=True, text=True)
    help_text = done.stdout + done.stderr
    known = set(re.findall(r"^  -([\w.]+)", help_text, re.MULTILINE))
    assert set(flags) <= known


def test_an_image_has_nothing_of_the_tree_but_what_it_is_made_of():
    ignored = ignore.Matcher(ignore.parse((ROOT / ".dockerignore").read_bytes()))
    for path in (
        ".git/config",
        ".venv/bin/python",
        "var/cluster/ready",
        "deploy/secrets/auth",
        "deploy/.env",
        "src/argosy/__pycache__/values.pyc",
    ):
        assert ignored.ignores(path), path
    for path in ("pyproject.toml", "README.md", "LICENSE", "requirements.lock", "src/argosy/a.py"):
        assert not ignored.ignores(path), path


def test_the_image_can_be_reached_and_refuses_to_serve_everybody():
    text = (DEPLOY / "Dockerfile").read_text()
    environ = dict(re.findall(r"(ARGOSY_SERVER_\w+)=(\S+)", text))
    settings = read(environ=environ).settings
    assert not Address.parse(settings.server.listen).is_loopback
    with pytest.raises(UsageError, match="without authentication"):
        checked(settings)


def test_secrets_are_not_committed_by_accident():
    if not (ROOT / ".git").exists():
        pytest.skip("not a repository")
    paths = ["deploy/secrets/auth", "deploy/.env"]
    done = subprocess.run(["git", "check-ignore", *paths], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.split() == paths


def test_no_password_is_written_down(compose):
    text = (DEPLOY / "compose.yaml").read_text()
    assert "_PASSWORD:" not in text
    assert "_SECRET:" not in text
    assert "_SECRET_KEY:" not in text


@pytest.mark.peer
def test_haproxy_takes_its_configuration():
    done = subprocess.run(
        [need("haproxy"), "-c", "-f", str(DEPLOY / "haproxy.cfg")], capture_output=True, text=True
    )
    # The nodes' names are known inside the network only; `init-addr none` lets that pass.
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_dockerfile_can_be_read():
    assert parse((DEPLOY / "Dockerfile").read_bytes())
