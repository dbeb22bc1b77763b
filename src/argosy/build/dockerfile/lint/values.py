"""Checks of stages while they are evaluated, when variables have values.

Source: BuildKit's dockerfile2llb, the dispatch functions.
"""

import posixpath
import re
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from functools import singledispatchmethod

from argosy.build.dockerfile.expand import Watched, expand, expand_words
from argosy.build.dockerfile.ignore import Matcher
from argosy.build.dockerfile.instructions import (
    Add,
    Arg,
    Cmd,
    Copy,
    Entrypoint,
    Env,
    Expose,
    Healthcheck,
    Instruction,
    Label,
    Shell,
    Workdir,
)
from argosy.build.dockerfile.lint import rules
from argosy.build.dockerfile.lint.findings import Findings
from argosy.build.dockerfile.lint.suggest import hint
from argosy.build.dockerfile.plan import BaseImage, FromImage, FromStage
from argosy.build.dockerfile.source import SourceRange
from argosy.build.dockerfile.stage_state import StageState
from argosy.build.dockerfile.stages import Node
from argosy.build.dockerfile.transfer import is_remote

_SECRET = re.compile(
    r"(?:_|^)(?:apikey|auth|credentials?|key|password|pword|passwd|secret|token)(?:_|$)",
    re.IGNORECASE,
)
_HARMLESS = re.compile(r"(?:_|^)(?:public|file|version)(?:_|$)", re.IGNORECASE)
_UNSEEN = frozenset(["BUILDKIT_SBOM_SCAN_CONTEXT", "BUILDKIT_SBOM_SCAN_STAGE"])
_MAX_HINTS = 500
_EVERYTHING = ("*", "**", "**/*")


def is_secret_name(name: str) -> bool:
    """Whether a variable's name sounds as if its value were nobody else's business."""
    return bool(_SECRET.search(name)) and not _HARMLESS.search(name)


@dataclass(slots=True)
class _Seen:
    """What has been seen of the stage at hand."""

    name: str = ""
    shell: bool = False  # a SHELL in this file, here or in a stage below it
    workdir: bool = False  # a WORKDIR likewise
    known: bool = True  # its base image's config is known
    last: dict[type, SourceRange] = field(default_factory=dict)
    names: set[str] = field(default_factory=set)  # of the variables, as they are set


