"""Builds with the real engine: overlayfs, an OCI runtime, qemu."""

import asyncio
import os
import shutil
import subprocess
import tarfile

import pytest
from blockbuster import blockbuster_ctx

from argosy.build.execute.elf import exit_program
from argosy.build.pipeline import Output
from argosy.content.graph import manifest
from argosy.content.verify import read
from argosy.errors import StepFailed
from argosy.model.config import parse_config
from argosy.model.platform import Platform
from tests.building import BASE, Real

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(not os.path.exists("/bin/busybox"), reason="needs busybox"),
]
AMD64, ARM64 = Platform.parse("linux/amd64"), Platform.parse("linux/arm64")


@pytest.fixture
def world(tmp_path):
    return Real(str(tmp_path))


async def test_copies_and_commands_become_the_files_they_should(world, tmp_path):
    world.busybox()
    world.file("app/run.sh", "#!/bin/sh\necho hello\n", 0o755)
    result = await world.build(
        BASE + "FROM base\nCOPY --chown=12:34 app /srv/app\nWORKDIR /srv/app\n"
        "RUN busybox uname -m && ./run.sh > out && busybox rm run.sh && busybox ln -s out link\n"
        'ENTRYPOINT ["/bin/sh"]\n',
        outputs=(Output.parse(f"type=tar,dest={tmp_path}/files.tar"),),
    )
    with tarfile.open(tmp_path / "files.tar") as tar:
        members = {m.name.rstrip("/"): m for m in tar}
        assert tar.extractfile("srv/app/out").read() == b"hello\n"
    assert "srv/app/run.sh" not in members
    assert members["srv/app/link"].linkname == "out"
    assert (members["srv/app"].uid, members["srv/app"].gid) == (12, 34)
    assert not {"proc", "sys", "etc/resolv.conf"} & set(members), "the runtime's mount points"
    assert os.uname().machine in world.output()
    view = await manifest(world.images, result.descriptor)
    config = parse_config(await read(world.images, view.config))
    assert config.run["WorkingDir"] == "/srv/app"
    assert len(view.layers) == 3, "base, COPY, RUN; WORKDIR changed nothing"


async def test_a_second_build_is_all_cache_and_the_same_after_a_new_start(world):
    world.busybox()
    dockerfile = BASE + "RUN echo one > /one\nRUN echo two > /two\n"
    first = await world.build(dockerfile)
    second = await world.build(dockerfile)
    assert (second.digest, second.cached) == (first.digest, second.steps)
    shutil.rmtree(os.path.join(world.settings.home, "build", "snapshots"))
    third = await world.build(dockerfile)
    assert third.cached == 0, "a record whose snapshot is gone is a miss"


async def test_a_failing_command_shows_its_last_lines_and_leaves_no_mount(world):
    world.busybox()
    with pytest.raises(StepFailed) as caught:
        await world.build(BASE + "RUN echo why it failed; exit 3\n")
    assert caught.value.status == 3
    assert "why it failed" in caught.value.output
    with open("/proc/self/mounts") as f:
        assert world.path not in f.read()


async def test_a_cancelled_build_ends_its_commands_and_leaves_no_mount(world):
    world.busybox()
    await world.build(BASE)
    task = asyncio.ensure_future(world.build(BASE + "RUN echo ready; exec busybox sleep 38119\n"))
    async with asyncio.timeout(30):
        while "ready" not in world.output():
            await asyncio.sleep(0.02)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    with open("/proc/self/mounts") as f:
        assert world.path not in f.read()
    running = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True).stdout
    assert "sleep 38119" not in running


