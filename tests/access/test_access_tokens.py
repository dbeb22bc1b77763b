"""Access tokens: what is not exactly as we make it opens nothing (RFC 8725)."""

import base64
import hashlib
import hmac
import json
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some
from joserfc import jwt
from joserfc.jwk import ECKey, OctKey

from argosy.access.permissions.principal import ANONYMOUS, Principal
from argosy.access.tokens.access_tokens import AccessToken, TokenOptions, Unfit, mint, verify
from argosy.access.tokens.keys import KeyOptions, KeyRing
from argosy.access.tokens.scopes import Granted
from argosy.access.tokens.sealing import Sealer
from argosy.catalog.database import Database, open_database
from argosy.errors import ConfigError

OPTIONS = TokenOptions()
WHO = Principal(name="ada", kind="user", id=7)
PULL = Granted("repository", "team/app", ("pull",))
SECRET = "a secret that is long enough for it"


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    async with open_database(str(tmp_path / "c.db")) as found:
        yield found


@pytest.fixture
async def keys(database: Database) -> KeyRing:
    return await ring(database)


async def ring(database: Database, secret: str = SECRET, **options: float) -> KeyRing:
    made = KeyRing(database, Sealer(secret), KeyOptions(**options))
    await made.load()
    return made


def encoded(value: Any) -> str:
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def decoded(part: str) -> dict[str, Any]:
    return dict(json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))))


def token(keys: KeyRing) -> str:
    return mint(keys, OPTIONS, WHO, [PULL])[0]


def signed(keys: KeyRing, header: dict[str, Any] | None = None, **claims: Any) -> str:
    """A token that our own key signs, with other contents."""
    real = decoded(token(keys).split(".")[1])
    kid = keys.signing().kid
    return jwt.encode(
        {"alg": "ES256", "kid": kid, "typ": "JWT", **(header or {})},
        {**real, **claims},
        keys.signing().key,
        algorithms=["ES256"],
    )


def test_a_token_says_whose_it_is_and_what_for(keys: KeyRing) -> None:
    found = verify(keys, OPTIONS, token(keys))
    assert isinstance(found, AccessToken)
    assert found.principal == WHO
    assert found.allows("repository", "team/app", "pull")
    assert not found.allows("repository", "team/app", "push")
    assert not found.allows("repository", "team/apps", "pull")
    assert time.time() < found.expires <= time.time() + OPTIONS.life


def test_nobody_is_nobody_again(keys: KeyRing) -> None:
    found = verify(keys, OPTIONS, mint(keys, OPTIONS, ANONYMOUS, [])[0])
    assert isinstance(found, AccessToken)
    assert found.principal is ANONYMOUS


@pytest.mark.parametrize("alg", ["none", "None", "NONE", "HS256", "ES384", "RS256", "ES256 "])
@pytest.mark.parametrize("signature", ["", "keep"])
def test_the_algorithm_is_not_the_tokens_to_choose(keys: KeyRing, alg: str, signature: str) -> None:
    header, claims, real = token(keys).split(".")
    forged = encoded({**decoded(header), "alg": alg})
    text = f"{forged}.{claims}.{real if signature else ''}"
    assert isinstance(verify(keys, OPTIONS, text), Unfit)


def test_the_public_key_is_no_secret_to_sign_with(keys: KeyRing) -> None:
    signing = keys.signing()
    public = [
        signing.key.as_pem(private=False),
        signing.key.as_der(private=False),
        json.dumps(signing.public).encode(),
        json.dumps(keys.jwks()["keys"][0], separators=(",", ":")).encode(),
    ]
    claims = token(keys).split(".")[1]
    for secret in public:
        for alg in ("HS256", "ES256"):
            head = encoded({"alg": alg, "kid": signing.kid, "typ": "JWT"})
            mac = hmac.digest(secret, f"{head}.{claims}".encode(), hashlib.sha256)
            assert isinstance(verify(keys, OPTIONS, f"{head}.{claims}.{encoded(mac)}"), Unfit)


def test_a_key_that_the_token_brings_along_is_not_asked(keys: KeyRing) -> None:
    own = ECKey.generate_key("P-256")
    claims = decoded(token(keys).split(".")[1])
    kid = keys.signing().kid
    for more in (
        {"jwk": own.as_dict(private=False)},
        {"jku": "http://127.0.0.1/keys"},
        {"x5u": "http://127.0.0.1/cert"},
    ):
        text = jwt.encode({"alg": "ES256", "kid": kid, "typ": "JWT", **more}, claims, own)
        assert isinstance(verify(keys, OPTIONS, text), Unfit)
    text = jwt.encode({"alg": "ES256", "kid": kid, "typ": "JWT"}, claims, own)
    found = verify(keys, OPTIONS, text)
    assert isinstance(found, Unfit)
    assert found.reason == "its signature is wrong"


