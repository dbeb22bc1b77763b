"""What root builds, a user builds too: the same digests; and nothing stays of a build that is ended."""

import fcntl
import json
import os
import pty
import shutil
import signal
import subprocess
import sys
import tarfile
import termios
import time
from pathlib import Path

import pytest

from argosy.build.execute.elf import exit_program
from tests.unprivileged import ARGOSY, ROOT, UID, User, lacking

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(bool(lacking()), reason=lacking()),
    pytest.mark.skipif(not os.path.exists("/bin/busybox"), reason="needs busybox"),
    pytest.mark.xdist_group("rootless"),
]
BASE = "FROM scratch AS base\nCOPY root /\nENV PATH=/bin\n"
EPOCH = "1700000000"

CORE = {
    "stages, owners and special modes": BASE
    + """FROM base AS one
RUN busybox mkdir -p /d && cd /d && for i in 1 33 1000 65534; do busybox touch $i; \
    busybox chown $i:$i $i; done && busybox chmod 4755 1 && busybox chmod 2755 33 && \
    busybox chmod 1777 /d
FROM base
COPY --from=one /d /copied
COPY --chown=12:34 --chmod=640 data /mine
RUN busybox stat -c '%u:%g %a' /copied/65534 /mine/f > /said
""",
    "hard links, whiteouts and opaque directories": BASE
    + """RUN busybox mkdir -p /a/b /c && echo 1 > /a/b/x && busybox ln /a/b/x /c/y && echo 2 > /a/z
RUN busybox rm /c/y && busybox rm -r /a/b && busybox mkdir /a/b && echo 3 > /a/b/new
RUN busybox ln -s ../z /a/l && busybox mkfifo /a/fifo && busybox mv /a/b /moved
""",
    "file capabilities": BASE
    + """FROM base
COPY tools /
RUN busybox cp /bin/busybox /f && setcap cap_net_raw+ep /f && busybox chown 5:5 /said 2>/dev/null; \
    getcap /f > /said
FROM base
COPY --from=1 /f /said /
""",
    "mounts and secrets": BASE
    + """FROM base
RUN --mount=type=cache,target=/var/cache/x,uid=7,gid=8,mode=750 echo k > /var/cache/x/y && \
    busybox stat -c %u:%g:%a /var/cache/x > /cached
RUN --mount=type=secret,id=word,uid=9,mode=400 busybox wc -c < /run/secrets/word > /length && \
    busybox stat -c %u:%a /run/secrets/word >> /length
RUN --mount=type=tmpfs,target=/t echo gone > /t/f
RUN --mount=type=bind,source=data,target=/mnt/d busybox cp /mnt/d/f /fetched
""",
    "users by name": BASE
    + """FROM base
RUN busybox mkdir -p /etc && echo 'app:x:77:78::/home/app:/bin/sh' > /etc/passwd && \
    echo 'app:x:78:' > /etc/group && echo 'more:x:79:app' >> /etc/group && \
    busybox mkdir -p /home/app && busybox chown app:app /home/app
USER app
WORKDIR /home/app
RUN busybox id > me && echo $HOME >> me
COPY --chown=app:more data .
""",
    "no network": BASE
    + "FROM base\nRUN --network=none busybox ls /sys/class/net > /net\nRUN busybox ls /sys > /sys.ls\n",
}


def grow(top):
    """The context: readable by its owner only, as many a home is."""
    (top / "root/bin").mkdir(parents=True)
    shutil.copy("/bin/busybox", top / "root/bin/busybox")
    os.symlink("busybox", top / "root/bin/sh")
    (top / "data").mkdir()
    (top / "data/f").write_text("from the context\n")
    (top / "data/f").chmod(0o600)
    (top / "word").write_text("hidden")
    for name in ("setcap", "getcap"):
        tool(name, top / "tools")
    for number, text in enumerate(CORE.values()):
        (top / f"Dockerfile.{number}").write_text(text)
    return top


def tool(name, top):
    path = shutil.which(name, path="/sbin:/usr/sbin:/bin:/usr/bin")
    if path is None:
        pytest.skip(f"needs {name}")
    said = subprocess.run(["ldd", path], capture_output=True, text=True).stdout
    for found in [path, *(word for word in said.split() if word.startswith("/"))]:
        target = top / ("bin/" + name if found == path else found[1:])
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(found, target)


