"""Choosing by platform, packing, combining and comparing images."""

import json
from collections.abc import Sequence
from typing import Any

import pytest

from argosy.content import pack
from argosy.content.copy import copy
from argosy.content.diff import diff
from argosy.content.graph import manifest
from argosy.content.memory import MemoryStore
from argosy.content.mutate import Annotation, combine
from argosy.content.select import narrowed, pick, platforms
from argosy.content.store import origin, put_bytes
from argosy.errors import ManifestInvalid, NoMatchingPlatform, NotFound, UsageError
from argosy.model import media
from argosy.model.descriptor import Descriptor
from argosy.model.manifest import Index, Manifest, dump
from argosy.model.platform import Platform


def config(platform: str, **more: Any) -> bytes:
    p = Platform.parse(platform) if platform else None
    named = {"os": p.os, "architecture": p.architecture, "variant": p.variant} if p else {}
    return dump({**named, "rootfs": {"type": "layers", "diff_ids": []}, **more})


async def image(store: MemoryStore, platform: str, *layers: bytes, **more: Any) -> Descriptor:
    blobs = [
        await put_bytes(store, Descriptor.of(media.OCI_LAYER, layer), layer)
        for layer in layers or (platform.encode(),)
    ]
    return await pack.image(store, config(platform, **more), blobs)


async def attestation(store: MemoryStore, about: Descriptor) -> Descriptor:
    made = await pack.artifact(store, "x/attestation", [], annotations={"of": about.digest})
    notes = {
        media.ATTESTATION_TYPE: "attestation-manifest",
        media.ATTESTATION_SUBJECT: about.digest,
    }
    return Descriptor(
        media_type=made.media_type,
        digest=made.digest,
        size=made.size,
        platform=Platform("unknown", "unknown"),
        annotations=notes,
    )


async def multi(store: MemoryStore, *names: str, **more: Any) -> Descriptor:
    """An index with attestations about each of its images."""
    images = [await image(store, name) for name in names]
    notes = [await attestation(store, desc) for desc in images]
    return await pack.index(store, [*images, *notes], **more)


def ps(*texts: str) -> list[Platform]:
    return [Platform.parse(text) for text in texts]


async def listed(store: MemoryStore, desc: Descriptor) -> list[str]:
    view = await manifest(store, desc)
    assert isinstance(view, Index)
    return [str(entry.platform) for entry in view.manifests]


# Choosing


async def test_one_platform_gives_its_image() -> None:
    src, dst = MemoryStore(), MemoryStore()
    await src.tag(await multi(src, "linux/amd64", "linux/arm64", "linux/arm/v6"), "v1")
    source, ref = await narrowed(src, "v1", ps("linux/arm/v7"))
    root = await copy(source, ref, dst)
    assert root.media_type == media.OCI_MANIFEST
    assert str((await platforms(dst, root))[0][0]) == "linux/arm/v6"
    assert await dst.resolve("v1") == root


async def test_several_give_a_valid_index_with_their_attestations_and_all_else_as_it_was() -> None:
    src, dst = MemoryStore(), MemoryStore()
    names = ("linux/amd64", "linux/s390x", "linux/arm64")
    root = await multi(src, *names, annotations={"kept": "yes"})
    await src.tag(root, "v1")
    source, ref = await narrowed(src, "v1", ps("linux/arm64", "linux/amd64"))
    made = await copy(source, ref, dst)
    assert made.media_type == media.OCI_INDEX
    assert await listed(dst, made) == [
        "linux/amd64",
        "linux/arm64",
        "unknown/unknown",
        "unknown/unknown",
    ]
    view = await manifest(dst, made)
    assert view.annotations == {"kept": "yes"}
    kept = {d.digest for d in view.children}
    about = {d.annotations[media.ATTESTATION_SUBJECT] for d in view.children if d.annotations}
    assert about <= kept
    assert all([await dst.exists(d) for d in view.children])
    s390x = (await platforms(src, root))[1][1]
    assert not await dst.exists(s390x)


async def test_all_platforms_are_the_very_same_index() -> None:
    src = MemoryStore()
    root = await multi(src, "linux/amd64", "linux/arm64")
    await src.tag(root, "v1")
    source, ref = await narrowed(src, "v1", ps("linux/amd64", "linux/arm64"))
    assert await source.resolve(ref) == root


