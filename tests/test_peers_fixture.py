"""The peers' fixtures themselves work, so that a test above them fails for its own reasons only."""

import urllib.request

import pytest

from tests.peers import Registry

pytestmark = pytest.mark.peer


def test_debians_docker_registry_answers(docker_registry: Registry) -> None:
    with urllib.request.urlopen(f"http://{docker_registry.host}/v2/") as answer:
        assert answer.status == 200
