"""A bucket: what a real service does, what a failing one does, and what is said about it."""

import asyncio
import logging
import os
import ssl
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from argosy.errors import ArgosyError, ConfigError, NetworkError, StorageUnavailable
from argosy.meters import declared as meters
from argosy.stores.s3 import bucket as module
from argosy.stores.s3 import failures
from argosy.stores.s3.bucket import Bucket, open_bucket
from argosy.stores.s3.documents import completion, parse
from argosy.stores.s3.failures import Missing, Refused
from argosy.stores.s3.options import S3Options
from tests.peers import free_port, run
from tests.seaweed import BUCKET, DOMAIN, SECRET, FaultProxy, Seaweed

BODY = os.urandom(300_000)


@pytest.fixture(autouse=True)
def _in_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_FIRST_PAUSE", 0.001)
    monkeypatch.setattr(module, "_LONGEST_PAUSE", 0.01)


@asynccontextmanager
async def opened(options: S3Options) -> AsyncIterator[Bucket]:
    bucket = await open_bucket(options)
    try:
        yield bucket
    finally:
        await bucket.close()


async def read(bucket: Bucket, key: str, start: int = 0) -> bytes:
    async with bucket.get(key, start) as pieces:
        return b"".join([piece async for piece in pieces])


@pytest.mark.parametrize("prefix", ["plain/", "a b+c~é!*'()&=/", ""])
async def test_objects_come_back_whatever_their_keys_have_in_them(
    seaweed: Seaweed, prefix: str
) -> None:
    async with opened(seaweed.options(prefix=prefix)) as bucket:
        await bucket.check()
        await bucket.put("d/k", BODY)
        assert await bucket.size("d/k") == len(BODY)
        assert await read(bucket, "d/k") == BODY
        assert await read(bucket, "d/k", 299_990) == BODY[-10:]
        assert "d/k" in [key async for key in bucket.objects("d/")]
        link = bucket.link("d/k")
        assert link is not None
        got = await asyncio.to_thread(lambda: urllib.request.urlopen(link).read())
        assert got == BODY
        await bucket.delete("d/k")
        await bucket.delete("d/k")
        with pytest.raises(Missing):
            await bucket.size("d/k")
        with pytest.raises(Missing):
            await read(bucket, "d/k")


async def test_a_bucket_in_the_host_name_is_as_good_as_one_in_the_path(
    seaweed: Seaweed, s3_faults: FaultProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "Trust", partial(module.Trust, proxy=s3_faults.endpoint))
    options = seaweed.options(endpoint=f"http://{DOMAIN}", path_style=False)
    async with opened(options) as bucket:
        await bucket.check()
        await bucket.put("d/é k+", BODY)
        assert await bucket.size("d/é k+") == len(BODY)
        assert await read(bucket, "d/é k+", 299_990) == BODY[-10:]
        upload = await bucket.begin_parts("parts")
        assert [found.key for found in [b async for b in bucket.begun()]] == ["parts"]
        etag = await bucket.put_part("parts", upload, 1, BODY)
        await bucket.join_parts("parts", upload, [(1, etag)])
        assert [key async for key in bucket.objects()] == ["d/é k+", "parts"]
        link = bucket.link("d/é k+")
        assert link is not None
        by_proxy = urllib.request.ProxyHandler({"http": s3_faults.endpoint})
        get = urllib.request.build_opener(by_proxy).open
        assert await asyncio.to_thread(lambda: get(link).read()) == BODY
    assert {f"host: {BUCKET}.{DOMAIN}"} == {
        line.lower()
        for head in s3_faults.heads
        for line in head.split("\r\n")
        if line[:5] in ("host:", "Host:")
    }


async def test_listings_go_on_over_pages(seaweed: Seaweed) -> None:
    async with opened(seaweed.options()) as bucket:
        names = [f"k{number:04}" for number in range(1010)]
        for start in range(0, len(names), 101):
            await asyncio.gather(*(bucket.put(n, b"") for n in names[start : start + 101]))
        assert [key async for key in bucket.objects()] == names


