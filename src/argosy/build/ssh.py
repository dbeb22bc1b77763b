"""SSH agents for RUN --mount=type=ssh: what a step may ask of the caller's keys.

The step gets a socket of its own; behind it the agent answers, but only to what a
step needs: which keys there are, and signatures. It can neither add nor remove keys,
nor lock the agent. Source: draft-miller-ssh-agent (message numbers).
"""

import os
import socket
import socketserver
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Thread
from typing import Self

from argosy.errors import BuildError, ConfigError, UsageError
from argosy.values import frozen

_ALLOWED = {11, 13}  # SSH_AGENTC_REQUEST_IDENTITIES, SSH_AGENTC_SIGN_REQUEST
_FAILURE = b"\0\0\0\1\5"  # SSH_AGENT_FAILURE
_LARGEST = 256 << 10  # bytes of a message, as OpenSSH's agent has it
_PATIENCE = 60.0  # seconds for an answer: a hardware key may wait for a touch


@frozen(kw_only=True)
class Agent:
    """What `--ssh ID[=SOCKET|KEY,…]` names: an agent's socket, or private key files."""

    id: str = "default"
    paths: tuple[str, ...] = ()  # none: the caller's SSH_AUTH_SOCK

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read the flag. UsageError, if it has no id."""
        name, equals, paths = text.partition("=")
        if not name or (equals and not paths):
            raise UsageError(
                f"--ssh {text!r} cannot be read",
                remedy="write --ssh default, or --ssh ID=SOCKET, or --ssh ID=KEYFILE",
            )
        return cls(id=name, paths=tuple(p for p in paths.split(",") if p))

    @contextmanager
    def opened(self) -> Iterator[str]:
        """The path of a socket where an agent answers (blocking); ConfigError, if there is none."""
        paths = self.paths or (os.environ.get("SSH_AUTH_SOCK", ""),)
        if not paths[0]:
            raise ConfigError(
                "--ssh needs an SSH agent, and there is none",
                why="SSH_AUTH_SOCK is not set",
                remedy="start one with `eval $(ssh-agent)` and `ssh-add`, or name a key file:"
                f" --ssh {self.id}=$HOME/.ssh/id_ed25519",
            )
        if len(paths) == 1 and _is_socket(paths[0]):
            yield paths[0]
            return
        with _agent_of(paths) as path:
            yield path


def _is_socket(path: str) -> bool:
    try:
        return os.path.exists(path) and not os.path.isfile(path)
    except ValueError:
        return False


@contextmanager
def _agent_of(keys: tuple[str, ...]) -> Iterator[str]:
    """An agent of our own that holds the keys of some files, and nothing else."""
    with tempfile.TemporaryDirectory(prefix="argosy-ssh-") as folder:
        path = os.path.join(folder, "agent")
        agent = _started(["ssh-agent", "-D", "-a", path])
        try:
            _wait_for(path, agent)
            for key in keys:
                _add(key, path)
            yield path
        finally:
            agent.terminate()
            agent.wait()


def _started(command: list[str]) -> "subprocess.Popen[bytes]":
    try:
        return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    except FileNotFoundError as e:
        raise ConfigError(
            "--ssh with a key file needs OpenSSH's agent",
            why=f"{command[0]} is not installed",
            remedy="run: apt-get install --yes openssh-client; or give an agent's socket",
        ) from e


def _wait_for(path: str, agent: "subprocess.Popen[bytes]") -> None:
    for _ in range(500):
        if os.path.exists(path):
            return
        with suppress(subprocess.TimeoutExpired):
            agent.wait(0.01)
            break
    raise ConfigError("ssh-agent did not start", why=f"exit code {agent.poll()}")


def _add(key: str, path: str) -> None:
    environment = {**os.environ, "SSH_AUTH_SOCK": path, "SSH_ASKPASS_REQUIRE": "never"}
    done = subprocess.run(
        ["ssh-add", "-q", "--", key],
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise ConfigError(
            f"--ssh: the key {key} cannot be used",
            why=done.stderr.strip() or "ssh-add refused it",
            remedy="a key with a passphrase must be added to an agent first (ssh-add)",
        )


@contextmanager
def forwarded(agent: Agent, path: str, owner: tuple[int, int], mode: int) -> Iterator[None]:
    """A socket at `path`, for a step, behind which `agent` answers (blocking to set up)."""
    with agent.opened() as behind, _Forward(path, behind) as server:
        os.chown(path, *owner)
        os.chmod(path, mode)
        thread = Thread(target=server.serve_forever, args=(0.05,), name="argosy-ssh", daemon=True)
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            thread.join()


class _Forward(socketserver.ThreadingUnixStreamServer):
    """One socket; each connection of a step gets one to the agent."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, path: str, behind: str) -> None:
        self.behind = behind
        super().__init__(path, _Connection)

    def handle_error(self, request: object, client_address: object) -> None:
        """A connection that breaks is the step's problem, and it notices."""


class _Connection(socketserver.BaseRequestHandler):
    server: _Forward

    def handle(self) -> None:
        """Pass on what is allowed, until one side ends."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as agent:
            agent.settimeout(_PATIENCE)
            agent.connect(self.server.behind)
            while message := _message(self.request):
                if message[4] in _ALLOWED:
                    agent.sendall(message)
                    self.request.sendall(_message(agent) or _FAILURE)
                else:
                    self.request.sendall(_FAILURE)


def _message(source: socket.socket) -> bytes:
    """One whole message with its length; empty at the end of the stream."""
    head = _exactly(source, 4)
    size = int.from_bytes(head, "big")
    if not head or not 0 < size <= _LARGEST:
        return b""
    body = _exactly(source, size)
    return head + body if body else b""


def _exactly(source: socket.socket, count: int) -> bytes:
    held = b""
    while len(held) < count:
        piece = source.recv(count - len(held))
        if not piece:
            return b""
        held += piece
    return held


def missing(name: str) -> BuildError:
    """The error for a step that requires an agent nobody gave."""
    return BuildError(
        f"ssh agent {name!r} is required but was not given",
        remedy=f"pass --ssh {name} (with SSH_AUTH_SOCK set) or --ssh {name}=KEYFILE",
    )
