"""RUN steps in containers of an OCI runtime (crun or runc).

The runtime is a child of this process; its output is the step's. Each process of
Argosy has a session directory for its containers, so that what a killed one left
running is ended by the next. Network: `default` and `host` are the machine's own
network, `none` is a loopback interface only.
"""

import asyncio
import json
import os
import secrets
import subprocess
from contextlib import suppress
from typing import Any, Self

from argosy.build.execute.accounts import account
from argosy.build.execute.cgroups import adopt_orphans, clear, sweep
from argosy.build.execute.emulation import Emulation, emulation
from argosy.build.execute.rootless import unprivileged
from argosy.build.execute.spec import Place, hosts_file, resolv_file, runtime_config, targets
from argosy.build.execute.stubs import Stubs
from argosy.build.files.removal import remove_tree
from argosy.build.graph import Output, Process
from argosy.build.rootless.mapping import in_user_namespace
from argosy.build.sessions import Session, storage_errors
from argosy.concurrency import in_thread, in_thread_to_end
from argosy.errors import BuildError
from argosy.model.platform import Platform
from argosy.values import frozen

_PIECE = 64 << 10
_NOT_FOUND, _NOT_EXECUTABLE = 127, 126  # what shells say of a command they cannot start


@frozen
class Runtime:
    """An OCI runtime as a command."""

    path: str
    flags: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """`crun` or `runc`."""
        return os.path.basename(self.path)

    def command(self, state: str, *words: str) -> list[str]:
        """A command line; `state` is the directory it keeps its containers in."""
        return [self.path, *self.flags, "--root", state, *words]


class Containers:
    """Runs processes as containers of one runtime, in one session directory."""

    def __init__(self, runtime: Runtime, folder: str) -> None:
        self.runtime = runtime
        self._folder = folder
        self._session: Session | None = None
        self._opening = asyncio.Lock()

    async def close(self) -> None:
        """Leave nothing behind."""
        session, self._session = self._session, None
        if session is not None:
            await in_thread_to_end(session.close)

    async def run(self, process: Process, root: str, output: Output) -> int:
        """Run it to its end; see `graph.Execute`."""
        container = _Container(self.runtime, await self._path(), process, root)
        try:
            await in_thread_to_end(container.prepare)
            return await container.run(output)
        finally:
            await in_thread_to_end(container.remove)

    async def _path(self) -> str:
        async with self._opening:
            if self._session is None:
                adopt_orphans()
                await in_thread(sweep)
                self._session = await in_thread(Session, self._folder, discard)
        return self._session.path


class _Container:
    """One container: its bundle, its run, and its end."""

    def __init__(self, runtime: Runtime, session: str, process: Process, root: str) -> None:
        self._runtime = runtime
        self._process = process
        self._root = root
        self._id = secrets.token_hex(8)
        self._state = os.path.join(session, "state")
        self._bundle = os.path.join(session, self._id)
        self._log = os.path.join(self._bundle, "log")
        self._stubs: Stubs | None = None

    def prepare(self) -> None:
        """Write the bundle (blocking)."""
        process = self._process
        who = account(self._root, process.user)
        place = Place(
            id=self._id,
            root=self._root,
            hosts=os.path.join(self._bundle, "hosts"),
            resolv_conf=os.path.join(self._bundle, "resolv.conf"),
        )
        config = runtime_config(process, who, place)
        if in_user_namespace():
            config = unprivileged(config)
        with storage_errors(f"prepare a step in {self._bundle}"):
            os.mkdir(self._bundle, 0o700)
            _write(place.hosts, hosts_file(process))
            _write(place.resolv_conf, resolv_file())
            _write(os.path.join(self._bundle, "config.json"), json.dumps(config))
            _write(os.path.join(self._bundle, "ends-with"), json.dumps(self._ending()))
            self._stubs = Stubs(self._root, targets(process))

    def _deletion(self) -> list[str]:
        return self._runtime.command(self._state, "delete", "--force", self._id)

    def _ending(self) -> dict[str, Any]:
        """What another process must know to end it."""
        return {"delete": self._deletion(), "cgroup": self._process.limits.cgroup_parent}

    async def run(self, output: Output) -> int:
        """Start it and pass on what it says; a cancelled caller kills it."""
        words = ("--log", self._log, "--log-format", "json", "run", "--bundle", self._bundle)
        command = self._runtime.command(self._state, *words, "--no-new-keyring", self._id)
        if self._process.interactive:
            return await self._converse(command)
        stdin = self._process.stdin
        said = _Tail(output)
        child = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.PIPE if stdin else asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,  # so that ^C reaches us, and we end it in order
            limit=_PIECE,
            env=_environment(),
        )
        try:
            async with asyncio.TaskGroup() as group:
                if stdin:
                    group.create_task(_feed(child, stdin))
                group.create_task(_pass_on(child, said))
            status = await child.wait()
        finally:
            await self._end(child)
        return await in_thread(self._verdict, status, said)

    async def _converse(self, command: list[str]) -> int:
        """Run it on this process's own terminal, which the runtime passes on."""
        child = await asyncio.create_subprocess_exec(*command, env=_environment())
        try:
            return await child.wait()
        finally:
            await self._end(child)

    async def _end(self, child: asyncio.subprocess.Process) -> None:
        # The runtime first: else it could still start what we are about to delete.
        if child.returncode is None:
            with suppress(ProcessLookupError):
                child.kill()
            await in_thread_to_end(self._delete)
            await child.wait()

    def _delete(self) -> None:
        subprocess.run(self._deletion(), capture_output=True, check=False)
        clear(
            self._id, self._process.limits.cgroup_parent
        )  # a runtime killed early on knows nothing of what it began

    def remove(self) -> None:
        """Take away the bundle and the mount points (blocking)."""
        if self._stubs is not None:
            self._stubs.remove()
        remove_tree(self._bundle)

    def _verdict(self, status: int, said: "_Tail") -> int:
        """The status of the process; or what the runtime has to say for itself."""
        problem = self._problem() if status else ""
        if not problem:
            return status
        if any(words in problem for words in _COMMAND_PROBLEMS):
            if problem.encode() not in said.tail:  # runc says it there too, crun only in its log
                said(f"{problem}\n".encode())
            missing = "not found" in problem or "no such file" in problem.lower()
            return _NOT_FOUND if missing else _NOT_EXECUTABLE
        raise BuildError(
            f"{self._runtime.name} could not start {self._process.args[0]!r}",
            why=problem,
            remedy="argosy doctor says whether a runtime works here",
            evidence={"runtime": self._runtime.path, "args": list(self._process.args)},
        )

    def _problem(self) -> str:
        """The runtime's last error, from its log; what the process itself says is not in there."""
        try:
            with open(self._log, encoding="utf-8", errors="replace") as file:
                lines = file.read().splitlines()
        except FileNotFoundError:
            return ""
        found = ""
        for line in lines:
            with suppress(ValueError):
                entry = json.loads(line)
                if entry.get("level") in ("error", "fatal"):
                    found = str(entry.get("msg", ""))
        return found


