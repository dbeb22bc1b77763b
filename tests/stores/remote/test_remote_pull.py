"""Reading from a registry that misbehaves, by script."""

import asyncio
import hashlib

import pytest

from argosy.content.copy import copy
from argosy.content.memory import MemoryStore
from argosy.content.verify import read, verified
from argosy.errors import (
    CopyError,
    Denied,
    DigestMismatch,
    NetworkError,
    NetworkTimeout,
    NotFound,
    RateLimited,
    RegistryError,
    RegistryUnavailable,
    SizeMismatch,
    Unauthorized,
)
from argosy.model import media
from argosy.model.descriptor import Descriptor
from argosy.model.digest import Digest
from argosy.stores.remote.credentials import Credentials
from tests.scripted import Reply, Scripted, Seen, Step, as_json, refusal
from tests.stores.remote.remote_kit import FAST, REPO, blob, client, manifest_reply

DATA = bytes(range(256)) * 20_000  # 5 MB
DESC = blob(DATA)
BLOB = f"/v2/a/b/blobs/{DESC.digest}"
MANIFEST = b'{"schemaVersion":2,"mediaType":"%s","manifests":[]}' % media.OCI_INDEX.encode()
M = Descriptor.of(media.OCI_INDEX, MANIFEST)


async def pulled(repository, desc=DESC, start=0):
    async with repository.open(desc, start=start) as body:
        return b"".join([piece async for piece in body])


async def test_a_tag_is_resolved_by_head_and_read_by_digest():
    steps = [
        Step("HEAD", "/v2/a/b/manifests/v1", manifest_reply(M, MANIFEST)),
        Step("GET", f"/v2/a/b/manifests/{M.digest}", manifest_reply(M, MANIFEST)),
    ]
    async with Scripted(steps) as registry, client(registry) as c:
        repository = c.repository(REPO(registry))
        desc = await repository.resolve("v1")
        assert desc == M
        assert await read(repository, desc) == MANIFEST
        assert await read(repository, desc) == MANIFEST  # from memory: the script has one GET
    assert media.OCI_INDEX in registry.seen[0].headers["accept"]


@pytest.mark.parametrize("missing", ["Docker-Content-Digest", "Content-Type"])
async def test_a_head_that_tells_too_little_is_followed_by_get(missing):
    poor = manifest_reply(M, MANIFEST)
    poor = Reply(200, MANIFEST, {k: v for k, v in poor.headers.items() if k != missing})
    steps = [
        Step("HEAD", "/v2/a/b/manifests/v1", poor),
        Step("GET", "/v2/a/b/manifests/v1", manifest_reply(M, MANIFEST)),
    ]
    async with Scripted(steps) as registry, client(registry) as c:
        assert await c.repository(REPO(registry)).resolve("v1") == M


async def test_a_registry_without_head_is_read_by_get():
    steps = [
        Step("HEAD", "/v2/a/b/manifests/v1", Reply(405)),
        Step("GET", "/v2/a/b/manifests/v1", manifest_reply(M, MANIFEST)),
    ]
    async with Scripted(steps) as registry, client(registry) as c:
        assert await c.repository(REPO(registry)).resolve("v1") == M


async def test_a_manifest_with_other_bytes_than_its_digest_is_refused():
    steps = [Step("GET", f"/v2/a/b/manifests/{M.digest}", manifest_reply(M, MANIFEST + b" "))]
    async with Scripted(steps) as registry, client(registry) as c:
        with pytest.raises(DigestMismatch):
            await pulled(c.repository(REPO(registry)), M)


async def test_a_missing_tag_is_not_found():
    steps = [Step("HEAD", "/v2/a/b/manifests/nope", Reply(404))]
    async with Scripted(steps) as registry, client(registry) as c:
        with pytest.raises(NotFound) as e:
            await c.repository(REPO(registry)).resolve("nope")
    assert "manifest nope" in e.value.summary


async def test_a_blob_broken_off_is_taken_up_by_range():
    cut = 3 << 20

    def rest(seen: Seen) -> Reply:
        start = int(seen.headers["range"].removeprefix("bytes=").removesuffix("-"))
        assert 0 < start <= cut
        total = len(DATA)
        return Reply(206, DATA[start:], {"Content-Range": f"bytes {start}-{total - 1}/{total}"})

    steps = [Step("GET", BLOB, Reply(200, DATA, cut=cut)), Step("GET", BLOB, rest)]
    async with Scripted(steps) as registry, client(registry) as c:
        assert await pulled(c.repository(REPO(registry))) == DATA


