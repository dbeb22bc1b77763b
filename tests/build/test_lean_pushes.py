"""What crosses the network: bases stay where they are, and only what is new is sent."""

import os
from collections import Counter
from contextlib import asynccontextmanager

import pytest

from argosy.build.options import Ends, Output
from argosy.build.pipeline import BuildOptions, build
from argosy.content.verify import missing
from argosy.errors import NotFound
from argosy.model import media
from argosy.model.platform import Platform
from argosy.model.reference import Reference
from argosy.settings import Settings
from argosy.stores.layout import OCILayout
from argosy.stores.remote.client import Client
from argosy.stores.remote.credentials import Credentials
from argosy.stores.remote.hosts import Hosts, Places
from argosy.stores.remote.repository import RemoteRepository
from tests.build.test_pipeline_build import image_of, put_base
from tests.serving import served

LINKED = "FROM {base}\nCOPY --link a /srv/a\nENV A=1\n"


class Traffic:
    """Counts what a client moves of layers, by looking over the repositories' shoulders."""

    def __init__(self, monkeypatch):
        self.down, self.up, self.mounted = Counter(), Counter(), Counter()
        opening, putting, mounting = (
            RemoteRepository.open,
            RemoteRepository.put,
            RemoteRepository.mount,
        )

        @asynccontextmanager
        async def open_(repository, desc, *, start=0):
            async with opening(repository, desc, start=start) as body:
                if media.is_layer(desc.media_type):
                    self.down[repository.locator] += 1
                yield body

        async def put(repository, desc, body):
            if media.is_layer(desc.media_type):
                self.up[repository.locator] += 1
            await putting(repository, desc, body)

        async def mount(repository, desc, source):
            done = await mounting(repository, desc, source)
            if done and media.is_layer(desc.media_type):
                self.mounted[repository.locator] += 1
            return done

        monkeypatch.setattr(RemoteRepository, "open", open_)
        monkeypatch.setattr(RemoteRepository, "put", put)
        monkeypatch.setattr(RemoteRepository, "mount", mount)

    def clear(self):
        for counter in (self.down, self.up, self.mounted):
            counter.clear()


@pytest.fixture
def registries(tmp_path):
    """Two real registries: the addresses."""
    with served(tmp_path / "one") as (one, _), served(tmp_path / "two") as (two, _):
        yield [f"{c.host}:{c.port}" for c in (one, two)]


@pytest.fixture
async def client(registries):
    hosts = Hosts({}, places=Places(), tls=dict.fromkeys(registries, "off"))
    async with Client(
        Settings(), hosts=hosts, credentials=Credentials({"HOME": "/nonexistent"})
    ) as found:
        yield found


async def make(bench, client, dockerfile, files=None, **options):
    context = bench.context({"Dockerfile": dockerfile, **(files or {"a": "text"})})
    ends = Ends(
        images=bench.images,
        repository=client.repository,
        archive=bench.archive,
        layout=lambda path: OCILayout(path, durable=False),
    )
    return await build(
        BuildOptions(context=context, **options),
        settings=bench.settings,
        ends=ends,
        report=bench.events.append,
        engine=bench.engine,
    )


async def base_at(client, name):
    where = client.repository(Reference.parse(name))
    await put_base(where, Reference.parse(name).tag, [Platform.host()])


async def test_a_base_of_the_same_registry_is_mounted_and_only_the_new_layer_is_sent(
    bench, client, registries, monkeypatch
):
    base, app = f"{registries[0]}/base:1", f"{registries[0]}/app:1"
    await base_at(client, base)
    traffic = Traffic(monkeypatch)
    result = await make(bench, client, LINKED.format(base=base), tags=(app,), push=True)
    pushed = client.repository(Reference.parse(app))
    assert traffic.down == {}
    assert traffic.mounted == {pushed.locator: 1}
    assert traffic.up == {pushed.locator: 1}
    assert await pushed.resolve("1") == result.descriptor
    assert await missing(pushed, result.descriptor) == []
    view, _ = await image_of(pushed, result.descriptor)
    assert len(view.layers) == 2