async def test_a_nested_index_is_narrowed_too() -> None:
    src, dst = MemoryStore(), MemoryStore()
    inner = await multi(src, "linux/arm64", "linux/riscv64")
    other = await multi(src, "linux/s390x")
    root = await pack.index(src, [await image(src, "linux/amd64"), inner, other])
    await src.tag(root, "v1")
    source, ref = await narrowed(src, "v1", ps("linux/amd64", "linux/riscv64"))
    made = await copy(source, ref, dst)
    assert [str(p) for p, _ in await platforms(dst, made)] == ["linux/amd64", "linux/riscv64"]
    assert len((await manifest(dst, made)).children) == 2
    one = await pick(src, root, Platform.parse("linux/riscv64"))
    assert (await narrowed(src, "v1", ps("linux/riscv64")))[0].root == one


async def test_a_docker_list_stays_one() -> None:
    src = MemoryStore()
    images = [await pack.image(src, config(n), (), media_type=media.DOCKER_MANIFEST) for n in ("linux/amd64", "linux/arm64", "linux/s390x")]  # fmt: skip
    await src.tag(await pack.index(src, images, media_type=media.DOCKER_LIST), "v1")
    source, ref = await narrowed(src, "v1", ps("linux/amd64", "linux/arm64"))
    assert (await source.resolve(ref)).media_type == media.DOCKER_LIST


async def test_platforms_the_index_does_not_state_are_read_from_the_configs() -> None:
    src = MemoryStore()
    bare = [
        Descriptor(media_type=d.media_type, digest=d.digest, size=d.size)
        for d in [await image(src, "linux/amd64"), await image(src, "linux/arm64")]
    ]
    root = await pack.index(src, bare)
    assert [str(p) for p, _ in await platforms(src, root)] == ["linux/amd64", "linux/arm64"]
    assert await pick(src, root, Platform.parse("linux/arm64")) == bare[1]


async def test_nothing_that_matches_lists_what_is_there() -> None:
    src = MemoryStore()
    await src.tag(await multi(src, "linux/amd64", "linux/arm64"), "v1")
    for wanted in (ps("linux/s390x"), ps("linux/amd64", "linux/s390x")):
        with pytest.raises(NoMatchingPlatform) as caught:
            await narrowed(src, "v1", wanted)
        assert caught.value.available == ["linux/amd64", "linux/arm64"]
        assert caught.value.evidence["wanted"] == "linux/s390x"


async def test_a_single_image_is_checked_against_its_config() -> None:
    src = MemoryStore()
    root = await image(src, "linux/arm64")
    await src.tag(root, "v1")
    for wanted in (ps("linux/arm64"), ps("linux/amd64", "linux/arm64")):
        assert (await narrowed(src, "v1", wanted))[0].root == root
    for wanted in (ps("linux/amd64"), ps("linux/amd64", "linux/s390x")):
        with pytest.raises(NoMatchingPlatform):
            await narrowed(src, "v1", wanted)


async def test_what_has_no_platform_is_for_every_one() -> None:
    src = MemoryStore()
    for root in (await pack.artifact(src, "x/y", []), await image(src, "")):
        await src.tag(root, "v1")
        for wanted in (ps("linux/amd64"), ps("linux/amd64", "linux/arm64")):
            assert (await narrowed(src, "v1", wanted))[0].root == root


async def test_referrers_of_the_images_that_stay_come_along() -> None:
    src, dst = MemoryStore(), MemoryStore()
    root = await multi(src, "linux/amd64", "linux/arm64", "linux/s390x")
    await src.tag(root, "v1")
    arm64 = await pick(src, root, Platform.parse("linux/arm64"))
    sbom = await pack.artifact(src, "x/sbom", [], subject=arm64)
    source, ref = await narrowed(src, "v1", ps("linux/amd64", "linux/arm64"))
    await copy(source, ref, dst, referrers=True)
    assert await dst.exists(sbom)
    assert origin(source, arm64) is src
    assert origin(source, source.root) is source


# Packing


async def test_an_image_has_the_types_of_its_family() -> None:
    store = MemoryStore()
    layer = await put_bytes(store, Descriptor.of(media.OCI_LAYER_GZIP, b"1"), b"1")
    docker = await pack.image(store, config("linux/amd64"), [layer], media_type=media.DOCKER_MANIFEST)  # fmt: skip
    view = await manifest(store, docker)
    assert isinstance(view, Manifest)
    assert view.config.media_type == media.DOCKER_CONFIG
    assert view.layers[0].media_type == media.DOCKER_LAYER_GZIP
    back = await pack.image(store, config("linux/amd64"), view.layers)
    again = await manifest(store, back)
    assert isinstance(again, Manifest)
    assert again.layers[0].media_type == media.OCI_LAYER_GZIP
    assert back.platform == Platform.parse("linux/amd64")
    with pytest.raises(ManifestInvalid):
        await pack.image(store, config("linux/amd64"), [], annotations={"a": "b"}, media_type=media.DOCKER_MANIFEST)  # fmt: skip


