"""`kill -9` of `argosy copy` at random points: the client's half of the promise.

Whatever was sent when it died, the destination never has a tag on missing content,
nothing it can be asked for is wrong, and the same copy run again completes.
"""

import hashlib
import json
import random
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.images import LayoutWriter
from tests.peers import Registry

ROUNDS, AT_ONCE = 56, 2
LAYERS, LAYER = 6, 1 << 20  # of each platform; one is shared
ACCEPT = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json"

Read = Callable[[str, str], bytes | None]  # "manifests" or "blobs", and a name


@dataclass(frozen=True)
class Image:
    """An index of two platforms in a layout, and everything below it."""

    layout: Path
    digest: str
    blobs: dict[str, bytes]


def make_image(path: Path, seed: int) -> Image:
    """An image that shares nothing with those of other seeds: else the registry would mount it."""
    layout, dice = LayoutWriter(path), random.Random(seed)
    shared = {"shared": dice.randbytes(LAYER)}
    images = []
    for arch in ("amd64", "arm64"):
        own = [{"own": dice.randbytes(LAYER)} for _ in range(LAYERS - 1)]
        images.append(layout.image(arch, [shared, *own], level=0))
    root = layout.index(images)
    layout.tag(root, "v1")
    blobs = {f"sha256:{p.name}": p.read_bytes() for p in (path / "blobs/sha256").iterdir()}
    return Image(path, root["digest"], blobs)


def words(image: Image, target: str) -> list[str]:
    source = f"oci:{image.layout}:v1"
    return [sys.executable, "-m", "argosy", "copy", "-q", "--jobs", "2", source, target]


def killed(image: Image, target: str, seconds: float) -> bool:
    """Start the copy, kill it after some time; whether it was still at it."""
    process = subprocess.Popen(words(image, target), stdout=subprocess.DEVNULL)
    time.sleep(seconds)
    process.kill()
    return process.wait() != 0


def whole(read: Read, image: Image, tag: str) -> None:
    """The tag names the image, and everything below it is there and right."""
    root = read("manifests", tag)
    assert root is not None
    assert "sha256:" + hashlib.sha256(root).hexdigest() == image.digest
    for entry in json.loads(root)["manifests"]:
        body = read("manifests", entry["digest"])
        assert body == image.blobs[entry["digest"]]
        manifest: dict[str, Any] = json.loads(body)
        for below in (manifest["config"], *manifest["layers"]):
            assert read("blobs", below["digest"]) == image.blobs[below["digest"]]


def check(read: Read, image: Image, tag: str) -> tuple[bool, int]:
    """After a kill: whether the tag is there (then all is), and how many blobs are (all right)."""
    tagged = read("manifests", tag) is not None
    if tagged:
        whole(read, image, tag)
    there = 0
    for name, body in image.blobs.items():
        found = read("blobs", name)
        assert found in (None, body), f"{name} is readable and wrong"
        there += found is not None
    return tagged, there


def at_random_points(images: Path, place: Callable[[int], tuple[str, Read]], rounds: int) -> None:
    """Kill copies of `rounds` images to fresh places at random moments; check, copy again, check."""
    image = make_image(images / "first", rounds)
    target, read = place(-1)
    began = time.monotonic()
    subprocess.run(words(image, target), check=True, stdout=subprocess.DEVNULL)
    longest = (time.monotonic() - began) * (1 + AT_ONCE / 2)
    whole(read, image, "v1")
    dice = random.Random(11)
    moments = [dice.uniform(0.1, 1) * longest for _ in range(rounds)]

    def one(number: int) -> tuple[bool, bool, int]:
        image = make_image(images / str(number), number)
        target, read = place(number)
        died = killed(image, target, moments[number])
        tagged, there = check(read, image, "v1")
        subprocess.run(words(image, target), check=True, stdout=subprocess.DEVNULL)
        whole(read, image, "v1")
        shutil.rmtree(image.layout)
        return died, tagged, there

    with ThreadPoolExecutor(AT_ONCE) as pool:
        outcomes = list(pool.map(one, range(rounds)))
    amid = [there for died, tagged, there in outcomes if died and not tagged and there]
    assert len(amid) >= rounds // 8, f"hardly any copy was killed amid its work: {outcomes}"


@pytest.mark.slow
def test_a_killed_copy_leaves_a_registry_without_half_an_image(
    tmp_path: Path, argosy_registry: Registry
) -> None:
    def place(number: int) -> tuple[str, Read]:
        name = f"kill-client/app{number}".replace("-1", "first")

        def read(kind: str, ref: str) -> bytes | None:
            url = f"http://{argosy_registry.host}/v2/{name}/{kind}/{ref}"
            try:
                with urllib.request.urlopen(
                    urllib.request.Request(url, headers={"Accept": ACCEPT}), timeout=30
                ) as answer:
                    return bytes(answer.read())
            except urllib.error.HTTPError as e:
                if e.code != 404:
                    raise
                return None

        return f"{argosy_registry.host}/{name}:v1", read

    at_random_points(tmp_path / "images", place, ROUNDS)


@pytest.mark.slow
def test_a_killed_copy_leaves_a_layout_without_half_an_image(tmp_path: Path) -> None:
    def place(number: int) -> tuple[str, Read]:
        path = tmp_path / f"layout{number}"

        def read(kind: str, ref: str) -> bytes | None:
            if not ref.startswith("sha256:"):
                if not (path / "index.json").exists():
                    return None
                entries = json.loads((path / "index.json").read_text())["manifests"]
                if not entries:
                    return None
                ref = entries[0]["digest"]
            blob = path / "blobs/sha256" / ref.removeprefix("sha256:")
            return blob.read_bytes() if blob.exists() else None

        return f"oci:{path}:v1", read

    at_random_points(tmp_path / "images", place, ROUNDS // 4)
