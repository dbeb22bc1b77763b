"""The command `argosy build` under faults: kill -9, signals, a context that is written to meanwhile."""

import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.root,
    pytest.mark.slow,
    pytest.mark.skipif(not os.path.exists("/bin/busybox"), reason="needs busybox"),
]

DOCKERFILE = """\
FROM scratch AS base
COPY root /
ENV PATH=/bin
COPY --link many /many
FROM base AS one
RUN ["busybox", "sh", "-c", "busybox seq 1 20000 > /one; busybox sleep 0.2"]
FROM base
COPY --from=one /one /one
RUN --mount=type=cache,target=/c ["busybox", "sh", "-c", "busybox cat /one /many/* > /all"]
"""
STUBBORN = """\
FROM scratch
COPY root /
RUN ["/bin/busybox", "sh", "-c", "trap '' TERM INT HUP; echo ready; while :; do /bin/busybox sleep 1; done"]
"""


@pytest.fixture
def context(tmp_path):
    top = tmp_path / "context"
    (top / "root/bin").mkdir(parents=True)
    (top / "root/bin/busybox").write_bytes(Path("/bin/busybox").read_bytes())
    (top / "root/bin/busybox").chmod(0o755)
    (top / "many").mkdir()
    for n in range(300):
        (top / "many" / str(n)).write_text(str(n))
    (top / "Dockerfile").write_text(DOCKERFILE)
    return top


def start(context, home, *options):
    env = dict(os.environ, ARGOSY_HOME=str(home), SOURCE_DATE_EPOCH="1")
    command = [sys.executable, "-m", "argosy", "build", *options, str(context)]
    return subprocess.Popen(
        command,
        env=env,
        start_new_session=True,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def finish(process):
    out, err = process.communicate(timeout=60)
    assert "Traceback" not in err, err
    return process.returncode, out, err


def outputs(top):
    return (
        "-q",
        "--tag=x/y:1",
        f"--output=type=oci,dest={top}.tar",
        f"--cache-to=type=local,dest={top}.cache",
    )


@pytest.mark.parametrize("whole_group", [True, False])
def test_after_a_kill_at_any_moment_the_next_build_gives_the_same_image(
    context, tmp_path, whole_group
):
    began = time.monotonic()
    code, expected, err = finish(start(context, tmp_path / "ref", *outputs(tmp_path / "ref")))
    assert code == 0, err
    span, moments = time.monotonic() - began, random.Random(12 + whole_group)
    for number in range(3):
        home, at = tmp_path / f"h{number}", moments.uniform(0.1, 0.9) * span
        process = start(context, home, *outputs(home))
        try:
            process.wait(at)
        except subprocess.TimeoutExpired:
            (os.killpg if whole_group else os.kill)(process.pid, signal.SIGKILL)
        process.communicate(timeout=60)
        code, digest, err = finish(start(context, home, *outputs(home)))
        assert (code, digest) == (0, expected), f"killed after {at:.3f} s: {err}"
    assert str(tmp_path) not in Path("/proc/self/mounts").read_text()


@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_step_that_ignores_it_within_two_seconds(context, tmp_path, number, times):
    (context / "Dockerfile").write_text(STUBBORN)
    process = start(context, tmp_path / "home", "--progress=plain")
    for line in process.stderr:
        if line.rstrip().endswith(" ready"):
            break
    began = time.monotonic()
    for _ in range(times):
        process.send_signal(number)
    code, _, _ = finish(process)
    assert code == 128 + number
    assert time.monotonic() - began < 2
    assert str(tmp_path) not in Path("/proc/self/mounts").read_text()


def test_a_file_written_to_during_builds_never_makes_a_wrong_cache_record(context, tmp_path):
    (context / "Dockerfile").write_text("FROM scratch\nCOPY x /x\n")
    file, over = context / "x", threading.Event()
    contents = [b"A" * (4 << 20), b"B" * (4 << 20)]
    file.write_bytes(contents[0])

    def write():
        turn = 0
        while not over.wait(0.01):
            turn ^= 1
            with file.open("r+b") as target:  # in place: the same inode and size
                target.write(contents[turn])

    writer = threading.Thread(target=write)
    writer.start()
    try:
        ends = [finish(start(context, tmp_path / "home")) for _ in range(6)]
    finally:
        over.set()
        writer.join()
    for code, _, err in ends:
        assert code == 0 or "changed during the build" in err
    for content in contents:
        file.write_bytes(content)
        dest = tmp_path / content[:1].decode()
        code, _, err = finish(start(context, tmp_path / "home", f"--output=type=local,dest={dest}"))
        assert code == 0, err
        assert (dest / "x").read_bytes() == content
