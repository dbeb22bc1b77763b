"""Where the key of a bucket comes from: every source over real HTTP, and what becomes of keys that end."""

import asyncio
import json
import logging
import math
import os
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import cast
from urllib.parse import parse_qs, parse_qsl, urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from argosy.catalog.registry.uploads import UploadRows
from argosy.errors import ArgosyError, ConfigError, StorageUnavailable
from argosy.meters import declared as meters
from argosy.server.v2.errors import answer
from argosy.settings import Settings
from argosy.stores.remote.transport import Transport, Trust
from argosy.stores.s3.bucket import Bucket
from argosy.stores.s3.credentials.asking import Said, key_in
from argosy.stores.s3.credentials.container import allowed
from argosy.stores.s3.credentials.keeping import KeyKeeper, chain, open_keys
from argosy.stores.s3.credentials.sources import Key
from argosy.stores.s3.credentials.web_identity import WebIdentity, endpoint
from argosy.stores.s3.failures import Refused
from argosy.stores.s3.options import S3Options
from argosy.stores.s3.signing import Credentials
from argosy.stores.s3.storage import open_s3
from tests.keyservices import IMDS_TOKEN, ROLE, KeyServices, fault
from tests.peers import free_port
from tests.seaweed import ACCESS, SECRET, FaultProxy, Seaweed

NOWHERE = {
    "AWS_SHARED_CREDENTIALS_FILE": "/nowhere/credentials",
    "AWS_EC2_METADATA_DISABLED": "true",
}
JWT = "eyJ.web-identity.sig"
SECRETS = ("secret-", "session-", JWT, IMDS_TOKEN, "pod-token")


@pytest.fixture
def services() -> Iterator[KeyServices]:
    found = KeyServices()
    try:
        yield found
    finally:
        found.close()