async def test_an_artifact_without_blobs_is_as_the_spec_says() -> None:
    store = MemoryStore()
    desc = await pack.artifact(store, "x/y", [])
    view = await manifest(store, desc)
    assert isinstance(view, Manifest)
    assert view.config.media_type == media.OCI_EMPTY
    assert view.layers == (view.config,)
    assert view.artifact_type == "x/y"
    assert await store.exists(view.config)


# Combining


async def test_images_are_merged_into_an_index_and_the_last_of_a_platform_stays() -> None:
    one, two, dst = MemoryStore(), MemoryStore(), MemoryStore()
    old, arm = await image(one, "linux/amd64", b"old"), await image(one, "linux/arm64")
    new = await image(two, "linux/amd64", b"new")
    made = await combine([(one, old), (one, arm), (two, new)])
    root = await copy(made, "", dst, "v1")
    view = await manifest(dst, root)
    assert [d.digest for d in view.children] == [new.digest, arm.digest]
    assert await listed(dst, root) == ["linux/amd64", "linux/arm64"]
    assert await dst.exists(new)
    assert not await dst.exists(old)


async def test_a_plain_image_is_listed_with_the_platform_of_its_config() -> None:
    store = MemoryStore()
    desc = await image(store, "linux/arm/v6")
    bare = Descriptor(media_type=desc.media_type, digest=desc.digest, size=desc.size)
    made = await combine([(store, bare)])
    entry = json.loads(made.body)["manifests"][0]
    assert entry["platform"] == {"architecture": "arm", "os": "linux", "variant": "v6"}


async def test_appending_keeps_what_was_there_and_drops_attestations_of_what_went() -> None:
    store = MemoryStore()
    base = await multi(store, "linux/amd64", "linux/arm64", annotations={"kept": "yes"})
    new = await image(store, "linux/amd64", b"newer")
    riscv = await image(store, "linux/riscv64")
    made = await combine([(store, base), (store, new), (store, riscv)])
    value = json.loads(made.body)
    assert value["annotations"] == {"kept": "yes"}
    names = [f"{e['platform']['os']}/{e['platform']['architecture']}" for e in value["manifests"]]
    assert names == ["linux/amd64", "linux/arm64", "unknown/unknown", "linux/riscv64"]
    arm64 = value["manifests"][1]["digest"]
    assert value["manifests"][2]["annotations"][media.ATTESTATION_SUBJECT] == arm64


async def test_one_index_is_a_carbon_copy() -> None:
    store, dst = MemoryStore(), MemoryStore()
    root = await multi(store, "linux/amd64", "linux/arm64")
    await pack.artifact(store, "x/sbom", [], subject=root)
    made = await combine([(store, root)])
    assert await copy(made, "", dst, "v1", referrers=True) == root
    assert len(await dst.referrers(root.digest)) == 1
    single = await image(store, "linux/amd64")
    assert (await combine([(store, single)], prefer_index=False)).root == single
    assert media.is_index((await combine([(store, single)])).root.media_type)


async def test_the_family_follows_the_parts() -> None:
    store = MemoryStore()
    docker = await pack.image(store, config("linux/amd64"), [], media_type=media.DOCKER_MANIFEST)
    oci = await image(store, "linux/arm64")
    assert (await combine([(store, docker)])).root.media_type == media.DOCKER_LIST
    assert (await combine([(store, docker), (store, oci)])).root.media_type == media.OCI_INDEX
    noted = await combine([(store, docker)], annotations=[Annotation.parse("a=b")])
    assert noted.root.media_type == media.OCI_INDEX
    assert json.loads(noted.body)["mediaType"] == media.OCI_INDEX


async def test_annotations_go_where_they_are_meant() -> None:
    store = MemoryStore()
    base = await multi(store, "linux/amd64", "linux/arm64")
    made = await combine(
        [(store, base)],
        annotations=[
            Annotation.parse("index:org.example.a=1=2"),
            Annotation.parse("manifest-descriptor:all=x"),
            Annotation.parse("manifest-descriptor[linux/arm64]:one=y"),
        ],
    )
    value = json.loads(made.body)
    assert value["annotations"] == {"org.example.a": "1=2"}
    amd64, arm64, *notes = value["manifests"]
    assert amd64["annotations"] == {"all": "x"}
    assert arm64["annotations"] == {"all": "x", "one": "y"}
    assert all("all" not in note["annotations"] for note in notes)
    with pytest.raises(UsageError, match="no image for linux/s390x"):
        await combine([(store, base)], annotations=[Annotation.parse("manifest-descriptor[linux/s390x]:a=b")])  # fmt: skip


