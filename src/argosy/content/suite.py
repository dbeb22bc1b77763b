"""What every Store promises, as checks that any implementation can be run through.

A check is an async function of a Place: an empty repository, and a way to see it
again after it was closed. Its docstring is the promise, a failure is an
AssertionError. Abilities (Referrers, ListsTags, Deletes) are only checked where
they are offered.

    @pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
    async def test_my_store(check):
        async with my_place() as place:
            await check(place)
"""

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Protocol

from argosy.content import pack
from argosy.content.copy import copy
from argosy.content.memory import MemoryStore
from argosy.content.store import (
    BytesBody,
    Deletes,
    ListsTags,
    Referrers,
    Source,
    Store,
    Swaps,
    put_bytes,
)
from argosy.errors import DigestMismatch, NotFound, SizeMismatch
from argosy.model import media
from argosy.model.descriptor import Descriptor
from argosy.model.digest import Digest
from argosy.model.manifest import dump

BLOB = "application/octet-stream"


class Place(Protocol):
    """An empty repository under test."""

    @property
    def store(self) -> Store:
        """Where the check writes."""
        ...

    async def reopened(self) -> Source:
        """The same content as somebody who comes later sees it; nothing is written after that."""
        ...


Check = Callable[[Place], Awaitable[None]]


async def what_is_put_can_be_read(place: Place) -> None:
    """Bytes of any size come back as they were put."""
    blobs = [
        _noise(name, size) for name, size in (("a", 0), ("b", 1), ("c", 70_001), ("d", 3 << 20))
    ]
    listed = await _tagged_artifact(place.store, "v1", *blobs)
    source = await place.reopened()
    for body, desc in zip(blobs, listed, strict=True):
        assert await source.exists(desc), f"{len(body)} bytes were put and are not there"
        assert await _read(source, desc) == body, f"{len(body)} bytes came back changed"


async def reading_starts_where_asked(place: Place) -> None:
    """`open` with a start gives the rest of the bytes, and nothing at the end."""
    body = _noise("range", 200_000)
    (desc,) = await _tagged_artifact(place.store, "v1", body)
    source = await place.reopened()
    for start in (1, 65_536, 199_999, 200_000):
        assert await _read(source, desc, start) == body[start:], f"start={start}"


async def what_is_absent_is_not_found(place: Place) -> None:
    """What was never put does not exist; open and resolve raise NotFound."""
    await _tagged_artifact(place.store, "v1", b"something")
    source = await place.reopened()
    absent = Descriptor.of(BLOB, b"never put")
    assert not await source.exists(absent), "it has what nobody put"
    await _raises(NotFound, _read(source, absent))
    await _raises(NotFound, source.resolve("no-such-tag"))
    await _raises(NotFound, source.resolve(absent.digest))


async def wrong_bytes_are_refused(place: Place) -> None:
    """Bytes that are not the descriptor's raise DigestMismatch, and nothing is kept."""
    desc = Descriptor.of(BLOB, b"the right bytes")
    await _raises(DigestMismatch, place.store.put(desc, BytesBody(b"the wrong bytes")))
    assert not await place.store.exists(desc), "it keeps bytes it refused"


async def too_few_and_too_many_bytes_are_refused(place: Place) -> None:
    """A body of another size than the descriptor's raises SizeMismatch, and nothing is kept."""
    desc = Descriptor.of(BLOB, b"ten bytes!")
    for body in (b"", b"ten bytes", b"ten bytes!!"):
        await _raises((SizeMismatch, DigestMismatch), place.store.put(desc, BytesBody(body)))
        assert not await place.store.exists(desc), f"it keeps {len(body)} bytes it refused"


async def a_broken_body_leaves_nothing(place: Place) -> None:
    """When reading the body fails, put fails with that error, and nothing is kept."""
    body = _noise("broken", 300_000)
    desc = Descriptor.of(BLOB, body)

    async def broken() -> AsyncIterator[bytes]:
        yield body[:100_000]
        raise _Broken

    await _raises(_Broken, place.store.put(desc, broken()))
    assert not await place.store.exists(desc), "it keeps half a body"
    await put_bytes(place.store, desc, body)
    assert await place.store.exists(desc), "it cannot be put after a failure"


