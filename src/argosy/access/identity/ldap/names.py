"""Distinguished names as text (RFC 4514): one is filled in safely, its first part read."""

import re
from typing import Final

_SPECIAL: Final = re.compile(r'[\\",+<>;=\0-\x1f]')
_BLANKS: Final = re.compile(r"[ ]*([,=])[ ]*")
_HEX: Final = re.compile(rb"\\([0-9A-Fa-f]{2})|\\(.)", re.DOTALL)
_FIRST: Final = re.compile(r"[^=,+]+=((?:[^\\,+;]|\\.)*)", re.DOTALL)


def escaped(value: str) -> str:
    """A value that can stand in a DN, whatever is in it (RFC 4514 §2.4)."""
    text = _SPECIAL.sub(lambda found: f"\\{ord(found[0]):02x}", value)
    if text[:1] in {" ", "#"}:
        text = f"\\{ord(text[0]):02x}{text[1:]}"
    if text.endswith(" "):
        text = text[:-1] + "\\20"
    return text


def is_below(dn: str, base: str) -> bool:
    """Whether an entry is in a part of the tree; every entry is below ""."""
    plain, where = (_BLANKS.sub(r"\1", each.casefold().strip()) for each in (dn, base))
    above = plain.removesuffix(f",{where}")  # unless its comma is part of a value
    return not where or plain == where or (above != plain and not above.endswith("\\"))


def first_value(dn: str) -> str:
    r"""The value of a DN's first part: `Ops, EU` of `CN=Ops\\, EU,OU=Groups,DC=corp`; else the DN."""
    match = _FIRST.match(dn)
    if not match:
        return dn
    raw = match[1].strip(" ") if not match[1].endswith("\\ ") else match[1].lstrip(" ")
    return _HEX.sub(_unescaped, raw.encode()).decode(errors="replace")


def _unescaped(found: "re.Match[bytes]") -> bytes:
    return bytes((int(found[1], 16),)) if found[1] else bytes(found[2])
