"""Paths are read from their end, because repository names may hold any of the API's words."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from argosy.server.v2.paths import NOWHERE, Target, is_valid, target

PARTS = st.sampled_from(["blobs", "uploads", "manifests", "tags", "list", "referrers", "a", "v2"])
NAMES = st.lists(PARTS, min_size=1, max_size=5).map("/".join)
REFS = st.sampled_from(["v1", "latest", "list", "uploads", "sha256:" + "0" * 64, "a-1"])


@pytest.mark.parametrize("endpoint", ["manifests", "blobs", "referrers"])
@given(name=NAMES, ref=REFS)
def test_any_name_and_any_reference_are_told_apart(endpoint: str, name: str, ref: str) -> None:
    if (endpoint, ref) == ("blobs", "uploads"):
        return  # that is where uploads begin
    assert target(f"/v2/{name}/{endpoint}/{ref}") == Target(endpoint, name, ref)


@given(name=NAMES)
def test_any_name_can_be_uploaded_to_and_listed(name: str) -> None:
    assert target(f"/v2/{name}/blobs/uploads/") == Target("uploads", name)
    assert target(f"/v2/{name}/blobs/uploads") == Target("uploads", name)
    assert target(f"/v2/{name}/blobs/uploads/some-id") == Target("upload", name, "some-id")
    assert target(f"/v2/{name}/tags/list") == Target("tags", name)


@given(st.text(alphabet="/v2abcmnifestlogurdp_:.-\n\0é", max_size=60))
def test_no_path_breaks_it(path: str) -> None:
    found = target("/v2/" + path)
    assert isinstance(is_valid(found), bool)
    assert isinstance(is_valid(target(path)), bool)


@pytest.mark.parametrize(
    "path",
    ["/", "", "/v2x", "/v3/", "/manifests/x", "/v2/a", "/v2/a/tags/x", "/x/a/blobs/uploads/"],
)
def test_other_paths_are_nowhere(path: str) -> None:
    assert target(path) == NOWHERE


@pytest.mark.parametrize("path", ["/v2//manifests/x", "/v2/manifests/x", "/v2/A/manifests/x"])
def test_a_name_that_cannot_be_is_never_valid(path: str) -> None:
    assert not is_valid(target(path)) or target(path) == NOWHERE
