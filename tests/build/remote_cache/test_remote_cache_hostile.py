"""Caches that are damaged, hostile, slow or gone: a warning, and the steps are run."""

import asyncio
import gzip
import json
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from argosy.build.remote_cache import session
from argosy.build.remote_cache.format import MAX_CONFIG
from argosy.build.remote_cache.imports import Patience
from argosy.build.remote_cache.shelf import CONFIG
from argosy.content.graph import manifest
from argosy.content.store import put_bytes
from argosy.content.verify import read
from argosy.errors import CopyError, NetworkError, NotFound, RegistryError
from argosy.model import media
from argosy.model.descriptor import Descriptor
from argosy.model.digest import Digest
from argosy.model.manifest import dump
from argosy.model.platform import Platform
from tests.build.remote_cache.test_remote_cache_builds import (
    DOCKERFILE,
    REF,
    machine,
    make,
    warnings,
)

pytestmark = pytest.mark.slow

__all__ = ["machine"]  # the fixture

MAX = f"type=registry,ref={REF},mode=max"
LATE = DOCKERFILE.replace("/last 2", "/last 3")  # its last step must see the files below it


async def cached(machine):
    """A machine that exported a cache, the store it is in, and the digest of what it built."""
    one = machine()
    result = await make(one, to=[MAX])
    return one.repository_of("example.com/app"), result.digest


async def rewritten(store, change):
    """Replace the records of the cache under the tag by what `change` makes of their JSON."""
    index = await manifest(store, await store.resolve("cache"))
    entry = index.manifests[0]
    view = json.loads(await read(store, entry))
    config = await read(store, Descriptor.from_json(view["config"]))
    body = change(json.loads(config))
    body = body if isinstance(body, bytes) else dump(body)
    made = await put_bytes(store, Descriptor.of(CONFIG, body), body)
    view["config"] = made.to_json()
    body = dump(view)
    made = await put_bytes(store, Descriptor.of(media.OCI_MANIFEST, body), body)
    body = dump(
        {
            "schemaVersion": 2,
            "mediaType": media.OCI_INDEX,
            "manifests": [{**made.to_json(), "annotations": dict(entry.annotations)}],
        }
    )
    await store.tag(await put_bytes(store, Descriptor.of(media.OCI_INDEX, body), body), "cache")


def with_layers(layers):
    return lambda config: {**config, "layers": layers}


DIFF = Digest.of(b"x")
DAMAGE = {
    "no JSON": lambda _config: b"{",
    "no object": lambda _config: b"[]",
    "deeply nested": lambda _config: b"[" * 100_000,
    "another version": lambda config: {**config, "version": 99},
    "not UTF-8": lambda _config: b"\xff\xfe",
    "no records": lambda config: {"version": config["version"]},
    "records are text": lambda config: {**config, "records": "abc"},
    "a cycle": with_layers([{"diffId": DIFF, "blob": DIFF, "below": 0}]),
    "a layer that comes later": with_layers([{"diffId": DIFF, "below": 1}, {"diffId": DIFF}]),
    "a negative layer": with_layers([{"diffId": DIFF}, {"diffId": DIFF, "below": -1}]),
    "a layer by truth": with_layers([{"diffId": DIFF}, {"diffId": DIFF, "below": False}]),
    "a bad digest": with_layers([{"diffId": "sha256:../../etc/passwd"}]),
    "a digest that is a number": with_layers([{"diffId": 5}]),
    "a giant chain": with_layers(
        [{"diffId": DIFF}, *({"diffId": DIFF, "below": i} for i in range(5000))]
    ),
    "a blob its manifest lacks": with_layers([{"diffId": DIFF, "blob": DIFF}] * 20),
    "a top that is not there": lambda config: {
        **config,
        "records": [{**r, "top": 10**6} for r in config["records"]],
    },
    "keys that are none": lambda config: {
        **config,
        "records": [{**r, "keys": ["x"]} for r in config["records"]],
    },
    "a time beyond all": lambda config: {
        **config,
        "records": [{**r, "used": 10**40} for r in config["records"]],
    },
    "a birth that is no time": lambda config: {**config, "births": {DIFF: "<script>"}},
}


@pytest.mark.parametrize("what", DAMAGE)
async def test_damaged_records_are_told_and_not_used(machine, what):
    store, _ = await cached(machine)
    await rewritten(store, DAMAGE[what])
    two = machine()
    result = await make(two, source=[REF])
    assert result.cached == 0
    (warning,) = warnings(two)
    assert warning.startswith(f"registry cache {REF}: some of its records are not used")
    assert len(result.manifests) == 1


async def test_a_cache_that_was_damaged_is_replaced_by_the_next_export(machine):
    store, _ = await cached(machine)
    await rewritten(store, DAMAGE["no JSON"])
    two, three = machine(), machine()
    await make(two, to=[MAX])
    assert any("are replaced" in text for text in warnings(two))
    assert (await make(three, source=[REF])).cached == 4


