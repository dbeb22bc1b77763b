"""The token flow as a table: challenges and replies in, requests and headers out. No I/O."""

import base64
import json
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from argosy.errors import NetworkError, RegistryError, Unauthorized
from argosy.stores.remote.auth import (
    Challenge,
    Credential,
    Grant,
    TokenReply,
    TokenRequest,
    authenticate,
    merged,
    parse_challenges,
)

REALM = "https://auth.test/token"
BEARER = [
    Challenge("bearer", {"realm": REALM, "service": "reg", "scope": "repository:a/b:pull,push"})
]
USER = Credential(username="ann", password="pa:ss", source="here")
PULL = ("repository:a/b:pull",)


def run(flow, *replies):
    """Drive a flow with canned replies; (requests it made, its grant)."""
    requests: list[TokenRequest] = []
    replies = list(replies)
    try:
        requests.append(next(flow))
        while True:
            status, value = replies.pop(0)
            body = value if isinstance(value, bytes) else json.dumps(value).encode()
            requests.append(flow.send(TokenReply(status=status, body=body, now=1000.0)))
    except StopIteration as done:
        assert not replies, "not every reply was asked for"
        return requests, done.value


def query(request):
    return parse_qs(urlsplit(request.url).query)


def form(request):
    return parse_qs(request.body.decode())


def basic(request):
    return base64.b64decode(request.headers["Authorization"].removeprefix("Basic ")).decode()


def test_basic_challenge_needs_no_request():
    requests, grant = run(authenticate([Challenge("basic", {"realm": "x"})], PULL, USER))
    assert requests == []
    assert grant.header == "Basic " + base64.b64encode(b"ann:pa:ss").decode()
    assert grant.covers(["repository:other:push"])


def test_basic_challenge_without_credentials_is_unauthorized():
    with pytest.raises(Unauthorized):
        run(authenticate([Challenge("basic", {})], PULL, None))


def test_unknown_scheme_is_unauthorized_and_named():
    with pytest.raises(Unauthorized) as e:
        run(authenticate([Challenge("negotiate", {})], PULL, USER))
    assert "negotiate" in e.value.why


def test_anonymous_token_is_asked_for_without_authorization():
    (request,), grant = run(authenticate(BEARER, PULL, None), (200, {"token": "t0"}))
    assert (request.method, request.headers) == ("GET", {})
    assert query(request) == {"service": ["reg"], "scope": ["repository:a/b:pull,push"]}
    assert grant.header == "Bearer t0"
    assert grant.expires == pytest.approx(1000 + 54)  # 60 s by default, a tenth in reserve


def test_a_token_that_docker_keeps_is_no_password():
    kept = Credential(username="ann", identity_token="idt")
    with pytest.raises(Unauthorized) as caught:
        run(authenticate([Challenge("basic", {})], (), kept))
    assert "docker login" in caught.value.summary
    assert "argosy login" in caught.value.remedy


def test_password_goes_by_basic_to_the_realm():
    (request,), grant = run(
        authenticate(BEARER, PULL, USER),
        (200, {"access_token": "t1", "expires_in": 300, "refresh_token": "r1"}),
    )
    assert basic(request) == "ann:pa:ss"
    assert query(request)["account"] == ["ann"]
    assert (grant.header, grant.refresh_token) == ("Bearer t1", "r1")
    assert grant.expires == pytest.approx(1270)


def test_token_server_without_get_is_asked_by_post():
    (_, post), grant = run(
        authenticate(BEARER, PULL, USER), (405, b""), (200, {"access_token": "t2"})
    )
    assert form(post)["grant_type"] == ["password"]
    assert form(post)["password"] == ["pa:ss"]
    assert grant.header == "Bearer t2"


def test_identity_token_is_a_refresh_token_by_post():
    credential = Credential(identity_token="idt")
    (post,), grant = run(
        authenticate(BEARER, PULL, credential), (200, {"access_token": "t3", "expires_in": 60})
    )
    assert post.method == "POST"
    assert post.url == REALM
    assert form(post)["grant_type"] == ["refresh_token"]
    assert form(post)["refresh_token"] == ["idt"]
    assert form(post)["scope"] == ["repository:a/b:pull,push"]
    assert grant.refresh_token == "idt"


def test_no_oauth_endpoint_falls_back_to_get():
    credential = Credential(username="u", identity_token="idt")
    (_, get), grant = run(
        authenticate(BEARER, PULL, credential), (404, b"nope"), (200, {"token": "t4"})
    )
    assert get.method == "GET"
    assert basic(get) == "u:idt"
    assert grant.header == "Bearer t4"


def test_worn_out_refresh_token_falls_back_to_the_password():
    (post, get), grant = run(
        authenticate(BEARER, PULL, USER, refresh_token="old"),
        (401, {"error": "invalid_grant"}),
        (200, {"token": "t5"}),
    )
    assert form(post)["refresh_token"] == ["old"]
    assert basic(get) == "ann:pa:ss"
    assert grant.header == "Bearer t5"


def test_registry_token_is_sent_as_it_is():
    requests, grant = run(authenticate(BEARER, PULL, Credential(registry_token="raw")))
    assert requests == []
    assert grant.header == "Bearer raw"


def test_both_scopes_of_a_mount_are_asked_for():
    scopes = ("repository:a/b:pull,push", "repository:c/d:pull")
    (request,), _ = run(authenticate(BEARER, scopes, None), (200, {"token": "t"}))
    assert query(request)["scope"] == list(scopes)


