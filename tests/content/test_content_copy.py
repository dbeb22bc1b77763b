"""copy: what it promises, on graphs nobody drew by hand."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from argosy.content import pack
from argosy.content.copy import SourceBody, copy
from argosy.content.memory import MemoryStore
from argosy.content.store import Body, BytesBody, Source, put_bytes
from argosy.errors import (
    CopyError,
    Denied,
    DigestMismatch,
    NetworkTimeout,
    NotFound,
    RegistryError,
    StorageError,
)
from argosy.model import media
from argosy.model.descriptor import Descriptor
from argosy.model.digest import Digest
from argosy.observe import Event

BLOB = "application/octet-stream"


class Watched(MemoryStore):
    """A memory store that checks the order of what is put, and counts what is asked."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[str, str]] = []
        self.puts: Counter[Digest] = Counter()
        self.busy = 0
        self.busiest = 0

    async def resolve(self, ref: str) -> Descriptor:
        self.calls.append(("resolve", ref))
        await asyncio.sleep(0)
        return await super().resolve(ref)

    async def exists(self, desc: Descriptor) -> bool:
        self.calls.append(("exists", desc.digest))
        await asyncio.sleep(0)
        return await super().exists(desc)

    async def put(self, desc: Descriptor, body: Body) -> None:
        self.busy += 1
        self.busiest = max(self.busiest, self.busy)
        try:
            await asyncio.sleep(0)
            await super().put(desc, body)
        finally:
            self.busy -= 1
        self.puts[desc.digest] += 1
        self.calls.append(("put", desc.digest))

    async def tag(self, desc: Descriptor, ref: str) -> None:
        self.calls.append(("tag", ref))
        await super().tag(desc, ref)

    def at(self, what: str) -> int:
        return next(i for i, (_, subject) in enumerate(self.calls) if subject == what)

    def order_of(self, digest: Digest) -> int:
        return self.calls.index(("put", digest))


async def blob(store: MemoryStore, body: bytes) -> Descriptor:
    return await put_bytes(store, Descriptor.of(BLOB, body), body)


async def build(store: MemoryStore, plan: Sequence[Sequence[int]]) -> list[Descriptor]:
    """Nodes from a plan: each node's numbers name earlier nodes; leaves are blobs."""
    nodes: list[Descriptor] = []
    for number, links in enumerate(plan):
        below = [nodes[i % number] for i in links] if number else []
        if not below:
            nodes.append(await blob(store, b"leaf %d" % number))
        elif all(media.is_manifest(d.media_type) for d in below):
            nodes.append(await pack.index(store, below, annotations={"n": str(number)}))
        else:
            nodes.append(await pack.artifact(store, f"x/{number}", below))
    return nodes


async def root_of(store: MemoryStore, nodes: Sequence[Descriptor]) -> Descriptor:
    root = await pack.artifact(store, "x/root", nodes)
    await store.tag(root, "v1")
    return root


plans = st.lists(st.lists(st.integers(0, 1000), max_size=4), min_size=1, max_size=14)


@given(plan=plans, jobs=st.sampled_from([1, 2, 8]))
@settings(max_examples=80, deadline=None)
async def test_any_graph_arrives_whole_each_digest_once_children_first_tag_last(
    plan: list[list[int]], jobs: int
) -> None:
    src, dst = MemoryStore(), Watched()
    nodes = await build(src, plan)
    root = await root_of(src, nodes)
    async with asyncio.timeout(20):
        assert await copy(src, "v1", dst, jobs=jobs) == root
    assert set(dst.puts.values()) == {1}
    assert dst.busiest <= jobs
    assert dst.calls[-1] == ("tag", "v1")
    for desc in [*nodes, root]:
        if media.is_manifest(desc.media_type):
            from argosy.content.graph import manifest

            for child in (await manifest(src, desc)).children:
                assert dst.order_of(child.digest) < dst.order_of(desc.digest)


