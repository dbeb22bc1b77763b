"""COPY --link with the real engine: what is seen on top of it, and what it does to the destination."""

import os
import tarfile

import pytest

from argosy.build.pipeline import Output
from argosy.content.graph import manifest
from tests.building import BASE, Real

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(not os.path.exists("/bin/busybox"), reason="needs busybox"),
]


@pytest.fixture
def world(tmp_path):
    world = Real(str(tmp_path))
    world.busybox()
    return world


async def layers(world, result):
    return (await manifest(world.images, result.descriptor)).layers


async def test_steps_on_top_see_linked_files_and_the_same_link_may_come_twice(world):
    world.file("a", "linked\n")
    result = await world.build(
        BASE + "FROM base\nWORKDIR /srv\nCOPY --link a data/\nRUN echo changed > data/a\n"
        "COPY --link a data/\nRUN busybox cat data/a && busybox rm -r data\n"
        "COPY --link a data/\nRUN busybox cat data/a && busybox ls -la data\n",
    )
    assert world.output().count("linked\n") == 2
    found = [layer.digest for layer in await layers(world, result)]
    assert len(found) - len(set(found)) == 2, "the three links are one layer"


async def test_linked_copies_do_not_follow_links_of_the_destination(world, tmp_path):
    world.file("a", "linked\n")
    await world.build(
        BASE + "FROM base\nRUN busybox mkdir /real && busybox ln -s real /dir\n"
        "COPY --link --chmod=600 a /dir/a\nRUN busybox test ! -e /real/a\n"
        "COPY a /real/\n",
        outputs=(Output.parse(f"type=tar,dest={tmp_path}/files.tar"),),
    )
    with tarfile.open(tmp_path / "files.tar") as tar:
        members = {m.name.rstrip("/"): m for m in tar}
    assert members["dir"].isdir()
    assert (members["dir"].mode, members["dir"].uid) == (0o755, 0)
    assert members["dir/a"].mode == 0o600
    assert "real/a" in members


async def test_a_new_base_keeps_the_linked_layer_and_only_runs_its_own_steps(world):
    world.file("a", "linked\n")
    dockerfile = BASE + "FROM base AS made\nRUN echo {} > /one\nFROM made\nCOPY --link a /srv/\n"
    first = await world.build(dockerfile.format("first"))
    second = await world.build(dockerfile.format("second"))
    one, two = await layers(world, first), await layers(world, second)
    assert one[-1] == two[-1]
    assert one[-2] != two[-2]
    assert (second.steps, second.cached) == (3, 2)


async def test_linked_files_of_a_stage_and_an_archive_are_added(world):
    path = os.path.join(world.path, "context", "x.tar")
    with tarfile.open(path, "w") as tar:
        tar.addfile(tarfile.TarInfo("inside"))
    await world.build(
        BASE + "FROM base AS made\nRUN echo made > /made\n"
        "FROM base\nCOPY --link --from=made /made /out/\nADD --link x.tar /unpacked/\n"
        "COPY --link <<EOF /etc/motd\nhello\nEOF\n"
        "RUN busybox cat /out/made /etc/motd && busybox test -e /unpacked/inside\n",
    )
    assert world.output() == "made\nhello\n"