def test_fewer_rights_than_asked_for_are_no_error():
    _, grant = run(authenticate(BEARER, PULL, USER), (200, {"token": "t", "scope": ""}))
    assert grant.header == "Bearer t"


@pytest.mark.parametrize("status", [400, 401, 403])
def test_refused_token_is_unauthorized_with_the_servers_words(status):
    said = {"errors": [{"code": "UNAUTHORIZED", "message": "bad password"}]}
    with pytest.raises(Unauthorized) as e:
        run(authenticate(BEARER, PULL, USER), (status, said))
    assert "bad password" in e.value.why
    assert e.value.status == status


@pytest.mark.parametrize(
    "body",
    [b"", b"<html>", b"[]", b'{"token": ""}', b'{"token": 3}', b'{"token": "a\\nb"}', b"{}"],
)
def test_answer_without_a_usable_token_is_an_error(body):
    with pytest.raises(RegistryError):
        run(authenticate(BEARER, PULL, None), (200, body))


@pytest.mark.parametrize("life", [-1, 0, "60", True, None, 1e300])
def test_nonsense_life_of_a_token_becomes_the_default(life):
    _, grant = run(authenticate(BEARER, PULL, None), (200, {"token": "t", "expires_in": life}))
    assert grant.expires == pytest.approx(1054)


@pytest.mark.parametrize(
    "realm",
    ["", "/token", "file:///etc/passwd", "ftp://x/y", "javascript:1", "https://", "http://[::1"],
)
def test_hostile_realm_is_refused(realm):
    with pytest.raises(NetworkError):
        run(authenticate([Challenge("bearer", {"realm": realm})], PULL, USER))


def test_credentials_do_not_leave_tls():
    plain = [Challenge("bearer", {"realm": "http://auth.test/token"})]
    with pytest.raises(NetworkError) as e:
        run(authenticate(plain, PULL, USER))
    assert "without TLS" in e.value.summary
    run(authenticate(plain, PULL, None), (200, {"token": "t"}))
    run(authenticate(plain, PULL, USER, secure=False), (200, {"token": "t"}))


def test_grant_covers_only_what_it_was_asked_for():
    grant = Grant(
        header="Bearer x",
        scopes=frozenset({"repository:a:pull,push", "repository:b:pull"}),
        expires=1,
    )
    assert grant.covers(["repository:a:pull"])
    assert grant.covers(["repository:a:push", "repository:b:pull"])
    assert not grant.covers(["repository:b:push"])
    assert not grant.covers(["repository:c:pull"])


def test_scopes_of_one_resource_are_joined():
    assert merged(
        ["repository:h:5/a:pull", "repository:h:5/a:pull,push", "registry:catalog:*"]
    ) == (
        "repository:h:5/a:pull,push",
        "registry:catalog:*",
    )


def test_secrets_do_not_show_in_reprs():
    credential = Credential(
        username="ann", password="hush", identity_token="hush", registry_token="hush"
    )
    grant = Grant(header="Bearer hush", refresh_token="hush")
    assert "hush" not in repr(credential) + repr(grant)


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("", []),
        ("Basic", [Challenge("basic")]),
        ('Basic realm="a, b"', [Challenge("basic", {"realm": "a, b"})]),
        (
            'Bearer realm="https://x/t",service="s",scope="repository:a:pull,push"',
            [
                Challenge(
                    "bearer",
                    {"realm": "https://x/t", "service": "s", "scope": "repository:a:pull,push"},
                )
            ],
        ),
        (
            'BEARER Realm = "q\\"uo\\\\te" , error=invalid_token, Basic realm=x',
            [
                Challenge("bearer", {"realm": 'q"uo\\te', "error": "invalid_token"}),
                Challenge("basic", {"realm": "x"}),
            ],
        ),
        (
            "Negotiate abc==, Basic realm=x",
            [Challenge("negotiate"), Challenge("basic", {"realm": "x"})],
        ),
        (
            "Bearer realm=https://x/t,service=s",
            [Challenge("bearer", {"realm": "https://x/t", "service": "s"})],
        ),
    ],
)
def test_challenges_are_read(header, expected):
    assert parse_challenges(header) == expected


@given(st.text(max_size=200))
def test_any_header_is_read_without_failing(header):
    for challenge in parse_challenges(header):
        assert challenge.scheme == challenge.scheme.lower()


VALUE = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=30)
NAME = st.from_regex(r"[a-z][a-z0-9_-]{0,8}", fullmatch=True)


@given(st.lists(st.tuples(NAME, st.dictionaries(NAME, VALUE, min_size=1, max_size=4)), max_size=4))
def test_what_is_quoted_by_the_rules_comes_back(challenges):
    def quoted(text):
        return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'

    header = ", ".join(
        f"{scheme} " + ", ".join(f"{k}={quoted(v)}" for k, v in params.items())
        for scheme, params in challenges
    )
    assert parse_challenges(header) == [Challenge(s, p) for s, p in challenges]


@given(st.binary(max_size=100), st.integers(100, 599))
def test_any_token_reply_ends_in_a_grant_or_a_typed_error(body, status):
    try:
        _, grant = run(authenticate(BEARER, PULL, None), (status, body))
    except RegistryError:
        return
    assert grant.header.startswith("Bearer ")
