"""The commands of docs/api.md, run as they stand there, against a registry with access control."""

import shlex
import sys
from pathlib import Path

import pytest

from argosy.access.accounts.users import NewUser
from argosy.catalog.actor import SYSTEM
from argosy.cli.main import command
from tests.company import PASSWORD, company

GUIDE = Path(__file__).parents[2] / "docs/api.md"


def test_the_commands_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = [line[2:] for line in GUIDE.read_text().splitlines() if line.startswith("$ argosy")]
    assert len(lines) >= 7
    with company(tmp_path) as registry:
        new = NewUser(name="ada", password=PASSWORD)
        registry.serving.run(registry.access.users.create(SYSTEM, new))
        monkeypatch.setenv("ARGOSY_REGISTRY", registry.host)
        monkeypatch.setattr("getpass.getpass", lambda _: PASSWORD)
        monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
        for line in lines:
            words = shlex.split(line.replace("registry.example", registry.host))[1:]
            code = command(words)
            said = capsys.readouterr()
            assert code == 0, f"{line}\n{said.err}"
        assert "project.create" in said.out
