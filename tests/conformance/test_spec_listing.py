"""Listings, from the distribution spec: end-8a/b, 12a/b, discovery; and Docker's catalog."""

import re
from typing import Any

import pytest

from tests.serving import INDEX, MANIFEST, Client, descriptor, digest, dump, image, index

TAGS = ["V", "_x", "a", "a.b", "b", "v1", "v10", "v2", "z-1"]  # in the order of their bytes


@pytest.fixture
def tagged(repo: Client) -> Client:
    """A repository with TAGS."""
    name = repo.push_image("", "tagged")["digest"]
    body = repo("GET", f"manifests/{name}").body
    repo.put_manifest(f"{name}?" + "&".join(f"tag={t}" for t in reversed(TAGS)), body)
    return repo


def following(answer: Any) -> str | None:
    """Where the Link header leads."""
    link = answer.headers.get("Link")
    if link is None:
        return None
    found = re.fullmatch(r'<(/v2/[^>]+)>; rel="next"', link)
    assert found, link
    return found[1]


def walk(client: Client, path: str | None, key: str) -> list[list[Any]]:
    """Every page from `path` on."""
    pages = []
    while path is not None:
        answer = client("GET", path)
        assert answer.status == 200
        pages.append(answer.json[key])
        path = following(answer)
    return pages


def test_tags_are_listed_in_order(tagged: Client) -> None:
    found = tagged("GET", "tags/list")
    assert found.json == {"name": tagged.name, "tags": TAGS}
    assert found["Content-Type"] == "application/json"
    assert "Link" not in found.headers


