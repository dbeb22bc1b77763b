"""The remote client against Debian's docker-registry, with and without a password."""

import base64
import hashlib
import json
import os
from pathlib import Path

import pytest

from argosy.content.copy import copy
from argosy.content.memory import MemoryStore
from argosy.content.store import BytesBody, put_bytes
from argosy.content.verify import read
from argosy.errors import NotFound, RegistryError, Unauthorized
from argosy.model import media
from argosy.model.descriptor import Descriptor
from argosy.model.manifest import dump
from argosy.model.reference import Reference
from argosy.stores.remote.client import Client
from argosy.stores.remote.credentials import Credentials
from argosy.stores.remote.hosts import Hosts, Places
from tests.peers import free_port, need, run, running
from tests.stores.remote.remote_kit import FAST

pytestmark = pytest.mark.peer


@pytest.fixture(scope="module")
def guarded(tmp_path_factory):
    """A docker-registry that wants ann:secret; its host."""
    folder, port = tmp_path_factory.mktemp("guarded"), free_port()
    (folder / "htpasswd").write_text(run("htpasswd", "-Bbn", "ann", "secret"))
    config = folder / "config.yml"
    config.write_text(
        f"version: 0.1\nlog: {{level: error, accesslog: {{disabled: true}}}}\n"
        f"storage: {{filesystem: {{rootdirectory: {folder}/data}}, delete: {{enabled: true}}}}\n"
        f"auth: {{htpasswd: {{realm: test, path: {folder}/htpasswd}}}}\n"
        f"http: {{addr: 127.0.0.1:{port}}}\n"
    )
    with running([need("docker-registry"), "serve", str(config)], port, folder / "log"):
        yield f"127.0.0.1:{port}"


def client(host: str, folder: Path, user="ann", password="secret", **settings) -> Client:
    file = folder / "auth.json"
    auth = base64.b64encode(f"{user}:{password}".encode()).decode()
    file.write_text(json.dumps({"auths": {host: {"auth": auth}} if user else {}}))
    from dataclasses import replace

    return Client(
        replace(FAST, read_timeout=20.0, **settings),
        hosts=Hosts({}, places=Places()),
        credentials=Credentials({}, authfile=str(file)),
    )


async def an_image(store: MemoryStore, layers: int = 3) -> Descriptor:
    made = []
    for _ in range(layers):
        data = os.urandom(700_000)
        made.append(await put_bytes(store, Descriptor.of(media.OCI_LAYER_GZIP, data), data))
    config = await put_bytes(store, Descriptor.of(media.OCI_CONFIG, b"{}"), b"{}")
    image = dump(
        {
            "schemaVersion": 2,
            "mediaType": media.OCI_MANIFEST,
            "config": config.to_json(),
            "layers": [d.to_json() for d in made],
        }
    )
    desc = await put_bytes(store, Descriptor.of(media.OCI_MANIFEST, image), image)
    index = dump({"schemaVersion": 2, "mediaType": media.OCI_INDEX, "manifests": [desc.to_json()]})
    top = await put_bytes(store, Descriptor.of(media.OCI_INDEX, index), index)
    await store.tag(top, "v1")
    return top


@pytest.mark.parametrize("chunk_size", [0, 300_000])
async def test_push_list_pull_mount_and_delete(guarded, tmp_path, chunk_size):
    source = MemoryStore()
    top = await an_image(source)
    name = f"team/app{chunk_size}"
    async with client(guarded, tmp_path, chunk_size=chunk_size) as c:
        there = c.repository(Reference.parse(f"{guarded}/{name}"))
        assert await copy(source, "v1", there) == top
        assert [t async for t in there.tags()] == ["v1"]
        assert name in [r async for r in c.registry(guarded).repositories()]

        back = MemoryStore()
        assert await copy(there, "v1", back) == top

        events = []
        other = c.repository(Reference.parse(f"{guarded}/{name}-copy"))
        await copy(there, "v1", other, "v2", report=events.append)
        assert {e.kind for e in events if e.name == media.OCI_LAYER_GZIP} == {"mounted"}

        with pytest.raises(RegistryError) as e:
            await other.delete("v2")  # this registry cannot delete a single tag
        assert "single tag" in e.value.remedy
        await other.delete(top.digest)
        with pytest.raises(NotFound):
            await other.resolve("v2")
        assert await there.resolve("v1") == top


async def test_a_range_of_a_blob(guarded, tmp_path):
    data = os.urandom(3_000_000)
    desc = Descriptor.of(media.OCI_LAYER, data)
    async with client(guarded, tmp_path) as c:
        there = c.repository(Reference.parse(f"{guarded}/range"))
        await there.put(desc, BytesBody(data))
        async with there.open(desc, start=2_000_001) as body:
            tail = b"".join([bytes(p) async for p in body])
    assert hashlib.sha256(tail).digest() == hashlib.sha256(data[2_000_001:]).digest()


async def test_referrers_live_in_the_fallback_tag_of_a_registry_without_the_api(guarded, tmp_path):
    source = MemoryStore()
    top = await an_image(source, layers=1)
    signature = dump(
        {
            "schemaVersion": 2,
            "mediaType": media.OCI_MANIFEST,
            "artifactType": "application/x-signature",
            "config": Descriptor.of(media.OCI_EMPTY, b"{}").to_json(),
            "layers": [],
            "subject": top.to_json(),
        }
    )
    await put_bytes(source, Descriptor.of(media.OCI_EMPTY, b"{}"), b"{}")
    sig = await put_bytes(source, Descriptor.of(media.OCI_MANIFEST, signature), signature)
    async with client(guarded, tmp_path) as c:
        there = c.repository(Reference.parse(f"{guarded}/signed"))
        await copy(source, "v1", there, referrers=True)
        found = await there.referrers(top.digest)
        assert [d.digest for d in found] == [sig.digest]
        assert found[0].artifact_type == "application/x-signature"
        assert await read(there, found[0]) == signature
        await there.delete(sig.digest)
        assert await there.referrers(top.digest) == []


async def test_wrong_and_missing_passwords(guarded, tmp_path):
    for user in ("", "eve"):
        async with client(guarded, tmp_path, user=user, password="no") as c:
            with pytest.raises(Unauthorized) as e:
                await c.registry(guarded).ping()
            assert str(tmp_path / "auth.json") in e.value.why
            assert e.value.remedy == f"argosy login {guarded}"
