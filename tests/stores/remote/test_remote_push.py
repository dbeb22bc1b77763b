"""Writing to a registry that misbehaves, by script."""

import asyncio
import json
from contextlib import asynccontextmanager

import pytest

from argosy.content.copy import copy
from argosy.content.memory import MemoryStore
from argosy.content.store import BytesBody
from argosy.errors import (
    ArgosyError,
    Denied,
    DigestMismatch,
    NetworkError,
    NetworkTimeout,
    NotFound,
    RegistryError,
    SizeMismatch,
    Unauthorized,
)
from argosy.model import media
from argosy.model.descriptor import Descriptor
from argosy.model.digest import Digest
from tests.scripted import Reply, Scripted, Seen, Step, refusal
from tests.stores.remote.remote_kit import FAST, REPO, blob, client, manifest_reply

DATA = bytes(range(256)) * 10_000  # 2.5 MB
DESC = blob(DATA)
SMALL = blob(b"small")
UPLOADS = "/v2/a/b/blobs/uploads/"
HERE = "/v2/a/b/blobs/uploads/one"
BEGUN = Reply(202, headers={"Location": HERE})
NEXT = Reply(202, headers={"Location": f"{HERE}?state=2", "Range": f"0-{len(DATA) - 1}"})
COMMIT = f"{HERE}?state=2&digest=sha256%3A{DESC.digest.hex}"
DONE = Reply(201, headers={"Docker-Content-Digest": str(DESC.digest)})
START = Step("POST", UPLOADS, BEGUN)


class Stream:
    """A body that cannot be read again."""

    def __init__(self, *pieces):
        self._pieces = pieces

    async def __aiter__(self):
        for piece in self._pieces:
            yield piece


def at(offset):
    """The answer to `where are we`."""
    return Reply(204, headers={"Location": f"{HERE}?state={offset}", "Range": f"0-{offset - 1}"})


async def pushed(registry, c, desc=DESC, body=None):
    await c.repository(REPO(registry)).put(desc, body or BytesBody(DATA))


async def test_a_small_blob_goes_in_one_put():
    steps = [START, Step("PUT", HERE, Reply(201))]
    async with Scripted(steps) as registry, client(registry) as c:
        await pushed(registry, c, SMALL, Stream(b"sm", b"all"))
    assert registry.seen[1].body == b"small"
    assert registry.seen[1].query == {"digest": [str(SMALL.digest)]}


async def test_an_empty_blob_is_a_blob():
    steps = [START, Step("PUT", HERE, Reply(201))]
    async with Scripted(steps) as registry, client(registry) as c:
        await pushed(registry, c, blob(b""), Stream())


async def test_a_large_blob_is_streamed_and_then_committed():
    steps = [START, Step("PATCH", HERE, NEXT), Step("PUT", COMMIT, DONE)]
    async with Scripted(steps) as registry, client(registry) as c:
        await pushed(
            registry, c, body=Stream(*[DATA[i : i + 1000] for i in range(0, len(DATA), 1000)])
        )
    patch = registry.seen[1]
    assert patch.body == DATA
    assert patch.headers["content-length"] == str(len(DATA))
    assert patch.headers["content-type"] == "application/octet-stream"
    assert "content-range" not in patch.headers


async def test_an_absolute_location_elsewhere_is_used_without_credentials():
    async with Scripted(
        [Step("PUT", f"/up?sig=s&digest=sha256%3A{SMALL.digest.hex}", Reply(201))]
    ) as other:
        begun = Reply(202, headers={"Location": f"{other.url}/up?sig=s"})
        steps = [
            Step("POST", UPLOADS, refusal(401, "UNAUTHORIZED", www_authenticate="Basic realm=x")),
            Step("POST", UPLOADS, begun),
        ]
        async with Scripted(steps) as registry, client(registry, user="ann") as c:
            await pushed(registry, c, SMALL, BytesBody(b"small"))
    assert "authorization" in registry.seen[1].headers
    assert "authorization" not in other.seen[0].headers


@pytest.mark.parametrize("location", ["file:///etc/passwd", "ftp://x/y", "http://:1/"])
async def test_a_hostile_location_is_refused(location):
    steps = [Step("POST", UPLOADS, Reply(202, headers={"Location": location}))]
    async with Scripted(steps) as registry, client(registry) as c:
        with pytest.raises(NetworkError):
            await pushed(registry, c)