async def test_giant_records_are_not_even_fetched(machine):
    store, _ = await cached(machine)
    await rewritten(store, lambda _config: b" " * (MAX_CONFIG + 1))
    store.open = counted = Opened(store.open)
    two = machine()
    assert (await make(two, source=[REF])).cached == 0
    assert max(counted.sizes) < MAX_CONFIG
    assert "more than" in warnings(two)[0]


class Opened:
    """A store's `open` that remembers the sizes of what was opened."""

    def __init__(self, inner):
        self.inner = inner
        self.sizes = []

    def __call__(self, desc, *, start=0):
        self.sizes.append(desc.size)
        return self.inner(desc, start=start)


def layers_of(store):
    """The layers in a memory store: what is no manifest and no config."""
    return [d for d, body in store._blobs.items() if body[:2] == b"\x1f\x8b"]


async def test_layers_that_are_gone_are_run_again(machine):
    store, _ = await cached(machine)
    for layer in layers_of(store):
        del store._blobs[layer]
    two = machine()
    result = await make(two, source=[REF], source_date_epoch=None)
    assert result.cached == 0
    assert any("it has lost the layer" in text for text in warnings(two))


async def test_layers_with_other_bytes_are_found_out_when_they_are_unpacked(machine):
    store, _ = await cached(machine)
    for layer in layers_of(store):
        store._blobs[layer] = bytes(len(store._blobs[layer]))
    two = machine()
    result = await make(two, LATE, source=[REF])
    assert [p.args[-1] for p in two.execute.processes] == ["write /made 1", "write /last 3"]
    assert any("the step is run" in text for text in warnings(two))
    assert result.digest == (await make(machine(), LATE)).digest or result.steps == 4


async def test_layers_with_other_bytes_are_found_out_when_the_image_is_made(machine):
    store, _ = await cached(machine)
    for layer in layers_of(store):
        store._blobs[layer] = bytes(len(store._blobs[layer]))
    two = machine()
    result = await make(two, source=[REF])
    assert [p.args[-1] for p in two.execute.processes] == ["write /made 1", "write /last 2"]
    assert result.cached == 0
    assert any("not used any more" in text for text in warnings(two))


async def test_a_layer_that_unpacks_to_something_else_is_run_again(machine):
    """Its blob has the digest it should have; only the tar in it is not the one promised."""
    store, _ = await cached(machine)
    other = Digest.of(b"another tar")

    def lie(config):
        return {**config, "layers": [{**one, "diffId": other} for one in config["layers"]]}

    await rewritten(store, lie)
    two = machine()
    await make(two, LATE, source=[REF])
    assert [p.args[-1] for p in two.execute.processes] == ["write /made 1", "write /last 3"]
    assert any("the step is run" in text for text in warnings(two))


class Broken:
    """A registry that fails, in one way, from some point on."""

    def __init__(self, inner, *, operations, error=None):
        self.inner = inner
        self.operations = operations
        self.error = error
        self.asked = 0

    def __getattr__(self, name):
        found = getattr(self.inner, name)
        if name not in self.operations:
            return found
        if name == "open":
            return self.opening

        async def failing(*_args, **_more):
            await self.fail()

        return failing

    @asynccontextmanager
    async def opening(self, desc, *, start=0):
        if media.is_manifest(desc.media_type) or desc.media_type == CONFIG:
            async with self.inner.open(desc, start=start) as body:
                yield body
        else:
            await self.fail()
            yield

    async def fail(self):
        self.asked += 1
        if self.error is not None:
            raise self.error
        await asyncio.Event().wait()


ERRORS = [
    RegistryError("the registry failed", status=503),
    NetworkError("the connection was reset"),
    NotFound("gone"),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda e: type(e).__name__)
@pytest.mark.parametrize("operation", ["resolve", "exists", "open"])
async def test_a_failing_registry_costs_a_warning_at_any_moment(machine, operation, error):
    store, _ = await cached(machine)
    two = machine()
    two.remote["example.com/app"] = Broken(store, operations=[operation], error=error)
    result = await make(two, LATE, source=[REF])
    two.remote["example.com/app"] = store
    assert result.cached == 0
    if (operation, type(error)) != ("resolve", NotFound):
        assert warnings(two)


@pytest.mark.parametrize("operation", ["resolve", "exists"])
async def test_a_stalling_registry_keeps_the_build_for_a_bounded_time(
    machine, operation, monkeypatch
):
    store, _ = await cached(machine)
    short = Patience(records=0.05, look=0.05, stall=0.05)
    monkeypatch.setattr(session, "PATIENCE", short)
    two = machine()
    two.remote["example.com/app"] = Broken(store, operations=[operation])
    async with asyncio.timeout(20):
        result = await make(two, LATE, source=[REF])
    two.remote["example.com/app"] = store
    assert result.cached == 0
    assert len([t for t in warnings(two) if "not used any more" in t]) == 1