@pytest.fixture(scope="module")
def user(tmp_path_factory):
    made = User(tmp_path_factory.mktemp("rootless") / "home")
    made.env["SOURCE_DATE_EPOCH"] = EPOCH
    made.give(grow(made.home / "context"))
    yield made
    made.remove()


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return grow(tmp_path_factory.mktemp("root") / "context")


def as_root(context, *words):
    env = {
        "PATH": os.environ["PATH"],
        "HOME": str(context.parent),
        "ARGOSY_HOME": str(context.parent / "argosy"),
        "PYTHONPATH": str(ROOT / "src"),
        "SOURCE_DATE_EPOCH": EPOCH,
    }
    return subprocess.run(
        [*ARGOSY, *map(str, words)], env=env, cwd=context.parent, capture_output=True, text=True
    )


def digest(done):
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)["digest"]


def words(context, number):
    return (
        *("build", "--json", "--progress", "plain", "-f", context / f"Dockerfile.{number}"),
        *("--secret", f"id=word,src={context}/word", context),
    )


@pytest.mark.parametrize("number", range(len(CORE)), ids=list(CORE))
def test_a_user_builds_what_root_builds(user, root, number, tmp_path):
    context = user.home / "context"
    mine = user.argosy(*words(context, number))
    theirs = as_root(root, *words(root, number))
    assert digest(mine) == digest(theirs), compare(user, root, number, tmp_path)


def compare(user, root, number, tmp_path):
    """What differs, for the message of a failure."""
    context = user.home / "context"
    user.argosy("build", "-o", f"type=tar,dest={user.home}/a.tar", *words(context, number)[1:])
    as_root(root, "build", "-o", f"type=tar,dest={tmp_path}/b.tar", *words(root, number)[1:])
    mine, theirs = rows(user.home / "a.tar"), rows(tmp_path / "b.tar")
    return sorted(mine ^ theirs)


def rows(path):
    with tarfile.open(path) as tar:
        return {
            (m.name, m.type, m.mode, m.uid, m.gid, m.size, m.mtime, str(m.pax_headers)) for m in tar
        }


def test_file_capabilities_are_in_the_layer_as_root_writes_them(user):
    context, number = user.home / "context", list(CORE).index("file capabilities")
    out = user.home / "caps.tar"
    done = user.argosy("build", "-o", f"type=tar,dest={out}", *words(context, number)[1:])
    assert done.returncode == 0, done.stderr
    with tarfile.open(out, errors="surrogateescape", encoding="utf-8") as tar:
        headers = tar.getmember("f").pax_headers
    value = headers["SCHILY.xattr.security.capability"].encode("utf-8", "surrogateescape")
    assert (len(value), value[3]) == (20, 2), "version 2: no root id of this machine in it"


def test_files_that_are_written_out_belong_to_the_user(user):
    context, out = user.home / "context", user.home / "out"
    done = user.argosy("build", "-o", out, *words(context, 0)[1:])
    assert done.returncode == 0, done.stderr
    for path in (out, out / "mine", out / "copied" / "65534"):
        assert (path.lstat().st_uid, path.lstat().st_gid) == (UID, UID)


def test_the_second_build_is_all_cache(user):
    context = user.home / "context"
    user.argosy(*words(context, 1))
    said = json.loads(user.argosy(*words(context, 1)).stdout)
    assert said["cached"] == said["steps"] > 0


def test_a_step_for_another_architecture_runs(user):
    if not os.path.exists("/proc/sys/fs/binfmt_misc/qemu-aarch64"):
        pytest.skip("needs qemu-aarch64 in binfmt_misc")
    context = user.home / "foreign"
    context.mkdir()
    (context / "exit").write_bytes(exit_program("arm64"))
    (context / "exit").chmod(0o755)
    (context / "Dockerfile").write_text('FROM scratch\nCOPY exit /\nRUN ["/exit"]\n')
    user.give(context)
    done = user.argosy("build", "--platform", "linux/arm64", "--progress", "plain", context)
    assert done.returncode == 0, done.stderr


def test_run_runs_an_image(user):
    context = user.home / "context"
    built = user.argosy("build", "-t", "example.com/base:1", *words(context, 0)[1:])
    assert built.returncode == 0, built.stderr
    done = user.argosy("run", "example.com/base:1", "busybox", "cat", "/said")
    assert (done.returncode, done.stdout) == (0, "65534:65534 644\n12:34 640\n"), done.stderr


# The end of a build


def started(user, marker):
    """A build in the middle of a step; the id of the process that was started."""
    context = long(user, marker)
    child = user.start(*ARGOSY, "build", "--progress", "plain", context)
    for line in child.stderr:
        if line.rstrip().endswith("ready"):
            return child, context
    raise AssertionError(child.wait())