@pytest.mark.parametrize("chunk", [1_000_000, 400_000, 2_560_000, 5_000_000])
async def test_chunks_have_the_size_set_and_say_where_they_go(chunk):
    def patch(seen: Seen) -> Reply:
        done = int(seen.headers["content-range"].split("-")[1]) + 1
        return Reply(202, headers={"Location": HERE, "Range": f"0-{done - 1}"})

    rules = [START, Step("PATCH", HERE, patch), Step("PUT", HERE, Reply(201))]
    async with Scripted(rules, ordered=False) as registry, client(registry, chunk_size=chunk) as c:
        await pushed(registry, c)
    patches = [s for s in registry.seen if s.method == "PATCH"]
    assert b"".join(p.body for p in patches) == DATA
    assert [len(p.body) for p in patches[:-1]] == [chunk] * (len(patches) - 1)
    assert patches[0].headers["content-range"] == f"0-{min(chunk, len(DATA)) - 1}"


async def test_the_registrys_least_chunk_is_respected():
    begun = Reply(202, headers={"Location": HERE, "OCI-Chunk-Min-Length": "2000000"})
    rules = [
        Step("POST", UPLOADS, begun),
        Step("PATCH", HERE, Reply(202)),
        Step("PUT", HERE, Reply(201)),
    ]
    async with (
        Scripted(rules, ordered=False) as registry,
        client(registry, chunk_size=500_000) as c,
    ):
        await pushed(registry, c)
    assert [len(s.body) for s in registry.seen if s.method == "PATCH"] == [2_000_000, 560_000]


@pytest.mark.parametrize("reached", [1, 700_000, 2_559_999])
async def test_a_broken_upload_goes_on_where_the_registry_is(reached):
    resumed = f"{HERE}?state={reached}"
    steps = [
        START,
        Step("PATCH", HERE, Reply(read=reached, hang_up=True)),
        Step("GET", HERE, at(reached)),
        Step("PATCH", resumed, NEXT),
        Step("PUT", COMMIT, DONE),
    ]
    if reached == 1:
        steps[3] = Step("PATCH", resumed, NEXT)
    async with Scripted(steps) as registry, client(registry) as c:
        await pushed(registry, c)
    again = registry.seen[3]
    # `0-0` may mean one byte or none (Docker's registry): none is the safe reading.
    offset = 0 if reached == 1 else reached
    assert again.body == DATA[offset:]
    if offset:
        assert again.headers["content-range"] == f"{offset}-{len(DATA) - 1}"


@pytest.mark.parametrize(
    "trouble",
    [
        refusal(500, "UNKNOWN"),
        refusal(503, "UNAVAILABLE"),
        refusal(416, "BLOB_UPLOAD_INVALID"),
        refusal(429, "TOOMANYREQUESTS", Retry_After="0"),
        refusal(408, "X"),
    ],
)
async def test_trouble_amid_an_upload_asks_where_it_was_and_goes_on(trouble):
    steps = [
        START,
        Step("PATCH", HERE, trouble),
        Step("GET", HERE, at(1000)),
        Step("PATCH", f"{HERE}?state=1000", NEXT),
        Step("PUT", COMMIT, DONE),
    ]
    async with Scripted(steps) as registry, client(registry) as c:
        await pushed(registry, c)
    assert registry.seen[3].body == DATA[1000:]


async def test_an_upload_the_registry_forgot_begins_anew():
    steps = [
        START,
        Step("PATCH", HERE, refusal(404, "BLOB_UPLOAD_UNKNOWN")),
        Step("GET", HERE, refusal(404, "BLOB_UPLOAD_UNKNOWN")),
        Step("HEAD", f"/v2/a/b/blobs/{DESC.digest}", Reply(404)),
        START,
        Step("PATCH", HERE, NEXT),
        Step("PUT", COMMIT, DONE),
    ]
    async with Scripted(steps) as registry, client(registry) as c:
        await pushed(registry, c)


async def test_a_commit_whose_answer_was_lost_is_found_done():
    steps = [
        START,
        Step("PATCH", HERE, NEXT),
        Step("PUT", COMMIT, Reply(hang_up=True)),
        Step("GET", f"{HERE}?state=2", refusal(404, "BLOB_UPLOAD_UNKNOWN")),
        Step("HEAD", f"/v2/a/b/blobs/{DESC.digest}", Reply(200, length=len(DATA))),
    ]
    async with Scripted(steps) as registry, client(registry) as c:
        await pushed(registry, c)


