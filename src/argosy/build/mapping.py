"""Which ids there are in this process's user namespace. Source: user_namespaces(7)."""

from typing import Literal

Kind = Literal["uid", "gid"]
_EVERY = "0 0 4294967295"  # where nothing is mapped


def in_user_namespace() -> bool:
    """Whether root here is somebody else outside."""
    return mapping("uid")[:1] != [_EVERY]


def mapping(kind: Kind) -> list[str]:
    """The ids of this namespace: `INSIDE OUTSIDE COUNT` lines (blocking, but no disk)."""
    try:
        with open(f"/proc/self/{kind}_map", encoding="ascii") as file:
            return [" ".join(line.split()) for line in file]
    except OSError:
        return [_EVERY]


def mapped(kind: Kind) -> int:
    """How many ids there are here: all below it can own files."""
    end = 0
    for line in sorted(mapping(kind), key=lambda row: int(row.split()[0])):
        inside, _, count = map(int, line.split())
        if inside > end:
            break
        end = inside + count
    return end