def long(user, marker):
    context = user.home / f"long-{marker}"
    shutil.copytree(user.home / "context" / "root", context / "root", symlinks=True)
    (context / "Dockerfile").write_text(BASE + f"RUN echo ready; exec busybox sleep {marker}\n")
    return user.give(context)


def left_in(user):
    build = user.home / "argosy/build"
    work = [p for p in (build / "snapshots/work").iterdir() if p.is_dir()]
    return [*(build / "runtime/containers").glob("*/state/*"), *work]


def running(marker):
    said = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True).stdout
    return f"sleep {marker}" in said


def gone(marker):
    deadline = time.monotonic() + 20
    while running(marker) and time.monotonic() < deadline:
        time.sleep(0.02)
    return not running(marker)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_cancelled_build_says_so_and_leaves_nothing(user, number):
    marker = f"{os.getpid()}{number:02}"
    child, context = started(user, marker)
    child.send_signal(number)
    assert child.wait(30) == 128 + number
    assert gone(marker)
    shutil.rmtree(context)
    assert left_in(user) == []
    child.stderr.close()
    child.stdout.close()


def test_ctrl_c_at_a_terminal_ends_a_build_in_order(user):
    # The terminal tells both processes, so the one that waits must not tell the other again.
    context = long(user, f"{os.getpid()}50")
    terminal, theirs = pty.openpty()
    child = user.start(
        *ARGOSY, "build", "--progress", "plain", context,
        stdin=theirs, stdout=theirs, stderr=theirs, preexec_fn=own_terminal,
    )  # fmt: skip
    os.close(theirs)
    said = b""
    while b" ready" not in said.replace(b"echo ready", b""):
        said += os.read(terminal, 4096)
    os.write(terminal, b"\x03")
    assert child.wait(30) == 130, said
    os.close(terminal)
    assert gone(f"{os.getpid()}50")
    assert left_in(user) == []


def own_terminal():
    os.setsid()
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def test_a_killed_build_takes_its_steps_along_and_the_next_one_succeeds(user):
    child, context = started(user, f"{os.getpid()}99")
    child.kill()
    child.wait(30)
    assert gone(f"{os.getpid()}99"), "the step went with it"
    (context / "Dockerfile").write_text(BASE + "RUN echo fine\n")
    done = user.argosy("build", context)
    assert done.returncode == 0, done.stderr
    child.stderr.close()
    child.stdout.close()


# The suite's own builds


SUITE = (
    "tests/build/snapshot/test_snapshot_overlay.py",
    "tests/build/execute/test_execute_runtime.py",
    "tests/build/test_pipeline_real.py",
    "tests/build/test_sandbox_steps.py",
)
ONLY_ROOT = (  # devices, cgroups, and limits, which need cgroups
    "test_what_a_step_writes_stays",
    "test_a_cgroup_is_cleared_of_its_processes_and_removed",
    "test_a_step_above_its_memory_limit_is_killed_and_the_error_says_so",
    "test_limits_bound_a_step_and_are_no_part_of_the_key",
)


@pytest.mark.slow
def test_the_suites_builds_pass_for_a_user_too(user):
    inside = (
        "import os, pytest, sys; from argosy.build.rootless.namespaces import enter; enter();"
        f"os.chdir({str(ROOT)!r}); sys.exit(pytest.main(sys.argv[1:]))"
    )
    user.env["PYTHONPATH"] = f"{ROOT}/src:{ROOT}"
    plugins = ("-p", "no:cacheprovider", "-p", "no:schemathesis")
    options = ("-q", "-n0", *plugins, "--basetemp", user.home / "tmp")
    deselected = ("-k", " and ".join(f"not {name}" for name in ONLY_ROOT))
    done = user.run(sys.executable, "-c", inside, *options, *deselected, *SUITE)
    assert done.returncode == 0, done.stdout[-8000:]
    assert "passed" in done.stdout


# What is missing


@pytest.fixture
def bare(tmp_path):
    """A user without ranges of ids."""
    made = User(tmp_path / "home", grants=False)
    made.give(grow(made.home / "context"))
    yield made
    made.remove()


