"""What lies on the disk for builds, as values: one for each thing that can go by itself."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, Literal

from argosy.model.digest import Digest
from argosy.values import frozen

# BuildKit's names (client.UsageRecordType).
Kind = Literal[
    "regular", "exec.cachemount", "source.local", "source.git.checkout", "internal", "frontend"
]


@frozen(kw_only=True)
class Item:
    """One thing on the disk: a snapshot with its layer, a cache mount, a mirror, a download, …

    `place` is its path below the build state; `blobs` are those of the local images that
    only it needs. `shared`: an image of this machine has its layer too, and keeps it.
    """

    id: str
    kind: Kind
    description: str
    size: int  # bytes on the disk, blocks counted, hard links once
    created: float = 0.0  # seconds since 1970, as is `used`
    used: float = 0.0
    parents: tuple[str, ...] = ()
    in_use: bool = False
    shared: bool = False
    mutable: bool = False
    permanent: bool = False  # not to be pruned: the engine's own tables, the history
    place: str = ""
    blobs: tuple[Digest, ...] = ()

    @property
    def is_reclaimable(self) -> bool:
        """Whether pruning may remove it."""
        return not self.in_use and not self.permanent

    def to_json(self) -> dict[str, Any]:
        """As `docker buildx du --format json` has it; sizes in bytes, times as RFC 3339."""
        return {
            "ID": self.id,
            "Parents": list(self.parents),
            "CreatedAt": _time(self.created),
            "LastUsedAt": _time(self.used),
            "Mutable": self.mutable,
            "InUse": self.in_use,
            "Reclaimable": self.is_reclaimable,
            "Shared": self.shared,
            "Size": self.size,
            "Description": self.description,
            "Type": self.kind,
        }


@frozen(kw_only=True)
class Sums:
    """Bytes in all, and of what kind."""

    total: int
    reclaimable: int
    shared: int

    @classmethod
    def of(cls, items: Iterable[Item]) -> "Sums":
        """Of these items."""
        found = list(items)
        return cls(
            total=sum(i.size for i in found),
            reclaimable=sum(i.size for i in found if i.is_reclaimable),
            shared=sum(i.size for i in found if i.shared),
        )


def children_of(items: Sequence[Item]) -> dict[str, set[str]]:
    """For each item by id the items that stand on it."""
    found: dict[str, set[str]] = {}
    for item in items:
        for parent in item.parents:
            found.setdefault(parent, set()).add(item.id)
    return found


def _time(seconds: float) -> str | None:
    if not seconds:
        return None
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")
