"""An OCI layout gives up, one by one, the blobs that no image needs."""

import os

import pytest

from argosy.claims import Claims
from argosy.content.store import Spares, put_bytes
from argosy.content.verify import read
from argosy.model import media
from argosy.model.descriptor import Descriptor
from argosy.model.manifest import dump
from argosy.stores.layout import OCILayout


async def image(store, name, *, tag=""):
    """A manifest with a config and a layer of its own."""
    config = await put_bytes(store, *made(media.OCI_CONFIG, dump({"config": name})))
    layer = await put_bytes(store, *made(media.OCI_LAYER_GZIP, name.encode() * 5000))
    body = dump({
        "schemaVersion": 2, "mediaType": media.OCI_MANIFEST,
        "config": config.to_json(), "layers": [layer.to_json()],
    })  # fmt: skip
    manifest = await put_bytes(store, *made(media.OCI_MANIFEST, body))
    if tag:
        await store.tag(manifest, tag)
    return manifest, config, layer


def made(kind, body):
    return Descriptor.of(kind, body), body


@pytest.fixture
def layout(tmp_path):
    return OCILayout(str(tmp_path / "images"), durable=False)


async def test_what_nothing_listed_leads_to_is_spare_with_its_size_on_the_disk(layout):
    await image(layout, "kept", tag="kept")
    spare = {d.digest for d in await image(layout, "spare")}
    assert isinstance(layout, Spares)
    found = await layout.spare()
    assert {blob.digest for blob in found} == spare
    for blob in found:
        state = os.stat(layout.blob_path(blob.digest))
        assert (blob.size, blob.created) == (state.st_blocks * 512, state.st_mtime)


async def test_dropping_a_layer_drops_the_manifests_that_need_it(layout):
    manifest, config, layer = await image(layout, "spare")
    kept = await image(layout, "kept", tag="kept")
    assert await layout.drop([layer.digest]) == 2
    # A store that has a manifest has all below it.
    assert not await layout.exists(manifest)
    assert not await layout.exists(layer)
    assert await layout.exists(config)
    for desc in kept:
        await read(layout, desc)


async def test_what_an_image_needs_is_never_dropped(layout):
    kept = await image(layout, "kept", tag="kept")
    assert await layout.drop([desc.digest for desc in kept]) == 0
    for desc in kept:
        await read(layout, desc)


async def test_what_a_claimed_manifest_leads_to_is_not_spare(layout):
    manifest, config, layer = await image(layout, "claimed")
    assert await layout.spare({manifest.digest, "a-snapshot"}) == []
    assert await layout.drop([layer.digest, config.digest], {manifest.digest}) == 0


async def test_what_is_asked_for_and_put_is_claimed(tmp_path):
    claims = Claims(str(tmp_path / "in-use"))
    layout = OCILayout(str(tmp_path / "images"), durable=False, claims=claims)
    made = await image(layout, "put")
    assert claims.claimed() == {desc.digest for desc in made}
    claims.close()
    await layout.exists(made[1])
    assert claims.claimed() == {made[1].digest}
    await layout.resolve(made[0].digest)
    assert made[0].digest in claims.claimed()
    claims.close()


async def test_a_layout_without_images_has_nothing_to_drop(tmp_path):
    empty = OCILayout(str(tmp_path / "none"))
    assert await empty.spare() == []
    assert await empty.drop([]) == 0
    assert not os.path.exists(empty.path)
