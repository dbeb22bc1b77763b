"""Image references: `[registry/]repository[:tag][@digest]`.

Sources: distribution/reference; OCI distribution-spec, Pulling manifests.
"""

import re
from dataclasses import replace
from typing import Self

from argosy.errors import InvalidDigest, InvalidReference
from argosy.model.digest import Digest
from argosy.values import frozen

DEFAULT_REGISTRY = "docker.io"
MAX_NAME = 255

_NAME = re.compile(
    r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*"
)
_IDENTIFIER = re.compile(r"[a-f0-9]{64}")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_LABEL = r"(?:[A-Za-z0-9]|[A-Za-z0-9][A-Za-z0-9-]*[A-Za-z0-9])"
_HOST = re.compile(rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[0-9a-fA-F:]+\])(?::[0-9]+)?")


def is_name(text: str) -> bool:
    """Whether it is a valid repository name (without registry)."""
    return len(text) <= MAX_NAME and _NAME.fullmatch(text) is not None


def is_tag(text: str) -> bool:
    """Whether it is a valid tag."""
    return _TAG.fullmatch(text) is not None


@frozen
class Reference:
    """Where an image is: a registry, a repository in it, and a tag, a digest, both or neither."""

    registry: str
    repository: str
    tag: str = ""
    digest: Digest | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a reference as Docker does; `debian` is docker.io/library/debian. No tag is added."""
        rest = text.removeprefix("docker://")
        rest, digest = _split_digest(text, rest)
        rest, tag = _split_tag(text, rest)
        registry, repository = _split_registry(rest)
        if registry == DEFAULT_REGISTRY and "/" not in repository:
            repository = f"library/{repository}"
        if not _HOST.fullmatch(registry):
            raise _invalid(text, f"{registry!r} is not a host name or host:port")
        if not _NAME.fullmatch(repository):
            raise _invalid(text, _why_name(repository))
        if len(repository) > MAX_NAME:
            raise _invalid(text, f"the repository name is longer than {MAX_NAME} characters")
        if _IDENTIFIER.fullmatch(text):
            raise _invalid(text, "64 hex digits are an image ID to Docker, not a name")
        return cls(registry, repository, tag, digest)

    @property
    def name(self) -> str:
        """What to resolve in the repository: the digest, else the tag, else `latest`."""
        return self.digest or self.tag or "latest"

    @property
    def locator(self) -> str:
        """`registry/repository`, without tag or digest."""
        return f"{self.registry}/{self.repository}"

    def with_tag(self, tag: str) -> "Reference":
        """The same repository at another tag."""
        if not is_tag(tag):
            raise _invalid(f"{self.locator}:{tag}", f"{tag!r} is not a tag")
        return replace(self, tag=tag, digest=None)

    def with_digest(self, digest: Digest) -> "Reference":
        """The same repository at a digest, no tag."""
        return replace(self, tag="", digest=digest)

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        return f"{self.locator}{tag}" + (f"@{self.digest}" if self.digest else "")


def _split_digest(text: str, rest: str) -> tuple[str, Digest | None]:
    rest, at, digest = rest.partition("@")
    if not at:
        return rest, None
    try:
        return rest, Digest.parse(digest)
    except InvalidDigest as e:
        raise _invalid(text, f"{digest!r} is not a digest: {e.why}") from e


def _split_tag(text: str, rest: str) -> tuple[str, str]:
    head, colon, tag = rest.rpartition(":")
    if not colon or "/" in tag:
        return rest, ""
    if not _TAG.fullmatch(tag):
        raise _invalid(
            text,
            f"{tag!r} is not a tag (at most 128 of A-Za-z0-9_.-, not . or - first)",
        )
    return head, tag


def _split_registry(rest: str) -> tuple[str, str]:
    # Docker's rule: the first part is a registry only if it looks like a host.
    first, slash, repository = rest.partition("/")
    if slash and ("." in first or ":" in first or first == "localhost" or first != first.lower()):
        return ("docker.io" if first == "index.docker.io" else first), repository
    return DEFAULT_REGISTRY, rest


def _why_name(repository: str) -> str:
    if not repository:
        return "the repository name is empty"
    if repository != repository.lower():
        return f"repository name must be lowercase: use {repository.lower()!r}"
    return f"{repository!r} is not a repository name (a-z 0-9, separated by . _ __ - or /)"


def _invalid(text: str, why: str) -> InvalidReference:
    return InvalidReference(
        f"{text!r} is not an image reference", why=why, remedy="write registry/repository:tag"
    )