@pytest.mark.parametrize(
    "text", ["novalue", "manifest:a=b", "manifest-descriptor[nonsense]:a=b", "=x"]
)
def test_an_annotation_that_cannot_be_meant_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        Annotation.parse(text)


async def test_nothing_to_combine_and_other_refs_are_refused() -> None:
    with pytest.raises(UsageError):
        await combine([])
    store = MemoryStore()
    made = await combine([(store, await image(store, "linux/amd64"))])
    with pytest.raises(NotFound):
        await made.resolve("v1")
    assert await made.resolve(made.root.digest) == made.root


async def test_parts_of_several_stores_are_read_where_they_are() -> None:
    one, two, dst = MemoryStore(), MemoryStore(), MemoryStore()
    parts = [(one, await image(one, "linux/amd64")), (two, await multi(two, "linux/arm64"))]
    about = await pack.artifact(two, "x/sbom", [], subject=parts[1][1])
    made = await combine(parts)
    root = await copy(made, "", dst, "v1", referrers=True)
    assert [str(p) for p, _ in await platforms(dst, root)] == ["linux/amd64", "linux/arm64"]
    assert not await dst.exists(about)  # it is about an index that is no more


# Comparing


async def test_the_same_image_has_no_difference() -> None:
    store = MemoryStore()
    root = await multi(store, "linux/amd64", "linux/arm64")
    found = await diff((store, root), (store, root))
    assert found.is_same
    assert [d.platform for d in found.both] == ["linux/amd64", "linux/arm64"]
    assert all(d.is_same and not d.config and not d.added for d in found.both)


async def test_what_changed_is_told_by_platform_layer_and_field() -> None:
    store = MemoryStore()
    run = {"Env": ["PATH=/bin", "A=1"], "Cmd": ["sh"], "Labels": {"x": "1"}}
    other = {"Env": ["PATH=/usr/bin", "B=2"], "Cmd": ["sh"], "Labels": {"x": "1", "y": "2"}}
    a = await image(store, "linux/amd64", b"same", b"old", config=run)
    b = await image(store, "linux/amd64", b"same", b"newer", config=other, author="me")
    before = await pack.index(store, [a, await image(store, "linux/s390x")], annotations={"n": "1"})
    after = await pack.index(store, [b, await image(store, "linux/arm64")])
    found = await diff((store, before), (store, after))
    assert not found.is_same
    assert (found.removed, found.added) == (("linux/s390x",), ("linux/arm64",))
    (amd64,) = found.both
    assert [len(part) for part in (amd64.shared, amd64.removed, amd64.added)] == [1, 1, 1]
    assert amd64.size_after - amd64.size_before > 0
    assert {c.field: (c.before, c.after) for c in amd64.config} == {
        "Env.PATH": ("/bin", "/usr/bin"),
        "Env.A": ("1", None),
        "Env.B": (None, "2"),
        "Labels.y": (None, "2"),
        "author": (None, "me"),
    }
    assert [c.to_json() for c in found.annotations] == [
        {"field": "n", "before": "1", "after": None}
    ]
    assert json.loads(json.dumps(found.to_json()))["images"][0]["platform"] == "linux/amd64"


async def test_two_single_images_are_compared_whatever_they_are_for() -> None:
    store = MemoryStore()
    found = await diff(
        (store, await image(store, "linux/amd64", b"same")),
        (store, await image(store, "linux/arm64", b"same")),
    )
    (only,) = found.both
    assert only.platform == "linux/amd64 → linux/arm64"
    assert [c.field for c in only.config] == ["platform"]
    assert len(only.shared) == 1


async def test_artifacts_are_compared_too() -> None:
    store = MemoryStore()

    async def made(body: bytes) -> tuple[MemoryStore, Descriptor]:
        blob = await put_bytes(store, Descriptor.of("x/y", body), body)
        return store, await pack.artifact(store, "x/z", [blob], annotations={"of": body.decode()})

    found = await diff(await made(b"1"), await made(b"2"))
    assert [c.field for c in found.both[0].annotations] == ["of"]
    names: Sequence[str] = [d.platform for d in found.both]
    assert names == ["unknown/unknown"]