async def test_a_registry_without_range_is_read_anew_and_what_came_is_skipped():
    steps = [
        Step("GET", BLOB, Reply(200, DATA, cut=3 << 20)),
        Step("GET", BLOB, Reply(200, DATA)),
    ]
    async with Scripted(steps) as registry, client(registry) as c:
        assert await pulled(c.repository(REPO(registry))) == DATA


async def test_a_blob_that_always_breaks_at_the_same_place_is_given_up():
    steps = [Step("GET", BLOB, Reply(200, DATA, cut=10))]
    async with Scripted(steps, ordered=False) as registry, client(registry) as c:
        with pytest.raises(NetworkError):
            await pulled(c.repository(REPO(registry)))
    assert len(registry.seen) == 1 + FAST.retries


async def test_a_stalled_blob_is_a_timeout_then_taken_up():
    steps = [Step("GET", BLOB, Reply(200, DATA, stall=100)), Step("GET", BLOB, Reply(200, DATA))]
    async with Scripted(steps) as registry, client(registry) as c:
        assert await pulled(c.repository(REPO(registry))) == DATA


async def test_a_dead_registry_is_a_timeout():
    steps = [Step("GET", BLOB, Reply(200, DATA, delay=30))]
    async with Scripted(steps, ordered=False) as registry, client(registry, retries=1) as c:
        with pytest.raises(NetworkTimeout) as e:
            await pulled(c.repository(REPO(registry)))
    assert registry.host in e.value.summary


async def test_corrupt_bytes_are_seen_by_the_reader():
    bad = DATA[:-1] + b"!"
    steps = [Step("GET", BLOB, Reply(200, bad))]
    async with Scripted(steps) as registry, client(registry) as c:
        with pytest.raises(DigestMismatch) as e:
            async with c.repository(REPO(registry)).open(DESC) as body:
                async for _ in verified(DESC, body):
                    pass
    assert e.value.actual == Digest.of(bad)


async def test_a_blob_of_another_size_is_refused_before_it_is_read():
    steps = [Step("GET", BLOB, Reply(200, DATA[:-5]))]
    async with Scripted(steps) as registry, client(registry) as c:
        with pytest.raises(SizeMismatch):
            await pulled(c.repository(REPO(registry)))


async def test_a_copy_of_a_truncated_blob_keeps_nothing():
    store = MemoryStore()
    config = blob(b"{}" * 50)
    image = b'{"schemaVersion":2,"config":%s,"layers":[]}' % _json(config)
    top = Descriptor.of(media.OCI_MANIFEST, image)
    rules = [
        Step("HEAD", "/v2/a/b/manifests/v1", manifest_reply(top, image)),
        Step("GET", f"/v2/a/b/manifests/{top.digest}", manifest_reply(top, image)),
        Step("GET", f"/v2/a/b/blobs/{config.digest}", Reply(200, b"{}" * 49, length=100, cut=98)),
    ]
    async with Scripted(rules, ordered=False) as registry, client(registry, retries=1) as c:
        with pytest.raises(CopyError) as e:
            await copy(c.repository(REPO(registry)), "v1", store)
    assert e.value.side == "source"
    assert not await store.exists(top)
    assert not await store.exists(config)


def _json(desc):
    import json

    return json.dumps(desc.to_json()).encode()


async def test_compressed_blobs_come_as_they_are():
    import gzip

    packed = gzip.compress(b"hello" * 100)
    desc = blob(packed)
    reply = Reply(200, packed, {"Content-Encoding": "gzip"})
    steps = [Step("GET", f"/v2/a/b/blobs/{desc.digest}", reply)]
    async with Scripted(steps) as registry, client(registry) as c:
        assert await pulled(c.repository(REPO(registry)), desc) == packed
    assert "accept-encoding" not in registry.seen[0].headers


async def test_a_redirect_to_another_host_loses_authorization_and_one_to_the_same_keeps_it():
    async with Scripted([Step("GET", "/store/x", Reply(200, DATA))]) as storage:
        away = Reply(307, headers={"Location": f"{storage.url}/store/x?sig=1"})
        steps = [
            Step("GET", BLOB, refusal(401, "UNAUTHORIZED", www_authenticate="Basic realm=x")),
            Step("GET", BLOB, Reply(302, headers={"Location": "/v2/inner"})),
            Step("GET", "/v2/inner", away),
        ]
        async with Scripted(steps) as registry, client(registry, user="ann") as c:
            assert await pulled(c.repository(REPO(registry))) == DATA
    assert "authorization" not in registry.seen[0].headers
    assert registry.seen[2].headers["authorization"].startswith("Basic ")
    assert "authorization" not in storage.seen[0].headers