async def test_a_layer_that_stalls_is_given_up_and_run(machine, monkeypatch):
    store, _ = await cached(machine)
    monkeypatch.setattr(session, "PATIENCE", Patience(stall=0.05))
    two = machine()
    stalling = Stalling(store)
    two.remote["example.com/app"] = stalling
    async with asyncio.timeout(20):
        await make(two, LATE, source=[REF])
    two.remote["example.com/app"] = store
    assert [p.args[-1] for p in two.execute.processes] == ["write /made 1", "write /last 3"]
    assert stalling.stalled


class Stalling(Broken):
    """Sends the first byte of a layer, and then nothing more."""

    def __init__(self, inner):
        super().__init__(inner, operations=["open"])
        self.stalled = 0

    @asynccontextmanager
    async def opening(self, desc, *, start=0):
        if media.is_layer(desc.media_type):
            yield self.pieces()
        else:
            async with self.inner.open(desc, start=start) as body:
                yield body

    async def pieces(self):
        self.stalled += 1
        yield b"\x1f"
        await asyncio.Event().wait()


async def test_a_slow_cache_does_not_hold_back_a_quick_one(machine):
    store, digest = await cached(machine)
    two = machine()
    slow = Broken(store, operations=["resolve"])
    two.remote["slow.example.com/app"] = slow
    async with asyncio.timeout(8):
        result = await make(two, source=["slow.example.com/app:cache", REF])
    assert (result.cached, result.digest) == (4, digest)
    assert slow.asked == 1


@pytest.mark.parametrize("operation", ["put", "resolve", "swap"])
async def test_an_export_that_fails_fails_the_build_unless_it_may(machine, operation):
    one = machine()
    store = one.repository_of("example.com/app")
    error = RegistryError("the registry failed", status=503)
    one.remote["example.com/app"] = Broken(store, operations=[operation], error=error)
    with pytest.raises((CopyError, RegistryError), match="the registry failed"):
        await make(one, to=[REF])
    assert await one.images.resolve("example.com/app:1")  # the image was delivered before
    result = await make(one, to=[f"type=registry,ref={REF},ignore-error=true"])
    assert result.cached == 4
    assert any("not exported" in text for text in warnings(one))


async def test_a_cache_whose_layers_vanish_before_the_export_is_made_anew(machine):
    """What was found in one cache is to go into another, and the first one fails meanwhile."""
    store, _ = await cached(machine)
    two, three = machine(), machine()
    two.remote["example.com/app"] = Broken(store, operations=["open"], error=NotFound("collected"))
    await make(two, source=[REF], to=["example.com/other:cache"])
    result = await make(three, source=["example.com/other:cache"])
    assert result.cached == 4


async def test_a_foreign_cache_is_told_apart(machine):
    """What BuildKit exports: an index of blobs with a config of its own kind."""
    one = machine()
    store = one.repository_of("example.com/app")
    body = b'{"layers":[],"records":[]}'
    kind = "application/vnd.buildkit.cacheconfig.v0"
    config = await put_bytes(store, Descriptor.of(kind, body), body)
    body = dump(
        {
            "schemaVersion": 2,
            "mediaType": media.OCI_MANIFEST,
            "config": config.to_json(),
            "layers": [],
        }
    )
    await store.tag(await put_bytes(store, Descriptor.of(media.OCI_MANIFEST, body), body), "cache")
    result = await make(one, source=[REF], to=[REF])
    assert warnings(one) == [f"registry cache {REF}: it holds no records that Argosy can use"]
    assert result.cached == 0
    assert (await make(machine(), source=[REF])).cached == 4


async def test_secrets_are_in_no_part_of_a_cache(machine, tmp_path):
    from argosy.build.pipeline import Secret

    one = machine()
    (tmp_path / "s").write_text("hunter2-swordfish")
    dockerfile = (
        "FROM scratch\nRUN --mount=type=secret,id=s,required=true show /run/secrets/s\n"
        "RUN --mount=type=secret,id=s,env=TOKEN write /x 1\n"
    )
    await make(
        one, dockerfile, to=[MAX, "type=inline"], push=True,
        secrets=(Secret(id="s", file=str(tmp_path / "s")),),
    )  # fmt: skip
    assert one.execute.seen == [b"hunter2-swordfish"]
    store = one.repository_of("example.com/app")
    for body in store._blobs.values():
        plain = gzip.decompress(body) if body[:2] == b"\x1f\x8b" else body
        assert b"hunter2" not in plain


async def test_a_record_for_another_platform_is_just_another_record(machine):
    one = machine()
    arm = Platform.parse("linux/arm64")
    dockerfile = "FROM scratch\nRUN platform /here\n"
    await make(one, dockerfile, to=[REF], platforms=(arm,))
    result = await make(machine(), dockerfile, source=[REF], platforms=(replace_os(arm),))
    assert result.cached == 0


def replace_os(platform):
    return replace(platform, architecture="riscv64", variant="")
