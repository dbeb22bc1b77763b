"""What RUN steps are given and denied: agents, capabilities, limits, names; and the shell where one failed."""

import os
import pty
import socket
import subprocess
import sys
import threading
from contextlib import contextmanager, suppress

import pytest

from argosy.build.limits import Conditions, Limits, Ulimit
from argosy.build.ssh import Agent, forwarded
from argosy.errors import BuildError, ConfigError, StepFailed, UsageError
from tests.building import BASE, Real

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(not os.path.exists("/bin/busybox"), reason="needs busybox"),
]


@pytest.fixture
def world(tmp_path):
    real = Real(str(tmp_path))
    real.busybox()
    return real


async def test_a_step_sees_added_hosts_and_none_of_this_machines_names(world):
    conditions = Conditions(hosts=(("db.example", "192.0.2.7"),), hostname="sandbox")
    await world.build(
        BASE + "RUN busybox cat /etc/hosts && busybox hostname", conditions=conditions
    )
    lines = [line.split() for line in world.output().splitlines()]
    assert ["192.0.2.7", "db.example"] in lines
    assert lines[0] == ["127.0.0.1", "localhost", "sandbox"]
    assert lines[-1] == ["sandbox"]
    assert len(lines) == 4, "nothing of the machine's own /etc/hosts"


async def test_an_added_hosts_address_is_no_part_of_the_key(world):
    text = BASE + "RUN busybox grep db /etc/hosts > /seen\n"
    first = await world.build(text, conditions=Conditions(hosts=(("db", "192.0.2.7"),)))
    same = await world.build(text, conditions=Conditions(hosts=(("db", "192.0.2.8"),)))
    assert same.cached == same.steps
    with pytest.raises(StepFailed):
        await world.build(text, conditions=Conditions(hosts=(("other", "192.0.2.8"),)))
    assert first.digest == same.digest


async def test_limits_bound_a_step_and_are_no_part_of_the_key(world):
    limits = Limits(
        ulimits=(Ulimit(name="nofile", soft=77, hard=99),), shm_size=1 << 20, memory=256 << 20
    )
    text = (
        BASE + "RUN ulimit -n; ulimit -Hn; busybox df -k /dev/shm | busybox tail -n 1;"
        " busybox cat /sys/fs/cgroup/memory/memory.limit_in_bytes"
        " /sys/fs/cgroup/memory.max 2>/dev/null; true\n"
    )
    await world.build(text, conditions=Conditions(limits=limits))
    said = world.output().split()
    assert said[:2] == ["77", "99"]
    assert "1024" in said, "kilobytes of /dev/shm"
    again = await world.build(text)
    assert again.cached == again.steps


async def test_a_step_above_its_memory_limit_is_killed_and_the_error_says_so(world):
    if not os.path.exists("/sys/fs/cgroup/memory"):
        pytest.skip("cgroup v1's memory controller is not mounted here")
    with pytest.raises(StepFailed) as caught:
        await world.build(
            BASE + "RUN busybox awk 'BEGIN { s = \"x\"; while (1) s = s s }'\n",
            conditions=Conditions(limits=Limits(memory=16 << 20, memory_swap=16 << 20)),
        )
    assert caught.value.status in (137, 1), caught.value.output


async def test_an_insecure_step_needs_leave_and_then_has_every_capability(world):
    text = BASE + "RUN --security=insecure busybox grep CapEff /proc/self/status\n"
    with pytest.raises(UsageError, match="not allowed") as caught:
        await world.build(text)
    assert "--allow security.insecure" in caught.value.remedy
    await world.build(text, conditions=Conditions(allow=frozenset({"security.insecure"})))
    held = int(world.output().split()[-1], 16)
    with open("/proc/self/status") as file:
        mine = int(next(line for line in file if line.startswith("CapBnd")).split()[1], 16)
    assert held == mine & ((1 << 41) - 1)


@pytest.fixture
def agent(tmp_path):
    """An agent with one key: its socket, and the key's fingerprint."""
    key, path = tmp_path / "key", str(tmp_path / "agent.sock")
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    process = subprocess.Popen(["ssh-agent", "-D", "-a", path], stdout=subprocess.DEVNULL)
    while not os.path.exists(path):
        assert process.poll() is None
    environment = {**os.environ, "SSH_AUTH_SOCK": path}
    subprocess.run(["ssh-add", "-q", key], env=environment, check=True)
    yield path, str(key)
    process.kill()
    process.wait()


def _ask(path, message):
    with socket.socket(socket.AF_UNIX) as agent:
        agent.connect(path)
        agent.sendall(len(message).to_bytes(4, "big") + message)
        size = int.from_bytes(agent.recv(4), "big")
        answer = b""
        while len(answer) < size:
            answer += agent.recv(size)
        return answer


