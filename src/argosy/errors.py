"""Every error Argosy raises, as one tree.

    ArgosyError                    1  anything below
    ├── UsageError                 2  the caller's words are off
    │   ├── InvalidDigest             a digest cannot be read
    │   ├── InvalidReference          an image reference cannot be read
    │   ├── InvalidPlatform           a platform cannot be read
    │   ├── ConfigError               a settings, auth or certificate file cannot be used
    │   └── DockerfileError           a Dockerfile cannot be read; carries the place
    ├── ContentError               1  bytes are not what their name says
    │   ├── DigestMismatch         5  expected and actual digest differ
    │   ├── SizeMismatch           5  expected and actual size differ
    │   ├── ManifestInvalid           a manifest or index cannot be read
    │   ├── ArchiveInvalid         5  an archive file is damaged or no image archive
    │   └── UnsafeLayer            5  a layer tries to leave its root
    ├── NotFound                   4  nothing has that name
    │   └── NoMatchingPlatform     4  the image lacks the platform
    ├── RegistryError              1  a registry said no; carries its code and status
    │   ├── Unauthorized           3  it wants (other) credentials
    │   ├── Denied                 3  the credentials may not do this
    │   ├── RateLimited            7  it asks to slow down
    │   └── RegistryUnavailable    6  it failed (5xx) until the retries ran out
    ├── NetworkError               6  nothing usable came back
    │   ├── NetworkTimeout         6  nothing came in time
    │   └── TLSError               6  no trusted connection
    ├── StorageError               1  a local file or directory could not be used
    │   ├── NoSpace                1  the disk is full
    │   └── StorageUnavailable     1  a database or an object store is away, maybe not for long
    ├── BuildError                 1  a build could not go on
    │   ├── StepFailed             1  a step's command failed; carries its last output
    │   └── RuntimeUnavailable     1  no OCI runtime or emulator works here
    └── CopyError                  as its cause: copy failed; names the operation and the side

The number is the exit code of the command line. `code` is stable and is what
tests and scripts look at; the words may change.
"""

from collections.abc import Mapping
from typing import Any, ClassVar