async def test_parts_make_an_object_and_what_was_dropped_is_gone(seaweed: Seaweed) -> None:
    async with opened(seaweed.options()) as bucket:
        first, last = os.urandom(5 << 20), b"last"
        upload = await bucket.begin_parts("joined")
        dropped = await bucket.begin_parts("dropped")
        assert await bucket.highest_part("joined", upload) == 0
        etags = [(2, await bucket.put_part("joined", upload, 2, first))]
        await bucket.put_part("joined", upload, 3, b"not listed, so not wanted")
        etags.append((9, await bucket.put_part("joined", upload, 9, last)))
        assert await bucket.highest_part("joined", upload) == 9
        assert {found.id for found in [b async for b in bucket.begun()]} == {upload, dropped}
        await bucket.drop_parts("dropped", dropped)
        await bucket.drop_parts("dropped", dropped)
        await bucket.join_parts("joined", upload, etags)
        assert await read(bucket, "joined") == first + last
        assert not [b async for b in bucket.begun()]
        with pytest.raises(Missing) as caught:
            await bucket.put_part("joined", upload, 10, b"late")
        assert caught.value.evidence["s3_code"] == "NoSuchUpload"


@pytest.mark.parametrize("fault", ["503", "500", "cut", "lose"])
async def test_what_fails_for_a_while_is_tried_again(
    seaweed: Seaweed, s3_faults: FaultProxy, fault: str
) -> None:
    async with opened(seaweed.options(endpoint=s3_faults.endpoint)) as bucket:
        left = 3

        def fails(_method: str, _target: str) -> str:
            nonlocal left
            left -= 1
            return fault if left >= 0 else ""

        s3_faults.fault = fails
        retried = sum(cell[0] for cell in meters.S3_RETRIES.read().values())
        await bucket.put("k", BODY)
        assert len(s3_faults.seen) == 4
        assert sum(cell[0] for cell in meters.S3_RETRIES.read().values()) == retried + 3
        left = 3
        assert await read(bucket, "k") == BODY


async def test_a_download_that_breaks_off_goes_on_where_it_was(
    seaweed: Seaweed, s3_faults: FaultProxy
) -> None:
    async with opened(seaweed.options(endpoint=s3_faults.endpoint)) as bucket:
        await bucket.put("k", BODY)
        s3_faults.seen.clear()
        s3_faults.fault = lambda _m, _t: "half" if len(s3_faults.seen) < 4 else ""
        assert await read(bucket, "k", 1) == BODY[1:]
        assert len(s3_faults.seen) == 4


async def test_a_download_that_always_breaks_off_fails_in_the_end(
    seaweed: Seaweed, s3_faults: FaultProxy
) -> None:
    async with opened(seaweed.options(endpoint=s3_faults.endpoint, retries=2)) as bucket:
        await bucket.put("k", BODY)
        s3_faults.fault = lambda method, _t: "cut" if len(s3_faults.seen) > 2 else "half"
        with pytest.raises(StorageUnavailable):
            await read(bucket, "k")


async def test_a_service_that_keeps_asking_to_slow_down_is_unavailable(
    seaweed: Seaweed, s3_faults: FaultProxy
) -> None:
    s3_faults.fault = lambda _m, _t: "503"
    options = seaweed.options(endpoint=s3_faults.endpoint, retries=2)
    async with opened(options) as bucket:
        with pytest.raises(StorageUnavailable) as caught:
            await bucket.put("k", BODY)
    assert len(s3_faults.seen) == 3
    found = caught.value
    assert "SlowDown" in found.why
    assert found.remedy
    assert found.evidence["operation"] == "PutObject"
    assert (found.evidence["bucket"], found.evidence["key"]) == (options.bucket, "k")


async def test_a_service_that_is_not_there_is_unavailable(seaweed: Seaweed) -> None:
    options = seaweed.options(endpoint=f"http://127.0.0.1:{free_port()}", retries=1)
    async with opened(options) as bucket:
        with pytest.raises(StorageUnavailable) as caught:
            await bucket.size("k")
    assert "storage.s3.endpoint" in caught.value.remedy