def test_a_foreign_key_id_is_told_apart_so_that_it_can_be_looked_for(keys: KeyRing) -> None:
    own = ECKey.generate_key("P-256")
    found = verify(
        keys, OPTIONS, jwt.encode({"alg": "ES256", "kid": "else", "typ": "JWT"}, {}, own)
    )
    assert isinstance(found, Unfit)
    assert found.unknown_key == "else"


@pytest.mark.parametrize(
    "changes",
    [
        {"exp": int(time.time()) - 1},
        {"exp": None},
        {"exp": "9999999999"},
        {"exp": True},
        {"exp": float("1e12")},
        {"nbf": int(time.time()) + 3600},
        {"nbf": None},
        {"aud": "another"},
        {"aud": ["argosy", "another"]},
        {"aud": None},
        {"iss": "another"},
        {"iss": None},
        {"sub": 7},
        {"argosy": None},
        {"argosy": ["admin", 1, 0]},
        {"argosy": ["user", "1", 0]},
        {"argosy": ["user", True, 0]},
        {"access": None},
        {"access": {"type": "repository"}},
        {"access": [{"type": "repository", "name": "team/app", "actions": "pull"}]},
        {"access": [{"type": "repository", "name": "team/app", "actions": [["pull"]]}]},
        {"access": ["repository:team/app:pull"]},
    ],
)
def test_claims_are_checked_even_where_the_signature_is_ours(
    keys: KeyRing, changes: dict[str, Any]
) -> None:
    assert isinstance(verify(keys, OPTIONS, signed(keys)), AccessToken)
    assert isinstance(verify(keys, OPTIONS, signed(keys, **changes)), Unfit)


def test_a_header_has_what_we_write_and_nothing_else(keys: KeyRing) -> None:
    claims = decoded(token(keys).split(".")[1])
    key, kid = keys.signing().key, keys.signing().kid
    for header in (
        {"typ": "JWT"},
        {"kid": kid},
        {"kid": 7, "typ": "JWT"},
        {"kid": kid, "typ": "at"},
    ):
        head = encoded({"alg": "ES256", **header})
        body = encoded(claims)
        # Signed over exactly these bytes, as an issuer with our key would.
        good = jwt.encode({"alg": "ES256", "kid": kid, "typ": "JWT"}, claims, key).split(".")[2]
        assert isinstance(verify(keys, OPTIONS, f"{head}.{body}.{good}"), Unfit)
    critical = signed(keys, {"b64": True, "crit": ["b64"]})
    assert isinstance(verify(keys, OPTIONS, critical), Unfit)


def test_the_same_key_twice_is_not_read_either_way(keys: KeyRing) -> None:
    header, claims, signature = token(keys).split(".")
    plain = base64.urlsafe_b64decode(header + "==").decode()
    double = plain.replace("{", '{"alg":"none",', 1)
    text = f"{encoded(double.encode())}.{claims}.{signature}"
    assert verify(keys, OPTIONS, text) == Unfit("its header cannot be read")


def test_widening_what_a_token_is_for_breaks_it(keys: KeyRing) -> None:
    header, claims, signature = token(keys).split(".")
    wider = decoded(claims)
    wider["access"][0]["actions"].append("push")
    assert isinstance(verify(keys, OPTIONS, f"{header}.{encoded(wider)}.{signature}"), Unfit)


def test_a_token_for_another_registry_of_ours_opens_nothing_here(keys: KeyRing) -> None:
    for other in (replace(OPTIONS, audience="staging"), replace(OPTIONS, issuer="staging")):
        text = mint(keys, other, WHO, [PULL])[0]
        assert isinstance(verify(keys, other, text), AccessToken)
        assert isinstance(verify(keys, OPTIONS, text), Unfit)


def test_an_oversized_token_is_not_even_parsed(keys: KeyRing) -> None:
    text = token(keys)
    assert isinstance(verify(keys, OPTIONS, text + "A" * 20_000), Unfit)
    assert isinstance(verify(keys, OPTIONS, "e30." + "A" * 20_000 + ".e30"), Unfit)


@pytest.mark.parametrize(
    "text", ["", ".", "..", "...", "a.b.c", "é.é.é", "e30.e30.", "W10.W10.W10", "[[[[[.e30.e30"]
)
def test_what_is_no_token_is_told_so(keys: KeyRing, text: str) -> None:
    assert isinstance(verify(keys, OPTIONS, text), Unfit)