IDENTITIES, REMOVE_ALL, FAILURE, ANSWER = b"\x0b", b"\x13", 5, 12


def test_a_step_may_list_keys_but_not_remove_them(agent, tmp_path):
    path = str(tmp_path / "inside")
    with forwarded(Agent(paths=(agent[0],)), path, (12, 34), 0o660):
        status = os.stat(path)
        assert (status.st_uid, status.st_gid, status.st_mode & 0o777) == (12, 34, 0o660)
        assert _ask(path, REMOVE_ALL)[0] == FAILURE
        keys = _ask(path, IDENTITIES)
        assert keys[0] == ANSWER
        assert int.from_bytes(keys[1:5], "big") == 1
        assert _ask(path, b"\xff" * 50)[0] == FAILURE
        with socket.socket(socket.AF_UNIX) as rude:
            rude.connect(path)
            rude.sendall(b"\xff\xff\xff\xff and more")  # a length nobody believes
            with suppress(ConnectionResetError):
                assert rude.recv(1) == b""
    assert _ask(agent[0], IDENTITIES)[1:5] == (1).to_bytes(4, "big")


async def test_an_ssh_mount_is_a_socket_at_its_place_and_in_the_environment(world, agent):
    text = (
        BASE + "RUN --mount=type=ssh,required=true,mode=0640,gid=7"
        " busybox stat -c '%F %a %g' $SSH_AUTH_SOCK; echo $SSH_AUTH_SOCK\n"
    )
    with pytest.raises(BuildError, match="ssh agent 'default' is required"):
        await world.build(text)
    await world.build(text, agents=(Agent(paths=(agent[0],)),))
    assert world.output().splitlines() == ["socket 640 7", "/run/buildkit/ssh_agent.0"]


async def test_a_key_file_is_served_by_an_agent_of_our_own(agent, tmp_path):
    path = str(tmp_path / "inside")
    before = threading.active_count()
    with forwarded(Agent(id="k", paths=(agent[1],)), path, (0, 0), 0o600):
        assert _ask(path, IDENTITIES)[1:5] == (1).to_bytes(4, "big")
    assert threading.active_count() <= before + 1  # the last connection's thread may still end
    with (
        pytest.raises(ConfigError, match="cannot be used"),
        forwarded(Agent(id="k", paths=(str(tmp_path / "none"),)), path + "2", (0, 0), 0o600),
    ):
        pass


def test_without_an_agent_the_error_says_what_to_do(monkeypatch):
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    with pytest.raises(ConfigError, match="SSH agent") as caught, Agent().opened():
        pass
    assert "ssh-add" in caught.value.remedy


async def test_a_failed_steps_shell_sees_its_files_and_the_step_still_fails(world, monkeypatch):
    """The shell itself is given by the caller; here one that only looks at what it would run in."""
    seen = []

    @contextmanager
    def shell(step):
        seen.append(step)
        yield

    from argosy.build.execute.runtime import OCIRuntime

    run = OCIRuntime.__call__

    async def looked(self, process, root, output):
        if process.interactive:
            with open(os.path.join(root, "half")) as file:
                seen.append(file.read())
            assert process.args == ("/bin/sh",)
            return 0
        return await run(self, process, root, output)

    monkeypatch.setattr(OCIRuntime, "__call__", looked)
    with pytest.raises(StepFailed):
        await world.build(
            BASE + "RUN echo done so far > /half; exit 4\n", shell=shell, debug_shell=True
        )
    assert seen[0].endswith("exit 4")
    assert seen[1] == "done so far\n"


def test_the_debug_shell_is_a_terminal_where_the_step_failed(world):
    context = os.path.join(world.path, "context")
    world.file("Dockerfile", BASE + "RUN echo done so far > /half; exit 4\n")
    control, terminal = pty.openpty()
    child = subprocess.Popen(
        [sys.executable, "-m", "argosy", "build", "--debug-shell", context],
        env={**os.environ, "ARGOSY_HOME": world.settings.home, "TERM": "xterm"},
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        start_new_session=True,
    )
    os.close(terminal)
    os.write(control, b"busybox tty && busybox cat /half; echo $((6 * 7)) >&2; exit\n")
    said = b""
    with suppress(OSError):  # EIO: the other side is closed
        while piece := os.read(control, 4096):
            said += piece
    os.close(control)
    assert child.wait(30) == 1, said.decode(errors="replace")
    assert b"done so far" in said
    assert b"\r\n42\r\n" in said
    assert b"/dev/" in said
