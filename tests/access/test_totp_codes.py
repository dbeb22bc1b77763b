"""One-time passwords against the vectors of their specifications."""

import base64
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from argosy.access.identity import totp

SECRET = b"12345678901234567890"
RFC4226 = [
    "755224",
    "287082",
    "359152",
    "969429",
    "338314",
    "254676",
    "287922",
    "162583",
    "399871",
    "520489",
]
RFC6238 = {
    "sha1": (20, "94287082 07081804 14050471 89005924 69279037 65353130"),
    "sha256": (32, "46119246 68084774 67062674 91819424 90698825 77737706"),
    "sha512": (64, "90693936 25091201 99943326 93441116 38618901 47863826"),
}
TIMES = (59, 1111111109, 1111111111, 1234567890, 2000000000, 20000000000)


def test_the_codes_of_rfc_4226_appendix_d() -> None:
    assert [totp.hotp(SECRET, counter) for counter in range(10)] == RFC4226


@pytest.mark.parametrize("algorithm", RFC6238)
def test_the_codes_of_rfc_6238_appendix_b(algorithm: str) -> None:
    length, codes = RFC6238[algorithm]
    secret = (SECRET * 4)[:length]
    for seconds, code in zip(TIMES, codes.split(), strict=True):
        step = totp.step_at(seconds)
        assert totp.hotp(secret, step, digits=8, algorithm=algorithm) == code


@pytest.mark.parametrize("off", [-1, 0, 1])
def test_a_clock_may_be_off_by_one_step(off: int) -> None:
    now = 1_700_000_000
    code = totp.hotp(SECRET, totp.step_at(now) + off)
    assert totp.matching_step(SECRET, code, after=0, now=now) == totp.step_at(now) + off


@pytest.mark.parametrize("off", [-2, 2, 100])
def test_and_by_no_more(off: int) -> None:
    now = 1_700_000_000
    code = totp.hotp(SECRET, totp.step_at(now) + off)
    assert totp.matching_step(SECRET, code, after=0, now=now) is None


def test_a_used_step_and_those_before_it_are_over() -> None:
    now = 1_700_000_000
    step = totp.step_at(now)
    for late in (step, step - 1):
        assert totp.matching_step(SECRET, totp.hotp(SECRET, late), after=step, now=now) is None
    following = totp.hotp(SECRET, step + 1)
    assert totp.matching_step(SECRET, following, after=step, now=now) == step + 1


@given(st.text(max_size=12))
def test_nothing_but_the_code_is_the_code(text: str) -> None:
    now = 1_700_000_000
    step = totp.step_at(now)
    good = {totp.hotp(SECRET, near) for near in (step - 1, step, step + 1)}
    found = totp.matching_step(SECRET, text, after=0, now=now)
    assert (found is not None) == (text.replace(" ", "") in good)


@given(st.text(min_size=1, max_size=40), st.text(min_size=1, max_size=40))
def test_the_uri_says_what_the_app_has_to_know(account: str, issuer: str) -> None:
    secret = totp.new_secret()
    uri = urlsplit(totp.otpauth_uri(secret, account=account, issuer=issuer))
    query = parse_qs(uri.query, keep_blank_values=True)
    assert (uri.scheme, uri.netloc) == ("otpauth", "totp")
    assert unquote(uri.path) == f"/{issuer}:{account}"
    assert query["issuer"] == [issuer]
    assert base64.b32decode(query["secret"][0]) == secret


def test_recovery_codes_are_all_different_and_survive_how_people_type() -> None:
    codes = totp.new_recovery_codes()
    assert len(set(codes)) == totp.RECOVERY_CODES
    assert totp.recovery_hash(f" {codes[0].upper()} ") == totp.recovery_hash(codes[0]) is not None
    assert totp.recovery_hash("123456") is None
