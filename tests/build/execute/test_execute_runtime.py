"""RUN steps in real containers: what they see, what they leave, how they end."""

import asyncio
import glob
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
import time

import pytest

from argosy.build.execute import cgroups
from argosy.build.execute import choice as choice_module
from argosy.build.execute import runtime as runtime_module
from argosy.build.execute.accounts import account
from argosy.build.execute.choice import choose
from argosy.build.execute.elf import exit_program
from argosy.build.execute.emulation import emulation
from argosy.build.execute.runtime import Containers, OCIRuntime, Runtime
from argosy.build.execute.stubs import Stubs
from argosy.build.graph import Mount, Process
from argosy.errors import BuildError, RuntimeUnavailable
from argosy.model.platform import Platform

pytestmark = pytest.mark.root

PROGRAMS = (
    "sh",
    "cat",
    "id",
    "env",
    "sleep",
    "ls",
    "mkdir",
    "mknod",
    "touch",
    "head",
    "mount",
    "unshare",
    "rm",
)


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    """A small root file system made of this machine's own programs."""
    root = tmp_path_factory.mktemp("image")
    root.chmod(0o755)
    for program in PROGRAMS:
        path = shutil.which(program)
        found = subprocess.run(["ldd", path], capture_output=True, text=True).stdout
        for file in [path, *(w for w in found.split() if w.startswith("/"))]:
            target = root / ("bin/" + program if file == path else file.lstrip("/"))
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, target)
    (root / "etc").mkdir()
    (root / "etc/passwd").write_text(
        "root:x:0:0::/root:/bin/sh\napp:x:1000:1001::/home/app:/bin/sh\n"
    )
    (root / "etc/group").write_text("root:x:0:\nstaff:x:50:app,other\nweb:x:60:app\n")
    return root


@pytest.fixture
def root(image, tmp_path):
    """A copy of it that a test may change."""
    shutil.copytree(image, tmp_path / "root", symlinks=True)
    return tmp_path / "root"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return str(tmp_path_factory.mktemp("execute"))


@pytest.fixture
async def execute(folder):
    async with OCIRuntime(folder) as runtime:
        yield runtime
    # The folder is made by the first container: there may have been none yet.
    assert glob.glob(os.path.join(folder, "containers", "*")) == []


async def run(execute, root, script: str, **more) -> tuple[int, str]:
    said = []
    args = more.pop("args", ("/bin/sh", "-c", script))
    process = Process(args=args, env=more.pop("env", {}), **more)
    status = await execute(process, str(root), said.append)
    return status, b"".join(said).decode()


def everything(root) -> list[str]:
    return sorted(
        os.path.join(base, name) for base, dirs, files in os.walk(root) for name in [*dirs, *files]
    )


async def test_status_and_output_of_both_streams_come_back(execute, root):
    # runc copies the two streams side by side, so their order is not certain.
    status, said = await run(execute, root, "echo out; echo err >&2; exit 7")
    assert (status, sorted(said.splitlines())) == (7, ["err", "out"])


async def test_a_step_leaves_only_what_it_wrote(execute, root):
    before, times = everything(root), os.stat(root / "etc").st_mtime_ns
    status, said = await run(execute, root, "cat /etc/hosts /etc/resolv.conf; ls /proc /dev /sys")
    assert status == 0, said
    assert "self" in said
    assert everything(root) == before
    assert os.stat(root / "etc").st_mtime_ns == times


async def test_mount_points_that_were_there_stay(execute, root):
    for name in ("proc", "sys", "dev"):
        (root / name).mkdir()
    (root / "etc/hosts").write_text("")
    (root / "etc/resolv.conf").symlink_to("../run/resolv.conf")
    before = everything(root)
    assert (await run(execute, root, "cat /etc/hosts"))[0] == 0
    assert everything(root) == before


async def test_what_a_step_writes_stays(execute, root):
    await run(execute, root, "echo hello > /new; mkdir /d; mknod /d/null c 1 3")
    assert (root / "new").read_text() == "hello\n"
    assert os.lstat(root / "d/null").st_rdev == os.makedev(1, 3)


async def test_environment_directory_and_umask_are_as_asked(execute, root):
    os.umask(0o027)
    try:
        status, said = await run(
            execute, root, "env; pwd; umask; cat /proc/sys/kernel/hostname",
            env={"A": "b c", "PATH": "/bin"}, cwd="/etc", hostname="box",
        )  # fmt: skip
    finally:
        os.umask(0o022)
    assert status == 0
    assert {"A=b c", "PATH=/bin", "HOME=/root", "/etc", "0022", "box"} <= set(said.splitlines())