class ArgosyError(Exception):
    """Something failed: what (`summary`), why, what to do (`remedy`), and the evidence."""

    code: ClassVar[str] = "error"
    exit_code: int = 1

    def __init__(
        self,
        summary: str,
        *,
        why: str = "",
        remedy: str = "",
        evidence: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(summary)
        self.summary = summary
        self.why = why
        self.remedy = remedy
        self.evidence: dict[str, Any] = dict(evidence or {})

    def to_json(self) -> dict[str, Any]:
        """The error as plain JSON values, the same for every output."""
        fields = {
            "code": self.code,
            "summary": self.summary,
            "why": self.why,
            "remedy": self.remedy,
        }
        return {**{k: v for k, v in fields.items() if v}, "evidence": self.evidence}


class UsageError(ArgosyError):
    """The caller's words cannot be acted on."""

    code = "usage"
    exit_code = 2


class InvalidDigest(UsageError):
    """A digest cannot be read."""

    code = "invalid-digest"


class InvalidReference(UsageError):
    """An image reference cannot be read."""

    code = "invalid-reference"


class InvalidPlatform(UsageError):
    """A platform cannot be read."""

    code = "invalid-platform"


class ConfigError(UsageError):
    """A settings, credentials or certificate file cannot be used."""

    code = "config"


class DockerfileError(UsageError):
    """A Dockerfile cannot be read; `file`, `line` (from 1) and `source` say where."""

    code = "dockerfile"

    def __init__(
        self,
        summary: str,
        *,
        file: str = "Dockerfile",
        line: int = 0,
        source: str = "",
        why: str = "",
        remedy: str = "",
    ) -> None:
        super().__init__(
            summary, why=why, remedy=remedy, evidence={"file": file, "line": line, "source": source}
        )
        self.file = file
        self.line = line
        self.source = source


class ContentError(ArgosyError):
    """Bytes are not what their name says."""

    code = "content"


class DigestMismatch(ContentError):
    """The bytes of `what` hash to `actual`, not to `expected`; nothing was kept."""

    code = "digest-mismatch"
    exit_code = 5

    def __init__(
        self, what: str, *, expected: str, actual: str, why: str = "", remedy: str = ""
    ) -> None:
        super().__init__(
            f"{what}: expected digest {expected}, got {actual}",
            why=why or "the bytes were changed or damaged on the way or at rest",
            remedy=remedy
            or "try again; if it stays, the source holds damaged content: push it anew",
            evidence={"expected": expected, "actual": actual},
        )
        self.expected = expected
        self.actual = actual


class SizeMismatch(ContentError):
    """`what` has `actual` bytes, not `expected`; nothing was kept."""

    code = "size-mismatch"
    exit_code = 5

    def __init__(self, what: str, *, expected: int, actual: int) -> None:
        super().__init__(
            f"{what}: expected {expected} bytes, got {actual}",
            why="the transfer was cut short"
            if actual < expected
            else "more bytes came than were announced",
            remedy="try again; if it stays, the source holds damaged content: push it anew",
            evidence={"expected": expected, "actual": actual},
        )
        self.expected = expected
        self.actual = actual


class ManifestInvalid(ContentError):
    """A manifest or index cannot be read."""

    code = "manifest-invalid"


class ArchiveInvalid(ContentError):
    """An archive file is damaged, or holds no image."""

    code = "archive-invalid"
    exit_code = 5


class UnsafeLayer(ContentError):
    """A layer's entry would reach outside of its root."""

    code = "unsafe-layer"
    exit_code = 5


class NotFound(ArgosyError):
    """Nothing has that name."""

    code = "not-found"
    exit_code = 4


class NoMatchingPlatform(NotFound):
    """The image lacks the platform; `available` lists what it has."""

    code = "no-matching-platform"

    def __init__(self, what: str, *, wanted: str, available: list[str]) -> None:
        super().__init__(
            f"{what} has no image for platform {wanted}",
            why="it has: " + (", ".join(available) or "no platform at all"),
            remedy="choose one of them with --platform, or build the missing one",
            evidence={"wanted": wanted, "available": available},
        )
        self.available = available


class RegistryError(ArgosyError):
    """A registry said no; `status` is its HTTP status, `registry_code` its own code.

    `denial`: why it is one for our own audit log, without what changes from one to the next; empty
    if it is none.
    """

    code = "registry"
    denial = ""

    def __init__(
        self,
        summary: str,
        *,
        status: int = 0,
        registry_code: str = "",
        why: str = "",
        remedy: str = "",
        evidence: Mapping[str, Any] | None = None,
    ) -> None:
        known = {"status": status, "registry_code": registry_code}
        super().__init__(summary, why=why, remedy=remedy, evidence={**known, **(evidence or {})})
        self.status = status
        self.registry_code = registry_code


class Unauthorized(RegistryError):
    """The registry wants credentials, or other ones."""

    code = "unauthorized"
    exit_code = 3


class Denied(RegistryError):
    """The credentials may not do this."""

    code = "denied"
    exit_code = 3


class RateLimited(RegistryError):
    """The registry asks to slow down."""

    code = "rate-limited"
    exit_code = 7


class RegistryUnavailable(RegistryError):
    """The registry kept failing until the retries ran out."""

    code = "registry-unavailable"
    exit_code = 6


class NetworkError(ArgosyError):
    """Nothing usable came back from the network."""

    code = "network"
    exit_code = 6


class NetworkTimeout(NetworkError):
    """Nothing came back in time."""

    code = "timeout"


class TLSError(NetworkError):
    """No trusted connection could be made."""

    code = "tls"


class StorageError(ArgosyError):
    """A local file or directory could not be used."""

    code = "storage"


class NoSpace(StorageError):
    """The disk is full; what was half written has been removed."""

    code = "no-space"


class StorageUnavailable(StorageError):
    """A database or an object store cannot be reached or does not keep up; try again later."""

    code = "storage-unavailable"


class BuildError(ArgosyError):
    """A build could not go on."""

    code = "build"


class StepFailed(BuildError):
    """A step's command failed; `status` is its exit code, `output` its last lines."""

    code = "step-failed"

    def __init__(
        self, step: str, *, status: int, output: str = "", why: str = "", remedy: str = ""
    ) -> None:
        super().__init__(
            f"{step}: exit code {status}",
            why=why,
            remedy=remedy,
            evidence={"step": step, "status": status, "output": output},
        )
        self.status = status
        self.output = output


class RuntimeUnavailable(BuildError):
    """No OCI runtime, or no emulator for an architecture, works on this machine."""

    code = "runtime-unavailable"


class CopyError(ArgosyError):
    """A copy failed: `operation` on `subject`, at the `side` ("source" or "destination")."""

    code = "copy"

    def __init__(self, operation: str, side: str, subject: str, cause: ArgosyError) -> None:
        super().__init__(
            f"cannot {operation} {subject} at the {side}: {cause.summary}",
            why=cause.why,
            remedy=cause.remedy,
            evidence={"operation": operation, "side": side, "cause": cause.to_json()},
        )
        self.operation = operation
        self.side = side
        self.cause = cause
        self.exit_code = cause.exit_code
