"""Who a process runs as: USER resolved by the accounts in the root file system.

Source: Docker's USER (name or number, with an optional group); passwd(5), group(5).
"""

from argosy.build.layers.confine import Root
from argosy.errors import BuildError
from argosy.values import frozen

_LIMIT = 8 << 20  # bytes of /etc/passwd that are looked at
_MAX_ID = (1 << 31) - 1  # what Docker accepts
_DIGITS = len(str(_MAX_ID))


@frozen(kw_only=True)
class Account:
    """The ids a process gets, and its home directory."""

    uid: int
    gid: int
    groups: tuple[int, ...] = ()  # supplementary
    home: str = "/"


def account(root: str, user: str) -> Account:
    """`user`, `user:group`, names or numbers; an empty one is root (blocking).

    Without a group the account's own group and its supplementary groups; with one,
    that group only. A number need not be in /etc/passwd; a name must.
    """
    name, colon, group = user.partition(":")
    with Root(root) as tree:
        people = _lines(tree, b"/etc/passwd", 7)
        groups = _lines(tree, b"/etc/group", 4)
    name = name or "0"
    person = next((p for p in people if _is(name, p[0], p[2])), None)
    if person is None and not name.isdecimal():
        raise _unknown("user", name, "/etc/passwd")
    uid = _number(person[2] if person else name)
    home = person[5] if person and person[5] else "/"
    if colon and group:
        return Account(uid=uid, gid=_group(groups, group), home=home)
    member = [_number(g[2]) for g in groups if person and person[0] in g[3].split(",")]
    gid = _number(person[3]) if person else 0
    return Account(uid=uid, gid=gid, groups=tuple(sorted({*member} - {gid})), home=home)


def _group(groups: list[list[str]], name: str) -> int:
    found = next((g for g in groups if _is(name, g[0], g[2])), None)
    if found is None and not name.isdecimal():
        raise _unknown("group", name, "/etc/group")
    return _number(found[2] if found else name)


def _is(wanted: str, name: str, number: str) -> bool:
    return wanted == name or (wanted.isdecimal() and number == wanted)


def _number(text: str) -> int:
    # Its length first: Python refuses to read numbers of thousands of digits.
    if not text.isdecimal() or len(text.lstrip("0")) > _DIGITS or int(text) > _MAX_ID:
        raise BuildError(f"{text[:40]!r} is not a user or group number", why=f"0 to {_MAX_ID}")
    return int(text)


def _lines(root: Root, path: bytes, fields: int) -> list[list[str]]:
    text = root.read(path, _LIMIT).decode("utf-8", "replace")
    rows = (line.strip().split(":") for line in text.splitlines())
    return [row for row in rows if len(row) >= fields and row[2].isdecimal()]


def _unknown(what: str, name: str, file: str) -> BuildError:
    return BuildError(
        f"no {what} {name!r} in the image",
        why=f"{file} of the image has no such name",
        remedy=f"create the {what} in an earlier RUN, or write its number",
    )