@pytest.mark.parametrize(
    ("user", "ids"),
    [
        ("", "uid=0(root) gid=0(root) groups=0(root)"),
        ("app", "uid=1000(app) gid=1001 groups=1001,50(staff),60(web)"),
        ("1000", "uid=1000(app) gid=1001 groups=1001,50(staff),60(web)"),
        ("app:web", "uid=1000(app) gid=60(web) groups=60(web)"),
        ("4242", "uid=4242 gid=0(root) groups=0(root)"),
        ("4242:4343", "uid=4242 gid=4343 groups=4343"),
    ],
)
async def test_the_user_is_resolved_in_the_image(execute, root, user, ids):
    status, said = await run(execute, root, "id; cat /proc/self/status", user=user)
    assert status == 0
    assert said.splitlines()[0] == ids
    effective = next(line for line in said.splitlines() if line.startswith("CapEff"))
    assert (int(effective.split()[1], 16) > 0) == (user == "")


async def test_a_user_who_is_not_there_is_named(execute, root):
    with pytest.raises(BuildError, match="no user 'ghost'"):
        await run(execute, root, "true", user="ghost")
    with pytest.raises(BuildError, match="no group 'ghost'"):
        await run(execute, root, "true", user="app:ghost")


def test_accounts_are_not_read_through_a_link_out_of_the_image(tmp_path):
    (tmp_path / "outside").write_text("evil:x:7:7::/:/bin/sh\n")
    (tmp_path / "root/etc").mkdir(parents=True)
    os.symlink(tmp_path / "outside", tmp_path / "root/etc/passwd")
    with pytest.raises(BuildError):
        account(str(tmp_path / "root"), "evil")
    with pytest.raises(BuildError, match="not a user"):
        account(str(tmp_path / "root"), "99999999999")


async def test_privileges_are_dockers(execute, root):
    script = "mount -t tmpfs x /etc && echo mounted; unshare -m true && echo unshared; cat /proc/self/status"
    _, said = await run(execute, root, script)
    assert "mounted" not in said
    assert "unshared" not in said
    words = dict(line.split(":\t") for line in said.splitlines() if ":\t" in line)
    assert words["Seccomp"] == "2"
    assert words["NoNewPrivs"] == "0"
    assert words["CapInh"].strip("0") == ""
    assert int(words["CapBnd"], 16) & ~0xA80425FB == 0


async def test_a_command_that_is_not_there_is_127_and_one_that_cannot_run_126(execute, root):
    status, said = await run(execute, root, "", args=("no-such-program",), env={"PATH": "/bin"})
    assert status == 127
    assert said.count("no-such-program") == 1
    status, said = await run(execute, root, "", args=("/etc/passwd",))
    assert status == 126


async def test_standard_input_is_what_was_given(execute, root):
    assert await run(execute, root, "", args=("/bin/cat",), stdin=b"line\n" * 100_000) == (
        0,
        "line\n" * 100_000,
    )
    assert await run(execute, root, "cat") == (0, "")
    assert (await run(execute, root, "exit 0", stdin=b"x" * 1_000_000))[0] == 0


async def test_much_output_comes_whole(execute, root):
    status, said = await run(execute, root, "head -c 5000000 /dev/zero; echo end")
    assert (status, len(said)) == (0, 5_000_004)


async def test_mounts_are_seen_and_leave_nothing(execute, root, tmp_path):
    (tmp_path / "given").mkdir()
    (tmp_path / "given/f").write_text("content\n")
    before = everything(root)
    mounts = (
        Mount(kind="bind", target="/a/b", source=str(tmp_path / "given"), readonly=True),
        Mount(kind="bind", target="/rw", source=str(tmp_path / "given")),
        Mount(
            kind="bind", target="/run/secrets/one", source=str(tmp_path / "given/f"), readonly=True
        ),
        Mount(kind="tmpfs", target="/scratch"),
    )
    script = "cat /a/b/f /run/secrets/one; touch /a/b/no && echo wrote; touch /rw/new /scratch/x && echo ok"
    status, said = await run(execute, root, script, mounts=mounts)
    assert said.splitlines().count("content") == 2
    assert "wrote" not in said
    assert "ok" in said
    assert status == 0
    assert (tmp_path / "given/new").exists()
    assert everything(root) == before


