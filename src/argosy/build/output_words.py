"""The attributes of `--output type=…`, as BuildKit's exporters name them.

What an exporter here cannot do is refused with the reason: an attribute that is
dropped in silence is found out in production.
"""

import csv
from collections.abc import Mapping
from dataclasses import field
from typing import Any, Literal, get_args

from argosy.build.annotations import Annotation
from argosy.build.layers.compression import Compression
from argosy.errors import UsageError
from argosy.values import frozen

OutputKind = Literal["oci", "docker", "local", "tar", "registry", "image", "cacheonly"]
Mode = Literal["copy", "delete"]

_FORM = {
    *("compression", "compression-level", "force-compression", "oci-mediatypes"),
    *("rewrite-timestamp", "source-date-epoch"),
}
_NAMING = {"name", "push-by-digest", "name-canonical", "dangling-name-prefix"}
_IMAGE = {*_FORM, *_NAMING, "store", "unpack", "registry.insecure"}
_FILES = {"dest", "platform-split", "source-date-epoch"}
_KNOWN: Mapping[str, set[str]] = {
    "image": {*_IMAGE, "push"},
    "registry": {*_IMAGE, "push"},
    "oci": {*_FORM, "name", "dest", "tar"},
    "docker": {*_FORM, "name", "dest", "tar", "context"},
    "local": {*_FILES, "mode"},
    "tar": _FILES,
    "cacheonly": set(),
}
_CANNOT = {
    "registry.insecure": "whom to trust is said for the whole build: use --tls-verify=false",
    "unpack": "a build fills no container engine's snapshots: use --load=containerd",
    "context": "the engine is named by DOCKER_HOST",
    "attestation-prefix": "no attestations are made yet",
    "attestation-inline": "no attestations are made yet",
    "oci-artifact": "no attestations are made yet",
    "prefer-nondist-layers": "foreign layers of bases always stay foreign",
    "compatibility-version": "there is only one behaviour, that of BuildKit's version 30",
}
_FALSE_IS_FINE = {"registry.insecure", "unpack"}
_COMPRESSIONS = {"uncompressed": "none"}


@frozen(kw_only=True)
class Wish:
    """What an output wants of the image's form and names; None is what the build does by itself."""

    compression: Compression | None = None
    recompresses_bases: bool = False
    docker_types: bool = False
    annotations: tuple[Annotation, ...] = ()
    epoch: int | None = None
    rewrites_times: bool | None = None
    by_digest: bool = False  # push without a tag
    canonical: bool = False  # also name it NAME@DIGEST in the local images
    dangling_prefix: str = ""  # name it PREFIX@DIGEST there, if it has no name
    store: bool | None = None  # whether the local images keep it
    splits: bool | None = None  # a directory for each platform
    mode: Mode = "copy"


def fields_of(text: str) -> dict[str, str]:
    """`NAME=VALUE,…` with CSV's quotes; names of annotations keep their case. UsageError."""
    fields: dict[str, str] = {}
    try:
        parts = next(csv.reader([text], strict=True), [])
    except csv.Error as e:
        raise unreadable(text, str(e)) from e
    for part in parts:
        name, equals, value = part.partition("=")
        if not equals:
            raise unreadable(text, f"{part!r} is not NAME=VALUE")
        name = name.strip()
        fields[name if name.startswith("annotation") else name.lower()] = value.strip()
    return fields


def wish_of(text: str, kind: str, fields: Mapping[str, str]) -> Wish:
    """Everything but type, dest and name; UsageError for what is unknown or cannot be done."""
    rest = {k: v for k, v in fields.items() if not k.startswith("annotation")}
    notes = [Annotation.of_attribute(k, v) for k, v in fields.items() if k not in rest]
    if None in notes or (notes and kind in ("local", "tar", "cacheonly")):
        raise unreadable(text, f"type={kind} takes no such annotation")
    _check_known(text, kind, rest)
    words = _Words(text, rest)
    wish = Wish(
        compression=_compression(text, rest),
        recompresses_bases=words.true("force-compression"),
        docker_types=not words.true("oci-mediatypes", default=True),
        annotations=tuple(note for note in notes if note),
        epoch=words.epoch(),
        rewrites_times=words.maybe("rewrite-timestamp"),
        by_digest=words.true("push-by-digest"),
        canonical=words.true("name-canonical"),
        dangling_prefix=rest.get("dangling-name-prefix", ""),
        store=words.maybe("store"),
        splits=words.maybe("platform-split"),
        mode=words.mode(),
    )
    _check_together(text, wish)
    return wish


def _check_known(text: str, kind: str, fields: Mapping[str, str]) -> None:
    for name, value in fields.items():
        if name in _CANNOT and not (name in _FALSE_IS_FINE and value.lower() in ("false", "0")):
            raise unreadable(text, f"{name} is not done here: {_CANNOT[name]}")
        if name not in _KNOWN[kind] and name not in _CANNOT:
            import difflib  # noqa: PLC0415 - only for a wrong word

            near = difflib.get_close_matches(name, _KNOWN[kind], n=1)
            meant = f"; did you mean {near[0]!r}?" if near else ""
            raise unreadable(text, f"type={kind} has no {name!r} here{meant}")


def _check_together(text: str, wish: Wish) -> None:
    compression = wish.compression.name if wish.compression else "gzip"
    if wish.docker_types and compression not in ("gzip", "none"):
        raise unreadable(text, f"{compression} layers need OCI media types")
    if wish.docker_types and wish.annotations:
        raise unreadable(text, "annotations need OCI media types")


def _compression(text: str, fields: Mapping[str, str]) -> Compression | None:
    """None for what layers are anyway: gzip at its default level."""
    name, level = fields.get("compression", ""), fields.get("compression-level", "")
    if level and not level.isdecimal():
        raise unreadable(text, "compression-level must be a whole number")
    if not name and not level:
        return None
    given: Any = _COMPRESSIONS.get(name, name or "gzip")
    names = get_args(Compression.__annotations__["name"])
    if given not in names:
        choices = sorted({"uncompressed", *names} - {"none"})
        raise unreadable(text, f"compression must be one of {', '.join(choices)}")
    found = Compression(name=given, level=int(level) if level else None)
    return None if found == Compression() else found


@frozen
class _Words:
    text: str
    fields: Mapping[str, str] = field(default_factory=dict)

    def maybe(self, name: str) -> bool | None:
        return self.true(name) if name in self.fields else None

    def true(self, name: str, *, default: bool = False) -> bool:
        value = self.fields.get(name, str(default)).lower()
        if value not in ("true", "false", "1", "0"):
            raise unreadable(self.text, f"{name} must be true or false")
        return value in ("true", "1")

    def epoch(self) -> int | None:
        value = self.fields.get("source-date-epoch", "")
        if value and not value.isdecimal():
            raise unreadable(self.text, "source-date-epoch must be whole seconds since 1970")
        return int(value) if value else None

    def mode(self) -> Mode:
        value = self.fields.get("mode", "copy")
        if value not in get_args(Mode):
            raise unreadable(self.text, "mode must be copy or delete")
        return "delete" if value == "delete" else "copy"


def is_true(text: str, fields: Mapping[str, str], name: str) -> bool:
    """A field that is true or false; false when it is not there."""
    return _Words(text, fields).true(name)


def unreadable(text: str, why: str) -> UsageError:
    """An output that cannot be read or honoured."""
    return UsageError(
        f"--output {text!r} cannot be read",
        why=why,
        remedy="write for example --output type=oci,dest=image.tar or --output ./directory",
    )