def test_without_ranges_the_line_to_add_is_told_and_what_needs_only_root_works(bare):
    context = bare.home / "context"
    (context / "Dockerfile").write_text(BASE + "RUN busybox id -u > /me\n")
    done = bare.argosy("build", "--progress", "plain", context)
    assert done.returncode == 0, done.stderr
    assert "has no range of ids in /etc/subuid and /etc/subgid" in done.stderr
    assert "usermod --add-subuids 100000-165535 --add-subgids 100000-165535" in done.stderr


@pytest.mark.parametrize(
    "line", ["COPY --chown=12:34 data /x", "RUN --mount=type=cache,target=/x,uid=5 busybox true"]
)
def test_without_ranges_an_owner_that_is_not_there_is_an_error_with_a_remedy(bare, line):
    context = bare.home / "context"
    (context / "Dockerfile").write_text(f"{BASE}{line}\n")
    done = bare.argosy("build", "--json", context)
    said = json.loads(done.stderr[done.stderr.index("{") :])
    assert done.returncode == 1
    assert "only user ids below 1 " in json.dumps(said)
    assert "/etc/subuid" in json.dumps(said)


def test_a_file_the_user_may_not_read_is_named_with_what_helps(user):
    context = user.home / "closed"
    context.mkdir()
    (context / "Dockerfile").write_text("FROM scratch\nCOPY . /\n")
    user.give(context)
    (context / "secret-of-root").touch(0o600)
    done = user.argosy("build", context)
    assert done.returncode == 1
    assert "secret-of-root (in .): Permission denied" in done.stderr
    assert ".dockerignore" in done.stderr


def test_a_base_with_devices_and_every_owner_is_a_base_for_users_too(user, tmp_path):
    tar = tmp_path / "base.tar"
    with tarfile.open(tar, "w") as out:
        for name, kind, owner in (
            ("null", tarfile.CHRTYPE, 0),
            ("of-nobody", tarfile.REGTYPE, 65534),
        ):
            info = tarfile.TarInfo(name)
            info.type, info.uid, info.gid, info.devmajor, info.devminor = kind, owner, owner, 1, 3
            out.addfile(info)
        out.add("/bin/busybox", "bin/busybox")
    context = user.home / "devices"
    context.mkdir()
    shutil.copy(tar, context / "base.tar")
    (context / "Dockerfile").write_text(
        "FROM scratch\nADD base.tar /\nENV PATH=/bin\n"
        'RUN ["busybox", "stat", "-c", "%u", "/of-nobody"]\n'
    )
    user.give(context)
    done = user.argosy("build", "--progress", "plain", context)
    assert done.returncode == 0, done.stderr
    assert "65534" in done.stderr


def test_a_home_made_with_other_ids_is_refused(user):
    context = user.home / "context"
    user.argosy(*words(context, 1))
    other = User(user.home, first=user.first + 65536)
    done = other.argosy(*words(context, 1))
    User(user.home)
    assert done.returncode == 1
    assert "was made with other user and group ids" in done.stderr


def test_the_doctor_tells_what_is_missing(bare):
    done = bare.argosy("doctor", "--json", "--only", "rootless")
    (found,) = json.loads(done.stdout)
    assert found["state"] == "warn"
    assert "no range of ids" in found["summary"]
    assert "usermod" in found["next"]


def test_the_doctor_is_content_with_a_user_who_has_ranges(user):
    (found,) = json.loads(user.argosy("doctor", "--json", "--only", "rootless").stdout)
    assert (found["state"], found["next"]) == ("ok", "")


def test_a_user_without_newuidmap_is_told_the_package(user, tmp_path):
    done = user.run(
        sys.executable,
        "-c",
        "from argosy.build.rootless import subids; subids.program = lambda n: '';"
        "print(subids.rights().problem, subids.rights().remedy)",
    )
    assert "newuidmap and newgidmap cannot be found" in done.stdout, done.stderr
    assert "apt-get install --yes uidmap" in done.stdout


def test_forbidden_user_namespaces_are_told_with_the_sysctl(user):
    before = Path("/proc/sys/user/max_user_namespaces")
    limited = (
        "import ctypes, os;"
        "from argosy.build.rootless import namespaces;"
        "namespaces._sysctl = {'user.max_user_namespaces': '0'}.get;"
        "namespaces.mounts.unshare_user = lambda: 28\n"
        "try: namespaces.enter()\n"
        "except Exception as e: print(e.why, e.remedy)"
    )
    done = user.run(sys.executable, "-c", limited)
    assert before.exists()
    assert "user.max_user_namespaces is 0" in done.stdout, done.stderr
    assert "sysctl --write user.max_user_namespaces=" in done.stdout