def test_a_secret_key_of_another_kind_never_verifies(keys: KeyRing) -> None:
    claims = decoded(token(keys).split(".")[1])
    own = OctKey.import_key("a shared secret of quite some length")
    text = jwt.encode({"alg": "HS256", "kid": keys.signing().kid, "typ": "JWT"}, claims, own)
    assert isinstance(verify(keys, OPTIONS, text), Unfit)


@given(position=some.integers(min_value=0), bit=some.integers(0, 5))
async def test_no_bit_of_a_token_can_be_turned(position: int, bit: int) -> None:
    keys = await _shared()
    text = _TEXT[0]
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    at = position % len(text)
    if text[at] == ".":
        turned = text[:at] + text[at + 1 :]
    else:
        turned = text[:at] + alphabet[alphabet.index(text[at]) ^ (1 << bit)] + text[at + 1 :]
    found = verify(keys, OPTIONS, turned)
    if isinstance(found, AccessToken):  # the last character has bits that mean nothing
        same = [base64.urlsafe_b64decode(part + "==") for part in turned.split(".")]
        assert same == [base64.urlsafe_b64decode(part + "==") for part in text.split(".")]


_TEXT: list[str] = []
_RING: list[KeyRing] = []


async def _shared() -> KeyRing:
    """One ring for all examples; it needs its database no more once it is loaded."""
    if not _RING:
        import tempfile

        with tempfile.TemporaryDirectory() as path:
            async with open_database(f"{path}/c.db") as database:
                _RING.append(await ring(database))
        _TEXT.append(mint(_RING[0], replace(OPTIONS, life=86400), WHO, [PULL])[0])
    return _RING[0]


# Keys


async def test_a_new_key_is_published_before_it_signs_and_the_old_one_outlives_it(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    later, real = [0.0], time.time
    clock = SimpleNamespace(time=lambda: real() + later[0])
    monkeypatch.setattr("argosy.access.tokens.keys.time", clock)
    keys = await ring(database, ahead=60.0, after=120.0)
    old = keys.signing().kid
    before = token(keys)
    new = await keys.rotate()
    assert {key["kid"] for key in keys.jwks()["keys"]} == {old, new}
    assert keys.signing().kid == old
    later[0] = 61
    assert keys.signing().kid == new
    after = token(keys)
    for text in (before, after):
        assert isinstance(verify(keys, OPTIONS, text), AccessToken)
    later[0] = 182
    assert keys.find(old) is None
    assert isinstance(verify(keys, OPTIONS, before), Unfit)
    assert isinstance(verify(keys, OPTIONS, after), AccessToken)
    assert [key["kid"] for key in keys.jwks()["keys"]] == [new]


async def test_every_node_takes_what_any_node_signs(database: Database) -> None:
    one, other = await ring(database), await ring(database)
    assert one.signing().kid == other.signing().kid
    await one.rotate(at_once=True)
    text = token(one)
    found = verify(other, OPTIONS, text)
    assert isinstance(found, Unfit)
    assert await other.look_for(found.unknown_key) is not None
    assert isinstance(verify(other, OPTIONS, text), AccessToken)


async def test_made_up_key_ids_do_not_reach_the_database_each_time(database: Database) -> None:
    keys = await ring(database)
    loads = 0
    load = keys.load

    async def counted() -> None:
        nonlocal loads
        loads += 1
        await load()

    keys.load = counted  # type: ignore[method-assign]
    for number in range(50):
        assert await keys.look_for(f"made up {number}") is None
    assert loads == 1


async def test_nodes_that_start_at_once_agree_on_a_key(database: Database) -> None:
    import asyncio

    rings = await asyncio.gather(*(ring(database) for _ in range(8)))
    text = token(rings[0])
    assert len({each.signing().kid for each in rings}) == 1
    assert all(isinstance(verify(each, OPTIONS, text), AccessToken) for each in rings)


async def test_a_key_signs_no_longer_than_its_life(database: Database) -> None:
    keys = await ring(database, life=0.0, ahead=0.0)
    first = keys.signing().kid
    await keys.load()
    assert keys.signing().kid != first


async def test_a_node_with_another_secret_says_so_at_its_start(database: Database) -> None:
    await ring(database)
    with pytest.raises(ConfigError) as caught:
        await ring(database, secret="another secret that is long enough")
    assert "another secret" in caught.value.summary


async def test_private_keys_are_sealed_in_the_database(database: Database) -> None:
    from sqlalchemy import select

    from argosy.catalog import schema as t

    keys = await ring(database)
    row = (await database.read(lambda conn: conn.execute(select(t.signing_keys)).all()))[0]
    plain = keys.signing().key.as_dict(private=True)
    assert "d" not in row.public
    assert b"PRIVATE" not in row.private
    assert str(plain["d"]).encode() not in row.private
