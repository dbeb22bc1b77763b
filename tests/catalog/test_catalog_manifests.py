"""Whatever is pushed as a manifest is kept or refused with a reason; nothing else happens."""

import json
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from argosy.catalog.catalog import Catalog, open_catalog
from argosy.catalog.registry.manifests import Incoming
from argosy.catalog.registry.rows import ReferrersQuery
from argosy.errors import ArgosyError, ManifestInvalid
from argosy.model import media
from argosy.model.digest import Digest

SUBJECT = Digest.of(b"subject")
LEAVES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.just("\ud800"),
    st.sampled_from([media.OCI_MANIFEST, media.OCI_INDEX, str(SUBJECT), "x" * 300]),
)  # fmt: skip
VALUES = st.recursive(
    LEAVES, lambda v: st.lists(v, max_size=3) | st.dictionaries(st.text(), v, max_size=3)
)
FIELDS = st.sampled_from(
    ["mediaType", "config", "layers", "manifests", "subject", "annotations", "artifactType", "x"]
)


def good() -> dict[str, Any]:
    """A manifest about SUBJECT that needs nothing (its config is fetched elsewhere)."""
    empty = {
        "mediaType": "application/vnd.oci.image.layer.nondistributable.v1.tar",
        "digest": Digest.of(b"{}"),
        "size": 2,
    }
    subject = {"mediaType": media.OCI_MANIFEST, "digest": SUBJECT, "size": 7}
    return {"schemaVersion": 2, "config": empty, "layers": [], "subject": subject}


@pytest.fixture
async def catalog(tmp_path: Path) -> AsyncIterator[Catalog]:
    async with open_catalog(str(tmp_path / "c.db")) as found:
        yield found


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(changes=st.dictionaries(FIELDS, VALUES, min_size=1, max_size=3))
async def test_a_strange_manifest_is_kept_or_refused(
    catalog: Catalog, changes: dict[str, Any]
) -> None:
    body = json.dumps({**good(), **changes}).encode()
    with suppress(ArgosyError):  # refused, with a reason; any other exception fails
        new = Incoming.parse(body, media.OCI_MANIFEST)
        await catalog.put_manifest("strange/app", new, ["v1"])
        found = await catalog.manifest("strange/app", "v1")
        assert found is not None
        assert found.body == body
        for desc in await catalog.referrers("strange/app", ReferrersQuery(subject=SUBJECT)):
            json.dumps(desc.to_json()).encode()


async def test_the_manifest_that_is_made_strange_is_good(catalog: Catalog) -> None:
    new = Incoming.parse(json.dumps(good()).encode(), media.OCI_MANIFEST)
    await catalog.put_manifest("strange/app", new, ["v1"])
    assert len(await catalog.referrers("strange/app", ReferrersQuery(subject=SUBJECT))) == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"artifactType": 5},
        {"artifactType": {"a": 1}},
        {"artifactType": "x" * 256},
        {"artifactType": "\ud800"},
        {"annotations": {"a": 1}},
        {"annotations": {"\udfff": "a"}},
    ],
)
def test_what_a_referrers_list_could_not_show_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ManifestInvalid):
        Incoming.parse(json.dumps({**good(), **changes}).encode(), media.OCI_MANIFEST)


@given(st.binary(max_size=200))
def test_bytes_that_are_no_manifest_are_refused(body: bytes) -> None:
    with pytest.raises(ArgosyError):
        Incoming.parse(body, "")