@pytest.mark.parametrize("jobs", [1, 2, 8])
async def test_fifty_levels_with_shared_nodes_do_not_deadlock(jobs: int) -> None:
    src, dst = MemoryStore(), Watched()
    shared = await blob(src, b"shared")
    level = [await pack.artifact(src, f"x/{n}", [shared]) for n in range(2)]
    for depth in range(50):
        level = [await pack.index(src, level, annotations={"d": f"{depth}.{n}"}) for n in range(2)]
    await src.tag(await pack.index(src, level), "v1")
    async with asyncio.timeout(20):
        root = await copy(src, "v1", dst, jobs=jobs)
    assert set(dst.puts.values()) == {1}
    assert await dst.resolve("v1") == root


@given(plan=plans, missing=st.integers(0, 1000), jobs=st.sampled_from([1, 4]))
@settings(max_examples=40, deadline=None)
async def test_a_missing_child_leaves_no_tag_and_names_operation_and_side(
    plan: list[list[int]], missing: int, jobs: int
) -> None:
    src, dst = MemoryStore(), Watched()
    nodes = await build(src, plan)
    await root_of(src, nodes)
    gone = nodes[missing % len(nodes)]
    del src._blobs[gone.digest]
    with pytest.raises(CopyError) as caught:
        await copy(src, "v1", dst, jobs=jobs)
    assert (caught.value.operation, caught.value.side) == ("read", "source")
    assert isinstance(caught.value.cause, NotFound)
    assert caught.value.exit_code == 4
    assert str(gone.digest) in caught.value.summary
    with pytest.raises(NotFound):
        await dst.resolve("v1")
    left = asyncio.all_tasks() - {asyncio.current_task()}
    assert not left


async def an_image(store: MemoryStore, name: str, layers: int = 2) -> Descriptor:
    blobs = [await blob(store, f"{name} {n}".encode() * 100) for n in range(layers)]
    return await pack.artifact(store, f"x/{name}", blobs)


async def test_nothing_to_do_takes_one_question_at_each_side() -> None:
    src, dst = Watched(), Watched()
    await src.tag(await pack.index(src, [await an_image(src, "a")]), "v1")
    await copy(src, "v1", dst)
    src.calls.clear()
    dst.calls.clear()
    events: list[Event] = []
    await copy(src, "v1", dst, report=events.append)
    assert src.calls == [("resolve", "v1")]
    assert dst.calls == [("resolve", "v1")]
    assert [e.kind for e in events] == ["skipped"]


async def test_what_is_there_is_not_read_again() -> None:
    src, dst = MemoryStore(), Watched()
    first = await an_image(src, "a")
    await src.tag(first, "v1")
    await copy(src, "v1", dst)
    both = await pack.index(src, [first, await an_image(src, "b")])
    await src.tag(both, "v2")
    await copy(src, "v2", dst)
    assert dst.puts[first.digest] == 1
    assert await dst.resolve("v2") == both


async def test_an_index_is_not_tagged_while_something_pruned_below_it_is_missing() -> None:
    src, dst = MemoryStore(), Watched()
    image = await an_image(src, "a")
    await src.tag(image, "v1")
    await copy(src, "v1", dst)
    from argosy.content.graph import manifest

    layer = (await manifest(src, image)).children[1]
    del dst._blobs[layer.digest]  # the destination breaks its promise
    await src.tag(await pack.index(src, [image]), "v2")
    await copy(src, "v2", dst)
    assert await dst.exists(layer), "the tag moved and a layer was missing"
    assert dst.calls.index(("tag", "v2")) > max(
        i for i, call in enumerate(dst.calls) if call == ("put", layer.digest)
    )