async def test_a_commit_that_failed_is_tried_again_without_sending_the_bytes_again():
    whole = Reply(204, headers={"Location": f"{HERE}?state=2", "Range": f"0-{len(DATA) - 1}"})
    steps = [
        START,
        Step("PATCH", HERE, NEXT),
        Step("PUT", COMMIT, refusal(502, "X")),
        Step("GET", f"{HERE}?state=2", whole),
        Step("PUT", COMMIT, DONE),
    ]
    async with Scripted(steps) as registry, client(registry) as c:
        await pushed(registry, c)


async def test_a_body_that_cannot_be_read_again_is_given_up():
    steps = [START, Step("PATCH", HERE, refusal(500, "UNKNOWN")), Step("DELETE", HERE, Reply(204))]
    async with Scripted(steps) as registry, client(registry) as c:
        with pytest.raises(RegistryError):
            await pushed(registry, c, body=Stream(DATA))


async def test_retries_of_an_upload_without_progress_run_out():
    rules = [
        START,
        Step("PATCH", HERE, refusal(500, "UNKNOWN", "disk on fire")),
        Step("GET", HERE, Reply(204, headers={"Range": "0-0"})),
        Step("DELETE", HERE, Reply(204)),
    ]
    async with Scripted(rules, ordered=False) as registry, client(registry) as c:
        with pytest.raises(RegistryError) as e:
            await pushed(registry, c)
    assert "disk on fire" in e.value.why
    assert registry.requests().count(f"PATCH {HERE}") == 1 + FAST.retries


@pytest.mark.parametrize(
    ("status", "kind"), [(401, Unauthorized), (403, Denied), (413, RegistryError)]
)
async def test_a_refusal_before_the_body_is_read_is_told_at_once(status, kind):
    big = b"\0" * (64 << 20)
    steps = [
        START,
        Step("PATCH", HERE, Reply(status, b"", read=0)),
        Step("DELETE", HERE, Reply(204)),
    ]
    async with Scripted(steps) as registry, client(registry) as c:
        with pytest.raises(kind) as e:
            await pushed(registry, c, blob(big), Stream(*[big[: 1 << 20]] * 64))
    if status == 413:
        assert "client_max_body_size" in e.value.remedy
        assert "ARGOSY_CHUNK_SIZE" in e.value.remedy


@pytest.mark.parametrize(
    ("said", "kind", "remedy"),
    [
        ((404, "NAME_UNKNOWN", "no project a"), NotFound, "argosy project create"),
        ((403, "DENIED", "over the quota"), Denied, "argosy quota show"),
        ((403, "DENIED", "ann lacks push"), Denied, "argosy login"),
        ((412, "DENIED", "rule 1 keeps it"), RegistryError, "another tag"),
        ((507, "NO_SPACE", "the disk is full"), RegistryError, "make room"),
    ],
)
async def test_a_refused_push_is_told_what_helps_against_that_refusal(said, kind, remedy):
    async with Scripted([Step("POST", UPLOADS, refusal(*said))]) as registry:
        async with client(registry) as c:
            with pytest.raises(kind) as e:
                await pushed(registry, c, SMALL, BytesBody(b"small"))
    assert remedy in e.value.remedy
    assert said[2] in e.value.why


async def test_bytes_that_are_not_the_descriptors_are_never_committed():
    bad = DATA[:-1] + b"!"
    steps = [START, Step("PATCH", HERE, NEXT), Step("DELETE", HERE, Reply(204))]
    async with Scripted(steps) as registry, client(registry) as c:
        with pytest.raises(DigestMismatch) as e:
            await pushed(registry, c, body=BytesBody(bad))
    assert e.value.actual == Digest.of(bad)


@pytest.mark.parametrize("size", [len(DATA) - 1, len(DATA) + 1])
async def test_a_body_of_another_size_is_never_committed(size):
    rules = [START, Step("PATCH", HERE, NEXT), Step("DELETE", HERE, Reply(204))]
    async with Scripted(rules, ordered=False) as registry, client(registry) as c:
        with pytest.raises(SizeMismatch):
            await pushed(registry, c, body=BytesBody((DATA + b"x")[:size]))
    assert "PUT" not in {s.method for s in registry.seen}


