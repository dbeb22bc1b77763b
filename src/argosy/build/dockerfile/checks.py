"""Checks of single values, made when they are written and again when they are expanded."""

import re

from argosy.build.dockerfile.source import Fault

_OCTAL = re.compile(r"[0-7]{1,7}")
_CLAUSE = re.compile(r"[ugoa]*(?:[-+=](?:[rwxXst]*|[ugo]))+")
_SIGNAL = re.compile(
    r"(?:SIG)?(?:ABRT|ALRM|BUS|CHLD|CLD|CONT|FPE|HUP|ILL|INT|IO|IOT|KILL|PIPE|POLL|PROF|PWR|QUIT"
    r"|SEGV|STKFLT|STOP|SYS|TERM|TRAP|TSTP|TTIN|TTOU|URG|USR[12]|VTALRM|WINCH|XCPU|XFSZ"
    r"|RTMIN(?:\+(?:[1-9]|1[0-5]))?|RTMAX(?:-(?:[1-9]|1[0-4]))?)"
)
_PORT = re.compile(r"([0-9]{1,5})(?:-([0-9]{1,5}))?(?:/([a-zA-Z]*))?")
_PROTOCOLS = ("tcp", "udp", "sctp")
_STAGE = re.compile(r"[a-z][a-z0-9._-]*")
_CHECKSUM = re.compile(r"(?:sha256:[0-9a-f]{64}|sha384:[0-9a-f]{96}|sha512:[0-9a-f]{128})")
_COMMIT = re.compile(r"[0-9a-f]{7,64}")


def has_variables(text: str) -> bool:
    """Whether the text can be judged only after expansion."""
    return "$" in text


def chmod(mode: str) -> str:
    """An octal mode up to 7777, or a symbolic one such as `u=rwX,go=rX`; as written."""
    if _OCTAL.fullmatch(mode) and int(mode, 8) <= 0o7777:
        return mode
    if not mode[:1].isdigit() and all(_CLAUSE.fullmatch(c) for c in mode.split(",")):
        return mode
    raise Fault(
        f"--chmod: {mode[:60]!r} is not a mode",
        at=mode[:60],
        why="it is octal, 0 to 7777, or symbolic as chmod(1) takes it",
        remedy="write for example --chmod=755 or --chmod=u=rwX,go=rX",
    )


def chown(owner: str) -> str:
    """`user[:group]` or `:group`, names or ids; as written."""
    user, colon, group = owner.partition(":")
    if (
        not (user or group)
        or (colon and not group)
        or ":" in group
        or any(c.isspace() for c in owner)
    ):
        raise Fault(
            f"--chown: {owner[:60]!r} is not an owner",
            at=owner[:60],
            remedy="write user, user:group, uid or uid:gid",
        )
    return owner


def signal(text: str) -> str:
    """A signal's number, or its name with or without SIG; as written."""
    is_number = text.isascii() and text.isdigit() and 0 < int(text[:9]) <= 64
    if is_number or _SIGNAL.fullmatch(text.upper()):
        return text
    raise Fault(
        f"{text[:60]!r} is not a signal",
        at=text[:60],
        remedy="write its name, for example SIGTERM, or its number",
    )


def ports(text: str) -> list[str]:
    """`8080`, `53/udp`, `7000-7002/tcp`, each as `port/protocol`."""
    published = text.rpartition(":")[2]  # what comes before is where to publish: not for an image
    found = _PORT.fullmatch(published)
    if not found:
        raise _bad_port(text, "it is a port or a range of ports, with an optional /protocol")
    low = int(found[1])
    high = int(found[2] or low)
    protocol = (found[3] or "tcp").lower()
    if protocol not in _PROTOCOLS:
        raise _bad_port(text, f"the protocol is one of {', '.join(_PROTOCOLS)}")
    if high > 65_535 or low > high:
        raise _bad_port(text, "ports are 0 to 65535, and a range goes upwards")
    return [f"{port}/{protocol}" for port in range(low, high + 1)]


def _bad_port(text: str, why: str) -> Fault:
    return Fault(
        f"{text[:60]!r} is not a port",
        at=text[:60],
        why=why,
        remedy="write for example 8080, 53/udp or 7000-7010/tcp",
    )


def stage_name(text: str) -> str:
    """A stage's name in lower case."""
    name = text.lower()
    if not _STAGE.fullmatch(name):
        raise Fault(
            f"{text[:60]!r} is not a name for a stage",
            at=text[:60],
            why="it begins with a letter and goes on with letters, digits, - _ and .",
        )
    return name


def checksum(text: str) -> str:
    """A digest (for a download), or a commit (for a git repository)."""
    if _CHECKSUM.fullmatch(text) or _COMMIT.fullmatch(text):
        return text
    raise Fault(
        f"--checksum: {text[:80]!r} is not a checksum",
        at=text[:80],
        remedy="write sha256: and 64 hexadecimal digits, or a commit for a git repository",
    )