async def test_a_pruned_manifest_that_stays_broken_keeps_the_tag_from_moving() -> None:
    class Forgetful(Watched):
        async def put(self, desc: Descriptor, body: Body) -> None:
            await super().put(desc, body)
            if desc.media_type == BLOB and self.puts[desc.digest] > 1:
                del self._blobs[desc.digest]

    src, dst = MemoryStore(), Forgetful()
    image = await an_image(src, "a", layers=1)
    await src.tag(image, "v1")
    await copy(src, "v1", dst)
    from argosy.content.graph import manifest

    layer = (await manifest(src, image)).children[1]
    del dst._blobs[layer.digest]
    await src.tag(await pack.index(src, [image]), "v2")
    with pytest.raises(CopyError) as caught:
        await copy(src, "v2", dst)
    assert (caught.value.operation, caught.value.side) == ("verify", "destination")
    with pytest.raises(NotFound):
        await dst.resolve("v2")


async def test_verifying_is_given_up_in_time_and_the_tag_does_not_move() -> None:
    class Slow(Watched):
        slow = False

        async def exists(self, desc: Descriptor) -> bool:
            if self.slow and desc.media_type == BLOB:
                await asyncio.Event().wait()
            return await super().exists(desc)

    src, dst = MemoryStore(), Slow()
    image = await an_image(src, "a")
    await src.tag(image, "v1")
    await copy(src, "v1", dst)
    dst.slow = True
    await src.tag(await pack.index(src, [image]), "v2")
    with pytest.raises(CopyError) as caught:
        await copy(src, "v2", dst, verify_timeout=0.05)
    assert isinstance(caught.value.cause, NetworkTimeout)
    with pytest.raises(NotFound):
        await dst.resolve("v2")


async def test_manifest_blob_unknown_puts_everything_below_again_once() -> None:
    class Strict(Watched):
        """Refuses a manifest until its layers were put twice, whatever exists says."""

        async def put(self, desc: Descriptor, body: Body) -> None:
            if desc.media_type == media.OCI_MANIFEST:
                from argosy.model.manifest import parse_manifest

                held = b"".join([bytes(p) async for p in body])
                for child in parse_manifest(held).children:
                    if self.puts[child.digest] < 2:
                        raise RegistryError("unknown blob", registry_code="MANIFEST_BLOB_UNKNOWN")
                body = BytesBody(held)
            await super().put(desc, body)

    src, dst = MemoryStore(), Strict()
    image = await an_image(src, "a")
    await src.tag(image, "v1")
    events: list[Event] = []
    await copy(src, "v1", dst, report=events.append)
    assert await dst.resolve("v1") == image
    assert [e.kind for e in events].count("retry") == 1


async def test_manifest_blob_unknown_twice_is_an_error() -> None:
    class Never(Watched):
        async def put(self, desc: Descriptor, body: Body) -> None:
            if media.is_manifest(desc.media_type):
                raise RegistryError("unknown blob", registry_code="MANIFEST_BLOB_UNKNOWN")
            await super().put(desc, body)

    src, dst = MemoryStore(), Never()
    await src.tag(await an_image(src, "a"), "v1")
    with pytest.raises(CopyError) as caught:
        await copy(src, "v1", dst)
    assert (caught.value.operation, caught.value.side) == ("put", "destination")


async def test_referrers_of_root_of_children_and_of_referrers_come_along() -> None:
    src, dst = MemoryStore(), Watched()
    child = await an_image(src, "child")
    root = await pack.index(src, [child])
    await src.tag(root, "v1")
    of_root = await pack.artifact(src, "x/signature", [], subject=root)
    of_child = await pack.artifact(src, "x/sbom", [await blob(src, b"sbom")], subject=child)
    of_sbom = await pack.artifact(src, "x/signature", [], subject=of_child, annotations={"a": "b"})
    await copy(src, "v1", dst)
    for desc in (of_root, of_child, of_sbom):
        assert not await dst.exists(desc)
    await copy(src, "v1", dst, referrers=True)
    for desc in (of_root, of_child, of_sbom):
        assert await dst.exists(desc), desc
    assert [d.digest for d in await dst.referrers(child.digest)] == [of_child.digest]