async def test_a_registry_that_disagrees_on_the_digest_is_a_mismatch():
    steps = [
        START,
        Step("PATCH", HERE, NEXT),
        Step("PUT", COMMIT, refusal(400, "DIGEST_INVALID", "they differ")),
        Step("DELETE", f"{HERE}?state=2", Reply(204)),
    ]
    async with Scripted(steps) as registry, client(registry) as c:
        with pytest.raises(DigestMismatch) as e:
            await pushed(registry, c)
    assert "they differ" in e.value.why


async def test_a_registry_that_names_another_digest_after_the_commit_is_a_mismatch():
    other = Reply(201, headers={"Docker-Content-Digest": str(SMALL.digest)})
    steps = [
        START,
        Step("PATCH", HERE, NEXT),
        Step("PUT", COMMIT, other),
        Step("DELETE", f"{HERE}?state=2", Reply(204)),
    ]
    async with Scripted(steps) as registry, client(registry) as c:
        with pytest.raises(DigestMismatch):
            await pushed(registry, c)


async def test_a_stalled_upload_is_a_timeout():
    steps = [START, Step("PATCH", HERE, Reply(read=10, delay=30))]
    async with Scripted(steps) as registry, client(registry) as c:
        big = b"\0" * (64 << 20)
        with pytest.raises(NetworkTimeout):
            await pushed(registry, c, blob(big), Stream(*[big[: 1 << 20]] * 64))


async def test_a_slow_source_is_no_timeout():
    class Slow:
        async def __aiter__(self):
            yield DATA[:1_000_000]
            await asyncio.sleep(2 * FAST.read_timeout)
            yield DATA[1_000_000:]

    steps = [START, Step("PATCH", HERE, NEXT), Step("PUT", COMMIT, DONE)]
    async with Scripted(steps) as registry, client(registry) as c:
        await pushed(registry, c, body=Slow())


async def test_a_cancelled_push_breaks_the_connection_off():
    class Endless:
        async def __aiter__(self):
            yield DATA[:1_000_000]
            await asyncio.sleep(3600)

    steps = [START]
    async with Scripted(steps) as registry, client(registry) as c:
        registry.steps.append(Step("PATCH", HERE, NEXT))
        task = asyncio.ensure_future(pushed(registry, c, body=Endless()))
        while registry.steps:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        for _ in range(100):
            if registry.broken:
                break
            await asyncio.sleep(0.01)
        assert registry.broken == 1


async def test_what_the_body_raises_comes_out_as_it_is():
    class Broken:
        async def __aiter__(self):
            yield DATA[:1_000_000]
            raise KeyError("mine")

    rules = [START, Step("PATCH", HERE, NEXT), Step("DELETE", HERE, Reply(204))]
    async with Scripted(rules, ordered=False) as registry, client(registry) as c:
        with pytest.raises(KeyError):
            await pushed(registry, c, body=Broken())


async def test_sha512_is_announced_when_the_upload_begins():
    desc = Descriptor(media_type=media.OCI_LAYER, digest=Digest.of(b"small", "sha512"), size=5)
    steps = [
        Step("POST", f"{UPLOADS}?digest-algorithm=sha512", BEGUN),
        Step("PUT", HERE, Reply(201)),
    ]
    async with Scripted(steps) as registry, client(registry) as c:
        await pushed(registry, c, desc, BytesBody(b"small"))


# --- tokens amid a push


class Tokens:
    """A token server inside the script: counts, and lets tokens expire."""

    def __init__(self):
        self.issued = 0
        self.good = set()

    def token(self, seen: Seen) -> Reply:
        self.issued += 1
        name = f"t{self.issued}"
        self.good = {name}
        body = json.dumps({"token": name, "expires_in": 300}).encode()
        return Reply(200, body)

    def guarded(self, reply, status=401):
        def answer(seen: Seen) -> Reply:
            token = seen.headers.get("authorization", "").removeprefix("Bearer ")
            if token in self.good:
                return reply(seen) if callable(reply) else reply
            host = seen.headers["host"]
            challenge = f'Bearer realm="http://{host}/token",service="s"'
            return refusal(status, "UNAUTHORIZED", WWW_Authenticate=challenge)

        return answer


