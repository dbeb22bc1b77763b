"""Digests, descriptors, manifests and configs: what is read, what is refused, nothing in between."""

import base64
import hashlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from argosy.errors import InvalidDigest, ManifestInvalid
from argosy.model import media
from argosy.model.config import parse_config
from argosy.model.descriptor import Descriptor
from argosy.model.digest import Digest, is_digest
from argosy.model.manifest import Index, Manifest, dump, parse_manifest

D = "sha256:" + "a" * 64
CHILD = {"mediaType": "x/y", "digest": D, "size": 1}


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
def test_a_digest_is_its_text_and_names_the_bytes(algorithm: str) -> None:
    digest = Digest.of(b"ahoy", algorithm)
    assert digest == f"{algorithm}:{hashlib.new(algorithm, b'ahoy').hexdigest()}"
    assert (digest.algorithm, digest.hex) == tuple(digest.split(":"))
    assert Digest.parse(str(digest)) == digest
    state = digest.hasher()
    state.update(b"ahoy")
    assert Digest.from_hash(state) == digest
    assert is_digest(digest)


@pytest.mark.parametrize(
    "text",
    ["", "sha256", "sha256:", D[:-1], D + "a", D.upper(), D[:-1] + "g", "md5:" + "a" * 32, "sha512:" + "a" * 64, D + "\n", " " + D, "sha256:../../../etc/passwd"],
)  # fmt: skip
def test_what_is_no_digest_is_refused_with_a_reason(text: str) -> None:
    with pytest.raises(InvalidDigest) as caught:
        Digest.parse(text)
    assert caught.value.why


@given(st.text(max_size=80))
def test_a_tag_or_name_is_never_taken_for_a_digest(text: str) -> None:
    if "@" not in text and not text.startswith(("sha256:", "sha512:")):
        assert not is_digest(text)


def test_descriptors_are_equal_by_type_digest_and_size_alone() -> None:
    one = Descriptor.of("x/y", b"1", annotations={"a": "b"})
    assert one == Descriptor.of("x/y", b"1")
    assert one != Descriptor.of("x/z", b"1")
    assert len({one, Descriptor.of("x/y", b"1")}) == 1


@given(
    media_type=st.text(max_size=10),
    size=st.integers(0, 1 << 50),
    annotations=st.dictionaries(st.text(max_size=5), st.text(max_size=5)),
    data=st.none() | st.binary(max_size=20),
    urls=st.lists(st.text(max_size=5)),
)
def test_a_descriptor_makes_the_round_trip(
    media_type: str, size: int, annotations: dict[str, str], data: bytes | None, urls: list[str]
) -> None:
    value = Descriptor(
        media_type=media_type,
        digest=Digest(D),
        size=size,
        annotations=annotations,
        data=data,
        urls=tuple(urls),
    )
    again = Descriptor.from_json(json.loads(json.dumps(value.to_json())))
    assert again == value
    assert (again.annotations, again.data, again.urls) == (annotations, data, tuple(urls))


@pytest.mark.parametrize(
    "change",
    [{"size": -1}, {"size": True}, {"size": 1.5}, {"size": "1"}, {"size": None}, {"digest": 5}, {"digest": "sha256:x"}, {"mediaType": 1}, {"annotations": []}, {"annotations": {"a": 1}}, {"platform": "linux"}, {"platform": {"os": 1}}, {"platform": {"os.features": "x"}}, {"data": "###"}, {"data": 1}, {"urls": "x"}, {"urls": [1]}, {"artifactType": 1}],
)  # fmt: skip
def test_a_wrong_field_of_a_descriptor_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises((ManifestInvalid, InvalidDigest)):
        Descriptor.from_json({**CHILD, **change})


