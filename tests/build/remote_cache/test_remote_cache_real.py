"""The command line, the real engine and real registries: two machines share their steps."""

import json
import os
import shutil

import pytest

from tests.peers import Registry, argosy, docker_registry

__all__ = ["docker_registry"]  # a fixture

DOCKERFILE = """
FROM example.com/bb AS make
COPY source /source
RUN --mount=type=cache,target=/cache tr a-z A-Z < /source > /made && date +%s%N > /cache/when
FROM example.com/bb
COPY --from=make /made /app/made
RUN mkdir -m 1777 /open && ln -s made /app/link && touch /app/empty
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A home with a base image and nothing else."""
    if os.geteuid() != 0:
        pytest.skip("needs root")
    made = tmp_path_factory.mktemp("base") / "home"
    argosy("base", "busybox", "-t", "example.com/bb", ARGOSY_HOME=str(made))
    return made


@pytest.fixture
def machines(home, tmp_path):
    """Two homes that know the same base image, and a context."""
    homes = [str(tmp_path / name) for name in ("one", "two")]
    for one in homes:
        shutil.copytree(home / "images", f"{one}/images")
    (tmp_path / "context").mkdir()
    (tmp_path / "context/Dockerfile").write_text(DOCKERFILE)
    (tmp_path / "context/source").write_text("text\n")
    return homes, str(tmp_path / "context")


def build(home, context, *words):
    told = argosy("build", "--json", "-t", "example.com/app", *words, context, ARGOSY_HOME=home)
    return json.loads(told)


@pytest.mark.root
def test_two_machines_share_their_steps_through_our_registry(
    machines, argosy_registry: Registry, tmp_path
):
    (one, two), context = machines
    ref = f"{argosy_registry.host}/real/cache:x"
    words = f"type=registry,ref={ref},mounts=true"
    first = build(one, context, "--cache-to", f"{words},mode=max")
    second = build(two, context, "--cache-from", words)
    assert (first["cached"], second["steps"], second["cached"]) == (0, 4, 4)
    assert second["digest"] == first["digest"]
    # A change below what was hit: the layers are fetched and unpacked now.
    dockerfile = DOCKERFILE + 'RUN test -k /open && test "$(cat /app/link)" = TEXT\n'
    (tmp_path / "context/Dockerfile").write_text(dockerfile)
    third = build(two, context, "--cache-from", words)
    assert third["cached"] == 4


@pytest.mark.peer
@pytest.mark.root
def test_two_machines_share_their_steps_through_dockers_registry(
    machines, docker_registry: Registry
):
    (one, two), context = machines
    ref = f"type=registry,ref={docker_registry.host}/real/cache:x,compression=zstd"
    first = build(one, context, "--cache-to", f"{ref},mode=max")
    second = build(two, context, "--cache-from", f"{docker_registry.host}/real/cache:x")
    assert (second["cached"], second["digest"]) == (4, first["digest"])


@pytest.mark.root
def test_two_machines_share_a_directory_which_reset_keeps_small(machines, tmp_path):
    (one, two), context = machines
    place = tmp_path / "cache"
    to = f"type=local,dest={place},mode=max,reset=true"
    first = build(one, context, "--cache-to", to)
    second = build(two, context, "--cache-from", f"type=local,src={place}")
    assert (second["cached"], second["digest"]) == (4, first["digest"])
    before = len(os.listdir(place / "blobs/sha256"))
    (tmp_path / "context/source").write_text("other\n")
    build(one, context, "--cache-to", to)
    blobs = set(os.listdir(place / "blobs/sha256"))
    assert before < len(blobs) < 2 * before
    index = json.loads((place / "index.json").read_bytes())
    assert [m["digest"].partition(":")[2] in blobs for m in index["manifests"]] == [True]


LINKED = """
FROM example.com/bb AS a
RUN echo 1 > /one
COPY --link source /x
FROM example.com/bb
RUN echo 2 > /two
COPY --link source /x
COPY --from=a /one /y
"""


@pytest.mark.root
def test_a_linked_layer_on_two_parents_is_exported_with_both(machines, tmp_path):
    (one, two), context = machines
    place = tmp_path / "cache"
    (tmp_path / "context/Dockerfile").write_text(LINKED)
    first = build(one, context, "--cache-to", f"type=local,dest={place},mode=max")
    second = build(two, context, "--cache-from", f"type=local,src={place}")
    assert (second["cached"], second["digest"]) == (second["steps"], first["digest"])
    (tmp_path / "context/Dockerfile").write_text(LINKED.replace("/one /y", "/x /y"))
    third = build(two, context, "--cache-from", f"type=local,src={place}")
    assert third["cached"] == third["steps"] - 1
