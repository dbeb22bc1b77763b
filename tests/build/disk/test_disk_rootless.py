"""du and prune without root: files of ids that only exist in the user's namespace count, and go."""

import json
import os

import pytest

from tests.building import Real
from tests.unprivileged import User, lacking

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(bool(lacking()), reason=lacking()),
    pytest.mark.skipif(not os.path.exists("/bin/busybox"), reason="needs busybox"),
    pytest.mark.xdist_group("rootless"),
]
DOCKERFILE = """\
FROM scratch AS base
COPY root /
ENV PATH=/bin
FROM base
RUN busybox mkdir /d && busybox dd if=/dev/urandom of=/d/f bs=1M count=3 && \
    busybox chown -R 33:33 /d && busybox chmod 700 /d
RUN --mount=type=cache,target=/c,uid=7,mode=700 busybox dd if=/dev/zero of=/c/x bs=1M count=2
"""


@pytest.fixture
def user(tmp_path):
    made = User(tmp_path / "user" / "home")
    yield made
    made.remove()


def test_a_user_sees_and_removes_what_his_builds_left(tmp_path, user):
    world = Real(str(tmp_path))
    world.busybox()
    world.file("Dockerfile", DOCKERFILE)
    context = user.home / "context"
    os.rename(tmp_path / "context", context)
    user.give(context)
    made = user.argosy("build", "-q", "-t", "x:1", context)
    assert made.returncode == 0, made.stderr

    items = json.loads(user.argosy("du", "--json").stdout)
    sizes = {i["Type"]: i["Size"] for i in sorted(items, key=lambda i: i["Size"])}
    assert sizes["regular"] > 3 << 20
    assert sizes["exec.cachemount"] > 2 << 20
    pruned = user.argosy("prune", "--force", "--json")
    assert pruned.returncode == 0, pruned.stderr
    assert json.loads(pruned.stdout)["reclaimed"] > 5 << 20
    left = json.loads(user.argosy("du", "--json").stdout)
    assert not [i for i in left if i["Type"] in ("regular", "exec.cachemount")]
    assert os.listdir(user.home / "argosy/build/mounts") == []
    assert user.argosy("history", "ls").stdout.count("Completed") == 1