@pytest.mark.parametrize(
    ("value", "came_as", "kind"),
    [
        ({"mediaType": media.OCI_MANIFEST, "config": CHILD, "layers": []}, "", media.OCI_MANIFEST),
        ({"mediaType": media.DOCKER_MANIFEST, "config": CHILD, "layers": None}, media.DOCKER_MANIFEST, media.DOCKER_MANIFEST),
        ({"config": CHILD, "layers": [CHILD]}, media.DOCKER_MANIFEST, media.DOCKER_MANIFEST),
        ({"config": CHILD}, "", media.OCI_MANIFEST),
        ({"config": CHILD}, "application/json", media.OCI_MANIFEST),
        ({"manifests": [CHILD]}, "", media.OCI_INDEX),
        ({"mediaType": media.DOCKER_LIST, "manifests": []}, "", media.DOCKER_LIST),
    ],
)  # fmt: skip
def test_the_kind_is_what_the_body_says_else_how_it_came(
    value: dict[str, Any], came_as: str, kind: str
) -> None:
    found = parse_manifest(dump({"schemaVersion": 2, **value}), came_as)
    assert found.media_type == kind
    assert isinstance(found, Index if media.is_index(kind) else Manifest)


@pytest.mark.parametrize(
    ("body", "came_as", "what"),
    [
        (b"", "", "not valid JSON"),
        (b"{", "", "not valid JSON"),
        (b"\xff", "", "not valid JSON"),
        ('{"schemaVersion":2}'.encode("utf-16"), "", "not valid JSON"),
        (b'\xef\xbb\xbf{"schemaVersion":2}', "", "not valid JSON"),
        (b'{"schemaVersion":2,"x":NaN}', "", "not valid JSON"),
        (b'{"schemaVersion":2,"x":-Infinity}', "", "not valid JSON"),
        (b"[" * 100_000, "", "not valid JSON"),
        (b"[]", "", "must be a JSON object"),
        (b"{}", "", "schemaVersion"),
        (b'{"schemaVersion":1,"fsLayers":[]}', "", "schemaVersion"),
        (b'{"schemaVersion":"2"}', "", "schemaVersion"),
        (b'{"schemaVersion":2}', "", "not a manifest type"),
        (b'{"schemaVersion":2,"mediaType":"x/y"}', "", "not a manifest type"),
        (b'{"schemaVersion":2,"mediaType":3}', "", "mediaType must be text"),
        (b'{"schemaVersion":2,"manifests":[],"layers":[]}', "", "cannot have both"),
        (dump({"schemaVersion": 2, "mediaType": media.OCI_INDEX, "manifests": [], "config": CHILD}), "", "cannot have config"),
        (dump({"schemaVersion": 2, "mediaType": media.OCI_MANIFEST, "manifests": [], "config": CHILD}), "", "cannot have a manifests"),
        (dump({"schemaVersion": 2, "mediaType": media.OCI_MANIFEST}), "", "needs a config"),
        (dump({"schemaVersion": 2, "mediaType": media.OCI_INDEX}), "", "needs manifests"),
        (dump({"schemaVersion": 2, "manifests": {}}), "", "must be a list"),
        (dump({"schemaVersion": 2, "manifests": [1]}), "", "must be an object"),
        (dump({"schemaVersion": 2, "config": CHILD, "annotations": {"a": 1}}), "", "text to text"),
        (dump({"schemaVersion": 2, "config": CHILD, "artifactType": 1}), "", "artifactType"),
        (dump({"schemaVersion": 2, "config": CHILD, "subject": 1}), "", "must be an object"),
        (dump({"schemaVersion": 2, "mediaType": media.OCI_INDEX, "manifests": []}), media.OCI_MANIFEST, "but came as"),
    ],
)  # fmt: skip
def test_contradictions_and_nonsense_are_refused_with_a_reason(
    body: bytes, came_as: str, what: str
) -> None:
    with pytest.raises(ManifestInvalid, match=what):
        parse_manifest(body, came_as)


def test_schema_1_is_told_to_be_withdrawn() -> None:
    with pytest.raises(ManifestInvalid) as caught:
        parse_manifest(b'{"schemaVersion": 1, "fsLayers": []}')
    assert "withdrawn" in caught.value.why


