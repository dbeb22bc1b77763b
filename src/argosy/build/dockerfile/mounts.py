"""RUN --mount: read and checked when parsed, resolved when the stage is evaluated.

Source: Dockerfile reference, RUN --mount.
"""

import posixpath
from collections.abc import Callable

from argosy.build.dockerfile.checks import has_variables
from argosy.build.dockerfile.instructions import MountFlag
from argosy.build.dockerfile.plan import (
    BindMount,
    CacheMount,
    FromContext,
    Origin,
    RunMount,
    Scratch,
    SecretMount,
    SshMount,
    TmpfsMount,
)
from argosy.build.dockerfile.source import Fault, did_you_mean
from argosy.build.dockerfile.words import boolean, comma_fields, size
from argosy.values import frozen

_TARGET = ("target", "dst", "destination")
_SOURCE = ("source", "src")
_READ_ONLY = ("ro", "readonly")
_WRITABLE = ("rw", "readwrite")
_OWNER = ("mode", "uid", "gid")
_PLACE = (*_TARGET, *_SOURCE, "from")
_KEYS: dict[str, tuple[str, ...]] = {
    "bind": (*_PLACE, *_READ_ONLY, *_WRITABLE),
    "cache": (*_PLACE, *_READ_ONLY, *_WRITABLE, "id", "sharing", *_OWNER),
    "tmpfs": (*_TARGET, "size"),
    "secret": ("id", *_TARGET, *_SOURCE, "env", "required", *_OWNER),
    "ssh": ("id", *_TARGET, "required", *_OWNER),
}
_BARE = frozenset([*_READ_ONLY, *_WRITABLE, "required"])
_MAX_ID = 2**32 - 1


def read_mount(text: str) -> MountFlag:
    """A --mount's value as keys and values; Fault for unknown kinds and keys."""
    options = []
    for field in comma_fields(text):
        key, equals, value = field.partition("=")
        key = key.strip().lower()
        if not equals and key not in _BARE:
            raise Fault(f"--mount: {field[:60]!r} is not key=value", at=field[:60])
        options.append((key, value if equals else None))
    flag = MountFlag(text, _kind(options), tuple(options))
    for key, _ in options:
        if key not in ("type", *_KEYS[flag.kind]):
            raise Fault(
                f"--mount: a {flag.kind} mount has no {key[:60]!r}",
                at=key[:60],
                why="it takes: " + ", ".join(_KEYS[flag.kind]),
                remedy=did_you_mean(key, _KEYS[flag.kind]),
            )
    if has_variables(flag.get("from")):
        raise Fault(
            "--mount: from= takes no variables",
            at=flag.get("from"),
            remedy="name a stage FROM it with a global ARG, and mount from that stage",
        )
    if not has_variables(text):
        resolve_mount(flag, Surroundings(expand=str, workdir="/", origin=lambda _: Scratch()))
    return flag


def _kind(options: list[tuple[str, str | None]]) -> str:
    kind = next((v or "" for k, v in reversed(options) if k == "type"), "bind").lower()
    if kind not in _KEYS:
        raise Fault(
            f"--mount: {kind[:60]!r} is no type of mount",
            at=kind[:60],
            why="there are " + ", ".join(_KEYS),
            remedy=did_you_mean(kind, _KEYS),
        )
    return kind


@frozen
class Surroundings:
    """What a mount's values depend on: variables, the working directory, what from= means."""

    expand: Callable[[str], str]
    workdir: str
    origin: Callable[[str], Origin]
    cache_namespace: str = ""  # BUILDKIT_CACHE_MOUNT_NS: caches of one are not those of another


def resolve_mount(flag: MountFlag, around: Surroundings) -> RunMount:
    """The mount with its variables expanded and its paths absolute."""
    found = _Options(flag, around)
    match flag.kind:
        case "bind":
            return BindMount(
                target=found.target(),
                origin=found.origin(FromContext()),
                source=found.source(),
                readonly=found.readonly(default=True),
            )
        case "cache":
            return _cache(found)
        case "tmpfs":
            wanted = found.text("size")
            return TmpfsMount(target=found.target(), size=size(wanted) if wanted else 0)
        case "secret":
            return _secret(found)
        case _:
            return SshMount(
                id=found.text("id") or "default",
                target=found.path(*_TARGET),
                required=found.true("required"),
                mode=found.number("mode", 0o600, 8),
                uid=found.number("uid", 0),
                gid=found.number("gid", 0),
            )


