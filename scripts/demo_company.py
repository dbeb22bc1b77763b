"""The part of the demo with tenants: a registry that asks who one is, and remembers what they did."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

ARGOSY = [sys.executable, "-m", "argosy"]
_PASSWORD = "correct horse battery"


class Company:
    """A registry with access control in a directory, and its admin."""

    def __init__(self, place: Path, show: Callable[..., None]) -> None:
        self._place = place
        self._show = show
        self.host = ""

    @contextmanager
    def running(self) -> Iterator["Company"]:
        """It runs within the block; credentials go to a file of its own."""
        shutil.rmtree(self._place, ignore_errors=True)
        self._place.mkdir(parents=True)
        before = os.environ.get("DOCKER_CONFIG")
        os.environ["DOCKER_CONFIG"] = str(self._place / "docker")
        words = ["serve", "--auth", "--listen", "127.0.0.1:0", "--data", str(self._place / "data")]
        print(f"$ argosy {' '.join(words)}", flush=True)
        with (self._place / "log").open("w") as log:
            process = subprocess.Popen(
                [*ARGOSY, *words], stdout=subprocess.PIPE, stderr=log, text=True
            )
        try:
            ready = process.stdout.readline() if process.stdout else ""
            self.host = ready.split("http://")[1].split()[0]
            os.environ["ARGOSY_REGISTRY"] = self.host
            yield self
        finally:
            process.terminate()
            process.wait(30)
            os.environ.pop("ARGOSY_REGISTRY", None)
            os.environ.pop("DOCKER_CONFIG", None)
            if before is not None:
                os.environ["DOCKER_CONFIG"] = before

    def voyage(self, image: str) -> None:
        """A project, a robot that pushes, a stranger who may not, a tag taken back, the audit log."""
        once = re.findall(r"one-time password (\S+)", (self._place / "log").read_text())[0]
        self._typed(f"{once}\n{_PASSWORD}\n", "user", "password", "admin", "--password-stdin")
        self._typed(_PASSWORD, "login", "-u", "admin", "--password-stdin", self.host)
        self._show(*ARGOSY, "project", "create", "team")
        self._show(*ARGOSY, "quota", "set", "team", "--bytes", "2GB")
        robot = ["robot", "create", "ci", "--project", "team", "--allow"]
        made = self._typed("", *robot, "repository:team/**:pull,push")
        secret = re.findall(r"Secret:\s+(\S+)", made)[0]
        self._typed(secret, "login", "-u", "robot$team+ci", "--password-stdin", self.host)
        ours = f"{self.host}/team/voyage:v1"
        self._show(*ARGOSY, "copy", image, ours)
        self._stranger(ours)
        self._typed(_PASSWORD, "login", "-u", "admin", "--password-stdin", self.host)
        self._show(*ARGOSY, "quota", "show", "team")
        self._show(*ARGOSY, "audit", "list", "--project", "team")
        self._show(*ARGOSY, "audit", "verify")

    def _stranger(self, image: str) -> None:
        """Without credentials the project is not even there."""
        words = ["inspect", "--raw", image]
        print(f"$ argosy {' '.join(words)}     # somebody without credentials", flush=True)
        env = {**os.environ, "DOCKER_CONFIG": str(self._place / "nobody")}
        done = subprocess.run(
            [*ARGOSY, *words], capture_output=True, text=True, env=env, check=False
        )
        if done.returncode != 3:
            raise subprocess.CalledProcessError(done.returncode, words)
        print(done.stderr.splitlines()[0], flush=True)

    @staticmethod
    def _typed(text: str, *words: str) -> str:
        """Run a command that is told something on its standard input; what it prints."""
        print(f"$ argosy {' '.join(words)}", flush=True)
        done = subprocess.run(
            [*ARGOSY, *words], input=text, stdout=subprocess.PIPE, text=True, check=True
        )
        return done.stdout
