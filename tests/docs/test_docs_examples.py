"""The examples of README and docs/ are run as they stand.

A ```console block is a session: its `$ ` lines run in one shell per document (a
line ending in `\\` goes on), in an empty directory, with `localhost:5000` standing
for a registry that really runs, and `localhost:5001` for an address that the page itself may
listen on. Output lines, where a block shows any, must be
printed in this order; `…` stands for anything. A ```python block is run as a
module. Blocks marked `text`, `dockerfile`, `toml`, `json` are not run; a dockerfile
or toml block preceded by `<!-- file: NAME -->` is written to NAME first.
"""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.peers import Registry, free_port

TOP = Path(__file__).resolve().parents[2]
PAGES = [TOP / "README.md", *sorted((TOP / "docs").glob("*.md"))]
FENCE = re.compile(
    r"(?:<!-- file: (?P<file>\S+) -->\n)?^```(?P<kind>\w+)(?P<marks>[^\n]*)\n(?P<body>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True)
class Block:
    """One fenced block of a page."""

    kind: str
    marks: str
    body: str
    file: str


def blocks(page: Path) -> Iterator[Block]:
    for found in FENCE.finditer(page.read_text()):
        yield Block(found["kind"], found["marks"], found["body"], found["file"] or "")


def commands(body: str) -> list[tuple[str, list[str]]]:
    """(command, the output lines shown under it) of a console block."""
    found: list[tuple[str, list[str]]] = []
    for line in body.replace("\\\n", "").splitlines():
        if line.startswith("$ "):
            found.append((line[2:], []))
        elif found and line.strip():
            found[-1][1].append(line)
    return found


def runnable(page: Path) -> bool:
    return any(b.kind in ("console", "python") and "skip" not in b.marks for b in blocks(page))


@pytest.mark.root
@pytest.mark.slow
@pytest.mark.parametrize(
    "page", [p for p in PAGES if p.exists() and runnable(p)], ids=lambda p: p.name
)
def test_examples_do_what_the_page_says(
    page: Path, argosy_registry: Registry, tmp_path: Path
) -> None:
    shell = Shell(tmp_path, argosy_registry.host)
    try:
        for block in blocks(page):
            if "skip" not in block.marks:
                follow(block, shell)
    finally:
        shell.end()


def follow(block: Block, shell: "Shell") -> None:
    if block.file:
        (shell.cwd / block.file).parent.mkdir(parents=True, exist_ok=True)
        (shell.cwd / block.file).write_text(shell.real(block.body))
    elif block.kind == "console":
        for command, shown in commands(block.body):
            shell.check(command, shown)
    elif block.kind == "python":
        shell.check_python(block.body)


class Shell:
    """Runs a page's commands one after another in one directory."""

    def __init__(self, cwd: Path, host: str) -> None:
        self.cwd = cwd
        self.host = host
        self.own = f"127.0.0.1:{free_port()}"
        self.env = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}

    def real(self, text: str) -> str:
        return text.replace("localhost:5000", self.host).replace("localhost:5001", self.own)

    def check(self, command: str, shown: list[str]) -> None:
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", self.real(command)],
            cwd=self.cwd,
            env=self.env,
            capture_output=True,
            text=True,
            timeout=280,
        )
        said = done.stdout + done.stderr
        assert done.returncode == 0, f"$ {command}\n{said}"
        at = 0
        for line in shown:
            pattern = ".*".join(re.escape(part.strip()) for part in self.real(line).split("…"))
            found = re.compile(pattern).search(said, at)
            assert found, f"$ {command}\ndid not print: {line}\nbut:\n{said}"
            at = found.end()

    def end(self) -> None:
        """End a server that the page has started and written the number of to `pid`."""
        with suppress(FileNotFoundError, ProcessLookupError):
            os.kill(int((self.cwd / "pid").read_text()), signal.SIGTERM)

    def check_python(self, body: str) -> None:
        (self.cwd / "example.py").write_text(self.real(body))
        done = subprocess.run(
            [sys.executable, "example.py"],
            cwd=self.cwd,
            env=self.env,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, body + "\n" + done.stdout + done.stderr