@pytest.mark.parametrize("absolute", [True, False])
def test_a_step_that_puts_links_in_place_of_mount_points_leads_nowhere_outside(tmp_path, absolute):
    root, outside = tmp_path / "root", tmp_path / "outside"
    (outside / "b").mkdir(parents=True)
    (outside / "b/c").write_text("")
    (root / "kept").mkdir(parents=True)
    times = os.stat(outside), os.stat(outside / "b")
    stubs = Stubs(str(root), ["/a/b/c", "/kept/b"])
    (root / "a/b").mkdir(parents=True)  # as the runtime, and then the step, do it
    (root / "a").rename(root / "moved")
    (root / "a").symlink_to(outside if absolute else "../outside")
    (root / "kept").rmdir()
    (root / "kept").symlink_to(outside)
    stubs.remove()
    assert (outside / "b/c").exists()
    assert [s.st_mtime_ns for s in (os.stat(outside), os.stat(outside / "b"))] == [
        s.st_mtime_ns for s in times
    ]


async def test_a_tmpfs_is_as_large_as_asked(execute, root):
    mounts = (Mount(kind="tmpfs", target="/small", size=64 << 10),)
    script = "head -c 65536 /dev/zero > /small/a && echo fits; echo x > /small/b || echo full"
    _, said = await run(execute, root, script, mounts=mounts)
    assert "fits" in said
    assert "full" in said


async def test_without_network_there_is_only_loopback(execute, root):
    script = "cat /proc/net/dev; cat /proc/net/if_inet6 /proc/net/fib_trie"
    _, said = await run(execute, root, script, network="none")
    devices = [
        line.split(":")[0].strip() for line in said.splitlines() if ":" in line and "|" not in line
    ]
    assert "lo" in devices
    assert not any(d.startswith(("eth", "en")) for d in devices)
    assert "127.0.0.1" in said  # it is up


def living(marker: str) -> list[int]:
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/environ", "rb") as file:
                if marker.encode() in file.read():
                    found.append(int(pid))
        except OSError:
            pass
    return found


@pytest.mark.parametrize("after", [0.0, 0.01, 0.03, 0.06, 0.1, 0.5])
async def test_cancelling_kills_everything_in_the_container(execute, root, after, monkeypatch):
    ids = []
    real = runtime_module.secrets.token_hex
    monkeypatch.setattr(
        runtime_module.secrets, "token_hex", lambda n: ids.append(real(n)) or ids[-1]
    )
    marker = f"MARK=argosy-{os.getpid()}-{after}"
    script = "sleep 1000 & sleep 1000 & (sleep 1000; true) & sleep 1000"
    await run(execute, root, "true")  # the runtime is chosen
    work = asyncio.ensure_future(
        run(execute, root, script, env=dict([marker.split("=")]) | {"PATH": "/bin"})
    )
    await asyncio.sleep(after)
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(work, 20)
    deadline = time.monotonic() + 5
    while living(marker) and time.monotonic() < deadline:
        await asyncio.sleep(0.05)
    assert living(marker) == []
    left = [group for i in ids for group in glob.glob(f"/sys/fs/cgroup/**/argosy-{i}")]
    assert left == []


def test_a_cgroup_is_cleared_of_its_processes_and_removed():
    top = next(
        (
            t
            for t in ("/sys/fs/cgroup/pids", "/sys/fs/cgroup")
            if os.path.exists(f"{t}/cgroup.procs")
        ),
        "",
    )
    if not top:
        pytest.skip("no cgroup tree here")
    name = f"test-{os.getpid()}"
    group = f"{top}/argosy-{name}"
    os.mkdir(group)
    process = subprocess.Popen(["sleep", "1000"])
    with open(f"{group}/cgroup.procs", "w") as file:
        file.write(str(process.pid))
    reaper = threading.Thread(target=process.wait)
    reaper.start()
    cgroups.clear(name)
    reaper.join(5)
    assert process.returncode == -signal.SIGKILL
    assert not os.path.exists(group)


async def test_steps_run_side_by_side(execute, root):
    await run(execute, root, "true")
    begun = time.monotonic()
    await asyncio.gather(*(run(execute, root, "sleep 0.5") for _ in range(4)))
    assert time.monotonic() - begun < 1.9


KILLED = textwrap.dedent("""
    import asyncio, sys
    from argosy.build.execute.runtime import OCIRuntime
    from argosy.build.graph import Process
    async def main():
        async with OCIRuntime(sys.argv[1]) as execute:
            step = Process(args=("/bin/sh", "-c", "echo ready; sleep 1000"), env={"MARK": sys.argv[3], "PATH": "/bin"})
            await execute(step, sys.argv[2], lambda b: print(b.decode(), flush=True))
    asyncio.run(main())
""")


