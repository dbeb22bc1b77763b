"""References: what Docker accepts and refuses, and round trips."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from argosy.errors import InvalidReference
from argosy.model.digest import Digest
from argosy.model.reference import Reference, is_name, is_tag

D256 = "sha256:" + "f" * 64
D512 = "sha512:" + "f" * 128


@pytest.mark.parametrize(
    ("text", "registry", "repository", "tag", "digest"),
    [
        ("debian", "docker.io", "library/debian", "", None),
        ("debian:12", "docker.io", "library/debian", "12", None),
        ("fooo/bar", "docker.io", "fooo/bar", "", None),
        ("docker.io/foo", "docker.io", "library/foo", "", None),
        ("docker.io/library/foo/bar", "docker.io", "library/foo/bar", "", None),
        ("index.docker.io/fooo/bar", "docker.io", "fooo/bar", "", None),
        ("index.docker.io/ubuntu", "docker.io", "library/ubuntu", "", None),
        ("library/foo/bar", "docker.io", "library/foo/bar", "", None),
        ("localhost/foo", "localhost", "foo", "", None),
        ("test_com/foo", "docker.io", "test_com/foo", "", None),
        ("test.com", "docker.io", "library/test.com", "", None),
        ("test.com:5000", "docker.io", "library/test.com", "5000", None),
        ("192.168.0.1:80", "docker.io", "library/192.168.0.1", "80", None),
        ("test:5000/repo:tag", "test:5000", "repo", "tag", None),
        (f"test:5000/repo:tag@{D256}", "test:5000", "repo", "tag", D256),
        (f"test:5000/repo@{D512}", "test:5000", "repo", "", D512),
        ("b.gcr.io/test.example.com/my-app:test.example.com", "b.gcr.io", "test.example.com/my-app", "test.example.com", None),
        ("xn--n3h.com:18080/foo", "xn--n3h.com:18080", "foo", "", None),
        ("lowercase:Uppercase", "docker.io", "library/lowercase", "Uppercase", None),
        ("Foo/bar", "Foo", "bar", "", None),
        ("dock__er/docker---x", "docker.io", "dock__er/docker---x", "", None),
        ("[2001:db8::1]/repo", "[2001:db8::1]", "repo", "", None),
        ("[2001:db8::1]:5000/repo:tag", "[2001:db8::1]:5000", "repo", "tag", None),
        ("[fc00:1:2:3:4:5:6:7]:5000/library/debian", "[fc00:1:2:3:4:5:6:7]:5000", "library/debian", "", None),
        ("docker://reg.example/a/b/c:1", "reg.example", "a/b/c", "1", None),
        ("d" * 63, "docker.io", "library/" + "d" * 63, "", None),
        ("docker.io/" + "a" * 64, "docker.io", "library/" + "a" * 64, "", None),
        ("a/" * 127 + "a:tag-puts-this-over-max", "docker.io", "a/" * 127 + "a", "tag-puts-this-over-max", None),
    ],
)  # fmt: skip
def test_it_is_read_as_docker_reads_it(
    text: str, registry: str, repository: str, tag: str, digest: str | None
) -> None:
    found = Reference.parse(text)
    assert (found.registry, found.repository, found.tag, found.digest) == (
        registry,
        repository,
        tag,
        digest,
    )
    assert Reference.parse(str(found)) == found


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":justtag",
        f"@{D256}",
        "repo@sha256:" + "f" * 34,
        "name@invalid:" + "f" * 64,
        f"name@{D256}@{D256}",
        f"name@{D256}:tag",
        "Uppercase:tag",
        "test:5000/Uppercase/lowercase:tag",
        "docker/Docker",
        "docker.io/docker/Docker",
        "a/" * 128 + "a:tag",
        "aa/asdf$$^/aa",
        "-docker",
        "-docker/docker",
        "docker-/docker",
        "-docker.io/docker/docker",
        "docker///docker",
        "docker/",
        "/docker",
        "____/____",
        "_docker/_docker",
        "dock..er/docker",
        "dock_.er/docker",
        "dock-.er/docker",
        "dock___er/docker",
        "[fc00::1]",
        "[fc00::1]:5000",
        "fc00::1:5000/debian",
        "[fe80::1%eth0]:5000/debian",
        "[2001:db8:3:4::192.0.2.33]:5000/debian",
        "https://github.com/docker/docker",
        "1a3f5e7d9c1b3a5f7e9d1c3b5a7f9e1d3c5b7a9f1e3d5d7c9b1a3f5e7d9c1b3a",
        "foo:" + "t" * 129,
        "foo:-x",
        "foo:.x",
        "foo:a b",
        "foo\n",
        "foo:tag\n",
        "föö",
        "foo:tág",
    ],
)
def test_what_docker_refuses_is_refused_with_a_reason(text: str) -> None:
    with pytest.raises(InvalidReference) as caught:
        Reference.parse(text)
    assert caught.value.why
    assert caught.value.remedy


def test_upper_case_is_told_with_the_way_out() -> None:
    with pytest.raises(InvalidReference) as caught:
        Reference.parse("reg.example/MyApp:1")
    assert "'myapp'" in caught.value.why


def test_a_name_to_resolve_is_the_digest_else_the_tag_else_latest() -> None:
    assert Reference.parse("a").name == "latest"
    assert Reference.parse("a:1").name == "1"
    assert Reference.parse(f"a:1@{D256}").name == D256


def test_another_tag_or_digest_replaces_both() -> None:
    reference = Reference.parse(f"reg.example/a:1@{D256}")
    assert str(reference.with_tag("2")) == "reg.example/a:2"
    assert str(reference.with_digest(Digest(D256))) == f"reg.example/a@{D256}"
    with pytest.raises(InvalidReference):
        reference.with_tag("-2")


part = st.from_regex(r"[a-z0-9]{1,8}((\.|_|__|-{1,3})[a-z0-9]{1,4}){0,2}", fullmatch=True)
tags = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}", fullmatch=True)
hosts = st.from_regex(r"[a-z0-9]{1,9}(-[a-z0-9]{1,3})?\.[a-z]{2,6}(:[0-9]{1,5})?", fullmatch=True)


@given(
    registry=hosts,
    repository=st.lists(part, min_size=1, max_size=5).map("/".join),
    tag=st.none() | tags,
    digest=st.none() | st.binary(max_size=8).map(Digest.of),
)
def test_every_valid_reference_makes_the_round_trip(
    registry: str, repository: str, tag: str | None, digest: Digest | None
) -> None:
    text = (
        f"{registry}/{repository}" + (f":{tag}" if tag else "") + (f"@{digest}" if digest else "")
    )
    found = Reference.parse(text)
    assert str(found) == text
    assert (found.registry, found.repository) == (registry, repository)
    assert (found.tag, found.digest) == (tag or "", digest)
    assert is_name(repository)
    assert tag is None or is_tag(tag)


DOCKER = re.compile(
    r"^((?:(?:(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])(?:\.(?:[a-zA-Z0-9]|[a-zA-Z0-9]"
    r"[a-zA-Z0-9-]*[a-zA-Z0-9]))*|\[[a-fA-F0-9:]+\])(?::[0-9]+)?/)?[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
    r"(?:/[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*)*)(?::([A-Za-z0-9_][A-Za-z0-9_.-]{0,127}))?\Z"
)


@given(st.text(alphabet="aZ0.-_/:@[]", max_size=24))
def test_nothing_is_accepted_that_dockers_grammar_refuses(text: str) -> None:
    """The grammar is distribution/reference's, after its normalisation."""
    try:
        found = Reference.parse(text)
    except InvalidReference:
        return
    assert DOCKER.match(str(found))