@pytest.mark.parametrize("size", [1, 2, 4, 9, 10, 1000])
def test_pages_of_tags_make_the_whole_list(tagged: Client, size: int) -> None:
    pages = walk(tagged, f"tags/list?n={size}", "tags")
    assert [tag for page in pages for tag in page] == TAGS
    assert all(len(page) == size for page in pages[:-1])
    assert len(pages) == -(-len(TAGS) // size)


def test_zero_tags_are_none_and_no_link(tagged: Client) -> None:
    found = tagged("GET", "tags/list?n=0")
    assert (found.status, found.json["tags"]) == (200, [])
    assert "Link" not in found.headers


@pytest.mark.parametrize("last", ["a", "a0", "", "zzz"])
def test_last_works_with_and_without_n(tagged: Client, last: str) -> None:
    rest = [t for t in TAGS if t > last]
    assert tagged("GET", f"tags/list?last={last}").json["tags"] == rest
    assert tagged("GET", f"tags/list?n=2&last={last}").json["tags"] == rest[:2]


@pytest.mark.parametrize("n", ["-1", "x", "1.5", "%D9%A1"])
def test_a_number_that_is_none_is_refused(tagged: Client, n: str) -> None:
    found = tagged("GET", f"tags/list?n={n}")
    assert (found.status, found.code) == (400, "PAGINATION_NUMBER_INVALID")


def test_a_huge_number_is_as_good_as_all(tagged: Client) -> None:
    assert tagged("GET", "tags/list?n=" + "9" * 30).json["tags"] == TAGS


def test_tags_of_a_repository_nobody_knows_are_not_found(repo: Client) -> None:
    found = repo("GET", "tags/list")
    assert (found.status, found.code) == (404, "NAME_UNKNOWN")


def test_a_repository_without_tags_lists_none(repo: Client) -> None:
    repo.push_image("", "untagged")
    assert repo("GET", "tags/list").json["tags"] == []


def test_the_catalog_lists_repositories_by_pages(repo: Client) -> None:
    for tail in ("/c", "/a", "/b"):
        repo.at(repo.name + tail).push_image("v1", "x")
    pages = walk(repo, f"/v2/_catalog?n=2&last={repo.name}", "repositories")
    names = [name for page in pages for name in page if name.startswith(repo.name + "/")]
    assert names == [f"{repo.name}/{t}" for t in "abc"]
    assert all(len(page) == 2 for page in pages[:-1])
    assert repo.name + "/a" in repo("GET", "/v2/_catalog").json["repositories"]
    assert repo("GET", "/v2/_catalog?n=0").json["repositories"] == []


def test_extensions_can_be_discovered(registry_server: Client) -> None:
    found = registry_server("GET", "/v2/_oci/ext/discover")
    assert (found.status, found.json) == (200, {"extensions": []})


def refer(repo: Client, subject: dict[str, Any], seed: str, algorithm: str, **more: Any) -> Any:
    """Push a manifest about `subject`; its descriptor."""
    about = {key: subject[key] for key in ("mediaType", "digest", "size")}
    return repo.push_image("", seed, algorithm, subject=about, **more)


def listed(answer: Any) -> dict[str, Any]:
    """A referrers answer, by digest; its form is checked."""
    assert answer.status == 200
    assert answer["Content-Type"] == INDEX
    assert answer.json["schemaVersion"] == 2
    assert answer.json["mediaType"] == INDEX
    return {d["digest"]: d for d in answer.json["manifests"]}


def test_referrers_show_type_size_and_all_annotations(repo: Client, algorithm: str) -> None:
    subject = repo.push_image("v1", "subject", algorithm)
    notes = {"org.example.a": "1", "b": "zwei"}
    own = refer(repo, subject, "own", algorithm, artifactType="text/x.own", annotations=notes)
    plain = refer(repo, subject, "plain", algorithm)
    found = listed(repo("GET", f"referrers/{subject['digest']}"))
    assert found[own["digest"]] == {**own, "artifactType": "text/x.own", "annotations": notes}
    config = "application/vnd.oci.image.config.v1+json"
    assert found[plain["digest"]] == {**plain, "artifactType": config}
    assert len(found) == 2


def test_an_index_refers_too_and_shows_no_type_if_it_has_none(repo: Client, algorithm: str) -> None:
    subject = repo.push_image("v1", "subject", algorithm)
    bare = dump(index(subject=subject, annotations={"k": "v"}))
    typed = dump(index(subject=subject, artifactType="text/x.list"))
    for body in (bare, typed):
        done = repo.put_manifest(digest(body, algorithm), body)
        assert (done.status, done["OCI-Subject"]) == (201, subject["digest"])
    found = listed(repo("GET", f"referrers/{subject['digest']}"))
    assert found[digest(bare, algorithm)] == {
        **descriptor(INDEX, bare, algorithm),
        "annotations": {"k": "v"},
    }
    assert found[digest(typed, algorithm)]["artifactType"] == "text/x.list"


def test_nobody_refers_to_what_nobody_knows(repo: Client, algorithm: str) -> None:
    assert listed(repo("GET", f"referrers/{digest(b'unknown', algorithm)}")) == {}


def test_referrers_of_no_digest_are_refused(repo: Client) -> None:
    for bad in ("latest", "sha256:12"):
        found = repo("GET", f"referrers/{bad}")
        assert (found.status, found.code) == (400, "DIGEST_INVALID")


def test_referrers_of_a_subject_that_comes_later_are_there(repo: Client, algorithm: str) -> None:
    body = dump(image(b'{"seed":"late"}', b"layer late", algorithm=algorithm))
    early = refer(repo, descriptor(MANIFEST, body, algorithm), "early", algorithm)
    assert set(listed(repo("GET", f"referrers/{digest(body, algorithm)}"))) == {early["digest"]}
    assert repo.push_image("", "late", algorithm)["digest"] == digest(body, algorithm)
    assert set(listed(repo("GET", f"referrers/{digest(body, algorithm)}"))) == {early["digest"]}


def test_referrers_are_filtered_by_type_and_it_is_said(repo: Client, algorithm: str) -> None:
    subject = repo.push_image("v1", "subject", algorithm)
    wanted = refer(repo, subject, "a", algorithm, artifactType="text/x+a")
    refer(repo, subject, "b", algorithm, artifactType="text/x+b")
    plain = repo("GET", f"referrers/{subject['digest']}")
    assert len(listed(plain)) == 2
    assert "OCI-Filters-Applied" not in plain.headers
    found = repo("GET", f"referrers/{subject['digest']}?artifactType=text/x%2Ba")
    assert set(listed(found)) == {wanted["digest"]}
    assert found["OCI-Filters-Applied"] == "artifactType"
    none = repo("GET", f"referrers/{subject['digest']}?artifactType=text/x.none")
    assert (listed(none), none["OCI-Filters-Applied"]) == ({}, "artifactType")


def test_referrers_come_by_pages_with_their_filter(repo: Client) -> None:
    subject = repo.push_image("v1", "subject")
    made = {refer(repo, subject, str(n), "sha256", artifactType="t/x")["digest"] for n in range(5)}
    refer(repo, subject, "other", "sha256", artifactType="t/y")
    start = f"referrers/{subject['digest']}?n=2&artifactType=t/x"
    pages = walk(repo, start, "manifests")
    assert [len(page) for page in pages] == [2, 2, 1]
    assert {d["digest"] for page in pages for d in page} == made


def test_referrers_too_long_for_one_index_come_by_pages(repo: Client) -> None:
    subject = repo.push_image("v1", "subject")
    for n in range(4):
        refer(repo, subject, str(n), "sha256", annotations={"much": "x" * 1_200_000})
    first = repo("GET", f"referrers/{subject['digest']}")
    assert len(first.body) < 4 << 20
    pages = walk(repo, f"referrers/{subject['digest']}", "manifests")
    assert [len(page) for page in pages] == [2, 2]


def test_a_deleted_referrer_is_gone_at_once(repo: Client, algorithm: str) -> None:
    subject = repo.push_image("v1", "subject", algorithm)
    about = refer(repo, subject, "about", algorithm)
    repo("DELETE", f"manifests/{about['digest']}")
    assert listed(repo("GET", f"referrers/{subject['digest']}")) == {}


def test_manifests_under_the_fallback_tag_are_listed(repo: Client, algorithm: str) -> None:
    subject = repo.push_image("v1", "subject", algorithm)
    old = repo.push_image("", "pushed before there was an API", algorithm)
    new = refer(repo, subject, "new", algorithm, artifactType="t/new")
    elsewhere = descriptor(MANIFEST, b"{}", algorithm)
    old["artifactType"] = "t/old"
    name, hexes = subject["digest"].split(":")
    tag = f"{name[:32]}-{hexes[:64]}"
    assert repo.put_manifest(tag, index(old, {**new, "artifactType": "t/new"})).status == 201
    found = listed(repo("GET", f"referrers/{subject['digest']}"))
    assert set(found) == {old["digest"], new["digest"]}
    assert elsewhere["digest"] not in found
    only = repo("GET", f"referrers/{subject['digest']}?artifactType=t/old")
    assert set(listed(only)) == {old["digest"]}