def _cache(found: "_Options") -> CacheMount:
    sharing = found.text("sharing").lower() or "shared"
    if sharing not in ("shared", "private", "locked"):
        raise Fault(
            f"--mount: {sharing[:60]!r} is no way to share a cache",
            at=sharing[:60],
            why="there are shared, private and locked",
            remedy=did_you_mean(sharing, ("shared", "private", "locked")),
        )
    target = found.target()
    name = found.text("id") or target
    namespace = found.around.cache_namespace
    return CacheMount(
        target=target,
        id=f"{namespace}/{name.lstrip('/')}" if namespace else name,
        sharing=sharing,  # type: ignore[arg-type] # checked above
        readonly=found.readonly(default=False),
        origin=found.origin(Scratch()),
        source=found.source(),
        mode=found.number("mode", 0o755, 8),
        uid=found.number("uid", 0),
        gid=found.number("gid", 0),
    )


def _secret(found: "_Options") -> SecretMount:
    target, env = found.path(*_TARGET), found.text("env")
    name = found.text("id") or found.text(*_SOURCE) or posixpath.basename(target) or env
    if not name:
        raise Fault(
            "--mount: a secret needs an id or a target",
            at="type=secret",
            remedy="write --mount=type=secret,id=NAME and pass --secret id=NAME,src=FILE",
        )
    if not target and not env:
        target = f"/run/secrets/{posixpath.basename(name)}"
    return SecretMount(
        id=name,
        target=target,
        env=env,
        required=found.true("required"),
        mode=found.number("mode", 0o400, 8),
        uid=found.number("uid", 0),
        gid=found.number("gid", 0),
    )


@frozen
class _Options:
    """A mount's options by name, expanded when asked for."""

    flag: MountFlag
    around: Surroundings

    def text(self, *keys: str) -> str:
        return self.around.expand(self.flag.get(*keys))

    def path(self, *keys: str) -> str:
        """An absolute path, against the working directory; `` if there is none."""
        text = self.text(*keys)
        return _joined(self.around.workdir, text) if text else ""

    def target(self) -> str:
        target = self.path(*_TARGET)
        if target in ("", "/"):
            raise Fault(
                "--mount: no target" if not target else "--mount: the target cannot be /",
                at=self.flag.text,
                remedy="write target=/where/it/appears",
            )
        return target

    def source(self) -> str:
        return _joined("/", self.text(*_SOURCE))

    def origin(self, default: Origin) -> Origin:
        name = self.flag.get("from")
        return self.around.origin(name) if name else default

    def true(self, key: str) -> bool:
        """Whether the last option of that name is bare, or a true one."""
        for name, value in reversed(self.flag.options):
            if name == key:
                return value is None or boolean(key, self.around.expand(value))
        return False

    def readonly(self, *, default: bool) -> bool:
        for name, value in reversed(self.flag.options):
            if name in (*_READ_ONLY, *_WRITABLE):
                said = value is None or boolean(name, self.around.expand(value))
                return said == (name in _READ_ONLY)
        return default

    def number(self, key: str, default: int, radix: int = 10) -> int:
        text = self.text(key)
        if not text:
            return default
        digits = "01234567" if radix == 8 else "0123456789"
        if len(text) > 12 or any(c not in digits for c in text) or int(text, radix) > _MAX_ID:
            form = "an octal mode" if radix == 8 else "a number"
            raise Fault(f"--mount: {key}={text[:60]} is not {form}", at=text[:60])
        return int(text, radix)


def _joined(base: str, path: str) -> str:
    joined = posixpath.normpath(posixpath.join("/", base, path))
    return "/" + joined.lstrip("/")
