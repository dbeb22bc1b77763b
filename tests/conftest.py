"""What every test stands on."""

import os
import re
import signal

import pytest
import pytest_socket
from hypothesis import settings

from tests.hosts import THIS_MACHINE

pytest_plugins = [
    "tests.peers",
    "tests.postgres",
    "tests.redis_server",
    "tests.seaweed",
    "tests.slapd",
    "tests.sqlite_template",
    "tests.oidc_provider",
]

# A shell that starts the suite in the background has it ignore Ctrl-C, and an ignored
# signal is inherited: the commands that tests start and interrupt would not hear it.
signal.signal(signal.SIGINT, signal.default_int_handler)

# What a test promises is no number of milliseconds, and machines are shared.
settings.register_profile("shared", deadline=None)
settings.register_profile("quick", deadline=None, max_examples=15)  # the quick gate
settings.load_profile("shared")

# Fixtures, and words of parameters, that say that a test runs a server of the field.
PEERS = {"postgres", "redis", "seaweed", "slapd"}
_PEER_WORD = re.compile(r"\b(postgres(ql)?|s3)\b")


@pytest.fixture(autouse=True)
def _this_machine_only() -> None:
    """No test reaches beyond this machine."""
    pytest_socket.socket_allow_hosts(THIS_MACHINE, allow_unix_socket=True)


@pytest.fixture(autouse=True)
def _own_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads or writes the user's images, credentials or settings."""
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("ARGOSY_HOME", str(home / "argosy"))
    for name in ("DOCKER_CONFIG", "DOCKER_AUTH_CONFIG", "REGISTRY_AUTH_FILE", "XDG_RUNTIME_DIR"):
        monkeypatch.delenv(name, raising=False)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What runs a server of the field is a `peer`; what needs root skips for others; dockerd has one worker."""
    for item in items:
        if PEERS.intersection(getattr(item, "fixturenames", ())) or _has_peer_word(item):
            item.add_marker(pytest.mark.peer)
        if item.get_closest_marker("root") and os.geteuid() != 0:
            item.add_marker(pytest.mark.skip(reason="needs root: mounts and namespaces"))
        if "dockerd" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.xdist_group("dockerd"))


def _has_peer_word(item: pytest.Item) -> bool:
    call = getattr(item, "callspec", None)
    return call is not None and any(
        isinstance(value, str) and _PEER_WORD.search(value) for value in call.params.values()
    )
