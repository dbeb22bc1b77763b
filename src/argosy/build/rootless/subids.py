"""Which user and group ids a user may have in a user namespace: /etc/subuid and /etc/subgid.

Inside, 0 is the user himself, and from 1 on come the ids of the ranges, one range after
the other. Source: subuid(5), newuidmap(1), user_namespaces(7).
"""

import os
import shutil
import subprocess

from argosy.build.rootless.mapping import Kind
from argosy.values import frozen

_FILES: dict[Kind, str] = {"uid": "/etc/subuid", "gid": "/etc/subgid"}
ENOUGH = 65536  # ids an image of a distribution takes for granted: nobody is 65534
_ALSO_IN = "/usr/bin:/bin:/usr/sbin:/sbin"


@frozen
class Range:
    """`count` ids from `start` on, as the machine counts them."""

    start: int
    count: int


@frozen(kw_only=True)
class User:
    """Who asks: the name as the machine knows it, or the number; and both ids."""

    name: str
    uid: int
    gid: int

    @classmethod
    def current(cls) -> "User":
        """Who runs this process."""
        import pwd  # noqa: PLC0415 - not needed as root

        uid, gid = os.geteuid(), os.getegid()
        try:
            return cls(name=pwd.getpwuid(uid).pw_name, uid=uid, gid=gid)
        except KeyError:
            return cls(name=str(uid), uid=uid, gid=gid)


@frozen(kw_only=True)
class Rights:
    """What a user may map, and what of it is missing: `problem` is nothing if all is well."""

    user: User
    uids: tuple[Range, ...] = ()
    gids: tuple[Range, ...] = ()
    problem: str = ""
    remedy: str = ""

    def map_words(self, kind: Kind) -> list[str]:
        """The arguments of newuidmap and newgidmap: inside, outside, count, and again."""
        words = ["0", str(self.user.uid if kind == "uid" else self.user.gid), "1"]
        inside = 1
        for item in self.uids if kind == "uid" else self.gids:
            words += [str(inside), str(item.start), str(item.count)]
            inside += item.count
        return words


def rights() -> Rights:
    """What the user of this process may map (blocking)."""
    user = User.current()
    missing = [name for name in ("newuidmap", "newgidmap") if not program(name)]
    if missing:
        return Rights(
            user=user,
            problem=f"{' and '.join(missing)} cannot be found",
            remedy="run: sudo apt-get install --yes uidmap",
        )
    uids, gids = _granted("uid", user), _granted("gid", user)
    lacking = [*([] if uids else [_FILES["uid"]]), *([] if gids else [_FILES["gid"]])]
    if lacking:
        return Rights(
            user=user,
            problem=f"{user.name} has no range of ids in {' and '.join(lacking)}",
            remedy=_how_to_grant(user),
        )
    return Rights(user=user, uids=uids, gids=gids)


def program(name: str) -> str:
    """Where a program is, or nothing."""
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:{_ALSO_IN}") or ""


def ranges(text: str, user: User, *, names: tuple[str, ...] = ()) -> tuple[Range, ...]:
    """The ranges of a user in the text of such a file; lines that are none are passed over."""
    owners = {user.name, str(user.uid), *names}
    found = []
    for line in text.splitlines():
        owner, _, numbers = line.strip().partition(":")
        start, _, count = numbers.partition(":")
        if owner in owners and _number(start) and _number(count) and int(count):
            found.append(Range(int(start), int(count)))
    return tuple(found)


def _number(text: str) -> bool:
    return text.isascii() and text.isdecimal() and int(text) < 1 << 32


def _granted(kind: Kind, user: User) -> tuple[Range, ...]:
    try:
        with open(_FILES[kind], encoding="utf-8", errors="replace") as file:
            found = ranges(file.read(), user)
    except OSError:
        found = ()
    return found or _asked(kind, user)


def _asked(kind: Kind, user: User) -> tuple[Range, ...]:
    """What a directory service grants, by way of getsubids(1); `0: NAME START COUNT` lines."""
    if not (asker := program("getsubids")):
        return ()
    words = [asker, *(["-g"] if kind == "gid" else []), user.name]
    said = subprocess.run(words, capture_output=True, text=True, check=False).stdout
    lines = (line.split() for line in said.splitlines())
    rows = (row[-3:] for row in lines if len(row) >= 3)
    return ranges("\n".join(map(":".join, rows)), user)


def _how_to_grant(user: User) -> str:
    taken = max(map(_last, _FILES.values()))
    start = max(100_000, -(-taken // ENOUGH) * ENOUGH)
    last = start + ENOUGH - 1
    return (
        f"run: sudo usermod --add-subuids {start}-{last} --add-subgids {start}-{last} {user.name}\n"
        f"or add the line {user.name}:{start}:{ENOUGH} to /etc/subuid and to /etc/subgid"
    )


def _last(path: str) -> int:
    """The first id that is beyond all ranges of the file."""
    end = 0
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            for line in file:
                _, start, count, *_ = [*line.strip().split(":"), "", ""]
                if _number(start) and _number(count):
                    end = max(end, int(start) + int(count))
    except OSError:
        return 0
    return end