@pytest.mark.parametrize(
    "location",
    ["file:///etc/passwd", "ftp://h/x", "http://:80/", "//:1/", "gopher://x", "http://h h/"],
)
async def test_a_hostile_redirect_is_refused(location):
    steps = [Step("GET", BLOB, Reply(307, headers={"Location": location}))]
    async with Scripted(steps) as registry, client(registry) as c:
        with pytest.raises((NetworkError, RegistryError)):
            await pulled(c.repository(REPO(registry)))


async def test_endless_redirects_end():
    steps = [Step("GET", BLOB, Reply(307, headers={"Location": BLOB}))]
    async with Scripted(steps, ordered=False) as registry, client(registry) as c:
        with pytest.raises(RegistryError) as e:
            await pulled(c.repository(REPO(registry)))
    assert "redirects" in e.value.summary
    assert len(registry.seen) < 10


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
async def test_what_may_pass_is_tried_again(status):
    steps = [Step("GET", BLOB, refusal(status, "X")), Step("GET", BLOB, Reply(200, DATA))]
    async with Scripted(steps) as registry, client(registry) as c:
        assert await pulled(c.repository(REPO(registry))) == DATA


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, RegistryError),
        (403, Denied),
        (404, NotFound),
        (405, RegistryError),
        (416, RegistryError),
    ],
)
async def test_what_will_not_pass_is_not_tried_again(status, kind):
    steps = [Step("GET", BLOB, refusal(status, "SOME_CODE", "the words"))]
    async with Scripted(steps) as registry, client(registry) as c:
        with pytest.raises(kind) as e:
            await pulled(c.repository(REPO(registry)))
    assert "SOME_CODE: the words" in e.value.why
    assert e.value.evidence["registry_code"] == "SOME_CODE"
    assert e.value.evidence["status"] == status
    assert e.value.evidence["url"].endswith(BLOB)
    assert e.value.remedy


async def test_retry_after_is_obeyed():
    loop = asyncio.get_running_loop()
    steps = [
        Step("GET", BLOB, refusal(429, "TOOMANYREQUESTS", Retry_After="1")),
        Step("GET", BLOB, Reply(200, DATA)),
    ]
    async with Scripted(steps) as registry, client(registry) as c:
        began = loop.time()
        await pulled(c.repository(REPO(registry)))
        assert loop.time() - began >= 1.0


async def test_a_retry_after_of_hours_is_told_not_slept():
    steps = [Step("GET", BLOB, refusal(429, "TOOMANYREQUESTS", "pull limit", Retry_After="7200"))]
    async with Scripted(steps) as registry, client(registry) as c:
        with pytest.raises(RateLimited) as e:
            await pulled(c.repository(REPO(registry)))
    assert "7200" in e.value.remedy
    assert e.value.exit_code == 7


async def test_retries_run_out_into_the_registrys_own_words():
    steps = [Step("GET", BLOB, refusal(503, "UNAVAILABLE", "in maintenance"))]
    async with Scripted(steps, ordered=False) as registry, client(registry) as c:
        with pytest.raises(RegistryUnavailable) as e:
            await pulled(c.repository(REPO(registry)))
    assert "in maintenance" in e.value.why
    assert len(registry.seen) == 1 + FAST.retries


async def test_a_host_that_never_answered_is_not_tried_again():
    async with Scripted() as registry:
        gone = registry
    events = []
    async with client(gone, report=events.append) as c:
        with pytest.raises(NetworkError) as e:
            await c.registry(gone.host).ping()
    assert gone.host in e.value.summary
    assert events == []


async def test_unauthorized_names_where_credentials_were_looked_for(tmp_path):
    file = str(tmp_path / "auth.json")
    steps = [Step("GET", BLOB, refusal(401, "UNAUTHORIZED", www_authenticate="Basic realm=x"))]
    async with Scripted(steps) as registry:
        async with client(registry, credentials=Credentials({}, authfile=file)) as c:
            with pytest.raises(Unauthorized) as e:
                await pulled(c.repository(REPO(registry)))
    assert file in e.value.why
    assert e.value.remedy == f"argosy login {registry.host}"
    assert e.value.exit_code == 3