def test_the_kind_of_a_referrer_is_its_artifact_type_else_its_configs() -> None:
    base = {"schemaVersion": 2, "mediaType": media.OCI_MANIFEST, "config": CHILD, "subject": CHILD}
    plain, typed = parse_manifest(dump(base)), parse_manifest(dump({**base, "artifactType": "a/b"}))
    assert (plain.kind, typed.kind) == ("x/y", "a/b")
    assert plain.subject == Descriptor.from_json(CHILD)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=5) | st.just(D),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(
            ["schemaVersion", "mediaType", "config", "layers", "manifests", "digest", "size", "subject", "annotations", "platform", "os", "os.features", "data", "urls", "rootfs", "diff_ids", "config", "history", "artifactType", "variant"]
        ),
        inner,
        max_size=5,
    ),
    max_leaves=12,
)  # fmt: skip
kinds = st.sampled_from(["", *media.ACCEPT])


@given(value=json_values, kind=kinds, inside=kinds)
def test_any_json_is_read_or_refused_with_our_error(value: Any, kind: str, inside: str) -> None:
    for body in (value, {"schemaVersion": 2, "mediaType": inside, **value} if isinstance(value, dict) else value):  # fmt: skip
        try:
            found = parse_manifest(json.dumps(body).encode(), kind)
        except (ManifestInvalid, InvalidDigest):
            continue
        assert all(isinstance(child, Descriptor) for child in found.children)


@given(st.binary(max_size=60))
def test_any_bytes_are_refused_with_our_error(body: bytes) -> None:
    with pytest.raises(ManifestInvalid):
        parse_manifest(body)


@given(json_values)
def test_any_json_is_a_config_or_refused_with_our_error(value: Any) -> None:
    try:
        config = parse_config(json.dumps(value).encode())
    except ManifestInvalid:
        return
    assert isinstance(config.run, dict)
    assert isinstance(config.history, list)
    assert isinstance(config.created, str)


def test_a_config_keeps_what_is_not_known_here() -> None:
    body = {
        "os": "linux",
        "architecture": "arm64",
        "variant": "v8",
        "config": {"Env": ["A=b"], "Healthcheck": {"Test": ["NONE"]}},
        "rootfs": {"type": "layers", "diff_ids": [D]},
        "history": [{"created_by": "x", "empty_layer": True}],
        "moby.buildkit.buildinfo.v1": "x",
    }
    config = parse_config(json.dumps(body).encode())
    assert config.raw == body
    assert str(config.platform) == "linux/arm64"
    assert config.diff_ids == (D,)
    assert config.run["Env"] == ["A=b"]
    assert config.history == body["history"]


def test_a_wrong_diff_id_is_named() -> None:
    with pytest.raises(ManifestInvalid, match="diff ID"):
        parse_config(b'{"rootfs": {"diff_ids": ["sha256:x"]}}')


def test_json_is_written_compact_in_order_and_in_utf8() -> None:
    assert dump({"b": "é", "a": [1]}) == '{"b":"é","a":[1]}'.encode()


def test_embedded_data_is_base64() -> None:
    value = {**CHILD, "data": base64.b64encode(b"{}").decode()}
    assert Descriptor.from_json(value).data == b"{}"


@pytest.mark.parametrize(
    ("media_type", "compression", "layer"),
    [
        (media.OCI_LAYER, "", True),
        (media.OCI_LAYER_GZIP, "gzip", True),
        (media.OCI_LAYER_ZSTD, "zstd", True),
        (media.DOCKER_LAYER_GZIP, "gzip", True),
        (media.DOCKER_LAYER, "", True),
        (media.DOCKER_FOREIGN_LAYER, "gzip", True),
        (media.OCI_CONFIG, "", False),
        ("application/vnd.dev.cosign.simplesigning.v1+json", "", False),
    ],
)
def test_media_types_say_what_a_layer_is(media_type: str, compression: str, layer: bool) -> None:
    assert media.compression(media_type) == compression
    assert media.is_layer(media_type) is layer