async def a_cancelled_put_leaves_nothing(place: Place) -> None:
    """A cancelled put keeps nothing, and the same bytes can be put afterwards."""
    body = _noise("cancelled", 300_000)
    desc = Descriptor.of(BLOB, body)
    begun = asyncio.Event()

    async def endless() -> AsyncIterator[bytes]:
        yield body[:100_000]
        begun.set()
        await asyncio.Event().wait()

    async with asyncio.TaskGroup() as group:
        putting = group.create_task(place.store.put(desc, endless()))
        await begun.wait()
        putting.cancel()
    assert not await place.store.exists(desc), "it keeps half a body"
    await put_bytes(place.store, desc, body)
    assert await place.store.exists(desc), "it cannot be put after a cancelled put"


async def putting_twice_is_putting_once(place: Place) -> None:
    """Putting is idempotent, one after the other and at the same time."""
    body = _noise("twice", 150_000)
    desc = Descriptor.of(BLOB, body)
    async with asyncio.TaskGroup() as group:
        for _ in range(4):
            group.create_task(put_bytes(place.store, desc, body))
    await put_bytes(place.store, desc, body)
    assert await _read(place.store, desc) == body, "it came back changed"


async def manifests_are_kept_verbatim(place: Place) -> None:
    """A manifest comes back byte for byte, unknown fields, order and white space included."""
    for kind, config_kind in (
        (media.OCI_MANIFEST, media.OCI_CONFIG),
        (media.DOCKER_MANIFEST, media.DOCKER_CONFIG),
    ):
        config = _config(kind)
        child = await put_bytes(place.store, Descriptor.of(config_kind, config), config)
        value = {"x-other": [1, "é"], "layers": [], "config": child.to_json(), "mediaType": kind}
        body = json.dumps({**value, "schemaVersion": 2}, indent=3).encode() + b"\n\n"
        desc = await put_bytes(place.store, Descriptor.of(kind, body), body)
        await place.store.tag(desc, kind.rpartition(".")[2].partition("+")[0])
    source = await place.reopened()
    found = await source.resolve(desc.digest)
    assert (found.media_type, found.size) == (kind, len(body)), f"resolve gave {found}"
    assert await _read(source, found) == body, "its bytes were changed"


async def sha512_names_content_too(place: Place) -> None:
    """Blobs and manifests may be named by sha512."""
    store = place.store
    body = _noise("sha512", 1000)
    blob = _sha512(BLOB, body)
    await put_bytes(store, blob, body)
    empty = Descriptor.of(media.OCI_EMPTY, media.EMPTY_JSON)
    await put_bytes(store, empty, media.EMPTY_JSON)
    manifest = dump(
        {
            "schemaVersion": 2,
            "mediaType": media.OCI_MANIFEST,
            "artifactType": "application/vnd.argosy.test",
            "config": empty.to_json(),
            "layers": [blob.to_json()],
        }
    )
    desc = _sha512(media.OCI_MANIFEST, manifest)
    await put_bytes(store, desc, manifest)
    await store.tag(desc, "v1")
    source = await place.reopened()
    assert await _read(source, blob) == body, "the blob came back changed"
    assert await source.resolve(desc.digest) == desc, "the manifest has another name"


async def a_tag_is_a_name_for_a_manifest(place: Place) -> None:
    """A tag resolves to what it was last pointed at; one manifest may have several."""
    first = await _image(place.store, "first")
    second = await _image(place.store, "second")
    await place.store.tag(first, "v1")
    await place.store.tag(first, "latest")
    await place.store.tag(second, "latest")
    await place.store.tag(second, "V2.0_x-y")
    await place.store.tag(second, "V2.0_x-y")
    source = await place.reopened()
    for tag, desc in (("v1", first), ("latest", second), ("V2.0_x-y", second)):
        found = await source.resolve(tag)
        assert found == desc, f"{tag} is {found}, not {desc}"


async def only_what_is_there_can_be_tagged(place: Place) -> None:
    """Tagging a manifest that is absent raises NotFound, and there is no such tag afterwards."""
    await _raises(NotFound, place.store.tag(Descriptor.of(media.OCI_MANIFEST, b"{}"), "v1"))
    await _raises(NotFound, place.store.resolve("v1"))


async def a_blob_is_not_a_manifest(place: Place) -> None:
    """The digest of a config or layer does not resolve."""
    (blob,) = await _tagged_artifact(place.store, "v1", _noise("no manifest", 5000))
    source = await place.reopened()
    await _raises(NotFound, source.resolve(blob.digest))