@asynccontextmanager
async def token_registry(rules, tokens, **options):
    rules = [Step("GET", "/token", tokens.token), *rules]
    async with Scripted(rules, ordered=False) as registry, client(registry, **options) as c:
        yield registry, c


async def test_one_token_serves_a_whole_push():
    tokens = Tokens()
    rules = [
        Step("POST", UPLOADS, tokens.guarded(BEGUN)),
        Step("PATCH", HERE, tokens.guarded(NEXT)),
        Step("PUT", HERE, tokens.guarded(DONE)),
    ]
    async with token_registry(rules, tokens) as (registry, c):
        await pushed(registry, c)
        await pushed(registry, c)
    assert tokens.issued == 1
    asked = next(s for s in registry.seen if s.path == "/token")
    assert asked.query["scope"] == ["repository:a/b:pull,push"]


async def test_concurrent_pushes_share_one_token():
    tokens = Tokens()
    rules = [
        Step("POST", UPLOADS, tokens.guarded(BEGUN)),
        Step("PUT", HERE, tokens.guarded(Reply(201))),
    ]
    async with token_registry(rules, tokens) as (registry, c):
        await asyncio.gather(*[pushed(registry, c, SMALL, BytesBody(b"small")) for _ in range(8)])
    assert tokens.issued == 1


@pytest.mark.parametrize("where", ["PATCH", "PUT"])
async def test_a_token_that_expires_amid_a_push_is_renewed(where):
    tokens = Tokens()

    def expire(method, reply):
        def answer(seen: Seen) -> Reply:
            if tokens.issued == 1 and method == where:
                tokens.good = set()
            return tokens.guarded(reply)(seen)

        return answer

    rules = [
        Step("POST", UPLOADS, expire("POST", BEGUN)),
        Step("PATCH", HERE, expire("PATCH", NEXT)),
        Step("GET", HERE, tokens.guarded(Reply(204, headers={"Range": "0-0"}))),
        Step("PUT", HERE, expire("PUT", DONE)),
    ]
    async with token_registry(rules, tokens) as (registry, c):
        await pushed(registry, c)
    assert tokens.issued == 2


async def test_an_expired_token_answered_by_403_is_renewed():
    tokens = Tokens()
    answers = iter([BEGUN, refusal(403, "DENIED"), BEGUN])
    rules = [
        Step("POST", UPLOADS, tokens.guarded(lambda _s: next(answers))),
        Step("PUT", HERE, tokens.guarded(Reply(201))),
    ]
    async with token_registry(rules, tokens) as (registry, c):
        await pushed(registry, c, SMALL, BytesBody(b"small"))
        await pushed(registry, c, SMALL, BytesBody(b"small"))
    assert tokens.issued == 2


async def test_a_fresh_token_that_is_refused_is_denied_with_the_scope_it_was_for():
    tokens = Tokens()
    rules = [Step("POST", UPLOADS, tokens.guarded(refusal(403, "DENIED", "not yours")))]
    async with token_registry(rules, tokens, user="ann") as (registry, c):
        with pytest.raises(Denied) as e:
            await pushed(registry, c, SMALL, BytesBody(b"small"))
    assert "repository:a/b:pull,push" in e.value.why
    assert "not yours" in e.value.why
    assert "the test" in e.value.why


async def test_a_commit_that_is_refused_for_good_is_told_in_the_registrys_words():
    """A quota is full: the registry drops the upload, and what it says after that is beside the point."""
    tokens = Tokens()
    gone = refusal(404, "BLOB_UPLOAD_UNKNOWN", "never begun")
    full = iter([refusal(403, "DENIED", "the quota of the project is full")])
    rules = [
        Step("POST", UPLOADS, tokens.guarded(BEGUN)),
        Step("PUT", HERE, tokens.guarded(lambda _s: next(full, gone))),
        Step("GET", HERE, tokens.guarded(gone)),
        Step("HEAD", f"/v2/a/b/blobs/{SMALL.digest}", tokens.guarded(Reply(404))),
    ]
    async with token_registry(rules, tokens) as (registry, c):
        with pytest.raises(Denied) as e:
            await pushed(registry, c, SMALL, BytesBody(b"small"))
    assert "the quota of the project is full" in e.value.why
    assert registry.requests().count(f"PUT {HERE}") == 1


