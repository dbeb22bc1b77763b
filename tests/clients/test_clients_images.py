"""Images that Argosy builds run under docker, podman and containerd; theirs are bases for ours (Must show 2)."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.peers import Registry, Run, argosy, need

pytestmark = [pytest.mark.peer, pytest.mark.root]

DOCKERFILE = """\
FROM scratch AS base
COPY root /
FROM base
ENV PATH=/bin GREETING=hello
RUN echo app:x:1234:1234::/home/app:/bin/sh >> /etc/passwd && echo app:x:1234: >> /etc/group \\
 && busybox mkdir -p -m 700 /home/app/private && ln -s private /home/app/p \\
 && chown app:app /home/app/private && cp /bin/busybox /bin/priv && chmod 4755 /bin/priv
COPY --chown=app:app --chmod=0750 hello.sh /home/app/
USER app
WORKDIR /home/app
ENTRYPOINT ["./hello.sh"]
CMD ["world"]
"""
HELLO = "#!/bin/sh\necho $GREETING $1; id -u; pwd; stat -c '%a %U' private hello.sh /bin/priv\n"
SAID = ["hello world", "1234", "/home/app", "700 app", "750 app", "4755 root"]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A home where ours/app:1 was built."""
    top = tmp_path_factory.mktemp("images")
    root = top / "context/root"
    (root / "bin").mkdir(parents=True)
    (root / "etc").mkdir()
    (root / "tmp").mkdir()
    (root / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\n")
    (root / "etc/group").write_text("root:x:0:\n")
    program = need("busybox")
    (root / "bin/busybox").write_bytes(Path(program).read_bytes())
    (root / "bin/busybox").chmod(0o755)
    names = subprocess.run([program, "--list"], capture_output=True, text=True, check=True).stdout
    for name in names.split():
        if name != "busybox":
            os.symlink("busybox", root / "bin" / name)
    (top / "context/hello.sh").write_text(HELLO)
    (top / "context/Dockerfile").write_text(DOCKERFILE)
    argosy("build", "-q", "-t", "ours/app:1", top / "context", ARGOSY_HOME=str(top / "home"))
    return str(top / "home")


def saved(home: str, kind: str, to: Path) -> Path:
    argosy("save", "--format", kind, "-o", to, "ours/app:1", ARGOSY_HOME=home)
    return to


def test_docker_runs_it_with_another_command(home: str, dockerd: Run, tmp_path: Path) -> None:
    dockerd("load", "-i", saved(home, "docker", tmp_path / "x.tar"))
    words = ["run", "--rm", "--network", "none", "ours/app:1"]
    assert dockerd(*words).splitlines() == SAID
    assert dockerd(*words, "moon").splitlines()[0] == "hello moon"


def test_podman_runs_it(home: str, podman: Run, tmp_path: Path) -> None:
    podman("load", "-q", "-i", saved(home, "oci", tmp_path / "x.tar"))
    name = "docker.io/ours/app:1"
    words = [
        "run",
        "--rm",
        "--network",
        "none",
        "--ulimit",
        "nofile=1024",
        "--ulimit",
        "nproc=1024",
    ]
    words += ["--runtime", need("runc")]
    assert podman(*words, name).splitlines() == SAID


def test_containerd_runs_it(home: str, containerd: Run, tmp_path: Path) -> None:
    containerd("image", "import", saved(home, "oci", tmp_path / "x.tar"))
    name = "docker.io/ours/app:1"
    assert name in containerd("image", "ls", "-q").split()
    assert containerd("run", "--rm", name, "one").splitlines() == SAID


def test_what_docker_built_is_a_base_for_us(
    home: str, dockerd: Run, argosy_registry: Registry, tmp_path: Path
) -> None:
    dockerd("load", "-i", saved(home, "docker", tmp_path / "x.tar"))
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    (theirs / "Dockerfile").write_text(
        "FROM ours/app:1\nUSER root\nRUN echo docker > /made && rm -r /tmp && ln /made /again\nUSER app\n"
    )
    name = f"{argosy_registry.host}/theirs/docker:1"
    words = ["build", "-q", "--network", "host", "-t", name, theirs]
    dockerd(*words, env={"DOCKER_BUILDKIT": "1"})
    dockerd("push", "-q", name)
    assert _built_on(name, tmp_path) == ["docker", "2", "no tmp", "hello"]


def test_what_buildah_built_is_a_base_for_us(
    home: str, argosy_registry: Registry, buildah: Run, tmp_path: Path
) -> None:
    archive = saved(home, "oci", tmp_path / "x.tar")
    container = buildah("from", "-q", f"oci-archive:{archive}").strip()
    words = ["run", "--isolation", "chroot", "--user", "root", container, "--", "/bin/sh", "-c"]
    buildah(*words, "echo buildah > /made; rm -r /tmp; ln /made /again")
    buildah("config", "--env", "GREETING=hello", container)
    name = f"{argosy_registry.host}/theirs/buildah:1"
    buildah("commit", "-q", container, name)
    buildah("push", "-q", "--tls-verify=false", name)
    assert _built_on(name, tmp_path) == ["buildah", "2", "no tmp", "hello"]


def _built_on(base: str, tmp_path: Path) -> list[str]:
    """What a build of ours on a base finds in it."""
    context = tmp_path / "on"
    context.mkdir()
    (context / "Dockerfile").write_text(
        f"FROM {base}\nUSER root\nRUN cat /made; stat -c %h /again;"
        ' [ -e /tmp ] || echo "no tmp"; echo $GREETING\n'
    )
    log = subprocess.run(
        [sys.executable, "-m", "argosy", "build", "--progress=plain", "-t", "on:1", str(context)],
        capture_output=True,
        text=True,
        env={**os.environ, "ARGOSY_HOME": str(tmp_path / "home")},
    )
    assert log.returncode == 0, log.stderr
    config = json.loads(
        argosy("inspect", "--config", "local:on:1", ARGOSY_HOME=str(tmp_path / "home"))
    )
    assert config["config"]["User"] == "root"
    lines = [line.split(maxsplit=2) for line in log.stderr.splitlines()]
    return [words[2] for words in lines if len(words) == 3 and _is_time(words[1])]


def _is_time(word: str) -> bool:
    return word.replace(".", "", 1).isdecimal()