async def test_a_cycle_of_referrers_ends() -> None:
    class Circular(MemoryStore):
        async def referrers(self, digest: Digest, artifact_type: str = "") -> Sequence[Descriptor]:
            return list(self._manifests.values())

    src, dst = Circular(), MemoryStore()
    await src.tag(await an_image(src, "a"), "v1")
    await an_image(src, "b")
    async with asyncio.timeout(5):
        await copy(src, "v1", dst, referrers=True)


async def test_mounting_moves_no_bytes_and_asks_the_source_that_has_them() -> None:
    asked: list[Source] = []

    class Mounting(Watched):
        async def mount(self, desc: Descriptor, source: Source) -> bool:
            asked.append(source)
            if not isinstance(source, MemoryStore) or desc.size % 2:
                return False
            self._blobs[desc.digest] = source._blobs[desc.digest]
            return True

    from argosy.content.wrappers import Limited

    src, dst = MemoryStore(), Mounting()
    even, odd = await blob(src, b"even"), await blob(src, b"odd")
    await src.tag(await pack.artifact(src, "x/y", [even, odd]), "v1")
    events: list[Event] = []
    await copy(Limited(src, 8), "v1", dst, report=events.append)
    assert all(source is src for source in asked)
    assert dst.puts[even.digest] == 0
    assert dst.puts[odd.digest] == 1
    assert {e.key for e in events if e.kind == "mounted"} >= {even.digest}


async def test_progress_tells_every_byte_of_every_blob() -> None:
    src, dst = MemoryStore(), MemoryStore()
    body = b"x" * 12345
    desc = await blob(src, body)
    await src.tag(await pack.artifact(src, "x/y", [desc]), "v1")
    events: list[Event] = []
    await copy(src, "v1", dst, report=events.append)
    mine = [e for e in events if e.key == desc.digest]
    assert [e.kind for e in mine] == ["started", "advanced", "done"]
    assert [(e.current, e.total) for e in mine] == [(0, 12345), (12345, 12345), (12345, 12345)]


async def test_cancelling_leaves_no_task_and_no_tag() -> None:
    begun = asyncio.Event()

    class Stuck(MemoryStore):
        @asynccontextmanager
        async def open(
            self, desc: Descriptor, *, start: int = 0
        ) -> AsyncIterator[AsyncIterator[bytes]]:
            if desc.media_type == BLOB:
                begun.set()
                await asyncio.Event().wait()
            async with super().open(desc, start=start) as body:
                yield body

    src, dst = Stuck(), Watched()
    await src.tag(await an_image(src, "a", layers=6), "v1")
    async with asyncio.TaskGroup() as group:
        copying = group.create_task(copy(src, "v1", dst, jobs=3))
        await begun.wait()
        copying.cancel()
    assert copying.cancelled()
    assert asyncio.all_tasks() == {asyncio.current_task()}
    assert ("tag", "v1") not in dst.calls


async def test_damaged_bytes_are_the_sources_fault_and_nothing_is_kept() -> None:
    src, dst = MemoryStore(), MemoryStore()
    image = await an_image(src, "a", layers=1)
    await src.tag(image, "v1")
    from argosy.content.graph import manifest

    layer = (await manifest(src, image)).children[1]
    src._blobs[layer.digest] = b"?" * layer.size
    with pytest.raises(CopyError) as caught:
        await copy(src, "v1", dst)
    assert (caught.value.operation, caught.value.side) == ("read", "source")
    assert isinstance(caught.value.cause, DigestMismatch)
    assert caught.value.exit_code == 5
    assert not await dst.exists(layer)


async def test_a_failing_destination_is_named() -> None:
    class Full(MemoryStore):
        async def put(self, desc: Descriptor, body: Body) -> None:
            raise StorageError("disk on fire", remedy="water")

    src = MemoryStore()
    await src.tag(await an_image(src, "a"), "v1")
    with pytest.raises(CopyError) as caught:
        await copy(src, "v1", Full())
    assert (caught.value.operation, caught.value.side) == ("put", "destination")
    assert caught.value.remedy == "water"


