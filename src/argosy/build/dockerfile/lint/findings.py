"""What the checks found, less what the Dockerfile asks to be left out.

`# check=skip=A,B;error=true` at the top of a Dockerfile, or the same words in the build
argument BUILDKIT_DOCKERFILE_CHECK, which then takes its place. A comment
`# check=skip=A` right above an instruction counts for that instruction alone.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from argosy.build.dockerfile.lint.rules import RULES, Rule
from argosy.build.dockerfile.parser import Dockerfile
from argosy.build.dockerfile.source import Fault, SourceRange, did_you_mean
from argosy.build.dockerfile.words import boolean
from argosy.errors import UsageError
from argosy.values import frozen

ARGUMENT = "BUILDKIT_DOCKERFILE_CHECK"
_ALL = frozenset(rule.name for rule in RULES)
_HERE = "check=skip="


@frozen(kw_only=True)
class Finding:
    """A rule, what it found, and where."""

    rule: Rule
    detail: str
    where: SourceRange

    def to_json(self) -> dict[str, Any]:
        """As BuildKit's frontend.lint gives it."""
        fields = {
            "ruleName": self.rule.name,
            "description": self.rule.description,
            "url": self.rule.url,
            "detail": self.detail,
            "location": location(self.where),
        }
        return {name: value for name, value in fields.items() if value}


def location(where: SourceRange) -> dict[str, Any]:
    """Lines as BuildKit's JSON gives them; empty if no line is known."""
    if not where.first:
        return {}
    start, end = {"line": where.first}, {"line": max(where.first, where.last)}
    return {"ranges": [{"start": start, "end": end}]}


@frozen(kw_only=True)
class Selection:
    """Which checks count, and whether a finding is an error."""

    skip: frozenset[str] = frozenset()
    experimental: frozenset[str] = frozenset()
    is_error: bool = False

    def takes(self, rule: Rule) -> bool:
        """Whether findings of this rule are wanted; skip says nothing of experimental ones."""
        return rule.name in self.experimental if rule.experimental else rule.name not in self.skip


def selection_of(dockerfile: Dockerfile, build_args: Mapping[str, str]) -> Selection:
    """What the build argument says, else the directive; an ArgosyError if it cannot be read."""
    if ARGUMENT in build_args:
        try:
            return read_selection(build_args[ARGUMENT])
        except Fault as fault:
            raise UsageError(
                f"build argument {ARGUMENT}: {fault.summary}", why=fault.why, remedy=fault.remedy
            ) from fault
    for directive in dockerfile.directives:
        if directive.name == "check":
            try:
                return read_selection(directive.value)
            except Fault as fault:
                raise dockerfile.source.error(fault, directive.where) from fault
    return Selection()


def read_selection(text: str) -> Selection:
    """Read `skip=A,B|all;error=true;experimental=C|all`; Fault for other words."""
    skip = experimental = frozenset[str]()
    is_error = False
    for part in text.split(";") if text.strip() else []:
        name, equals, value = (p.strip() for p in part.partition("="))
        if name == "skip" and equals:
            skip = _names(value)
        elif name == "experimental" and equals:
            experimental = _names(value)
        elif name == "error" and equals:
            is_error = boolean("error", value)
        else:
            raise Fault(
                f"{part.strip()[:60]!r} is no option of check",
                at=part.strip()[:60],
                why="there are skip=, error= and experimental=, with ; between them",
                remedy=did_you_mean(name, ("skip", "error", "experimental")),
            )
    return Selection(skip=skip, experimental=experimental, is_error=is_error)


def _names(value: str) -> frozenset[str]:
    # Names that are not known are let pass: another version may know them.
    return _ALL if value == "all" else frozenset(name.strip() for name in value.split(","))


@dataclass(slots=True)
class Findings:
    """Collects what is wanted, each thing once."""

    dockerfile: Dockerfile
    selection: Selection
    found: dict[Finding, None] = field(default_factory=dict)
    _here: dict[int, frozenset[str]] | None = None

    def add(self, rule: Rule, where: SourceRange, *words: str) -> None:
        """Note a finding, unless it is to be left out, everywhere or at this place."""
        if self.selection.takes(rule) and rule.name not in self._skipped(where):
            self.found[Finding(rule=rule, detail=rule.detail(*words), where=where)] = None

    def _skipped(self, where: SourceRange) -> frozenset[str]:
        if self._here is None:
            self._here = dict(_local_skips(self.dockerfile))
        return self._here.get(where.first, frozenset())

    def sorted(self) -> tuple[Finding, ...]:
        """From the top of the file to its end."""
        return tuple(sorted(self.found, key=lambda f: (f.where.first, f.rule.name, f.detail)))


def _local_skips(dockerfile: Dockerfile) -> list[tuple[int, frozenset[str]]]:
    skips = []
    for statement in dockerfile.statements:
        for comment in statement.comments:
            if comment.startswith(_HERE):
                words = comment.removeprefix(_HERE).partition("//")[0].strip()
                first, last = statement.where.first, statement.where.last
                skips += [(line, _names(words)) for line in {first, last}]
    return skips
