"""What the tests of the command line share: images, a home of their own, a running registry."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from argosy.cli.main import command
from tests.images import multi_platform
from tests.peers import Registry


@dataclass(frozen=True)
class Said:
    """What one command line gave."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Argosy = Callable[..., Said]


@pytest.fixture
def argosy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Argosy:
    """Run a command line in this process, with a home and credentials of the test's own."""
    home = tmp_path / "home"
    home.mkdir()
    for name, value in {
        "ARGOSY_HOME": home / "argosy",
        "HOME": home,
        "DOCKER_CONFIG": home / ".docker",
        "XDG_RUNTIME_DIR": home / "run",
        "XDG_CONFIG_HOME": home / ".config",
    }.items():
        monkeypatch.setenv(name, str(value))
    for name in ("REGISTRY_AUTH_FILE", "DOCKER_AUTH_CONFIG", "BUILDKIT_PROGRESS"):
        monkeypatch.delenv(name, raising=False)

    # This process is the test's: it must not leave for a mount namespace of its own.
    monkeypatch.setattr("argosy.build.snapshot.mounts.enter_private_mounts", lambda: False)

    def said(*words: object) -> Said:
        capfd.readouterr()
        code = command([str(word) for word in words])
        return Said(code, *capfd.readouterr())

    return said


@pytest.fixture
def layout(tmp_path: Path) -> Path:
    """An OCI layout with the tag v1: an index for amd64 and arm64."""
    multi_platform(tmp_path / "layout", payload=str(tmp_path).encode())
    return tmp_path / "layout"


@pytest.fixture
def host(argosy_registry: Registry) -> str:
    """host:port of a registry of ours that runs."""
    return argosy_registry.host


@pytest.fixture
def argosy_process(argosy: Argosy) -> Callable[..., Any]:
    """Run a command line in a process of its own, while the test's loop serves it; awaitable."""
    del argosy  # its environment is what we want

    async def said(*words: object, stdin: bytes = b"", **env: str) -> Said:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "argosy", *map(str, words),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env={**os.environ, **env},
        )  # fmt: skip
        out, err = await process.communicate(stdin)
        assert process.returncode is not None
        return Said(process.returncode, out.decode(), err.decode())

    return said
