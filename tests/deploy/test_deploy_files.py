"""What is in deploy/ fits the program: settings that exist, files that are there, a balancer that can be started."""

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from argosy.build.dockerfile.parser import parse
from argosy.server.config.loading import read
from tests.peers import need

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"


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
