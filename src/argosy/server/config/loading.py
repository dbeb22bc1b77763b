"""Reading the settings: a flag stands above the environment, that above the file, that above the default.

Nothing is half read: every problem is found and told at once, each with its place.
"""

import difflib
import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import fields, replace
from typing import Any, Final, Literal

from argosy.errors import ConfigError
from argosy.server.config.kinds import Kind
from argosy.server.config.sections import ServerSettings
from argosy.values import frozen

Origin = Literal["default", "file", "environment", "flag"]

_PREFIX: Final = "ARGOSY_"
# Kubernetes gives every container the address of a service `argosy-redis` as ARGOSY_REDIS_PORT, …
_SERVICE: Final = re.compile(r".*_(SERVICE_HOST|SERVICE_PORT\w*|PORT(_\d+_\w+)?)")
_ALIKE: Final = 0.85


@frozen(kw_only=True)
class Setting:
    """One entry of the table: `attribute` is its section's in ServerSettings."""

    attribute: str
    section: str
    name: str
    kind: Kind
    default: Any
    help: str
    secret: bool
    flag: str

    @property
    def key(self) -> str:
        """As in the file: section.name."""
        return f"{self.section}.{self.name}"

    @property
    def variable(self) -> str:
        """As in the environment."""
        return _PREFIX + self.key.upper().replace(".", "_")


def table() -> list[Setting]:
    """Every setting there is, in the order of the sections."""
    defaults = ServerSettings()
    return [
        Setting(
            attribute=section.name,
            section=getattr(defaults, section.name).NAME,
            name=item.name,
            kind=item.metadata["kind"],
            default=item.default,
            help=item.metadata["help"],
            secret=item.metadata["secret"],
            flag=item.metadata["flag"],
        )
        for section in fields(defaults)
        for item in fields(getattr(defaults, section.name))
    ]


@frozen
class Problem:
    """What is wrong, and where: the file's key, or the variable."""

    place: str
    why: str
    remedy: str = ""

    def __str__(self) -> str:
        return f"{self.place}: {self.why}" + (f" ({self.remedy})" if self.remedy else "")


@frozen(kw_only=True)
class Loaded:
    """The settings, where each that is not the default came from, and what was wrong."""

    settings: ServerSettings
    origins: Mapping[str, Origin]
    problems: tuple[Problem, ...] = ()


def load(
    path: str = "",
    *,
    environ: Mapping[str, str] | None = None,
    flags: Mapping[str, object] | None = None,
) -> ServerSettings:
    """The settings in force; ConfigError tells every problem. `flags`: by `section.name`."""
    found = read(path, environ=environ, flags=flags)
    if not found.problems:
        return found.settings
    count = len(found.problems)
    raise ConfigError(
        f"{path or 'the environment'}: {count} setting{'s' if count > 1 else ''} cannot be used",
        why="; ".join(map(str, found.problems)),
        remedy="`argosy config example` shows every setting; `argosy config check` tells more",
        evidence={"problems": [str(p) for p in found.problems]},
    )


def read(
    path: str = "",
    *,
    environ: Mapping[str, str] | None = None,
    flags: Mapping[str, object] | None = None,
) -> Loaded:
    """As `load`, but problems are part of the answer; ConfigError only if there is no such file."""
    return _Reading(path, os.environ if environ is None else environ, flags or {}).result()


def misspelt(environ: Mapping[str, str]) -> list[Problem]:
    """Variables that are almost a setting's: they have no effect, and nobody would notice."""
    known = [name for item in table() for name in (item.variable, f"{item.variable}_FILE")]
    found = []
    for name in sorted(set(environ) - set(known)):
        if name.startswith(_PREFIX) and not _SERVICE.fullmatch(name):
            near = difflib.get_close_matches(name, known, 1, _ALIKE)
            if near:
                why = "there is no such setting, so it has no effect"
                found.append(Problem(name, why, f"did you mean {near[0]}?"))
    return found


