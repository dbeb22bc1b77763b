"""Checks of what is written, whole file, before any variable has a value.

Source: BuildKit's instructions/parse.go and dockerfile2llb/validations.go.
"""

from collections.abc import Iterable, Iterator

from argosy.build.dockerfile.instructions import Arg, From, Instruction, Maintainer
from argosy.build.dockerfile.lexer import Statement
from argosy.build.dockerfile.lint import rules
from argosy.build.dockerfile.lint.findings import Findings
from argosy.build.dockerfile.parser import Dockerfile
from argosy.build.dockerfile.source import SourceRange
from argosy.build.dockerfile.words import fields

_RESERVED = ("context", "scratch")


def check_style(dockerfile: Dockerfile, found: Findings) -> None:
    """Everything that can be seen without evaluating the Dockerfile."""
    _stage_names(dockerfile, found)
    _casing(dockerfile, found)
    for statement in dockerfile.statements:
        if statement.gaps:
            last = SourceRange(statement.where.file, statement.where.last, statement.where.last)
            found.add(rules.NO_EMPTY_CONTINUATION, last)
        if statement.keyword == "FROM":
            _as_casing(statement, found)
    for instruction in _instructions(dockerfile):
        if isinstance(instruction, Maintainer):
            found.add(rules.MAINTAINER_DEPRECATED, instruction.where)
        elif isinstance(instruction, From | Arg):
            _description(instruction, found)


def _instructions(dockerfile: Dockerfile) -> Iterator[Instruction]:
    yield from dockerfile.global_args
    for stage in dockerfile.stages:
        yield stage.start
        yield from stage.instructions


def _stage_names(dockerfile: Dockerfile, found: Findings) -> None:
    seen: set[str] = set()
    for stage in dockerfile.stages:
        start = stage.start
        if start.name_written != start.name:
            found.add(rules.STAGE_NAME_CASING, start.where, start.name_written)
        if start.name in _RESERVED:
            found.add(rules.RESERVED_STAGE_NAME, start.where, start.name)
        if start.name and start.name in seen:
            found.add(rules.DUPLICATE_STAGE_NAME, start.where, start.name)
        seen.add(start.name)


def _as_casing(statement: Statement, found: Findings) -> None:
    words = fields(statement.rest)
    keyword = statement.written
    if len(words) == 3 and _is_uniform(keyword):
        wanted = words[1].lower() if keyword.islower() else words[1].upper()
        if words[1] != wanted:
            found.add(rules.FROM_AS_CASING, statement.where, words[1], keyword)


def _casing(dockerfile: Dockerfile, found: Findings) -> None:
    """Every keyword in the casing that most have; ARGs before the first FROM do not count."""
    heads = len(dockerfile.global_args)
    written = [(s.written, s.where) for s in dockerfile.statements[heads:]]
    lower = sum(word.islower() for word, _ in written)
    upper = sum(word.isupper() for word, _ in written)
    for word, where in written:
        if lower > upper and word != word.lower():
            found.add(rules.CONSISTENT_INSTRUCTION_CASING, where, word, "lowercase")
        elif lower <= upper and word != word.upper():
            found.add(rules.CONSISTENT_INSTRUCTION_CASING, where, word, "uppercase")


def _is_uniform(word: str) -> bool:
    return word in (word.lower(), word.upper())


def _description(instruction: From | Arg, found: Findings) -> None:
    comments = described_by(instruction.comments)
    keyword = "FROM" if isinstance(instruction, From) else "ARG"
    names = _names(instruction)
    if comments and names and comments[-1].split(" ")[0] not in names:
        shown = names[0] if len(names) == 1 else "<arg_key>"
        found.add(rules.INVALID_DEFINITION_DESCRIPTION, instruction.where, keyword, shown)


def _names(instruction: From | Arg) -> list[str]:
    if isinstance(instruction, Arg):
        return [name for name, _ in instruction.args]
    return [instruction.name] if instruction.name else []


def described_by(comments: Iterable[str]) -> list[str]:
    """The comments that may describe what stands below: those after the last empty one."""
    kept: list[str] = []
    for comment in comments:
        kept = [*kept, comment] if comment else []
    return [comment for comment in kept if not comment.startswith("check=")]


def description(comments: Iterable[str], name: str) -> str:
    """What a comment `# name text` says of a stage or an argument; `` if none does."""
    for comment in described_by(comments):
        if name and comment.startswith(f"{name} "):
            return comment.removeprefix(f"{name} ")
    return ""