async def test_a_token_server_that_stumbles_is_asked_again():
    tokens = Tokens()
    troubles = iter([Reply(503), Reply(hang_up=True)])

    def stumble(seen: Seen) -> Reply:
        return next(troubles, None) or tokens.token(seen)

    rules = [
        Step("GET", "/token", stumble),
        Step("POST", UPLOADS, tokens.guarded(BEGUN)),
        Step("PUT", HERE, tokens.guarded(Reply(201))),
    ]
    async with Scripted(rules, ordered=False) as registry, client(registry) as c:
        await pushed(registry, c, SMALL, BytesBody(b"small"))
    assert registry.requests().count("GET /token") == 3


async def test_a_token_server_that_refuses_is_unauthorized_with_its_words():
    tokens = Tokens()
    rules = [
        Step("GET", "/token", refusal(401, "UNAUTHORIZED", "wrong password")),
        Step("POST", UPLOADS, tokens.guarded(BEGUN)),
    ]
    async with Scripted(rules, ordered=False) as registry, client(registry, user="ann") as c:
        with pytest.raises(Unauthorized) as e:
            await pushed(registry, c, SMALL, BytesBody(b"small"))
    assert "wrong password" in e.value.why
    assert e.value.summary.count(registry.host) == 1
    assert e.value.remedy == f"argosy login {registry.host}"


async def test_who_needs_a_token_for_a_password_is_told_where_one_is_made():
    tokens = Tokens()
    said = "a second factor, which cannot be asked for; make a personal access token"
    rules = [
        Step("GET", "/token", refusal(401, "UNAUTHORIZED", said)),
        Step("POST", UPLOADS, tokens.guarded(BEGUN)),
    ]
    async with Scripted(rules, ordered=False) as registry, client(registry, user="ann") as c:
        with pytest.raises(Unauthorized) as e:
            await pushed(registry, c, SMALL, BytesBody(b"small"))
    assert e.value.remedy == f"argosy login --web {registry.host}"


# --- mounts, manifests, referrers, deletes


async def mounted(registry, c, other="c/d"):
    return await c.repository(REPO(registry)).mount(DESC, c.repository(REPO(registry, other)))


MOUNT = f"{UPLOADS}?mount={DESC.digest}&from=c/d"


async def test_a_mount_moves_no_bytes():
    async with Scripted([Step("POST", MOUNT, Reply(201))]) as registry, client(registry) as c:
        assert await mounted(registry, c)


async def test_a_refused_mount_goes_on_in_the_upload_it_opened():
    steps = [Step("POST", MOUNT, BEGUN), Step("PATCH", HERE, NEXT), Step("PUT", COMMIT, DONE)]
    async with Scripted(steps) as registry, client(registry) as c:
        repository = c.repository(REPO(registry))
        assert not await repository.mount(DESC, c.repository(REPO(registry, "c/d")))
        await repository.put(DESC, BytesBody(DATA))


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405])
async def test_a_forbidden_mount_is_no_error(status):
    steps = [Step("POST", MOUNT, refusal(status, "DENIED"))]
    async with Scripted(steps) as registry, client(registry) as c:
        assert not await mounted(registry, c)


async def test_a_mount_asks_for_both_scopes():
    tokens = Tokens()
    rules = [Step("POST", UPLOADS, tokens.guarded(Reply(201)))]
    async with token_registry(rules, tokens) as (registry, c):
        assert await mounted(registry, c)
    asked = next(s for s in registry.seen if s.path == "/token")
    assert asked.query["scope"] == ["repository:a/b:pull,push", "repository:c/d:pull"]


ANYWHERE = f"{UPLOADS}?mount={DESC.digest}"


async def test_what_the_registry_has_in_any_repository_moves_no_bytes():
    async with Scripted([Step("POST", ANYWHERE, Reply(201))]) as registry, client(registry) as c:
        assert await c.repository(REPO(registry)).mount(DESC, MemoryStore())


async def test_a_registry_without_anonymous_mounts_opens_the_upload_that_is_used():
    steps = [Step("POST", ANYWHERE, BEGUN), Step("PATCH", HERE, NEXT), Step("PUT", COMMIT, DONE)]
    async with Scripted(steps) as registry, client(registry) as c:
        repository = c.repository(REPO(registry))
        assert not await repository.mount(DESC, MemoryStore())
        await repository.put(DESC, BytesBody(DATA))


