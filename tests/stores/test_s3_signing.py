"""Signature Version 4: AWS's own examples, and what must hold of every signature."""

import hashlib
from datetime import UTC, datetime
from urllib.parse import parse_qsl, urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from argosy.stores.s3.options import S3Options
from argosy.stores.s3.signing import EMPTY, UNSIGNED, Credentials, Signer, canonical, escaped

# "Examples: Signature Calculations in AWS Signature Version 4", Amazon S3 API Reference.
HOST = "https://examplebucket.s3.amazonaws.com"
AT = datetime(2013, 5, 24, tzinfo=UTC)
SECRET = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
SIGNER = Signer(
    credentials=Credentials(access_key="AKIAIOSFODNN7EXAMPLE", secret_key=SECRET),
    region="us-east-1",
)
WELCOME = hashlib.sha256(b"Welcome to Amazon S3.").hexdigest()


@pytest.mark.parametrize(
    ("method", "path", "headers", "payload", "signature"),
    [
        (
            "GET",
            "/test.txt",
            {"Range": "bytes=0-9"},
            EMPTY,
            "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
        ),
        (
            "PUT",
            "/test%24file.text",
            {
                "Date": "Fri, 24 May 2013 00:00:00 GMT",
                "x-amz-storage-class": "REDUCED_REDUNDANCY",
            },
            WELCOME,
            "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd",
        ),
        (
            "GET",
            "/?lifecycle",
            {},
            EMPTY,
            "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543",
        ),
        (
            "GET",
            "/?max-keys=2&prefix=J",
            {},
            EMPTY,
            "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
        ),
    ],
    ids=["get object", "put object", "get lifecycle", "list objects"],
)
def test_requests_are_signed_as_in_the_examples_of_aws(
    method: str, path: str, headers: dict[str, str], payload: str, signature: str
) -> None:
    sent = SIGNER.headers(method, HOST + path, headers, payload, AT)
    assert sent["Authorization"].startswith(
        "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request,"
    )
    assert sent["Authorization"].endswith(f"Signature={signature}")
    assert sent["x-amz-date"] == "20130524T000000Z"


def test_a_link_is_signed_as_in_the_example_of_aws() -> None:
    link = SIGNER.link("GET", f"{HOST}/test.txt", 86400, AT)
    assert link == (
        f"{HOST}/test.txt?X-Amz-Algorithm=AWS4-HMAC-SHA256"
        "&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1%2Fs3%2Faws4_request"
        "&X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&X-Amz-SignedHeaders=host"
        "&X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404"
    )


@settings(deadline=None)
@given(seconds=st.integers(-10, 10**9))
def test_a_link_expires_within_what_s3_allows(seconds: int) -> None:
    query = dict(parse_qsl(urlsplit(SIGNER.link("GET", f"{HOST}/x", seconds, AT)).query))
    assert 1 <= int(query["X-Amz-Expires"]) <= 7 * 86400


@settings(deadline=None)
@given(name=st.text(), value=st.text())
def test_names_and_values_are_encoded_once_whatever_is_in_them(name: str, value: str) -> None:
    raw = f"{HOST}/?{escaped(name or 'x')}={escaped(value)}&a=1"
    line = canonical("GET", raw, {"host": "h"}, UNSIGNED).split("\n")[2]
    # By name, and then by value: "a" comes before "a0", though "a=" does not come before "a0".
    pairs = [pair.split("=") for pair in line.split("&")]
    assert sorted(pairs) == pairs
    assert f"{escaped(name or 'x')}={escaped(value)}" in line.split("&")
    assert all(c.isalnum() or c in "-_.~%=&" for c in line)
    assert line.isascii()


@settings(deadline=None)
@given(method=st.sampled_from(["GET", "HEAD", "PUT"]), key=st.text(min_size=1))
def test_another_request_has_another_signature(method: str, key: str) -> None:
    def signature(method: str, key: str) -> str:
        url = f"{HOST}/{escaped(key, slashes=True)}"
        return SIGNER.headers(method, url, {}, EMPTY, AT)["Authorization"].rpartition("=")[2]

    assert signature(method, key) != signature(method, key + "x")
    assert signature(method, key) != signature("DELETE", key)
    assert SECRET not in str(SIGNER.headers(method, HOST, {}, EMPTY, AT))


def test_a_token_of_temporary_keys_is_signed_and_sent() -> None:
    temporary = Credentials(access_key="A", secret_key="B", session_token="C/+=")
    signer = Signer(credentials=temporary, region="eu-west-1")
    sent = signer.headers("GET", f"{HOST}/x", {}, EMPTY, AT)
    assert sent["x-amz-security-token"] == "C/+="
    assert "x-amz-security-token" in sent["Authorization"].partition("SignedHeaders=")[2]
    assert "X-Amz-Security-Token=C%2F%2B%3D&" in signer.link("GET", f"{HOST}/x", 60, AT)


def test_what_is_secret_is_not_shown() -> None:
    shown = repr(Credentials(access_key="id", secret_key=SECRET, session_token="tokentoken"))
    shown += repr(SIGNER)
    shown += repr(S3Options(bucket="b", secret_key=SECRET, session_token="tokentoken"))
    assert "id" in shown
    assert SECRET not in shown
    assert "tokentoken" not in shown


@pytest.mark.parametrize(
    ("options", "url"),
    [
        (S3Options(bucket="b", region="eu-west-1"), "https://s3.eu-west-1.amazonaws.com/b/k/x"),
        (
            S3Options(bucket="b", region="eu-west-1", path_style=False),
            "https://b.s3.eu-west-1.amazonaws.com/k/x",
        ),
        (S3Options(bucket="b", endpoint="http://h:1/", prefix="p q/"), "http://h:1/b/p%20q/k/x"),
        (
            S3Options(bucket="b", endpoint="http://h:1", path_style=False, prefix="é"),
            "http://b.h:1/%C3%A9k/x",
        ),
    ],
)
def test_where_an_object_is_depends_on_style_and_endpoint(options: S3Options, url: str) -> None:
    assert options.url("k/x") == url
    public = S3Options(bucket="b", endpoint="http://in", redirect_endpoint="https://out")
    assert public.url("k", public=True) == "https://out/b/k"
    assert public.url("k") == "http://in/b/k"
    assert public.url() == "http://in/b"
