"""Which OCI runtime works here: found out by running a container once, then remembered.

crun is faster; but crun before 1.9 refuses a hybrid cgroup tree, and inside a container
cgroups may not be writable at all. So each candidate runs the smallest container there
is, exactly as a step would run, and the first that does it is chosen.
"""

import asyncio
import hashlib
import json
import os
import secrets
import shutil
from contextlib import suppress

from argosy.build.execute.elf import exit_program
from argosy.build.execute.runtime import Containers, Runtime
from argosy.build.files.removal import remove_tree
from argosy.build.graph import Process
from argosy.concurrency import in_thread
from argosy.errors import ArgosyError, RuntimeUnavailable
from argosy.model.platform import Platform

_CANDIDATES = (("crun", ()), ("runc", ()), ("crun", ("--cgroup-manager=disabled",)))
_INSTALL = "apt-get install --yes crun runc"
_ALSO_IN = "/usr/sbin:/sbin:/usr/local/sbin"  # Debian's runc, not in everybody's PATH
_PATIENCE = 30.0  # seconds


async def choose(folder: str) -> Runtime:
    """The runtime to use; RuntimeUnavailable says what each candidate failed with."""
    if os.geteuid() != 0:
        raise RuntimeUnavailable(
            "cannot run steps in containers as a user outside of a user namespace",
            why="the process has threads already, so it could not enter one",
            remedy="use the command argosy build, or call argosy.build.rootless.namespaces.enter at start",
        )
    found = await in_thread(_candidates)
    remembered = os.path.join(folder, "runtime.json")
    key = await in_thread(_key, found)
    if (known := await in_thread(_recall, remembered, key, found)) is not None:
        return known
    problems = []
    for runtime in found:
        problem = await _try(runtime, folder)
        if not problem:
            await in_thread(_remember, remembered, key, runtime)
            return runtime
        problems.append(f"{' '.join((runtime.name, *runtime.flags))}: {problem}")
    raise RuntimeUnavailable(
        "no OCI runtime works on this machine",
        why="; ".join(problems) or "neither crun nor runc is installed",
        remedy=f"run: {_INSTALL}",
        evidence={"tried": problems},
    )


def _candidates() -> list[Runtime]:
    path = f"{os.environ.get('PATH', '')}:{_ALSO_IN}"
    places = ((shutil.which(name, path=path), flags) for name, flags in _CANDIDATES)
    return [Runtime(os.path.realpath(place), flags) for place, flags in places if place]


def _key(found: list[Runtime]) -> str:
    """What the choice hangs on: the programs, the kernel, and how cgroups are mounted."""
    facts: list[object] = [os.uname().release]
    for runtime in found:
        status = os.stat(runtime.path)
        facts.append([runtime.path, status.st_size, status.st_mtime_ns])
    with open("/proc/self/mounts", encoding="utf-8", errors="replace") as file:
        facts.append(sorted(line for line in file if " /sys/fs/cgroup" in line))
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def _recall(path: str, key: str, found: list[Runtime]) -> Runtime | None:
    with suppress(OSError, ValueError, KeyError, TypeError):
        with open(path, encoding="utf-8") as file:
            said = json.load(file)
        runtime = Runtime(said["path"], tuple(said["flags"]))
        return runtime if said["key"] == key and runtime in found else None
    return None


def _remember(path: str, key: str, runtime: Runtime) -> None:
    with suppress(OSError):  # then it is found out again
        temporary = f"{path}.{secrets.token_hex(4)}"
        with open(temporary, "w", encoding="utf-8") as file:
            json.dump({"key": key, "path": runtime.path, "flags": list(runtime.flags)}, file)
        os.replace(temporary, path)


async def _try(runtime: Runtime, folder: str) -> str:
    """Run the smallest container: what went wrong, or nothing."""
    root = os.path.join(folder, f"probe-{secrets.token_hex(4)}")
    said: list[bytes] = []
    containers = Containers(runtime, os.path.join(folder, "containers"))
    try:
        await in_thread(_make_root, root)
        process = Process(args=("/exit",), env={}, network="none")
        async with asyncio.timeout(_PATIENCE):
            status = await containers.run(process, root, said.append)
    except ArgosyError as e:
        return e.why or e.summary
    except TimeoutError:
        return f"it did not end within {_PATIENCE:.0f} s"
    finally:
        await containers.close()
        await in_thread(remove_tree, root)
    text = b"".join(said).decode(errors="replace").strip()
    return "" if status == 0 else text or f"exit code {status}"


def _make_root(root: str) -> None:
    os.makedirs(root, mode=0o755, exist_ok=True)
    path = os.path.join(root, "exit")
    with open(path, "wb") as file:
        file.write(exit_program(Platform.host().architecture))
        os.fchmod(file.fileno(), 0o700)