async def an_index_and_its_children_resolve(place: Place) -> None:
    """An index of indexes is kept; everything below it resolves by digest."""
    images = [await _image(place.store, name) for name in ("amd64", "arm64")]
    inner = await pack.index(place.store, images)
    docker = await pack.image(place.store, _config("docker"), (), media_type=media.DOCKER_MANIFEST)
    listed = await pack.index(place.store, [docker], media_type=media.DOCKER_LIST)
    outer = await pack.index(place.store, [inner, listed], annotations={"a": "b"})
    await place.store.tag(outer, "v1")
    source = await place.reopened()
    assert await source.resolve("v1") == outer
    for desc in (*images, inner, docker, listed, outer):
        found = await source.resolve(desc.digest)
        assert found == desc, f"{desc.digest} resolves to {found}"


async def a_missing_subject_is_accepted(place: Place) -> None:
    """A manifest may be about something that is not there; it is listed all the same."""
    absent = Descriptor.of(media.OCI_MANIFEST, b"never put")
    about = await pack.artifact(place.store, "application/vnd.argosy.test", [], subject=absent)
    source = await place.reopened()
    assert await source.exists(about), "it was not kept"
    if isinstance(source, Referrers):
        found = [d.digest for d in await source.referrers(absent.digest)]
        assert found == [about.digest], f"its referrers are {found}"


async def referrers_are_listed(place: Place) -> None:
    """Every manifest about a digest is listed with artifact type and annotations; and by type."""
    if not isinstance(place.store, Referrers):
        return
    image = await _image(place.store, "subject")
    await place.store.tag(image, "v1")
    kinds = [f"application/vnd.argosy.test.{n}" for n in range(3)]
    made = [
        await pack.artifact(place.store, kind, [], subject=image, annotations={"kind": kind})
        for kind in kinds
    ]
    listed = await pack.index(place.store, [image], subject=image, artifact_type=kinds[0])
    source = await place.reopened()
    assert isinstance(source, Referrers), "it can no longer list referrers"
    found = {d.digest: d for d in await source.referrers(image.digest)}
    assert found.keys() == {d.digest for d in (*made, listed)}, f"it lists {sorted(found)}"
    for desc, kind in zip(made, kinds, strict=True):
        shown = found[desc.digest]
        assert (shown, shown.artifact_type) == (desc, kind), f"it shows {shown}"
        assert shown.annotations.get("kind") == kind, f"it shows annotations {shown.annotations}"
    some = {d.digest for d in await source.referrers(image.digest, kinds[0])}
    assert some == {made[0].digest, listed.digest}, "the filter does not hold"
    assert not await source.referrers(made[1].digest), "it lists referrers nobody put"


async def tags_are_listed_in_order(place: Place) -> None:
    """Every tag is listed once, in lexical order, and nothing else."""
    if not isinstance(place.store, ListsTags):
        return
    image = await _image(place.store, "tags")
    names = ["v10", "a", "v2", "Z", "_x", "1.0", "v2-rc.1"]
    for name in names:
        await place.store.tag(image, name)
    await _image(place.store, "untagged")
    found = [name async for name in place.store.tags()]
    assert found == sorted(names), f"it lists {found}"


async def a_deleted_tag_is_only_a_tag_less(place: Place) -> None:
    """Deleting a tag leaves the manifest and its other tags; it is gone at once."""
    store = place.store
    if not isinstance(store, Deletes):
        return
    image = await _image(store, "deleted tag")
    await store.tag(image, "gone")
    await store.tag(image, "stays")
    await store.delete("gone")
    await _raises(NotFound, store.resolve("gone"))
    assert await store.resolve("stays") == image
    assert await store.resolve(image.digest) == image, "the manifest went with the tag"
    await _raises(NotFound, store.delete("gone"))


async def a_deleted_manifest_takes_its_tags_along(place: Place) -> None:
    """Deleting by digest removes the manifest and its tags at once, and nothing else."""
    store = place.store
    if not isinstance(store, Deletes):
        return
    image, other = await _image(store, "deleted"), await _image(store, "other")
    await store.tag(image, "v1")
    await store.tag(image, "v2")
    await store.tag(other, "other")
    await store.delete(image.digest)
    for ref in ("v1", "v2", image.digest):
        await _raises(NotFound, store.resolve(ref))
    assert not await store.exists(image), "its bytes are still offered"
    assert await store.resolve("other") == other, "another manifest went with it"
    await _raises(NotFound, store.delete(image.digest))


async def a_deleted_referrer_is_not_listed(place: Place) -> None:
    """A referrer that was deleted is no longer among the referrers."""
    store = place.store
    if not (isinstance(store, Deletes) and isinstance(store, Referrers)):
        return
    image = await _image(store, "subject of deleted")
    about = await pack.artifact(store, "application/vnd.argosy.test", [], subject=image)
    assert [d.digest for d in await store.referrers(image.digest)] == [about.digest]
    await store.delete(about.digest)
    assert not await store.referrers(image.digest), "it lists what was deleted"