def _environment() -> dict[str, str]:
    """What the runtime is told: nothing of it that it would pass on into the step.

    A service manager's socket would be mounted there, and its mount point stay in the layer.
    """
    return {k: v for k, v in os.environ.items() if k not in _OF_SERVICES}


_OF_SERVICES = ("NOTIFY_SOCKET", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES")  # sd_notify(3)

_COMMAND_PROBLEMS = (
    "executable file",
    "open executable",
    "exec: ",
    "xec format error",
)


class _Tail:
    """Passes output on, and keeps the end of it."""

    def __init__(self, output: Output) -> None:
        self._output = output
        self.tail = b""

    def __call__(self, piece: bytes) -> None:
        self.tail = (self.tail + piece)[-4096:]
        self._output(piece)


async def _feed(child: asyncio.subprocess.Process, data: bytes) -> None:
    assert child.stdin is not None
    with suppress(BrokenPipeError, ConnectionResetError):  # it need not read what it is given
        child.stdin.write(data)
        await child.stdin.drain()
    child.stdin.close()


async def _pass_on(child: asyncio.subprocess.Process, output: Output) -> None:
    assert child.stdout is not None
    while piece := await child.stdout.read(_PIECE):
        output(piece)


def _write(path: str, text: str) -> None:
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
    os.chmod(path, 0o644)


def discard(session: str) -> None:
    """End the containers of a session that is over, and remove its directory (blocking)."""
    for name in os.listdir(session):
        with suppress(FileNotFoundError, NotADirectoryError, ValueError, KeyError, TypeError):
            with open(os.path.join(session, name, "ends-with"), encoding="utf-8") as file:
                ending = json.load(file)
            subprocess.run(ending["delete"], capture_output=True, check=False)
            clear(name, ending["cgroup"])
    remove_tree(session)


class OCIRuntime:
    """graph.Execute with whichever runtime works here. Use it as `async with`.

    `folder` is where containers, and the choice, are kept.
    """

    def __init__(self, folder: str) -> None:
        self._folder = os.path.abspath(folder)
        self._containers: Containers | None = None
        self._choosing = asyncio.Lock()
        self._emulations: dict[str, Emulation] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_error: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Leave nothing behind."""
        if self._containers is not None:
            await self._containers.close()

    async def __call__(self, process: Process, root: str, output: Output) -> int:
        """Run it; see `graph.Execute`."""
        await self._check(process.platform)
        containers = await self._chosen()
        return await containers.run(process, root, output)

    async def _check(self, platform: Platform) -> None:
        known = self._emulations.get(platform.architecture)
        if known is None:
            known = await in_thread(emulation, platform)
            self._emulations[platform.architecture] = known
        known.require()

    async def _chosen(self) -> Containers:
        async with self._choosing:
            if self._containers is None:
                from argosy.build.execute.choice import choose  # noqa: PLC0415 - it runs containers

                runtime = await choose(self._folder)
                self._containers = Containers(runtime, os.path.join(self._folder, "containers"))
        return self._containers
