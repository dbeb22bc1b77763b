"""GitHub's cache service as one more end of a cache: both protocols, and all that goes wrong with it."""

import asyncio
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from argosy.build.options import Ends
from argosy.content.store import BytesBody, put_bytes
from argosy.content.verify import read
from argosy.errors import (
    ConfigError,
    DigestMismatch,
    NotFound,
    RateLimited,
    RegistryError,
    Unauthorized,
)
from argosy.model import media
from argosy.model.descriptor import Descriptor
from argosy.model.digest import Digest
from argosy.settings import Settings
from argosy.stores import actions
from argosy.stores.actions import ActionsCache, service_of
from argosy.stores.remote.hosts import Hosts
from argosy.stores.remote.transport import Transport
from tests.build.remote_cache.actions_service import Fault, serving
from tests.build.remote_cache.test_remote_cache_builds import machine, make, warnings
from tests.build.remote_cache.test_remote_cache_sharing import (
    expected,
    found,
    race,
)

pytestmark = pytest.mark.slow

__all__ = ["machine"]  # the fixture

SETTINGS = Settings(retries=4, retry_wait=0.01, retry_wait_max=0.05, read_timeout=5)
MAIN, BRANCH = ("refs/heads/main", 1), ("refs/heads/feature", 3)


@pytest.fixture
def service():
    with serving() as found:
        yield found


@pytest.fixture(params=["v1", "v2"])
def version(request):
    return request.param


def environ(service, version, *scopes):
    v2 = {"ACTIONS_CACHE_SERVICE_V2": "True", "ACTIONS_RESULTS_URL": service.url + "/"}
    v1 = {"ACTIONS_CACHE_URL": service.url + "/"}
    return {
        "ACTIONS_RUNTIME_TOKEN": service.token(*(scopes or (("refs/heads/main", 3),))),
        **(v2 if version == "v2" else v1),
    }


@asynccontextmanager
async def opened(service, version, *scopes, settings=SETTINGS, **more):
    transport = Transport(settings, Hosts().trust)
    try:
        where = service_of(environ(service, version, *scopes))
        yield ActionsCache(replace(where, **more), transport, settings)
    finally:
        await transport.close()


def linked(bench, service, version, *scopes, settings=SETTINGS, **more):
    """The machine's ends, with the service among them."""
    ends = bench.ends

    @asynccontextmanager
    async def actions_of(wanted):
        async with opened(
            service, version, *scopes, settings=settings, scope=wanted.scope, **more
        ) as store:
            yield store

    class Linked(type(bench)):
        @property
        def ends(self):
            return Ends(
                images=ends.images,
                repository=ends.repository,
                archive=ends.archive,
                actions=actions_of,
            )

    bench.__class__ = Linked
    return bench


async def test_two_jobs_share_their_steps(machine, service, version):
    one, two = (linked(machine(), service, version) for _ in range(2))
    first = await make(one, to=["type=gha,mode=max"])
    second = await make(two, source=["type=gha"])
    assert (second.cached, second.digest) == (4, first.digest)
    assert warnings(two) == []


async def test_scopes_are_apart(machine, service, version):
    one, two = (linked(machine(), service, version) for _ in range(2))
    await make(one, to=["type=gha,scope=one"])
    assert (await make(two, source=["type=gha,scope=two"])).cached == 0


async def test_a_branch_reads_what_its_parent_wrote(machine, service, version):
    main = linked(machine(), service, version, ("refs/heads/main", 3))
    first = await make(main, to=["type=gha"])
    branch = linked(machine(), service, version, MAIN, BRANCH)
    second = await make(branch, source=["type=gha"], to=["type=gha"])
    assert (second.cached, second.digest) == (4, first.digest)
    assert len({e.key for e in service.entries if "-tag-" in e.key}) == 2