async def test_a_refused_anonymous_mount_is_not_asked_for_again():
    steps = [Step("POST", ANYWHERE, refusal(400, "UNSUPPORTED"))]
    async with Scripted(steps) as registry, client(registry) as c:
        repository = c.repository(REPO(registry))
        assert not await repository.mount(DESC, MemoryStore())
        assert not await repository.mount(DESC, MemoryStore())


async def test_nothing_is_mounted_from_itself():
    async with Scripted() as registry, client(registry) as c:
        here = c.repository(REPO(registry))
        assert not await here.mount(DESC, c.repository(REPO(registry)))
        assert not await here.mount(DESC, here)


IMAGE = Descriptor.of(media.OCI_MANIFEST, b"subject")


def artifact(subject=IMAGE):
    body = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": media.OCI_MANIFEST,
            "artifactType": "application/x-sbom",
            "config": Descriptor.of(media.OCI_EMPTY, b"{}").to_json(),
            "layers": [],
            "subject": subject.to_json(),
            "annotations": {"k": "v"},
        }
    ).encode()
    return Descriptor.of(media.OCI_MANIFEST, body), body


ART, ART_BODY = artifact()
FALLBACK = f"/v2/a/b/manifests/sha256-{IMAGE.digest.hex}"
REFERRERS = f"/v2/a/b/referrers/{IMAGE.digest}"


def an_index(*descs):
    body = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": media.OCI_INDEX,
            "manifests": [d.to_json() for d in descs],
        }
    ).encode()
    return Descriptor.of(media.OCI_INDEX, body), body


async def test_a_registry_that_notes_the_subject_needs_no_fallback_tag():
    put = Reply(201, headers={"OCI-Subject": str(IMAGE.digest)})
    async with Scripted([Step("PUT", f"/v2/a/b/manifests/{ART.digest}", put)]) as registry:
        async with client(registry) as c:
            await c.repository(REPO(registry)).put(ART, BytesBody(ART_BODY))


async def test_without_the_api_the_referrer_is_added_to_the_fallback_tag():
    other = Descriptor.of(media.OCI_MANIFEST, b"other", artifact_type="x/y")
    listed, listed_body = an_index(other)
    steps = [
        Step("PUT", f"/v2/a/b/manifests/{ART.digest}", Reply(201)),
        Step("GET", REFERRERS, Reply(404)),
        Step("HEAD", FALLBACK, manifest_reply(listed, listed_body)),
        Step("GET", f"/v2/a/b/manifests/{listed.digest}", manifest_reply(listed, listed_body)),
        Step("PUT", FALLBACK, Reply(201)),
    ]
    async with Scripted(steps) as registry, client(registry) as c:
        await c.repository(REPO(registry)).put(ART, BytesBody(ART_BODY))
    written = json.loads(registry.seen[-1].body)
    assert written["manifests"] == [
        other.to_json(),
        {**ART.to_json(), "artifactType": "application/x-sbom", "annotations": {"k": "v"}},
    ]
    assert registry.seen[-1].headers["content-type"] == media.OCI_INDEX


async def test_without_the_api_referrers_are_read_from_the_fallback_tag():
    listed, body = an_index(Descriptor.of(media.OCI_MANIFEST, b"1", artifact_type="x/y"), ART)
    steps = [
        Step("GET", REFERRERS, Reply(404)),
        Step("HEAD", FALLBACK, manifest_reply(listed, body)),
        Step("GET", f"/v2/a/b/manifests/{listed.digest}", manifest_reply(listed, body)),
        Step("HEAD", FALLBACK, Reply(404)),
    ]
    async with Scripted(steps) as registry, client(registry) as c:
        repository = c.repository(REPO(registry))
        assert [d.artifact_type for d in await repository.referrers(IMAGE.digest, "x/y")] == ["x/y"]
        assert await repository.referrers(IMAGE.digest) == []