@pytest.mark.parametrize(
    ("change", "code", "word"),
    [
        ({"bucket": "nobodys"}, "NoSuchBucket", "storage.s3.bucket"),
        ({"access_key": "unknown"}, "InvalidAccessKeyId", "storage.s3.access_key"),
        ({"secret_key": "wrong"}, "SignatureDoesNotMatch", "storage.s3.secret_key"),
    ],
)
async def test_a_wrong_setting_is_named_and_no_secret_told(
    seaweed: Seaweed,
    change: dict[str, str],
    code: str,
    word: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    async with opened(seaweed.options(**change)) as bucket:
        with pytest.raises(Refused) as caught:
            await bucket.check()
    found = caught.value
    assert found.evidence["s3_code"] == code
    assert word in found.remedy
    told = f"{found!r} {found.to_json()} {caplog.text}"
    assert SECRET not in told
    assert "wrong" not in told


async def test_over_tls_the_service_needs_a_certificate_that_is_trusted(
    seaweed: Seaweed, tmp_path: Path
) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "ca.pem"
    words = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=s3"]
    words += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key)]
    # An authority whose certificate is also the server's is refused by rustls.
    words += ["-addext", "basicConstraints=critical,CA:FALSE", "-out", str(certificate)]
    run("openssl", *words)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    proxy = FaultProxy(seaweed.port, tls=context)
    try:
        options = seaweed.options(endpoint=proxy.endpoint, retries=0)
        async with opened(options) as bucket:
            with pytest.raises(StorageUnavailable) as caught:
                await bucket.check()
            assert "storage.s3.ca" in caught.value.remedy
        async with opened(replace(options, ca=str(certificate))) as bucket:
            await bucket.put("k", BODY)
            assert await read(bucket, "k") == BODY
        # TLS keeps the body whole, so it is not hashed once more.
        assert "UNSIGNED-PAYLOAD" in "".join(proxy.heads)
    finally:
        proxy.close()


def said(status: int, body: bytes = b"") -> ArgosyError:
    return failures.failure("do it", failures.Answer(status, body), {"bucket": "b", "key": "k"})


def test_neither_bucket_nor_key_are_in_the_words_that_clients_may_see() -> None:
    for status in (301, 403, 404, 409, 500, 503, 507):
        found = said(status, b"<Error><Code>Whatever</Code></Error>")
        assert "b" not in found.summary.split()
        assert found.evidence["key"] == "k"
        assert found.evidence["s3_code"] == "Whatever"


@settings(deadline=None)
@given(status=st.integers(300, 599), body=st.binary())
def test_whatever_is_answered_is_an_error_with_a_remedy(status: int, body: bytes) -> None:
    found = said(status, body)
    assert found.summary
    assert found.why
    assert found.remedy or isinstance(found, Missing)


@settings(deadline=None)
@given(st.binary())
def test_what_is_no_xml_is_refused_in_our_words(data: bytes) -> None:
    try:
        parse(data)
    except NetworkError as e:
        assert e.remedy  # noqa: PT017 - whatever is no XML


@pytest.mark.parametrize(
    "data",
    [
        b'<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;">]><x>&b;</x>',
        b'<!DOCTYPE x [<!ENTITY f SYSTEM "file:///etc/passwd">]><x>&f;</x>',
        b'<!DOCTYPE x SYSTEM "http://127.0.0.1/x.dtd"><x/>',
        b"<x>" * 50 + b"</x>" * 50,
    ],
)
def test_xml_that_is_made_to_hurt_is_refused(data: bytes) -> None:
    with pytest.raises(NetworkError):
        parse(data)


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(1, 10_000), st.text(alphabet='abc"<>&-')), max_size=5))
def test_a_completion_says_which_parts(parts: list[tuple[int, str]]) -> None:
    found = parse(completion(parts)).all("Part")
    assert [(int(p.get("PartNumber")), p.get("ETag")) for p in found] == parts


@pytest.mark.parametrize(
    "options",
    [
        S3Options(bucket=""),
        S3Options(bucket="b", endpoint="localhost:8333"),
        S3Options(bucket="b", redirect_endpoint="ftp://x"),
        S3Options(bucket="b", part_size=1 << 20),
        S3Options(bucket="b", ca="/does/not/exist.pem"),
    ],
)
async def test_settings_that_cannot_work_are_refused(options: S3Options) -> None:
    with pytest.raises(ConfigError) as caught:
        await open_bucket(options)
    assert caught.value.remedy
