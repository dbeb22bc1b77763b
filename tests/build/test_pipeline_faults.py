"""Builds that are killed, and builds that run at the same time: never a wrong image."""

import hashlib
import os
import random
import subprocess
import sys
import tarfile
import textwrap

import pytest

pytestmark = [
    pytest.mark.root,
    pytest.mark.slow,
    pytest.mark.skipif(not os.path.exists("/bin/busybox"), reason="needs busybox"),
]

BUILD = textwrap.dedent("""
    import asyncio, sys
    from argosy.build.snapshot.mounts import enter_private_mounts
    from argosy.build.pipeline import BuildOptions, Ends, Output, build
    from argosy.settings import Settings
    from argosy.stores.layout import OCILayout

    async def main(context, home, tar):
        result = await build(
            BuildOptions(context=context, tags=("example.com/x:1",),
                         outputs=(Output(kind="tar", dest=tar),) if tar else ()),
            settings=Settings(home=home),
            ends=Ends(images=OCILayout(home + "/images"), repository=None, archive=None),
        )
        print(result.digest, result.cached, result.steps)

    enter_private_mounts()
    asyncio.run(main(*sys.argv[1:4]))
""")
DOCKERFILE = """\
FROM scratch AS base
COPY root /
ENV PATH=/bin
FROM base AS one
RUN busybox seq 1 20000 > /one && busybox sleep 0.1
FROM base AS two
RUN busybox seq 1 10000 > /two
RUN busybox sha256sum /two > /sum
FROM base
COPY --from=one /one /out/
COPY --from=two /two /sum /out/
RUN busybox cat /out/one /out/two > /all
"""


@pytest.fixture
def context(tmp_path):
    top = tmp_path / "context"
    (top / "root/bin").mkdir(parents=True)
    with open("/bin/busybox", "rb") as f:
        (top / "root/bin/busybox").write_bytes(f.read())
    (top / "root/bin/busybox").chmod(0o755)
    os.symlink("busybox", top / "root/bin/sh")
    (top / "Dockerfile").write_text(DOCKERFILE)
    return str(top)


def start(context, home, tar=""):
    command = [sys.executable, "-c", BUILD, context, str(home), str(tar)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(process):
    out, error = process.communicate(timeout=120)
    assert process.returncode == 0, error
    return out.split()


def content(path):
    with tarfile.open(path) as tar:
        return {
            m.name: hashlib.sha256(tar.extractfile(m).read()).hexdigest() if m.isfile() else m.type
            for m in tar
        }


def test_a_build_killed_at_random_points_is_finished_by_the_next(context, tmp_path):
    finish(start(context, tmp_path / "reference", tmp_path / "reference.tar"))
    wanted = content(tmp_path / "reference.tar")
    rng = random.Random(4711)
    home = tmp_path / "home"
    for number in range(15):
        process = start(context, home)
        try:
            process.wait(timeout=rng.uniform(0.2, 1.2))
        except subprocess.TimeoutExpired:
            process.kill()
        process.communicate()
        tar = tmp_path / f"{number}.tar"
        if number % 5 == 4:
            finish(start(context, home, tar))
            assert content(tar) == wanted
            _digest, cached, steps = finish(start(context, home))
            assert cached == steps
            with open(os.path.join(context, "root", "changed"), "w") as f:
                f.write(str(number))
            wanted["changed"] = hashlib.sha256(str(number).encode()).hexdigest()
    with open("/proc/self/mounts") as f:
        assert str(tmp_path) not in f.read()


def test_builds_at_the_same_time_in_several_processes_come_to_good_images(context, tmp_path):
    home = tmp_path / "home"
    processes = [start(context, home, tmp_path / f"{n}.tar") for n in range(3)]
    for process in processes:
        finish(process)
    contents = [content(tmp_path / f"{n}.tar") for n in range(3)]
    assert contents[0] == contents[1] == contents[2]
    digest, cached, steps = finish(start(context, home))
    assert cached == steps
    assert finish(start(context, home))[0] == digest