async def a_graph_goes_in_and_out_unchanged(place: Place) -> None:
    """What is copied in and out again its digests, referrers too; a second copy does nothing."""
    there, back = MemoryStore(), MemoryStore()
    images = [await _image(there, name) for name in ("x", "y")]
    root = await pack.index(there, images)
    about = await pack.artifact(there, "application/vnd.argosy.test", [], subject=images[1])
    await there.tag(root, "v1")
    await copy(there, "v1", place.store, referrers=True)
    again: list[str] = []
    await copy(there, "v1", place.store, report=lambda e: again.append(e.kind))
    assert again == ["skipped"], f"the second copy did {again}"
    source = await place.reopened()
    moved = await copy(source, "v1", back, referrers=True)
    assert moved == root, f"{root} became {moved}"
    for desc in (*images, root):
        assert await back.exists(desc), f"{desc} was lost"
    if isinstance(source, Referrers):
        assert await back.exists(about), "the referrer of a child was lost"


async def a_swap_goes_only_from_what_was_expected(place: Place) -> None:
    """`swap` sets a new tag, moves it from what it stood for, and says when that has changed."""
    store = place.store
    if not isinstance(store, Swaps):
        return
    one, two, three = [await _image(store, name) for name in ("one", "two", "three")]
    assert await store.swap(one, "v1", None) != "changed"
    assert await store.swap(two, "v1", one.digest) != "changed"
    outcome = await store.swap(three, "v1", one.digest)
    source = await place.reopened()
    expected = {"done": (), "changed": (two,), "unsure": (two, three)}[outcome]
    assert await source.resolve("v1") in expected, f"after {outcome}"


CHECKS: Sequence[Check] = (
    what_is_put_can_be_read,
    reading_starts_where_asked,
    what_is_absent_is_not_found,
    wrong_bytes_are_refused,
    too_few_and_too_many_bytes_are_refused,
    a_broken_body_leaves_nothing,
    a_cancelled_put_leaves_nothing,
    putting_twice_is_putting_once,
    manifests_are_kept_verbatim,
    sha512_names_content_too,
    a_tag_is_a_name_for_a_manifest,
    only_what_is_there_can_be_tagged,
    a_blob_is_not_a_manifest,
    an_index_and_its_children_resolve,
    a_missing_subject_is_accepted,
    referrers_are_listed,
    tags_are_listed_in_order,
    a_deleted_tag_is_only_a_tag_less,
    a_deleted_manifest_takes_its_tags_along,
    a_deleted_referrer_is_not_listed,
    a_swap_goes_only_from_what_was_expected,
    a_graph_goes_in_and_out_unchanged,
)


class _Broken(Exception):
    """What a body in the suite breaks with."""


def _noise(seed: str, size: int) -> bytes:
    return hashlib.shake_128(seed.encode()).digest(size)


def _config(author: str, *diff_ids: Digest) -> bytes:
    value = {"os": "linux", "architecture": "amd64", "author": author}
    return dump({**value, "rootfs": {"type": "layers", "diff_ids": diff_ids}})


def _sha512(media_type: str, body: bytes) -> Descriptor:
    return Descriptor(media_type=media_type, digest=Digest.of(body, "sha512"), size=len(body))


async def _image(store: Store, name: str) -> Descriptor:
    body = _noise(name, 1000)
    layer = await put_bytes(store, Descriptor.of(media.OCI_LAYER, body), body)
    return await pack.image(store, _config(name, layer.digest), [layer])


async def _tagged_artifact(store: Store, tag: str, *bodies: bytes) -> list[Descriptor]:
    blobs = [await put_bytes(store, Descriptor.of(BLOB, body), body) for body in bodies]
    await store.tag(await pack.artifact(store, "application/vnd.argosy.test", blobs), tag)
    return blobs


async def _read(source: Source, desc: Descriptor, start: int = 0) -> bytes:
    async with source.open(desc, start=start) as body:
        return b"".join([bytes(piece) async for piece in body])


async def _raises(
    kind: type[Exception] | tuple[type[Exception], ...], act: Awaitable[object]
) -> None:
    try:
        result = await act
    except kind:
        return
    wanted = kind.__name__ if isinstance(kind, type) else " or ".join(k.__name__ for k in kind)
    raise AssertionError(f"{wanted} was promised; it went through and gave {result!r}")
