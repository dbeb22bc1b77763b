"""The small parsers of the remote client: Retry-After, Link, error bodies, URLs."""

import json
from dataclasses import replace
from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from argosy.errors import NetworkError
from argosy.model.digest import Digest
from argosy.settings import Settings
from argosy.stores.remote.auth import is_loopback, quoted
from argosy.stores.remote.errors import Said, parse_said
from argosy.stores.remote.failures import bare, check_url
from argosy.stores.remote.links import names, next_link
from argosy.stores.remote.referrers import fallback_tag
from argosy.stores.remote.retry import backoff, retry_after, wait


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0),
        (" 120 ", 120),
        (formatdate(1_000_030, usegmt=True), 30),
        (formatdate(999_000, usegmt=True), 0),
        ("", None),
        ("soon", None),
        ("-5", None),
        ("1.5", None),
        ("9" * 40, None),
        ("²", None),
    ],
)
def test_retry_after_is_read_in_both_forms(text, seconds):
    assert retry_after(text, now=1_000_000) == seconds


@given(st.text(max_size=60))
def test_any_retry_after_is_read_without_failing(text):
    found = retry_after(text)
    assert found is None or found >= 0


@given(st.integers(0, 999_999))
def test_seconds_come_back(seconds):
    assert retry_after(str(seconds)) == seconds


def test_the_wait_doubles_up_to_its_cap_with_jitter_below():
    settings = Settings(retry_wait=1.0, retry_wait_max=10.0)
    for attempt, longest in enumerate([1, 2, 4, 8, 10, 10]):
        waits = [backoff(attempt, settings) for _ in range(50)]
        assert all(0.75 * longest <= w <= longest for w in waits)
        assert len(set(waits)) > 1


def test_no_wait_is_left_when_the_tries_are_used_up_or_too_much_is_asked():
    settings = Settings(retries=2, retry_wait=1.0, retry_wait_max=10.0)
    assert wait(0, "3", settings) == 3
    assert wait(2, "3", settings) is None
    assert wait(0, "101", settings) is None
    assert wait(0, "nonsense", settings) is not None
    assert wait(0, None, replace(settings, retries=0)) is None


@pytest.mark.parametrize(
    ("header", "target"),
    [
        ("", ""),
        ('</v2/a/tags/list?n=2&last=b>; rel="next"', "/v2/a/tags/list?n=2&last=b"),
        ("<x>; rel=next", "x"),
        ('<x>; title="a, b; rel=\\"no"; rel=NEXT', ""),
        ('<p>; rel="prev", <n>; rel="next"', "n"),
        ('<n>; rel="last next"; title="t"', "n"),
        ("<n>; type=x;rel=next", "n"),
        ("n; rel=next", ""),
        ("<n>", ""),
        ('<a,b>; rel="next"', "a,b"),
    ],
)
def test_the_next_link_is_found(header, target):
    assert next_link(header) == target


@given(st.text(max_size=200))
def test_any_link_header_is_read_without_failing(header):
    assert isinstance(next_link(header), str)


@given(st.text(st.characters(exclude_characters="<>", min_codepoint=33), min_size=1, max_size=40))
def test_a_link_written_by_the_rules_comes_back(target):
    assert next_link(f'<{target}>; rel="next"') == target


@given(st.binary(max_size=200))
def test_any_error_body_is_read_without_failing(body):
    assert isinstance(parse_said(body), Said)


@given(
    st.recursive(
        st.none() | st.booleans() | st.text() | st.integers(),
        lambda c: st.lists(c) | st.dictionaries(st.sampled_from(["errors", "code", "message"]), c),
    )
)
def test_any_json_is_read_as_an_error_body_without_failing(value):
    assert isinstance(parse_said(json.dumps(value).encode()), Said)


def test_the_registrys_words_are_found():
    body = b'{"errors":[{"code":"DENIED","message":"no","detail":{"a":1}},{"code":"X"}]}'
    assert parse_said(body) == Said("DENIED", "no", {"a": 1})
    assert str(parse_said(body)) == "DENIED: no"


@given(
    st.dictionaries(
        st.sampled_from(["tags", "x"]), st.none() | st.text() | st.lists(st.text() | st.none())
    )
)
def test_names_of_any_page_are_texts(value):
    assert all(isinstance(n, str) for n in names(value, "tags"))


@pytest.mark.parametrize("url", ["http://h/x", "https://h:5000/v2/", "http://[::1]:80/"])
def test_urls_of_the_web_are_followed(url):
    check_url(url)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "/x",
        "h/x",
        "file:///x",
        "http://",
        "http:///x",
        "http://h:x/",
        "http://h:99999/",
        "http://h/\nX",
        "unix://x",
        "http://[::1",
    ],
)
def test_other_urls_are_refused(url):
    with pytest.raises(NetworkError):
        check_url(url)


def test_urls_are_shown_without_secrets():
    assert bare("https://u:p@h:1/x?sig=secret#f") == "https://h:1/x"


def test_the_fallback_tag_of_a_long_digest_is_cut():
    assert fallback_tag(Digest.of(b"", "sha512")) == "sha512-" + Digest.of(b"", "sha512").hex[:64]


@pytest.mark.parametrize("host", ["localhost", "a.localhost", "127.0.0.1", "127.1.2.3", "::1"])
def test_this_machine_is_known_by_its_names(host):
    assert is_loopback(host)


@pytest.mark.parametrize(
    "host", ["127.evil.example", "127.0.0.1.evil.example", "127.1", "127.", "localhost.evil", ""]
)
def test_a_name_that_looks_like_this_machine_is_somewhere_else(host):
    assert not is_loopback(host)


def test_credentials_that_a_server_echoes_are_not_shown():
    error = {
        "code": "X",
        "message": "got Bearer abc.def-123 ok",
        "detail": [{"h": "basic YTpiYw=="}],
    }
    said = parse_said(json.dumps({"errors": [error]}).encode())
    assert said == Said("X", "got Bearer *** ok", [{"h": "basic ***"}])
    assert quoted("Basic auth is off") == "Basic auth is off"
    assert len(quoted("x" * 100_000)) < 10_000


def test_names_that_would_forge_lines_or_steer_a_terminal_are_left_out():
    tags = ["ok", "a\nb", "\x1b[2J", "", "a b", "v1.2_3-x", "\u202e"]
    assert names({"tags": tags}, "tags") == ["ok", "v1.2_3-x"]