async def test_what_a_killed_build_left_running_is_ended_by_the_next(tmp_path, root):
    # A folder of its own: a runtime that ends late may make its session again, for the next to sweep.
    folder = str(tmp_path / "execute")
    marker = f"argosy-killed-{os.getpid()}"
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, folder, str(root), marker], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline().startswith("ready")
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert living(f"MARK={marker}")
    async with OCIRuntime(folder) as execute:
        assert (await run(execute, root, "true"))[0] == 0
    deadline = time.monotonic() + 5
    while living(f"MARK={marker}") and time.monotonic() < deadline:
        await asyncio.sleep(0.05)
    assert living(f"MARK={marker}") == []


# Which runtime


async def test_the_choice_is_remembered_until_something_changes(tmp_path, monkeypatch):
    first = await choose(str(tmp_path))
    tried = []

    async def counted(runtime, folder):
        tried.append(runtime)
        return ""

    monkeypatch.setattr(choice_module, "_try", counted)
    assert await choose(str(tmp_path)) == first
    assert tried == []
    monkeypatch.setattr(choice_module, "_key", lambda found: "another kernel")
    await choose(str(tmp_path))
    assert len(tried) == 1


async def test_a_runtime_that_does_not_work_is_passed_over(tmp_path, monkeypatch):
    broken = tmp_path / "bin/crun"
    broken.parent.mkdir()
    broken.write_text("#!/bin/sh\necho broken as can be >&2\nexit 1\n")
    broken.chmod(0o755)
    working = Runtime(os.path.realpath(shutil.which("runc", path="/usr/sbin:/usr/bin")))
    monkeypatch.setattr(choice_module, "_candidates", lambda: [Runtime(str(broken)), working])
    assert await choose(str(tmp_path)) == working
    monkeypatch.setattr(choice_module, "_candidates", lambda: [Runtime(str(broken))])
    with pytest.raises(RuntimeUnavailable) as caught:
        await choose(str(tmp_path))
    assert "broken as can be" in caught.value.why
    assert "apt-get install" in caught.value.remedy


async def test_a_runtime_that_cannot_start_a_step_says_why(tmp_path, root):
    containers = Containers(Runtime("/bin/false"), str(tmp_path))
    status = await containers.run(Process(args=("x",), env={}), str(root), lambda _: None)
    assert status == 1  # it said nothing
    await containers.close()


async def test_crun_works_where_the_unified_tree_is_out_of_sight(tmp_path, root):
    script = textwrap.dedent("""
        import asyncio, sys
        from argosy.build.snapshot.mounts import enter_private_mounts
        assert enter_private_mounts()
        from argosy.build.execute.choice import choose
        from argosy.build.execute.runtime import Containers
        from argosy.build.graph import Process
        async def main():
            runtime = await choose(sys.argv[1])
            containers = Containers(runtime, sys.argv[1] + "/c")
            said = []
            for args in (("/bin/sh", "-c", "exit 5"), ("no-such",), ("/etc/passwd",)):
                said.append(await containers.run(Process(args=args, env={"PATH": "/bin"}), sys.argv[2], lambda _: None))
            await containers.close()
            print(runtime.name, said)
        asyncio.run(main())
    """)
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "e"), str(root)],
        capture_output=True,
        text=True,
    )
    assert done.stdout.split(" ", 1)[1].strip() == "[5, 127, 126]", done.stderr
    if shutil.which("crun"):
        assert done.stdout.startswith("crun")


# Other architectures


async def test_a_platform_that_cannot_run_is_refused_with_the_commands(execute, root, monkeypatch):
    from argosy.build.execute import emulation as module

    monkeypatch.setattr(
        module, "_run", lambda program: "the kernel does not know what to do with it"
    )
    monkeypatch.setattr(module, "BINFMT", "/nonexistent")
    execute._emulations.clear()
    with pytest.raises(RuntimeUnavailable) as caught:
        await run(execute, root, "true", platform=Platform.parse("linux/riscv64"))
    assert "linux/riscv64" in caught.value.summary
    assert "update-binfmts --enable" in caught.value.remedy


@pytest.mark.parametrize(
    "platform", ["linux/arm64", "linux/arm/v7", "linux/riscv64", "linux/s390x"]
)
async def test_programs_of_another_architecture_run_in_a_container(execute, root, platform):
    wanted = Platform.parse(platform)
    if not emulation(wanted).works:
        pytest.skip("this machine has no emulation: argosy doctor --fix turns it on")
    (root / "foreign").write_bytes(exit_program(wanted.architecture))
    os.chmod(root / "foreign", 0o755)
    assert await run(execute, root, "", args=("/foreign",), platform=wanted) == (0, "")
