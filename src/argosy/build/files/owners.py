"""Who owns a copied file, and its mode: `--chown`, `--chmod`, USER, in terms of the image's own accounts.

Sources: passwd(5), group(5), chmod(1); Dockerfile reference, COPY --chown --chmod.
"""

import os
import re
from collections.abc import Callable

from argosy.build.files.tree import resolve
from argosy.errors import BuildError
from argosy.values import frozen

_MAX_FILE = 8 << 20
_CLAUSE = re.compile(r"([ugoa]*)((?:[-+=](?:[rwxXst]*|[ugo]))+)")
_ACTION = re.compile(r"([-+=])([rwxXst]*|[ugo])(?=[-+=]|$)")
_SHIFT = {"u": 6, "g": 3, "o": 0}
_SPECIAL = {"u": 0o4000, "g": 0o2000, "o": 0o1000}
_SPECIAL_LETTER = {"u": "s", "g": "s", "o": "t"}

Mode = Callable[[int, bool], int]


@frozen
class Owner:
    """A user and a group, by number."""

    uid: int = 0
    gid: int = 0


_ROOT = {"root": "0"}


def owner(root: str, text: str) -> Owner:
    """`user[:group]`, names or numbers, resolved by the accounts in `root`.

    A user name brings its own group; a lone number is the group too (COPY --chown).
    As with BuildKit, root is 0 whatever the accounts say: a scratch image has none.
    """
    user, group = (_ROOT.get(part, part) for part in text.partition(":")[::2])
    if user.isdecimal():
        found = Owner(int(user), int(user))
    elif user:
        found = _user(root, user)
    else:
        found = Owner()
    if not group:
        return found
    return Owner(found.uid, int(group) if group.isdecimal() else _group(root, group))


def _user(root: str, name: str) -> Owner:
    for fields in _lines(root, "etc/passwd"):
        if fields[0] == name and all(n.isdecimal() for n in fields[2:4]) and fields[3:]:
            return Owner(int(fields[2]), int(fields[3]))
    raise _unknown("user", name, "/etc/passwd")


def _group(root: str, name: str) -> int:
    for fields in _lines(root, "etc/group"):
        if fields[0] == name and fields[2].isdecimal():
            return int(fields[2])
    raise _unknown("group", name, "/etc/group")


def _lines(root: str, path: str) -> list[list[str]]:
    try:
        fd = os.open(
            os.path.join(root, resolve(root, path)), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
        )
    except OSError:
        return []
    with open(fd, encoding="utf-8", errors="replace") as file:
        lines = file.read(_MAX_FILE).splitlines()
    found = [line.split(":") for line in lines]
    return [f for f in found if len(f) >= 3]


def _unknown(what: str, name: str, file: str) -> BuildError:
    return BuildError(
        f"no {what} {name!r} in the image",
        why=f"{file} of the image has no such name",
        remedy=f"create the {what} in an earlier RUN, or write its number",
    )


def mode(text: str) -> Mode | None:
    """What `--chmod` does to a mode (second argument: is it a directory); None if it keeps them.

    Octal, or symbolic as chmod(1): `u=rwX,go=rX`, `+x`, `g=u`, `a-w`.
    """
    if not text:
        return None
    if re.fullmatch(r"[0-7]{1,5}", text) and int(text, 8) <= 0o7777:
        fixed = int(text, 8)
        return lambda _old, _directory: fixed
    clauses = [_clause(text, part) for part in text.split(",")]

    def change(old: int, directory: bool) -> int:
        for clause in clauses:
            old = clause(old, directory)
        return old

    return change


def _clause(text: str, part: str) -> Mode:
    found = _CLAUSE.fullmatch(part)
    if found is None:
        raise BuildError(
            f"--chmod={text} cannot be read",
            why=f"{part!r} is neither octal nor [ugoa][+-=][rwxXst]",
            remedy="write for example --chmod=755 or --chmod=u=rwX,go=rX",
        )
    who = found[1].replace("a", "ugo") or "ugo"
    actions = _ACTION.findall(found[2])

    def change(old: int, directory: bool) -> int:
        for sign, what in actions:
            bits = _bits(old, who, what, directory=directory)
            old = _acted(old, bits, who=who, sign=sign, directory=directory)
        return old

    return change


def _bits(old: int, who: str, what: str, *, directory: bool) -> int:
    if what and what in "ugo":
        held = old >> _SHIFT[what] & 7
    else:
        held = sum(bit for name, bit in (("r", 4), ("w", 2), ("x", 1)) if name in what)
        if "X" in what and (directory or old & 0o111):
            held |= 1
    bits = 0
    for one in set(who):
        bits |= held << _SHIFT[one]
        bits |= _SPECIAL[one] if _SPECIAL_LETTER[one] in what else 0
    return bits


def _acted(old: int, bits: int, *, who: str, sign: str, directory: bool) -> int:
    if sign == "+":
        return old | bits
    if sign == "-":
        return old & ~bits
    kept = old
    for one in set(who):
        # As GNU chmod: a directory's set-id bits go only if they are named.
        kept &= ~(7 << _SHIFT[one] | (0 if directory and one != "o" else _SPECIAL[one]))
    return kept | bits