class _Reading:
    """One reading of everything."""

    def __init__(self, path: str, environ: Mapping[str, str], flags: Mapping[str, object]) -> None:
        self._environ, self._flags = environ, flags
        self._problems: list[Problem] = []
        self._origins: dict[str, Origin] = {}
        self._file = self._flat(_toml(path)) if path else {}

    def result(self) -> Loaded:
        values: dict[str, dict[str, Any]] = {}
        for item in table():
            for origin, place, raw in self._candidates(item):
                self._take(item, origin, place, raw, values.setdefault(item.attribute, {}))
                break
        settings = ServerSettings()
        changed = {
            name: replace(getattr(settings, name), **given) for name, given in values.items()
        }
        return Loaded(
            settings=replace(settings, **changed),
            origins=self._origins,
            problems=tuple(self._problems),
        )

    def _candidates(self, item: Setting) -> Iterator[tuple[Origin, str, object]]:
        """Where the setting is given, what counts most first."""
        if self._flags.get(item.key) is not None:
            yield "flag", item.flag or item.key, self._flags[item.key]
        if item.variable in self._environ:
            yield "environment", item.variable, self._environ[item.variable]
        by_file = f"{item.variable}_FILE"
        if item.secret and by_file in self._environ:
            yield "environment", by_file, {"file": self._environ[by_file]}
        if item.key in self._file:
            yield "file", item.key, self._file[item.key]

    def _take(
        self, item: Setting, origin: Origin, place: str, raw: object, into: dict[str, Any]
    ) -> None:
        try:
            into[item.name] = item.kind.take(self._secret(raw) if item.secret else raw)
            self._origins[item.key] = origin
        except OSError as e:
            why = f"{e.filename}: {e.strerror}" if e.filename else str(e)
            self._problems.append(Problem(place, f"cannot be read: {why}"))
        except ValueError as e:
            # What a secret reads as is nothing to print.
            why = f"it is not {item.kind.name}" if item.secret else str(e)
            self._problems.append(Problem(place, why, item.help))

    def _secret(self, raw: object) -> object:
        """A secret may be elsewhere: { file = "…" } or { env = "…" }."""
        match raw:
            case {"file": str(path), **rest} if not rest:
                with open(path, encoding="utf-8") as file:
                    return file.read().rstrip("\r\n")
            case {"env": str(name), **rest} if not rest:
                if name not in self._environ:
                    raise OSError(f"there is no variable {name} in the environment")
                return self._environ[name]
        return raw

    def _flat(self, tree: Mapping[str, Any]) -> dict[str, object]:
        """The file's values by section.name; what is not in the table is a problem."""
        known = {item.key: item for item in table()}
        sections = {item.section for item in known.values()}
        found: dict[str, object] = {}

        def walk(prefix: str, part: Mapping[str, Any]) -> None:
            for name, value in part.items():
                key = f"{prefix}{name}"
                if key in known:
                    found[key] = value
                elif isinstance(value, dict) and _is_section(key, sections):
                    walk(f"{key}.", value)
                else:
                    self._problems.append(_unknown(key, [*known, *sections]))

        walk("", tree)
        return found


def _is_section(key: str, sections: set[str]) -> bool:
    return any(section == key or section.startswith(f"{key}.") for section in sections)


def _unknown(key: str, known: list[str]) -> Problem:
    near = difflib.get_close_matches(key, known, 1)
    return Problem(key, "there is no such setting", f"did you mean {near[0]}?" if near else "")


def _toml(path: str) -> Mapping[str, Any]:
    try:
        with open(path, "rb") as file:
            return tomllib.load(file)
    except OSError as e:
        raise ConfigError(
            f"cannot read the settings file {path}",
            why=e.strerror or str(e),
            remedy="`argosy config example > argosy.toml` writes one to begin with",
        ) from e
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as e:
        raise ConfigError(
            f"{path} is not TOML", why=str(e), remedy="strings need quotes, sections [brackets]"
        ) from e