async def test_wrong_password_is_not_sent_twice():
    challenge = refusal(401, "UNAUTHORIZED", "no", www_authenticate="Basic realm=x")
    steps = [Step("GET", BLOB, challenge), Step("GET", BLOB, challenge)]
    async with Scripted(steps) as registry, client(registry, user="ann") as c:
        with pytest.raises(Unauthorized) as e:
            await pulled(c.repository(REPO(registry)))
    assert "the test" in e.value.why  # where the credential came from
    assert "secret" not in str(e.value.to_json())


async def test_tags_follow_the_links_to_the_end():
    first = as_json({"tags": ["a", "b"]}, Link='</v2/a/b/tags/list?n=2&last=b>; rel="next"')
    steps = [
        Step("GET", "/v2/a/b/tags/list", first),
        Step("GET", "/v2/a/b/tags/list?n=2&last=b", as_json({"tags": None})),
    ]
    async with Scripted(steps) as registry, client(registry) as c:
        assert [t async for t in c.repository(REPO(registry)).tags()] == ["a", "b"]


@pytest.mark.parametrize(
    "link",
    [
        "<http://elsewhere.test/x>; rel=next",
        "<file:///etc/passwd>; rel=next",
        "</v2/a/b/tags/list?n=1000>; rel=next",
        "<//elsewhere.test/>; rel=next",
    ],
)
async def test_a_link_that_leads_astray_is_refused(link):
    steps = [Step("GET", "/v2/a/b/tags/list", as_json({"tags": ["a"]}, Link=link))]
    async with Scripted(steps) as registry, client(registry) as c:
        with pytest.raises(RegistryError):
            [t async for t in c.repository(REPO(registry)).tags()]


async def test_the_catalog_is_listed_over_pages():
    first = as_json({"repositories": ["a"]}, Link='</v2/_catalog?last=a&n=1>; rel="next"')
    steps = [
        Step("GET", "/v2/_catalog", first),
        Step("GET", "/v2/_catalog", as_json({"repositories": ["b/c"]})),
    ]
    async with Scripted(steps) as registry, client(registry) as c:
        assert [r async for r in c.registry(registry.host).repositories()] == ["a", "b/c"]


async def test_a_web_page_instead_of_a_listing_is_an_error():
    steps = [Step("GET", "/v2/a/b/tags/list", Reply(200, b"<html>hello"))]
    async with Scripted(steps) as registry, client(registry) as c:
        with pytest.raises(RegistryError):
            [t async for t in c.repository(REPO(registry)).tags()]


async def test_a_cancelled_pull_breaks_the_transfer_off():
    steps = [Step("GET", BLOB, Reply(200, DATA, stall=1 << 20))]
    async with Scripted(steps) as registry, client(registry, read_timeout=60.0) as c:
        task = asyncio.ensure_future(pulled(c.repository(REPO(registry))))
        while not registry.seen:
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_reading_from_an_offset_sends_a_range():
    tail = DATA[1000:]
    reply = Reply(206, tail, {"Content-Range": f"bytes 1000-{len(DATA) - 1}/{len(DATA)}"})
    steps = [Step("GET", BLOB, reply)]
    async with Scripted(steps) as registry, client(registry) as c:
        assert hashlib.sha256(await pulled(c.repository(REPO(registry)), DESC, 1000)).digest() == (
            hashlib.sha256(tail).digest()
        )
    assert registry.seen[0].headers["range"] == "bytes=1000-"


async def test_a_range_other_than_asked_for_is_refused():
    reply = Reply(206, DATA[2000:], {"Content-Range": f"bytes 2000-{len(DATA) - 1}/{len(DATA)}"})
    async with Scripted([Step("GET", BLOB, reply)]) as registry, client(registry) as c:
        with pytest.raises(RegistryError):
            await pulled(c.repository(REPO(registry)), DESC, 1000)


async def test_the_error_of_a_broken_connection_shows_no_secret_of_its_url():
    async with Scripted() as gone:
        pass
    away = Reply(307, headers={"Location": f"{gone.url}/x?sig=topsecret"})
    async with Scripted([Step("GET", BLOB, away)], ordered=False) as registry:
        async with client(registry, retries=0) as c:
            with pytest.raises(NetworkError) as e:
                await pulled(c.repository(REPO(registry)))
    assert "topsecret" not in str(e.value.to_json())
