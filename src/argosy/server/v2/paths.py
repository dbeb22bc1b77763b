"""Which endpoint of the registry a path names (distribution-spec, Endpoints)."""

from typing import NamedTuple

from argosy.model.reference import is_name


class Target(NamedTuple):
    """An endpoint, the repository it is about, and the tag, digest or upload."""

    endpoint: str
    name: str = ""
    ref: str = ""


_NAMED = frozenset({"manifests", "blobs", "referrers"})
_FIXED = {
    "/v2/": Target("base"),
    "/v2": Target("base"),
    "/v2/_catalog": Target("catalog"),
    "/v2/_oci/ext/discover": Target("extensions"),
}
NOWHERE = Target("nowhere")


def target(path: str) -> Target:
    """What a path names; its repository may still have an invalid name."""
    head, _, last = path.rpartition("/")
    repository, _, kind = head.rpartition("/")
    # Repository names may hold any of the words below, so a path is read from its end.
    if kind in _NAMED and repository.startswith("/v2/") and (kind, last) != ("blobs", "uploads"):
        return Target(kind, repository[4:], last)
    if (fixed := _FIXED.get(path)) is not None:
        return fixed
    if kind == "tags" and last == "list" and repository.startswith("/v2/"):
        return Target("tags", repository[4:])
    return _upload(path)


def _upload(path: str) -> Target:
    if path.endswith("/blobs/uploads"):
        path += "/"
    name, found, upload = path.rpartition("/blobs/uploads/")
    if not found or not name.startswith("/v2/") or "/" in upload:
        return NOWHERE
    return Target("upload" if upload else "uploads", name[4:], upload)


def is_valid(found: Target) -> bool:
    """Whether the repository, if the endpoint has one, has a name that can be."""
    return found.endpoint in _WITHOUT_NAME or is_name(found.name)


_WITHOUT_NAME = frozenset({"base", "catalog", "extensions", "nowhere"})
