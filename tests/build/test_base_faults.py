"""Base images under bad luck: kill -9 while they are fetched, unpacked and exported; full disks; crowds."""

import os
import random
import subprocess
import sys
import textwrap
import time

import pytest

from argosy.stores.incoming import INCOMING
from tests.images import LayoutWriter

pytestmark = [
    pytest.mark.root,
    pytest.mark.slow,
    pytest.mark.skipif(not os.path.exists("/bin/busybox"), reason="needs busybox"),
]

# The registry is a layout that gives its blobs in small pieces, slowly; pushes go to another.
BUILD = textwrap.dedent("""
    import asyncio, sys
    from contextlib import asynccontextmanager
    from argosy.build.snapshot.mounts import enter_private_mounts
    from argosy.build.pipeline import BuildOptions, Ends, build
    from argosy.errors import ArgosyError
    from argosy.model import media
    from argosy.settings import Settings
    from argosy.stores.layout import OCILayout

    class Slow(OCILayout):
        @asynccontextmanager
        async def open(self, desc, *, start=0):
            async with super().open(desc, start=start) as body:
                yield self.pieces(desc, body)

        async def pieces(self, desc, body):
            if media.is_layer(desc.media_type):
                print("fetch", desc.digest, flush=True)
            async for piece in body:
                for at in range(0, len(piece), 256 << 10):
                    await asyncio.sleep(0.004)
                    yield piece[at:at + (256 << 10)]

    def report(event):
        if event.kind in ("started", "done") and (
            media.is_layer(event.name) or event.key == "export"
        ):
            print("unpack" if event.kind == "done" else event.key, flush=True)

    def repository(reference):
        place = base if reference.repository.endswith("base") else base + "-pushed"
        return Slow(place) if place == base else OCILayout(place, durable=False)

    async def main(context, home):
        result = await build(
            BuildOptions(context=context, tags=("example.com/x:1",), push=True, load=True,
                         source_date_epoch=1),
            settings=Settings(home=home),
            ends=Ends(images=OCILayout(home + "/images"), repository=repository, archive=None),
            report=report,
        )
        print("digest", result.digest, flush=True)

    base = sys.argv[3]
    enter_private_mounts()
    try:
        asyncio.run(main(*sys.argv[1:3]))
    except ArgosyError as e:
        print("error", type(e).__name__, flush=True)
        sys.exit(7)
""")
DOCKERFILE = """\
FROM example.com/base:1
COPY --link a /linked
RUN busybox cat /linked /many/7 > /both && busybox dd if=/dev/urandom of=/big bs=1M count=2 \
 && busybox rm -r /many /big
RUN busybox sha256sum /large0 /large1 > /sums
"""


@pytest.fixture
def base(tmp_path):
    """Three layers: a program and many small files, and two large ones that hardly compress."""
    with open("/bin/busybox", "rb") as file:
        busybox = file.read()
    noise = random.Random(1)
    many = {f"many/{n}": str(n).encode() for n in range(2000)}
    layers = [
        {"bin/busybox": busybox, "bin/sh": busybox, **many},
        {"large0": noise.randbytes(5 << 20)},
        {"large1": noise.randbytes(5 << 20)},
    ]
    layout = LayoutWriter(tmp_path / "base")
    arch = {"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine, os.uname().machine)
    layout.tag(layout.image(arch, layers, mode=0o755), "1")
    return str(tmp_path / "base")


@pytest.fixture
def context(tmp_path):
    top = tmp_path / "context"
    top.mkdir()
    (top / "a").write_text("linked")
    (top / "Dockerfile").write_text(DOCKERFILE)
    return str(top)


def start(context, home, base):
    command = [sys.executable, "-c", BUILD, context, str(home), base]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(process):
    """The digest, and how many layers were fetched."""
    out, error = process.communicate(timeout=120)
    assert process.returncode == 0, error + out
    lines = out.splitlines()
    return lines[-1].split()[1], len({n for n in lines if n.startswith("fetch")})


def kill(process, phase, delay):
    """Let it come to a phase, wait, and kill it."""
    for line in process.stdout:
        if line.startswith(phase):
            time.sleep(delay)  # the moment is what varies
            break
    process.kill()
    process.communicate()


def test_builds_killed_while_they_fetch_unpack_and_export_are_finished_by_the_next(
    context, base, tmp_path
):
    wanted, fetched = finish(start(context, tmp_path / "reference", base))
    assert fetched == 3
    rng = random.Random(4711)
    for number in range(10):
        home = tmp_path / f"home-{number}"
        for phase, most in (("fetch", 0.1), ("unpack", 0.05), ("export", 0.2)):
            kill(start(context, home, base), phase, rng.uniform(0, most))
        assert finish(start(context, home, base))[0] == wanted
        digest, fetched = finish(start(context, home, base))
        assert (digest, fetched) == (wanted, 0)
    with open("/proc/self/mounts", encoding="utf-8") as mounts:
        assert str(tmp_path) not in mounts.read()


def test_two_builds_over_one_home_fetch_one_base_and_agree(context, base, tmp_path):
    processes = [start(context, tmp_path / "home", base) for _ in range(2)]
    (one, _), (two, _) = [finish(p) for p in processes]
    assert one == two
    assert finish(start(context, tmp_path / "home", base)) == (one, 0)


@pytest.fixture
def small_disk(tmp_path):
    """A file system that can be made larger: where it is, and how."""
    place = tmp_path / "disk"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "none", place], check=True)

    def resize(size):
        subprocess.run(["mount", "-o", f"remount,size={size}", place], check=True)

    yield place, resize
    subprocess.run(["umount", place], check=True)


@pytest.mark.parametrize("when", ["9m: fetching", "15m: unpacking", "37m: writing a layer"])
def test_a_full_disk_is_said_and_with_more_room_the_build_goes_on(
    context, base, tmp_path, small_disk, when
):
    home, resize = small_disk
    resize(when.partition(":")[0])
    if when.endswith("layer"):
        with open(os.path.join(context, "Dockerfile"), "w", encoding="utf-8") as file:
            file.write("FROM scratch\nCOPY noise /\n")
        with open(os.path.join(context, "noise"), "wb") as file:
            file.write(random.Random(2).randbytes(20 << 20))
    process = start(context, home / "home", base)
    out, error = process.communicate(timeout=120)
    assert process.returncode == 7, out + error
    assert out.splitlines()[-1] == "error NoSpace"
    snapshots = home / "home/build/snapshots"
    assert [n for n in os.listdir(snapshots / "work") if n != ".lock"] == []
    assert not list(home.glob(f"home/images/**/{INCOMING}*"))
    resize("200m")
    digest, _ = finish(start(context, home / "home", base))
    assert digest == finish(start(context, tmp_path / "reference", base))[0]