class Hand:
    """A clock that only moves by hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@asynccontextmanager
async def keeper(
    env: dict[str, str],
    given_key: Credentials | None = None,
    clock: Callable[[], float] | None = None,
) -> AsyncIterator[KeyKeeper]:
    transport = Transport(Settings(), lambda _url: Trust())
    try:
        if clock is None:
            yield open_keys(given_key or Credentials(), transport, "eu-west-1", env)
        else:
            yield KeyKeeper(None, chain(env, transport, "eu-west-1"), clock)
    finally:
        await transport.close()


def shared(
    folder: Path, text: str = "aws_access_key_id = F\naws_secret_access_key = s%t\n"
) -> Path:
    file = folder / "credentials"
    file.write_text(f"[default]\n{text}")
    return file


def by_role(services: KeyServices, folder: Path) -> dict[str, str]:
    file = folder / "jwt"
    file.write_text(f"{JWT}\n")
    return {
        **NOWHERE,
        "AWS_WEB_IDENTITY_TOKEN_FILE": str(file),
        "AWS_ROLE_ARN": "arn:aws:iam::1:role/registry",
        "AWS_ENDPOINT_URL_STS": services.url,
    }


def by_agent(services: KeyServices) -> dict[str, str]:
    return {**NOWHERE, "AWS_CONTAINER_CREDENTIALS_FULL_URI": f"{services.url}/v1/credentials"}


def by_instance(services: KeyServices) -> dict[str, str]:
    return {
        "AWS_SHARED_CREDENTIALS_FILE": "/nowhere/credentials",
        "AWS_EC2_METADATA_SERVICE_ENDPOINT": services.url,
    }


# The order, and what is said when there is nothing.


async def test_the_first_source_of_the_sdks_order_that_is_set_up_gives_the_key(
    services: KeyServices, tmp_path: Path
) -> None:
    everything = {
        **by_instance(services),
        **by_agent(services),
        "AWS_SHARED_CREDENTIALS_FILE": str(shared(tmp_path)),
        **{k: v for k, v in by_role(services, tmp_path).items() if k not in NOWHERE},
        "AWS_ACCESS_KEY_ID": "E",
        "AWS_SECRET_ACCESS_KEY": "s",
        "AWS_SESSION_TOKEN": "t",
        "AWS_EC2_METADATA_DISABLED": "false",
    }
    found: list[tuple[str, str]] = []
    chosen = Credentials(access_key="G", secret_key="s")
    for gone in (
        "",
        "given",
        "AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY AWS_SESSION_TOKEN",
        "AWS_WEB_IDENTITY_TOKEN_FILE AWS_ROLE_ARN",
        "AWS_SHARED_CREDENTIALS_FILE",
        "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    ):
        if gone == "given":
            chosen = Credentials()
        for name in gone.split():
            everything.pop(name, None)
        everything.setdefault("AWS_SHARED_CREDENTIALS_FILE", "/nowhere/credentials")
        async with keeper(everything, chosen) as keys:
            asked = len(services.seen)
            will = await keys.foreseen()
            assert len(services.seen) == asked
            key = await keys.now()
            found.append((key.access_key, will))
    assert [key for key, _ in found] == ["G", "E", "AKID1", "F", "AKID2", "AKID3"]
    words = ["storage.s3.access_key", "AWS_ACCESS_KEY_ID", "role/registry", "credentials [default]"]
    words += ["container's credentials (127.0.0.1)", "EC2 instance's role"]
    for (_, will), word in zip(found, words, strict=True):
        assert word in will


async def test_without_a_key_it_is_said_what_was_looked_at_and_why_it_had_none() -> None:
    env = {**NOWHERE, "AWS_EC2_METADATA_DISABLED": "false"}
    env["AWS_EC2_METADATA_SERVICE_ENDPOINT"] = f"http://127.0.0.1:{free_port()}"
    async with keeper(env) as keys:
        with pytest.raises(ConfigError) as caught:
            await keys.now()
    looked = caught.value.why.split("; ")
    assert [part.partition(":")[0] for part in looked[:2]] == ["the settings", "the environment"]
    assert "AWS_WEB_IDENTITY_TOKEN_FILE is not set" in looked[2]
    assert "no such file" in looked[3]
    assert "AWS_CONTAINER_CREDENTIALS_FULL_URI" in looked[4]
    assert "EC2" in looked[5]
    assert "connect" in looked[5].lower() or "refused" in looked[5].lower()
    assert "storage.s3.access_key" in caught.value.remedy
    async with keeper(NOWHERE) as keys:
        with pytest.raises(ConfigError, match="no key"):
            await keys.foreseen()


@pytest.mark.parametrize(
    ("env", "word"),
    [
        ({"AWS_ACCESS_KEY_ID": "half"}, "AWS_SECRET_ACCESS_KEY is not"),
        ({"AWS_SECRET_ACCESS_KEY": "half"}, "AWS_ACCESS_KEY_ID is not"),
        ({"AWS_WEB_IDENTITY_TOKEN_FILE": "/t"}, "AWS_ROLE_ARN is not"),
        ({"AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://example.com/k"}, "in the clear"),
        ({"AWS_PROFILE": "prod"}, "no such file"),
    ],
)
async def test_what_is_half_set_up_is_an_error_and_not_somebody_elses_key(
    services: KeyServices, env: dict[str, str], word: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        async with keeper({**by_instance(services), **env}) as keys:
            await keys.now()
    assert word in caught.value.why
    assert caught.value.remedy
    assert services.given == 0


def test_half_a_key_in_the_settings_is_an_error() -> None:
    with pytest.raises(ConfigError) as caught:
        Bucket(S3Options(bucket="b", access_key="a"))
    assert "storage.s3.secret_key is not" in caught.value.why


@pytest.mark.parametrize("text", ["hidden-secret\n", "[x\ny"])
async def test_a_file_that_cannot_be_read_is_named_and_nothing_of_it_told(
    tmp_path: Path, text: str
) -> None:
    env = {**NOWHERE, "AWS_SHARED_CREDENTIALS_FILE": str(shared(tmp_path, text))}
    async with keeper(env) as keys:
        with pytest.raises(ConfigError) as caught:
            await keys.now()
    assert str(tmp_path) in caught.value.summary
    assert "hidden-secret" not in str(caught.value.to_json())


async def test_a_key_that_others_renew_in_the_file_is_read_again(tmp_path: Path) -> None:
    env, clock = {**NOWHERE, "AWS_SHARED_CREDENTIALS_FILE": str(shared(tmp_path))}, Hand()
    async with keeper(env, clock=clock) as keys, asyncio.TaskGroup() as group:
        job = group.create_task(keys.keep())
        old = await keys.now()
        assert old.secret_key == "s%t"
        shared(
            tmp_path, "aws_access_key_id = N\naws_secret_access_key = s\naws_session_token = t\n"
        )
        clock.now += 2
        assert await keys.another(old)  # the object store says that it ended
        assert (await keys.now()).access_key == "N"
        os.remove(tmp_path / "credentials")
        clock.now += 60
        assert not await keys.another(await keys.now())
        assert (await keys.now()).access_key == "N"
        job.cancel()


# The services.


async def test_a_web_identity_is_exchanged_at_sts_and_its_token_read_each_time(
    services: KeyServices, tmp_path: Path
) -> None:
    env, clock = by_role(services, tmp_path), Hand()
    env["AWS_ROLE_SESSION_NAME"] = "node-1"
    async with keeper(env, clock=clock) as keys:
        found = await keys.now()
        (tmp_path / "jwt").write_text("another.jwt")
        clock.now += 3600
        assert (await keys.now()).access_key == "AKID2"
    assert (found.access_key, found.secret_key) == ("AKID1", "secret-1")
    assert found.session_token == "session-1"
    forms = [parse_qs(sent) for _, _, _, sent in services.seen]
    assert [form["WebIdentityToken"] for form in forms] == [[JWT], ["another.jwt"]]
    assert forms[0]["RoleSessionName"] == ["node-1"]
    assert JWT not in "".join(path for _, path, _, _ in services.seen)


@pytest.mark.parametrize(
    ("env", "region", "url"),
    [
        ({}, "eu-west-1", "https://sts.eu-west-1.amazonaws.com/"),
        ({}, "cn-north-1", "https://sts.cn-north-1.amazonaws.com.cn/"),
        ({"AWS_REGION": "us-west-2"}, "eu-west-1", "https://sts.us-west-2.amazonaws.com/"),
        ({"AWS_STS_REGIONAL_ENDPOINTS": "legacy"}, "eu-west-1", "https://sts.amazonaws.com/"),
        (
            {"AWS_STS_REGIONAL_ENDPOINTS": "legacy"},
            "eu-south-2",
            "https://sts.eu-south-2.amazonaws.com/",
        ),
        ({"AWS_ENDPOINT_URL_STS": "http://sts", "AWS_ENDPOINT_URL": "http://x"}, "r", "http://sts"),
        ({"AWS_ENDPOINT_URL": "http://minio"}, "r", "http://minio"),
        (
            {"AWS_ENDPOINT_URL_STS": "http://sts", "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "true"},
            "r",
            "https://sts.r.amazonaws.com/",
        ),
    ],
)
def test_sts_is_asked_in_the_region_or_where_it_is_said_to_be(
    env: dict[str, str], region: str, url: str
) -> None:
    assert endpoint(env, region) == url


async def test_the_agent_of_a_container_is_asked_with_the_token_as_it_is_now(
    services: KeyServices, tmp_path: Path
) -> None:
    file, clock = tmp_path / "token", Hand()
    file.write_text("pod-token-1\n")
    env = {**by_agent(services), "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": str(file)}
    env["AWS_CONTAINER_AUTHORIZATION_TOKEN"] = "pod-token-of-the-variable"
    async with keeper(env, clock=clock) as keys:
        await keys.now()
        file.write_text("pod-token-2")
        clock.now += 3600
        await keys.now()
    assert [h["authorization"] for _, _, h, _ in services.seen] == ["pod-token-1", "pod-token-2"]
    env.pop("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE")
    async with keeper(env) as keys:
        await keys.now()
    assert services.seen[-1][2]["authorization"] == "pod-token-of-the-variable"


async def test_a_relative_address_is_one_at_the_agent_of_ecs() -> None:
    env = {**NOWHERE, "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI": "/v2/credentials/hidden-id"}
    async with keeper({**env, "AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://evil/"}) as keys:
        assert await keys.foreseen() == "the container's credentials (169.254.170.2)"


@pytest.mark.parametrize(
    ("url", "good"),
    [
        ("https://example.com/k", True),
        ("http://localhost:1/k", True),
        ("http://127.9.9.9/k", True),
        ("http://[::1]:80/k", True),
        ("http://169.254.170.2/k", True),
        ("http://169.254.170.23/v1/credentials", True),
        ("http://[fd00:ec2::23]/v1/credentials", True),
        ("http://example.com/k", False),
        ("http://169.254.169.254/k", False),
        ("http://localhost.example.com/k", False),
        ("http://127.0.0.1@example.com/k", False),
        ("http://example.com\\@127.0.0.1/k", False),
        ("http://127.0.0.1 .example.com/k", False),
        ("ftp://127.0.0.1/k", False),
        ("http://[::1/k", False),
        ("/k", False),
    ],
)
def test_a_key_is_only_asked_for_over_tls_or_where_nobody_else_listens(
    url: str, good: bool
) -> None:
    assert allowed(url) is good


async def test_an_instance_is_asked_with_a_session_token_and_never_without(
    services: KeyServices,
) -> None:
    async with keeper(by_instance(services)) as keys:
        assert (await keys.now()).session_token == "session-1"
        assert keys.origin == f"the EC2 instance's role {ROLE}"
    assert [(method, path.rpartition("/")[2]) for method, path, _, _ in services.seen] == [
        ("PUT", "token"),
        ("GET", ""),
        ("GET", ROLE),
    ]
    services.seen.clear()
    for refusal in (403, 404, 405, 500):  # version 2 is off, or this is something else
        services.instead = lambda m, _p, status=refusal: (status, "") if m == "PUT" else None
        async with keeper(by_instance(services)) as keys:
            with pytest.raises(ConfigError, match="no key"):
                await keys.now()
    assert {method for method, _, _, _ in services.seen} == {"PUT"}


async def test_an_instance_without_a_role_and_a_hop_too_many_are_told(
    services: KeyServices, monkeypatch: pytest.MonkeyPatch
) -> None:
    services.instead = lambda _m, path: (404, "") if path.endswith("credentials/") else None
    async with keeper(by_instance(services)) as keys:
        with pytest.raises(ConfigError) as caught:
            await keys.now()
    assert "no role is attached" in caught.value.why
    monkeypatch.setattr("argosy.stores.s3.credentials.instance._PATIENCE", 0.05)
    services.gate.clear()
    async with keeper(by_instance(services)) as keys:
        with pytest.raises(ConfigError) as caught:
            await keys.now()
    assert "hop limit" in caught.value.why


@pytest.mark.parametrize(
    "case",
    [
        ((403, fault("AccessDenied", f"not with {JWT}")), Refused, "HTTP 403: AccessDenied"),
        ((400, fault("ExpiredTokenException", "expired")), Refused, "ExpiredTokenException"),
        ((503, "busy"), StorageUnavailable, "HTTP 503"),
        ((200, "<html>"), StorageUnavailable, ""),
        ((200, "<a/>"), StorageUnavailable, "no key in its answer"),
        ((302, ""), Refused, "HTTP 302"),
    ],
)
async def test_what_sts_says_is_told_but_no_token(
    services: KeyServices,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    case: tuple[tuple[int, str], type[ArgosyError], str],
) -> None:
    caplog.set_level(logging.DEBUG)
    reply, kind, words = case
    services.instead = lambda _m, _p: reply
    async with keeper(by_role(services, tmp_path)) as keys:
        with pytest.raises(kind) as caught:
            await keys.now()
        told = f"{keys!r} {caught.value!r} {caught.value.to_json()} {caplog.text}"
    assert words in caught.value.why
    assert "role/registry" in caught.value.why
    assert "role" not in caught.value.summary
    assert not [secret for secret in SECRETS if secret in told]


# What becomes of keys that end.


async def test_many_who_wait_cause_one_request(services: KeyServices) -> None:
    services.gate.clear()
    async with keeper(by_agent(services)) as keys, asyncio.TaskGroup() as group:
        waiting = [group.create_task(keys.now()) for _ in range(50)]
        while not services.seen:
            await asyncio.sleep(0.001)
        services.gate.set()
        assert set(await asyncio.gather(*waiting)) == {keys.at_hand}
    assert len(services.seen) == 1


async def test_many_who_wait_for_a_source_that_is_away_cause_one_request(
    services: KeyServices,
) -> None:
    services.instead = lambda _m, _p: (500, "")
    async with keeper(by_agent(services), clock=Hand()) as keys:
        found = await asyncio.gather(*(keys.now() for _ in range(50)), return_exceptions=True)
    assert {type(e) for e in found} == {StorageUnavailable}
    assert len(services.seen) == 1


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not true():
            await asyncio.sleep(0.002)


async def test_a_key_is_renewed_ahead_of_its_end_and_the_old_one_used_while_the_source_is_away(
    services: KeyServices, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("argosy.stores.s3.credentials.keeping._NAP", 0.005)
    clock = Hand()
    async with keeper(by_agent(services), clock=clock) as keys, asyncio.TaskGroup() as group:
        job = group.create_task(keys.keep())
        await until(lambda: keys.at_hand is not None)
        clock.now += 2400  # renewed 900 s before its end, or a little earlier
        assert keys.at_hand is not None
        clock.now += 300
        await until(lambda: services.given == 2)
        await until(lambda: keys.at_hand is not None and keys.at_hand.access_key == "AKID2")
        services.instead = lambda _m, _p: (500, "")
        clock.now += 2750
        await until(lambda: "HTTP 500" in caplog.text)
        assert meters.S3_REQUESTS.read()["GetKey", "error"][0] >= 1  # an alert stands on this
        assert (await keys.now()).access_key == "AKID2"  # it lives for 840 s more
        assert 800 < keys.left < 850
        clock.now += 845
        assert keys.at_hand is None
        with pytest.raises(StorageUnavailable) as caught:
            await keys.now()
        assert "has ended" in caught.value.summary
        assert "HTTP 500" in caught.value.why
        services.instead = lambda _m, _p: None
        await until(lambda: clock.now > 0 and bool(step(clock)) and keys.at_hand is not None)
        assert "renewed again" in caplog.text
        job.cancel()
    assert not [secret for secret in SECRETS if secret in caplog.text]


def step(clock: Hand) -> float:
    clock.now += 1
    return clock.now


@pytest.mark.parametrize("skew", [-7200.0, 7200.0])
async def test_the_end_of_a_key_does_not_depend_on_what_time_this_machine_has(
    services: KeyServices, skew: float
) -> None:
    services.skew = skew
    async with keeper(by_agent(services)) as keys:
        await keys.now()
        assert 3580 < keys.left < 3592


@pytest.mark.parametrize("lifetime", [-60.0, 0.0, 8.0])
async def test_a_key_that_has_ended_or_is_about_to_is_never_used(
    services: KeyServices, lifetime: float
) -> None:
    services.lifetime = lifetime
    async with keeper(by_agent(services)) as keys:
        with pytest.raises(StorageUnavailable) as caught:
            await keys.now()
        assert keys.at_hand is None
    assert "has ended" in caught.value.why


class Given:
    """A source that gives what it is told to."""

    name, sure = "the test", True

    def __init__(self, *keys: Key) -> None:
        self.keys = list(keys)

    def lacks(self) -> str:
        return ""

    async def fetch(self) -> Key:
        return self.keys.pop(0)


def real(lifetime: float = math.inf, **change: str) -> Key:
    credentials = replace(Credentials(access_key=ACCESS, secret_key=SECRET), **change)
    return Key(credentials=credentials, origin="the test", lifetime=lifetime)


def with_keys(monkeypatch: pytest.MonkeyPatch, keys: KeyKeeper, options: S3Options) -> Bucket:
    monkeypatch.setattr("argosy.stores.s3.bucket.open_keys", lambda *_: keys)
    return Bucket(options)


async def test_no_url_outlives_the_key_that_signed_it(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Hand()
    keys = KeyKeeper(None, [Given(real(1810.0))], clock)
    bucket = with_keys(monkeypatch, keys, S3Options(bucket="b", redirect_ttl=1200))

    def seconds() -> int:
        query = dict(parse_qsl(urlsplit(bucket.link("k") or "").query))
        return int(query.get("X-Amz-Expires", 0))

    assert bucket.link("k") is None  # there is no key yet
    await keys.now()
    assert seconds() == 1200
    clock.now += 1000
    assert seconds() == 800
    clock.now += 750
    assert bucket.link("k") is None  # too short to be of use: the bytes go through the server
    await bucket.close()


async def test_a_key_that_the_object_store_no_longer_takes_is_renewed_and_the_request_sent_again(
    seaweed: Seaweed, s3_faults: FaultProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Hand()
    keys = KeyKeeper(None, [Given(real(access_key="revoked"), real(), real())], clock)
    options = seaweed.options(endpoint=s3_faults.endpoint, access_key="", secret_key="")
    bucket = with_keys(monkeypatch, keys, options)
    try:
        with pytest.raises(
            Refused
        ):  # a young key is believed in: sources are not asked again and again
            await bucket.put("k", b"x")
        assert len(s3_faults.seen) == 1
        clock.now += 5
        await bucket.put("k", b"x")
        assert len(s3_faults.seen) == 3
    finally:
        await bucket.close()


async def test_what_is_wrong_with_the_source_is_for_the_log_and_not_for_clients(
    services: KeyServices, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    env = by_role(services, tmp_path)
    env["AWS_WEB_IDENTITY_TOKEN_FILE"] = str(tmp_path / "gone")
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("AWS_ACCESS_KEY_ID", raising=False)
    bucket = Bucket(S3Options(bucket="b"))
    with pytest.raises(StorageUnavailable) as caught:
        await bucket.size("k")
    said = answer(caught.value, "NAME_UNKNOWN")
    assert said.status == 503
    assert "arn:" in str(caught.value.evidence)
    assert not [word for word in ("arn:", str(tmp_path), "gone") if word in str(said.body)]
    with pytest.raises(StorageUnavailable) as caught:  # who starts it is told
        await bucket.check()
    assert "gone" in caught.value.why
    await bucket.close()


async def test_a_registrys_storage_works_by_the_key_of_its_role_and_keeps_it_good(
    seaweed: Seaweed, services: KeyServices, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in by_agent(services).items():
        monkeypatch.setenv(name, value)
    services.lifetime = 13.0
    own = {"AccessKeyId": ACCESS, "SecretAccessKey": SECRET, "Token": ""}
    services.instead = lambda _m, _p: (200, services.json(**own))
    ledger = cast("UploadRows", None)  # no upload is begun
    async with open_s3(seaweed.options(access_key="", secret_key=""), ledger, ledger) as storage:
        await storage.bucket.put("k", b"x")
        assert services.given == 1
        await until(lambda: services.given >= 2)  # by itself: nobody asks for anything
        assert storage.bucket.keys.at_hand is not None
        assert storage.bucket.keys.origin == "the container's credentials (127.0.0.1)"


# What services may send.

WORDS = st.text(max_size=20) | st.none() | st.integers()


@settings(deadline=None)
@given(
    st.binary(max_size=200)
    | st.dictionaries(
        st.sampled_from(["AccessKeyId", "SecretAccessKey", "Token", "Expiration", "Code"]), WORDS
    ).map(lambda found: json.dumps(found).encode())
)
def test_whatever_a_service_says_is_a_key_or_an_error_of_ours(body: bytes) -> None:
    try:
        key = key_in(Said(status=200, body=body, at=time.time()), "a test")
    except StorageUnavailable as e:
        assert e.why  # noqa: PT017 - whatever is no key
    else:
        assert key.credentials.usable
        assert key.look < math.inf or key.lifetime < math.inf


@settings(deadline=None)
@given(st.integers(0, 4_000_000_000), st.integers(-100_000, 100_000))
def test_a_lifetime_is_from_the_answers_date_to_the_end_it_says(at: int, life: int) -> None:
    ends = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at + life))
    body = f'{{"AccessKeyId": "a", "SecretAccessKey": "s", "Token": "t", "Expiration": "{ends}"}}'
    assert key_in(Said(status=200, body=body.encode(), at=at), "a test").lifetime == life


def test_what_is_secret_is_in_no_repr(services: KeyServices, tmp_path: Path) -> None:
    body = services.json().encode()
    said = Said(status=200, body=body, at=time.time())
    told = f"{said!r} {key_in(said, 'a test')!r}"
    assert not [secret for secret in SECRETS if secret in told]
    assert WebIdentity({}, Transport(Settings(), lambda _u: Trust()), "r").lacks()