async def test_blobs_of_any_size_come_back(service, version, monkeypatch):
    monkeypatch.setattr(actions, "CHUNK", 1000)
    async with opened(service, version) as store:
        for size in (0, 1, 999, 1000, 1001, 5500):
            body = bytes(i % 251 for i in range(size))
            desc = await put_bytes(store, Descriptor.of("application/x", body), body)
            assert await store.exists(desc)
            assert await read(store, desc) == body
            for start in {0, size // 2, size}:
                async with store.open(desc, start=start) as pieces:
                    assert b"".join([p async for p in pieces]) == body[start:]


async def test_a_blob_is_written_once(service, version):
    async with opened(service, version) as store:
        desc = Descriptor.of("application/x", b"abc")
        await asyncio.gather(*(store.put(desc, BytesBody(b"abc")) for _ in range(4)))
        await store.put(desc, BytesBody(b"abc"))
    assert len(service.entries) == 1


async def test_wrong_bytes_are_never_finished(service, version):
    async with opened(service, version) as store:
        desc = Descriptor.of("application/x", b"right")
        with pytest.raises(DigestMismatch):
            await store.put(desc, BytesBody(b"wrong"))
        assert not await store.exists(desc)


async def test_what_is_absent_is_not_found(service, version):
    async with opened(service, version) as store:
        with pytest.raises(NotFound):
            await store.resolve("x")
        with pytest.raises(NotFound):
            await read(store, Descriptor.of("application/x", b"never"))


async def test_nobody_is_lost_among_many_jobs(service, version):
    scopes = ["linux/amd64", "linux/arm64", "linux/amd64"]
    async with opened(service, version) as store:
        await race([store] * len(scopes), scopes)
        assert await found(store) == expected(scopes)


async def test_a_number_that_a_dead_job_took_does_not_stop_the_others(
    service, version, monkeypatch
):
    monkeypatch.setattr(actions, "_STUCK", 0.05)
    body = b"{}"
    async with opened(service, version) as store:
        desc = Descriptor.of(media.OCI_MANIFEST, body)
        service.reserve("argosy-tag-1-argosy-t#1", actions._VERSION)
        await put_bytes(store, desc, body)
        await store.tag(desc, "t")
        assert await store.resolve("t") == desc


@pytest.mark.parametrize("words", ["POST", "GET", "PATCH /", "PUT /azure"])
async def test_a_service_that_asks_to_slow_down_is_waited_for(service, version, words):
    async with opened(service, version) as store:
        service.faults.append(Fault(words, times=2, headers={"retry-after": "0"}))
        desc = await put_bytes(store, Descriptor.of("application/x", b"abc"), b"abc")
        assert await read(store, desc) == b"abc"


@pytest.mark.parametrize("status", [429, 500, 503])
async def test_a_service_that_stays_busy_never_fails_the_build(machine, service, version, status):
    one = linked(machine(), service, version)
    service.faults.append(Fault("", status=status, times=10**6))
    result = await make(one, source=["type=gha"], to=["type=gha"])
    assert result.steps == 4
    said = warnings(one)
    assert any("not used" in text for text in said)
    assert any("not exported" in text for text in said)


async def test_a_service_that_does_not_answer_in_time_never_fails_the_build(
    machine, service, version
):
    one = linked(machine(), service, version, timeout=0.05)
    service.faults.append(Fault("POST", status=500, times=3, seconds=0.2))
    await make(one, to=["type=gha"])
    assert any("not exported" in text for text in warnings(one))


async def test_a_token_that_ran_out_is_an_error_with_a_remedy(service, version):
    async with opened(service, version, token="expired") as store:
        with pytest.raises(Unauthorized) as e:
            await store.exists(Descriptor.of("application/x", b"abc"))
        assert "token" in e.value.remedy


async def test_an_answer_that_is_no_json_is_an_error(service, version):
    async with opened(service, version) as store:
        service.faults.append(Fault("", status=200, times=1))
        with pytest.raises(RegistryError, match="cannot be read"):
            await store.exists(Descriptor.of("application/x", b"abc"))


async def test_a_limit_that_lasts_is_told_as_one(service, version):
    async with opened(service, version, settings=replace(SETTINGS, retries=0)) as store:
        service.faults.append(Fault("", times=5))
        with pytest.raises(RateLimited):
            await store.exists(Descriptor.of("application/x", b"abc"))


def test_the_jobs_variables_say_where_the_service_is():
    token = {"ACTIONS_RUNTIME_TOKEN": "t"}
    both = {**token, "ACTIONS_CACHE_URL": "http://one/", "ACTIONS_RESULTS_URL": "http://two/"}
    assert service_of(both).url == "http://one/"
    assert service_of({**both, "ACTIONS_CACHE_SERVICE_V2": "1"}).url == "http://two/"
    assert service_of({**both, "ACTIONS_CACHE_SERVICE_V2": "true"}, url="http://x").v2 is False
    assert service_of(token, url_v2="http://y").url == "http://y/"
    with pytest.raises(ConfigError) as e:
        service_of({})
    assert "ACTIONS_RUNTIME_TOKEN" in e.value.why


async def test_outside_of_github_the_cache_is_left_out_with_a_warning(machine):
    one = machine()
    result = await make(one, source=["type=gha"])
    assert result.steps == 4
    assert any("not used" in text for text in warnings(one))
    assert Digest.of(b"") != result.digest