async def test_referrers_are_filtered_here_when_the_registry_did_not():
    one = Descriptor.of(media.OCI_MANIFEST, b"1", artifact_type="x/y")
    two = Descriptor.of(media.OCI_MANIFEST, b"2", artifact_type="z/z+json")
    page = Reply(
        200,
        an_index(one)[1],
        {"Content-Type": media.OCI_INDEX, "Link": f'<{REFERRERS}?p=2>; rel="next"'},
    )
    last = Reply(200, an_index(two)[1], {"Content-Type": media.OCI_INDEX})
    steps = [
        Step("GET", f"{REFERRERS}?artifactType=z%2Fz%2Bjson", page),
        Step("GET", f"{REFERRERS}?p=2", last),
    ]
    async with Scripted(steps) as registry, client(registry) as c:
        assert await c.repository(REPO(registry)).referrers(IMAGE.digest, "z/z+json") == [two]


async def test_a_tag_the_registry_cannot_delete_is_not_deleted_by_digest():
    steps = [Step("DELETE", "/v2/a/b/manifests/v1", refusal(405, "UNSUPPORTED"))]
    async with Scripted(steps) as registry, client(registry) as c:
        with pytest.raises(RegistryError) as e:
            await c.repository(REPO(registry)).delete("v1")
    assert "single tag" in e.value.remedy


async def test_a_manifest_that_lacks_its_blobs_keeps_the_registrys_code():
    desc, body = an_index()
    steps = [Step("PUT", f"/v2/a/b/manifests/{desc.digest}", refusal(404, "MANIFEST_BLOB_UNKNOWN"))]
    async with Scripted(steps) as registry, client(registry) as c:
        with pytest.raises(RegistryError) as e:
            await c.repository(REPO(registry)).put(desc, BytesBody(body))
    assert e.value.registry_code == "MANIFEST_BLOB_UNKNOWN"


async def test_a_copy_whose_token_expires_between_blobs_arrives_whole():
    tokens = Tokens()
    store = MemoryStore()
    layers = [blob(bytes([n]) * 300_000) for n in range(3)]
    for n, layer in enumerate(layers):
        await store.put(layer, BytesBody(bytes([n]) * 300_000))
    config = Descriptor.of(media.OCI_CONFIG, b"{}")
    await store.put(config, BytesBody(b"{}"))
    image = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": media.OCI_MANIFEST,
            "config": config.to_json(),
            "layers": [d.to_json() for d in layers],
        }
    ).encode()
    top = Descriptor.of(media.OCI_MANIFEST, image)
    await store.put(top, BytesBody(image))
    await store.tag(top, "v1")
    received = set()

    def commit(seen: Seen) -> Reply:
        received.add(seen.query["digest"][0])
        tokens.good = set()  # every commit is the token's last deed
        return Reply(201)

    rules = [
        Step("HEAD", r"/v2/a/b/.*", tokens.guarded(Reply(404)), pattern=True),
        Step("GET", "/v2/a/b/referrers/.*", Reply(404), pattern=True),
        Step("POST", UPLOADS, tokens.guarded(BEGUN)),
        Step("PATCH", HERE, tokens.guarded(Reply(202, headers={"Location": HERE}))),
        Step("GET", HERE, tokens.guarded(Reply(404))),
        Step("PUT", HERE, tokens.guarded(commit)),
        Step("PUT", r"/v2/a/b/manifests/.*", tokens.guarded(Reply(201)), pattern=True),
    ]
    async with token_registry(rules, tokens, retries=10) as (registry, c):
        assert await copy(store, "v1", c.repository(REPO(registry)), jobs=1) == top
    assert received == {str(d.digest) for d in [config, *layers]}
    assert tokens.issued >= 4


async def test_errors_never_show_secrets_of_a_url():
    begun = Reply(202, headers={"Location": f"{HERE}?sig=topsecret"})
    rules = [
        Step("POST", UPLOADS, begun),
        Step("PUT", HERE, refusal(400, "X")),
        Step("DELETE", HERE),
    ]
    async with Scripted(rules, ordered=False) as registry, client(registry) as c:
        with pytest.raises(ArgosyError) as e:
            await pushed(registry, c, SMALL, BytesBody(b"small"))
    assert "topsecret" not in json.dumps(e.value.to_json())


async def test_wrong_credentials_are_told_without_retries():
    events = []
    rules = [Step("POST", UPLOADS, refusal(401, "UNAUTHORIZED", www_authenticate="Basic realm=x"))]
    async with Scripted(rules, ordered=False) as registry:
        async with client(registry, user="ann", report=events.append) as c:
            with pytest.raises(Unauthorized):
                await pushed(registry, c)
    assert events == []
