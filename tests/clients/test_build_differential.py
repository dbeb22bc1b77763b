"""The same Dockerfile built by BuildKit, buildah and Argosy gives the same image.

File systems (paths, kinds, modes, owners, contents, extended attributes, hard links) and
what the configs say about running are compared, by code that shares nothing with ours.
"""

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.clients.build_cases import BASE, CASES, Case, make_context
from tests.flatten import Image, differences, read_archive
from tests.peers import PATH, Run, argosy, need

pytestmark = [pytest.mark.peer, pytest.mark.root, pytest.mark.slow]
Build = Callable[[Case], Image]

BASE_TEXT = """\
FROM scratch
COPY root /
ENV PATH=/bin INHERITED=yes
LABEL base=yes
RUN mkdir -m 1777 /tmp && mkdir /home /etc/odd && touch /etc/odd/file && ln /etc/odd/file /etc/odd/hard
CMD ["sh"]
"""


class World:
    """A context, a base image, and where results go."""

    def __init__(self, top: Path) -> None:
        self.top = top
        self.home = str(top / "home")
        self.context = top / "context"
        self.context.mkdir()
        make_context(self.context)
        self.base = top / "base.tar"
        self._make_base()

    def _make_base(self) -> None:
        context = self.top / "base"
        (context / "root/bin").mkdir(parents=True)
        # What the peers' runtimes would leave behind, and ours does not, is there already.
        for name in ("etc", "dev", "proc", "sys", "run"):
            (context / "root" / name).mkdir()
        for name in ("hosts", "resolv.conf", "hostname"):
            (context / "root/etc" / name).touch()
        (context / "root/etc/passwd").write_text(
            "root:x:0:0:root:/root:/bin/sh\napp:x:1000:1001:app:/home/app:/bin/sh\n"
        )
        (context / "root/etc/group").write_text("root:x:0:\nstaff:x:50:app\napp:x:1001:\n")
        program = Path(need("busybox"))
        (context / "root/bin/busybox").write_bytes(program.read_bytes())
        (context / "root/bin/busybox").chmod(0o755)
        names = subprocess.run([program, "--list"], capture_output=True, text=True, check=True)
        for name in names.stdout.split():
            if name != "busybox" and "/" not in name:
                (context / "root/bin" / name).symlink_to("busybox")
        (context / "Dockerfile").write_text(BASE_TEXT)
        argosy("build", "-q", "-t", BASE, context, ARGOSY_HOME=self.home)
        save = ["save", "--format", "docker", "-o", self.base, BASE]
        argosy(*save, ARGOSY_HOME=self.home)

    def files(self, case: Case) -> tuple[Path, Path]:
        """The Dockerfile and the ignore file of a case."""
        dockerfile = self.context / f"Dockerfile.{case.name}"
        dockerfile.write_text(case.dockerfile, newline="")
        ignore = self.context / f"Dockerfile.{case.name}.dockerignore"
        ignore.write_text(case.ignore or "Dockerfile*\n")
        return dockerfile, ignore

    def ours(self, case: Case) -> Image:
        """Argosy's image."""
        dockerfile, _ = self.files(case)
        out = self.top / f"ours-{case.name}.tar"
        words = ["build", "-q", "-f", dockerfile, "-t", f"difftest/{case.name}"]
        words += [w for a in case.args for w in ("--build-arg", a)]
        argosy(*words, "-o", f"type=docker,dest={out}", self.context, ARGOSY_HOME=self.home)
        return _read(out)


def _read(archive: Path) -> Image:
    try:
        return read_archive(archive)
    finally:
        archive.unlink()


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("difftest"))


@pytest.fixture(scope="module")
def buildkit(world: World, dockerd: Run) -> Build:
    """BuildKit of Debian's docker.io."""
    dockerd("load", "-i", world.base)

    def build(case: Case) -> Image:
        dockerfile, _ = world.files(case)
        args = [w for a in case.args for w in ("--build-arg", a)]
        name = f"difftest/{case.name}"
        words = ["build", "-q", "--network", "host", *args, "-f", dockerfile, "-t", name]
        dockerd(*words, world.context, env={"DOCKER_BUILDKIT": "1"})
        out = world.top / f"docker-{case.name}.tar"
        dockerd("save", "-o", out, name)
        return _read(out)

    return build


@pytest.fixture(scope="module")
def buildah(world: World) -> Iterator[Build]:
    """buildah, on storage of its own."""
    program = need("buildah")
    store = ["--root", str(world.top / "ba"), "--runroot", str(world.top / "ba-run")]
    store += ["--storage-driver", "overlay"]

    def run(*words: str | Path) -> None:
        done = subprocess.run(
            [program, *store, *map(str, words)],
            capture_output=True,
            text=True,
            env={**os.environ, "PATH": PATH},
        )
        if done.returncode:
            pytest.fail(f"buildah {' '.join(map(str, words))}\n{done.stdout}{done.stderr}")

    run("pull", "-q", f"docker-archive:{world.base}")

    def build(case: Case) -> Image:
        dockerfile, ignore = world.files(case)
        args = [w for a in case.args for w in ("--build-arg", a)]
        name = f"localhost/difftest/{case.name}"
        how = ["--network", "host", "--isolation", "oci", "--runtime", need("runc")]
        how += ["--format", "docker", "--ignorefile", str(ignore), "--pull-never"]
        run("build", "-q", *how, *args, "-f", dockerfile, "-t", name, world.context)
        out = world.top / f"buildah-{case.name}.tar"
        run("push", "-q", name, f"docker-archive:{out}:{name}:latest")
        return _read(out)

    yield build
    for line in reversed(Path("/proc/self/mounts").read_text().splitlines()):
        if line.split()[1].startswith(str(world.top)):
            subprocess.run(["umount", "-l", line.split()[1]], capture_output=True)


def check(ours: Image, theirs: Image, case: Case) -> None:
    found = [d for d in differences(ours, theirs) if not d.startswith(case.leave or ("\0",))]
    assert not found, "ours | theirs\n" + "\n".join(found)


@pytest.mark.parametrize("case", [c for c in CASES if not c.not_docker], ids=lambda c: c.name)
def test_argosy_builds_what_buildkit_builds(case: Case, world: World, buildkit: Build) -> None:
    check(world.ours(case), buildkit(case), case)


@pytest.mark.parametrize("case", [c for c in CASES if not c.not_buildah], ids=lambda c: c.name)
def test_argosy_builds_what_buildah_builds(case: Case, world: World, buildah: Build) -> None:
    check(world.ours(case), buildah(case), case)


def test_there_are_enough_of_them() -> None:
    assert len([c for c in CASES if not (c.not_docker and c.not_buildah)]) >= 60
    assert len({c.name for c in CASES}) == len(CASES)