async def test_mounts_show_up_and_disappear(world):
    world.busybox()
    world.file("data/f", "from context")
    await world.build(
        BASE + "FROM base\nRUN --mount=type=bind,source=data,target=/mnt/data"
        " --mount=type=cache,target=/var/cache/x --mount=type=tmpfs,target=/scratch"
        " busybox cat /mnt/data/f && echo kept > /var/cache/x/y && echo gone > /scratch/z\n"
        "RUN --mount=type=cache,target=/var/cache/x busybox cat /var/cache/x/y > /result\n"
        "RUN --mount=type=bind,from=base,target=/base,rw echo x > /base/new && test ! -e /new\n"
    )
    assert "from context" in world.output()
    out = os.path.join(world.path, "out")
    final = (
        BASE + "RUN --mount=type=cache,target=/var/cache/x busybox cat /var/cache/x/y > /result\n"
    )
    await world.build(final, outputs=(Output.parse(f"type=local,dest={out}"),))
    with open(os.path.join(out, "result")) as f:
        assert f.read() == "kept\n"
    assert not os.path.exists(os.path.join(out, "mnt"))
    assert not os.path.exists(os.path.join(out, "var"))


async def test_a_step_of_another_architecture_runs_in_the_emulator(world):
    if not os.path.exists("/proc/sys/fs/binfmt_misc/qemu-aarch64"):
        pytest.skip("needs qemu-aarch64 in binfmt_misc")
    for platform in (AMD64, ARM64):
        world.file(f"{platform.architecture}/exit", exit_program(platform.architecture), 0o755)
    result = await world.build(
        'FROM scratch\nARG TARGETARCH\nCOPY $TARGETARCH /\nRUN ["/exit"]\n',
        platforms=(AMD64, ARM64),
    )
    index = await manifest(world.images, result.descriptor)
    assert [m.platform for m in index.manifests] == [AMD64, ARM64]


async def test_user_and_environment_are_those_of_the_step(world):
    world.busybox()
    world.file("root/etc/passwd", "root:x:0:0::/root:/bin/sh\napp:x:77:78::/home/app:/bin/sh\n")
    await world.build(
        BASE + 'USER app\nENV A="x y"\nRUN busybox id -u; busybox id -g; echo "$A $HOME"\n'
    )
    assert world.output().split("\n")[:3] == ["77", "78", "x y /home/app"]


async def test_deleted_and_replaced_files_of_lower_layers_are_whited_out(world, tmp_path):
    world.busybox()
    world.file("root/d/a", "1")
    world.file("root/d/b", "1")
    out = tmp_path / "out"
    result = await world.build(
        BASE + "RUN busybox rm -r /d && busybox mkdir /d && echo 2 > /d/c\n",
        outputs=(Output.parse(f"type=local,dest={out}"),),
    )
    assert sorted(os.listdir(out / "d")) == ["c"]
    view = await manifest(world.images, result.descriptor)
    blob = world.images.blob_path(view.layers[-1].digest)
    with tarfile.open(blob) as tar:
        names = [n.rstrip("/") for n in tar.getnames()]
    assert "d/.wh..wh..opq" in names
    assert "d/c" in names


async def test_with_source_date_epoch_two_machines_come_to_the_same_digest(tmp_path):
    digests = []
    for name in ("one", "two"):
        world = Real(str(tmp_path / name))
        world.busybox()
        world.file("app", "same")
        result = await world.build(
            BASE + "COPY app /a/b/\nRUN echo x > /x\nWORKDIR /w\nENV A=b\n",
            source_date_epoch=1_700_000_000,
        )
        digests.append(result.digest)
        await asyncio.sleep(1.1)  # whole seconds are what layers know
    assert digests[0] == digests[1]


async def test_nothing_blocks_the_event_loop(world, tmp_path):
    world.busybox()
    dockerfile = (
        BASE
        + "FROM base\nRUN --mount=type=bind,from=base,target=/b --mount=type=cache,target=/c true\n"
        "WORKDIR /w\nCOPY --from=base /bin /copy\nCOPY <<EOF /x\nx\nEOF\n"
    )
    outputs = (
        Output.parse(f"type=tar,dest={tmp_path}/x.tar"),
        Output.parse(f"type=local,dest={tmp_path}/x"),
    )
    with blockbuster_ctx("argosy") as watch:
        # Removing one small file costs less than the way to a thread.
        watch.functions["os.unlink"].can_block_in("layers/blob.py", "__exit__")
        await world.build(dockerfile, outputs=outputs, metadata_file=str(tmp_path / "meta"))
        await world.build(dockerfile, outputs=outputs)