@dataclass(slots=True)
class ValueChecks:
    """A Watch of the evaluation; what it notes goes to `found`."""

    found: Findings
    ignore: Matcher | None = None
    unknown: AbstractSet[BaseImage] = frozenset()  # images whose config could not be had
    written: AbstractSet[int] = frozenset()  # the ids of the instructions of the file itself
    _hints: int = 0
    _stages: dict[int, _Seen] = field(default_factory=dict)
    _now: _Seen = field(default_factory=_Seen)

    def begins(self, node: Node, state: StageState) -> None:
        """A stage begins."""
        self._now = _Seen()
        if isinstance(node.base, FromStage):
            below = self._stages[node.base.index]
            self._now = _Seen(shell=below.shell, workdir=below.workdir, known=below.known)
        elif isinstance(node.base, FromImage):
            self._now.known = node.base.image not in self.unknown
            self._now.shell = "Shell" in state.draft.config
        self._stages[node.stage.index] = self._now
        self._now.names = set(state.env)
        state.env = Watched(state.env)

    def applied(self, instruction: Instruction, state: StageState) -> None:
        """An instruction was applied; those of a base's triggers are not ours to judge."""
        env = state.env
        assert isinstance(env, Watched)
        if id(instruction) in self.written:
            if self._now.known and not isinstance(instruction, Expose):  # as BuildKit
                missing = env.missing - state.args.keys() - _UNSEEN
                for name in sorted(missing):
                    said = self._hint(name, self._now.names)
                    self.found.add(rules.UNDEFINED_VAR, instruction.where, name, said)
            self._check(instruction, state)
        env.forget()
        self._now.names |= _set_by(instruction)

    def _hint(self, name: str, known: AbstractSet[str]) -> str:
        self._hints += 1
        if self._hints > _MAX_HINTS or len(known) > _MAX_HINTS:
            return ""  # a hostile file must not make us compare all its names with each other
        return hint(name, known, "$")

    @singledispatchmethod
    def _check(self, instruction: Instruction, state: StageState) -> None:
        """What is to be checked of this kind of instruction."""

    @_check.register
    def _arg(self, instruction: Arg, _state: StageState) -> None:
        self._secrets(instruction, [name for name, _ in instruction.args])

    @_check.register
    def _env(self, instruction: Env, _state: StageState) -> None:
        self._secrets(instruction, [name for name, _ in instruction.pairs])
        self._legacy(instruction)

    @_check.register
    def _label(self, instruction: Label, _state: StageState) -> None:
        self._legacy(instruction)

    def _secrets(self, instruction: Instruction, names: list[str]) -> None:
        for name in names:
            if is_secret_name(name):
                keyword = _keyword(instruction).upper()
                self.found.add(rules.SECRETS_USED_IN_ARG_OR_ENV, instruction.where, keyword, name)

    def _legacy(self, instruction: Env | Label) -> None:
        if instruction.legacy:
            where = instruction.where
            self.found.add(rules.LEGACY_KEY_VALUE_FORMAT, where, _keyword(instruction))

    @_check.register
    def _command(self, instruction: Cmd | Entrypoint, _state: StageState) -> None:
        self._once(instruction)
        if instruction.command.shell and not self._now.shell and self._now.known:
            where = instruction.where
            self.found.add(rules.JSON_ARGS_RECOMMENDED, where, _keyword(instruction))

    @_check.register
    def _healthcheck(self, instruction: Healthcheck, _state: StageState) -> None:
        self._once(instruction)

    def _once(self, instruction: Instruction) -> None:
        kind = type(instruction)
        if kind in self._now.last:  # the one before is what is lost
            where = self._now.last[kind]
            self.found.add(rules.MULTIPLE_INSTRUCTIONS_DISALLOWED, where, _keyword(instruction))
        self._now.last[kind] = instruction.where

    @_check.register
    def _shell(self, _instruction: Shell, _state: StageState) -> None:
        self._now.shell = True

    @_check.register
    def _workdir(self, instruction: Workdir, state: StageState) -> None:
        path = expand(instruction.path, state.env, state.escape)
        if not self._now.workdir and not posixpath.isabs(path):
            self.found.add(rules.WORKDIR_RELATIVE_PATH, instruction.where, path)
        self._now.workdir = True

    @_check.register
    def _expose(self, instruction: Expose, state: StageState) -> None:
        for written in instruction.ports:
            for port in expand_words(written, state.env, state.escape):
                _, _, protocol = port.partition("/")
                if protocol != protocol.lower():
                    self.found.add(rules.EXPOSE_PROTO_CASING, instruction.where, port)
                if ":" in port:
                    self.found.add(rules.EXPOSE_INVALID_FORMAT, instruction.where, port)

    @_check.register
    def _transfer(self, instruction: Copy | Add, state: StageState) -> None:
        if isinstance(instruction, Copy) and instruction.from_:
            return
        rules_of = self.ignore
        if not rules_of or any(p.keeps for p in rules_of.patterns):
            return  # what an exception keeps cannot be told without the files
        verb = "Add" if isinstance(instruction, Add) else "Copy"
        for source in instruction.sources:
            path = expand(source, state.env, state.escape)
            if not is_remote(path):
                cleaned = posixpath.normpath(path.lstrip("/") or ".")
                if _ignores(rules_of, cleaned):
                    self.found.add(rules.COPY_IGNORED_FILE, instruction.where, verb, cleaned)


def _set_by(instruction: Instruction) -> set[str]:
    """The variables that an instruction sets, or may set."""
    if isinstance(instruction, Env):
        return {name for name, _ in instruction.pairs}
    return {name for name, _ in instruction.args} if isinstance(instruction, Arg) else set()


def _ignores(rules_of: Matcher, path: str) -> bool:
    if path == ".":
        return any(p.text in _EVERYTHING for p in rules_of.patterns)
    return rules_of.ignores(path)


def _keyword(instruction: Instruction) -> str:
    return instruction.text.split(maxsplit=1)[0]