async def test_a_base_of_another_registry_is_streamed_and_not_stored_here(
    bench, client, registries, monkeypatch
):
    base, app = f"{registries[0]}/base:1", f"{registries[1]}/app:1"
    await base_at(client, base)
    traffic = Traffic(monkeypatch)
    result = await make(bench, client, LINKED.format(base=base), tags=(app,), push=True)
    pushed = client.repository(Reference.parse(app))
    assert sum(traffic.down.values()) == 1
    assert sum(traffic.up.values()) == 2
    view, _ = await image_of(pushed, result.descriptor)
    assert [await bench.images.exists(layer) for layer in view.layers] == [False, True]
    assert await missing(pushed, result.descriptor) == []


@pytest.mark.parametrize("kind", ["oci", "docker"])
async def test_an_archive_takes_the_base_from_its_registry(
    bench, client, registries, monkeypatch, kind
):
    base = f"{registries[0]}/base:1"
    await base_at(client, base)
    traffic = Traffic(monkeypatch)
    result = await make(
        bench,
        client,
        LINKED.format(base=base),
        outputs=(Output.parse(f"type={kind},dest=x.tar"),),
    )
    archive = bench.archives[kind, "x.tar"]
    assert sum(traffic.down.values()) == 1
    assert [n async for n in bench.images.tags()] == []
    with pytest.raises(NotFound):
        await bench.images.resolve(result.digest)
    assert archive._blobs


async def test_what_is_pushed_is_kept_here_only_if_it_is_loaded_too(bench, client, registries):
    base, app = f"{registries[0]}/base:1", f"{registries[0]}/app:1"
    await base_at(client, base)
    result = await make(bench, client, LINKED.format(base=base), tags=(app,), push=True)
    with pytest.raises(NotFound):
        await bench.images.resolve(app)
    again = await make(bench, client, LINKED.format(base=base), tags=(app,), push=True, load=True)
    assert again.digest == result.digest
    assert (again.steps, again.cached) == (1, 1)
    assert await bench.images.resolve(app) == result.descriptor
    assert await missing(bench.images, result.descriptor) == []


async def test_a_warm_build_asks_no_registry_for_its_base(bench, client, registries, monkeypatch):
    base = f"{registries[0]}/base:1"
    await base_at(client, base)
    first = await make(bench, client, LINKED.format(base=base), tags=("x",))

    def nobody(_reference):
        raise AssertionError("a registry was asked")

    monkeypatch.setattr(client, "repository", nobody)
    again = await make(bench, client, LINKED.format(base=base), tags=("x",))
    assert (again.cached, again.digest) == (1, first.digest)


async def test_another_base_keeps_the_linked_layer_and_unpacks_nothing(bench):
    remote = bench.repository_of("example.com/base")
    await put_base(remote, "1", [Platform.host()])
    await put_base(remote, "2", [Platform.host()], name="other")
    dockerfile = "FROM example.com/base:{}\nCOPY --link a /srv/a\n"
    found = []
    for tag in "12":
        context = bench.context({"Dockerfile": dockerfile.format(tag), "a": "text"})
        result = await build(
            BuildOptions(context=context, tags=("x",)),
            settings=bench.settings,
            ends=bench.ends,
            engine=bench.engine,
        )
        found.append((result, (await image_of(bench.images, result.descriptor))[0].layers))
    (_, one), (second, two) = found
    assert one[0] != two[0]
    assert one[1] == two[1]
    assert (second.steps, second.cached) == (1, 1)
    assert bench.snapshots.applied == []
    assert len(bench.snapshots.packed) == 1


async def test_owners_by_name_are_those_of_the_image_so_that_copy_stands_on_it(bench):
    context = bench.context(
        {
            "Dockerfile": (
                "FROM scratch\nCOPY passwd /etc/passwd\n"
                "COPY --link --chown=app a /one\nCOPY --link --chown=root:7 a /two\n"
            ),
            "passwd": "app:x:41:42::/:/bin/sh\n",
            "a": "text",
        }
    )
    await build(
        BuildOptions(context=context, tags=("x",)),
        settings=bench.settings,
        ends=bench.ends,
        engine=bench.engine,
    )
    owners = {}
    for folder, _, names in os.walk(bench.snapshots.path):
        for name in names:
            status = os.lstat(os.path.join(folder, name))
            owners[name] = (status.st_uid, status.st_gid)
    assert owners["one"] == (41, 42)
    assert owners["two"] == (0, 7)