async def test_credentials_that_may_push_and_not_pull_suffice() -> None:
    class PushOnly(MemoryStore):
        async def resolve(self, ref: str) -> Descriptor:
            raise Denied("no pull", status=403)

    src, dst = MemoryStore(), PushOnly()
    root = await an_image(src, "a")
    await src.tag(root, "v1")
    assert await copy(src, "v1", dst) == root


async def test_without_a_name_nothing_is_tagged_and_a_listing_store_is_told() -> None:
    pinned: list[Descriptor] = []

    class Listing(Watched):
        async def pin(self, desc: Descriptor) -> None:
            pinned.append(desc)

    src, dst = MemoryStore(), Listing()
    root = await an_image(src, "a")
    await src.tag(root, "v1")
    await copy(src, "v1", dst, "")
    assert [t async for t in dst.tags()] == []
    assert pinned == [root]
    await copy(src, root.digest, dst)
    assert [t async for t in dst.tags()] == []


async def test_select_decides_what_hangs_below() -> None:
    src, dst = MemoryStore(), MemoryStore()
    keep, leave = await an_image(src, "keep"), await an_image(src, "leave")
    root = await pack.index(src, [keep, leave])
    await src.tag(root, "v1")

    async def only(source: Source, desc: Descriptor) -> Sequence[Descriptor]:
        from argosy.content.graph import children

        return [c for c in await children(source, desc) if c != leave]

    await copy(src, "v1", dst, select=only)
    assert await dst.exists(keep)
    assert not await dst.exists(leave)


async def test_layers_with_their_own_urls_stay_there() -> None:
    src, dst = MemoryStore(), MemoryStore()
    foreign = Descriptor(
        media_type=media.DOCKER_FOREIGN_LAYER,
        digest=Digest.of(b"elsewhere"),
        size=9,
        urls=("https://elsewhere.example/layer",),
    )
    await src.tag(await pack.artifact(src, "x/y", [foreign]), "v1")
    await copy(src, "v1", dst)
    assert not await dst.exists(foreign)


async def test_embedded_data_is_used_and_checked() -> None:
    src, dst = MemoryStore(), MemoryStore()
    good = Descriptor.of(BLOB, b"inline", data=b"inline")
    await src.tag(await pack.artifact(src, "x/y", [good]), "v1")
    await copy(src, "v1", dst)
    assert await dst.exists(good)
    bad = Descriptor.of(BLOB, b"right", data=b"wrong")
    await src.tag(await pack.artifact(src, "x/y", [bad]), "v2")
    with pytest.raises(CopyError) as caught:
        await copy(src, "v2", dst)
    assert caught.value.side == "source"


async def test_a_body_can_be_read_again_from_an_offset() -> None:
    src = MemoryStore()
    desc = await blob(src, b"0123456789")
    body = SourceBody(src, desc)
    assert b"".join([p async for p in body]) == b"0123456789"
    assert b"".join([p async for p in body.at(7)]) == b"789"
    assert b"".join([p async for p in body.bare()]) == b"0123456789"


async def test_reading_is_closed_when_the_destination_gives_up() -> None:
    ended: list[str] = []

    class Slow(MemoryStore):
        @asynccontextmanager
        async def open(
            self, desc: Descriptor, *, start: int = 0
        ) -> AsyncIterator[AsyncIterator[bytes]]:
            try:
                async with super().open(desc, start=start) as body:
                    yield body
            finally:
                await asyncio.sleep(0)
                ended.append(desc.digest)

    class Full(MemoryStore):
        async def put(self, desc: Descriptor, body: Body) -> None:
            if desc.media_type != BLOB:
                await super().put(desc, body)
                return
            await anext(aiter(body))
            raise StorageError("no space left")

    src = Slow()
    desc = await blob(src, b"0123456789")
    await src.tag(await pack.artifact(src, "x/y", [desc]), "x")
    with pytest.raises(CopyError):
        await copy(src, "x", Full(), "x")
    assert desc.digest in ended
