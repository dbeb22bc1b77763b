"""Statements to instructions: `parse` reads a whole Dockerfile.

What can be judged without values is judged here; the rest when a stage is evaluated.
Everything that is wrong is a DockerfileError that says where.
"""

import re
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from argosy.build.dockerfile import checks
from argosy.build.dockerfile.instructions import (
    Add,
    Arg,
    Cmd,
    Copy,
    Entrypoint,
    Env,
    Expose,
    From,
    Healthcheck,
    Instruction,
    Label,
    Maintainer,
    Onbuild,
    Run,
    Shell,
    StopSignal,
    User,
    Volume,
    Workdir,
)
from argosy.build.dockerfile.lexer import (
    Directive,
    Heredoc,
    Statement,
    decode,
    read_statements,
    split_statement,
)
from argosy.build.dockerfile.mounts import read_mount
from argosy.build.dockerfile.reading import Reading
from argosy.build.dockerfile.source import Fault, Source, SourceRange, did_you_mean
from argosy.build.dockerfile.words import (
    cut,
    duration,
    fields,
    json_words,
    quoted_words,
)
from argosy.errors import DockerfileError
from argosy.values import frozen


@frozen(kw_only=True)
class BuildStage:
    """One FROM and what follows it; `index` is its place in the file, from 0."""

    index: int
    start: From
    instructions: tuple[Instruction, ...]

    @property
    def name(self) -> str:
        """The name after AS, else `stage-INDEX`."""
        return self.start.name or f"stage-{self.index}"


@frozen(kw_only=True)
class Dockerfile:
    """A Dockerfile as values: the ARGs before the first FROM, and the stages, at least one."""

    source: Source
    escape: str
    directives: tuple[Directive, ...]
    global_args: tuple[Arg, ...]
    stages: tuple[BuildStage, ...]
    statements: tuple[Statement, ...]  # as written, for the checks of style


def parse(content: bytes | str, file: str = "Dockerfile") -> Dockerfile:
    """Read a Dockerfile; DockerfileError says what cannot be read, where, and what to do."""
    source = decode(content, file)
    script = read_statements(source)
    read = [_located(source, s, script.escape) for s in script.statements]
    global_args, stages = _arranged(source, read)
    return Dockerfile(
        source=source,
        escape=script.escape,
        directives=script.directives,
        global_args=global_args,
        stages=stages,
        statements=script.statements,
    )


def parse_beginning(content: bytes | str, file: str = "Dockerfile") -> Dockerfile | None:
    """What can be read of a Dockerfile above its first error; None if that is no stage."""
    try:
        source = decode(content, file)
        script = read_statements(source)
    except DockerfileError:
        return None
    read: list[Instruction] = []
    with suppress(DockerfileError):
        for statement in script.statements:
            read.append(_located(source, statement, script.escape))  # noqa: PERF401 - up to an error
    try:
        global_args, stages = _arranged(source, read)
    except DockerfileError:
        return None
    return Dockerfile(
        source=source,
        escape=script.escape,
        directives=script.directives,
        global_args=global_args,
        stages=stages,
        statements=script.statements[: len(read)],
    )


def parse_trigger(text: str, where: SourceRange) -> Instruction:
    """The instruction of an ONBUILD trigger kept in an image's config; Fault if it is none."""
    try:
        script = read_statements(decode(text, where.file))
    except DockerfileError as e:
        raise Fault(f"the base image's trigger ONBUILD {text[:80]} cannot be read") from e
    if len(script.statements) != 1:
        raise Fault(f"the base image's trigger ONBUILD {text[:80]} is not one instruction")
    statement = script.statements[0]
    placed = Statement(
        keyword=statement.keyword,
        written=statement.written,
        flags=statement.flags,
        rest=statement.rest,
        text=statement.text,
        heredocs=statement.heredocs,
        where=where,
    )
    return _trigger(placed, script.escape)


def _located(source: Source, statement: Statement, escape: str) -> Instruction:
    try:
        return read_instruction(statement, escape)
    except Fault as fault:
        raise source.error(fault, statement.where) from fault


def _arranged(
    source: Source, read: list[Instruction]
) -> tuple[tuple[Arg, ...], tuple[BuildStage, ...]]:
    starts = [n for n, i in enumerate(read) if isinstance(i, From)]
    head = read[: starts[0]] if starts else read
    for instruction in head:
        if not isinstance(instruction, Arg):
            fault = Fault(
                "no stage has begun here",
                at=instruction.text.split()[0],
                why="only ARG may come before the first FROM",
                remedy="begin with FROM and an image, or FROM scratch",
            )
            raise source.error(fault, instruction.where)
    if not starts:
        fault = Fault(
            "the Dockerfile has no FROM" if read else "the Dockerfile has no instruction",
            remedy="begin with FROM and an image, or FROM scratch",
        )
        raise source.error(fault, SourceRange(source.file))
    stages = []
    for index, (start, end) in enumerate(zip(starts, [*starts[1:], len(read)], strict=True)):
        first = read[start]
        assert isinstance(first, From)
        stages.append(
            BuildStage(index=index, start=first, instructions=tuple(read[start + 1 : end]))
        )
    return tuple(i for i in head if isinstance(i, Arg)), tuple(stages)


def read_instruction(statement: Statement, escape: str) -> Instruction:
    """One instruction from a statement; Fault if it cannot be read."""
    reader = _READERS.get(statement.keyword)
    if reader is None:
        word = statement.written[:40]
        raise Fault(
            f"there is no instruction {word}",
            at=word,
            remedy=did_you_mean(word, _READERS) or "there are: " + " ".join(_READERS),
        )
    return reader(Reading(statement, escape))


_AS = re.compile(r"as", re.IGNORECASE)


def _from(reading: Reading) -> From:
    reading.accept("platform")
    words = fields(reading.needed())
    named = len(words) == 3 and _AS.fullmatch(words[1])
    if len(words) != 1 and not named:
        raise Fault(
            "FROM takes an image, or an image AS a name",
            at=words[1] if len(words) > 1 else "",
            remedy="write FROM image or FROM image AS name",
        )
    return From(
        image=words[0],
        name=checks.stage_name(words[2]) if named else "",
        name_written=words[2] if named else "",
        platform=reading.flag("platform"),
        comments=reading.statement.comments,
        **reading.place,
    )


def _arg(reading: Reading) -> Arg:
    reading.accept()
    args: list[tuple[str, str | None]] = []
    for word in quoted_words(reading.needed(), reading.escape):
        name, equals, value = word.partition("=")
        if not name:
            raise Fault(f"a name is missing before {word[:60]!r}", at=word[:60])
        args.append((name, value if equals else None))
    return Arg(args=tuple(args), comments=reading.statement.comments, **reading.place)


def _env(reading: Reading) -> Env:
    reading.accept()
    pairs, legacy = reading.pairs()
    return Env(pairs=pairs, legacy=legacy, **reading.place)


def _label(reading: Reading) -> Label:
    reading.accept()
    pairs, legacy = reading.pairs()
    return Label(pairs=pairs, legacy=legacy, **reading.place)


def _run(reading: Reading) -> Run:
    reading.accept("network", "security", repeated=("mount", "device"))
    if reading.flags("device"):
        raise Fault(
            "RUN --device is not supported",
            at="--device",
            why="it is no part of the stable Dockerfile language (labs only)",
            remedy="leave the flag away: steps see none of this machine's devices",
        )
    command = reading.command()
    if not any(command.words):
        raise Fault("RUN needs a command", at=reading.statement.written)
    return Run(
        command=command,
        mounts=tuple(read_mount(value) for value in reading.flags("mount")),
        network=_one_of(reading, "network", ("default", "none", "host")),
        security=_one_of(reading, "security", ("sandbox", "insecure")),
        heredocs=reading.statement.heredocs,
        **reading.place,
    )


def _one_of(reading: Reading, name: str, known: tuple[str, ...]) -> str:
    value = reading.flag(name) or known[0]
    if value not in known:
        raise Fault(
            f"--{name}={value[:40]} is not known",
            at=f"--{name}={value[:40]}",
            why=f"--{name} is one of: {', '.join(known)}",
            remedy=did_you_mean(value, known),
        )
    return value


def _transfer(reading: Reading) -> dict[str, Any]:
    """What COPY and ADD have in common."""
    words = reading.list()
    if len(words) < 2:
        raise Fault(
            f"{reading.keyword} needs at least a source and a destination",
            at=reading.statement.written,
            remedy=f"write {reading.keyword} SOURCE… DESTINATION",
        )
    files = {_opening(h): h for h in reading.statement.heredocs}
    sources = [w for w in words[:-1] if _plain_opening(w) not in files]
    if _plain_opening(words[-1]) in files:
        raise Fault(
            f"the destination of {reading.keyword} cannot be a here-document",
            at=words[-1],
            remedy="write the destination's path last",
        )
    for heredoc in files.values():
        if heredoc.descriptor:
            raise Fault("a here-document to copy has no file descriptor", at=heredoc.name)
    mode, owner = reading.flag("chmod"), reading.flag("chown")
    return {
        "sources": tuple(sources),
        "files": tuple(files.values()),
        "dest": words[-1],
        "chown": owner if not owner or checks.has_variables(owner) else checks.chown(owner),
        "chmod": mode if not mode or checks.has_variables(mode) else checks.chmod(mode),
        "link": bool(reading.switch("link")),
        "exclude": reading.flags("exclude"),
        **reading.place,
    }


def _opening(heredoc: Heredoc) -> str:
    dash = "-" if heredoc.strips_tabs else ""
    return f"{heredoc.descriptor or ''}<<{dash}{heredoc.name}"


def _plain_opening(word: str) -> str:
    return word.replace("'", "").replace('"', "") if "<<" in word else ""


def _copy(reading: Reading) -> Copy:
    reading.accept("from", "chown", "chmod", "link", "parents", repeated=("exclude",))
    from_ = reading.flag("from")
    if checks.has_variables(from_):
        raise Fault(
            "--from takes no variables",
            at=f"--from={from_}",
            remedy="name a stage FROM it with a global ARG, and copy from that stage",
        )
    return Copy(from_=from_, parents=bool(reading.switch("parents")), **_transfer(reading))


def _add(reading: Reading) -> Add:
    names = ("chown", "chmod", "link", "checksum", "keep-git-dir", "unpack")
    reading.accept(*names, repeated=("exclude",))
    checksum = reading.flag("checksum")
    return Add(
        checksum=checksum
        if not checksum or checks.has_variables(checksum)
        else checks.checksum(checksum),
        keep_git_dir=bool(reading.switch("keep-git-dir")),
        unpack=reading.switch("unpack"),
        **_transfer(reading),
    )


def _workdir(reading: Reading) -> Workdir:
    reading.accept()
    return Workdir(path=reading.needed(), **reading.place)


def _user(reading: Reading) -> User:
    reading.accept()
    return User(user=reading.needed(), **reading.place)


def _cmd(reading: Reading) -> Cmd:
    reading.accept()
    return Cmd(command=reading.command(), **reading.place)


def _entrypoint(reading: Reading) -> Entrypoint:
    reading.accept()
    return Entrypoint(command=reading.command(), **reading.place)


def _expose(reading: Reading) -> Expose:
    reading.accept()
    return Expose(ports=tuple(fields(reading.needed())), **reading.place)


def _volume(reading: Reading) -> Volume:
    reading.accept()
    paths = tuple(p.strip() for p in reading.list())
    if not paths or not all(paths):
        raise Fault("VOLUME needs a path", at=reading.statement.written)
    return Volume(paths=paths, **reading.place)


def _shell(reading: Reading) -> Shell:
    reading.accept()
    words = json_words(reading.rest)
    if not words:
        raise Fault(
            "SHELL takes a JSON array of words",
            at=reading.rest[:60],
            remedy='write for example SHELL ["/bin/bash", "-c"]',
        )
    return Shell(words=words, **reading.place)


def _stop_signal(reading: Reading) -> StopSignal:
    reading.accept()
    return StopSignal(signal=reading.needed(), **reading.place)


def _healthcheck(reading: Reading) -> Healthcheck:
    reading.accept("interval", "timeout", "start-period", "start-interval", "retries")
    kind, rest = cut(reading.needed())
    if kind.upper() == "NONE":
        if rest:
            raise Fault("HEALTHCHECK NONE takes no argument", at=rest[:60])
        return Healthcheck(test=("NONE",), **reading.place)
    if kind.upper() != "CMD":
        raise Fault(
            f"HEALTHCHECK takes CMD or NONE, not {kind[:40]}",
            at=kind[:40],
            remedy="write HEALTHCHECK CMD and a command",
        )
    words = json_words(rest)
    if not rest or words == ():
        raise Fault("HEALTHCHECK CMD needs a command", at=kind)
    return Healthcheck(
        test=("CMD", *words) if words is not None else ("CMD-SHELL", rest),
        interval=_time(reading, "interval"),
        timeout=_time(reading, "timeout"),
        start_period=_time(reading, "start-period"),
        start_interval=_time(reading, "start-interval"),
        retries=_retries(reading),
        **reading.place,
    )


def _time(reading: Reading, name: str) -> int:
    value = reading.flag(name)
    return duration(name, value) if value else 0


def _retries(reading: Reading) -> int:
    value = reading.flag("retries")
    if not value:
        return 0
    if not (value.isascii() and value.isdigit() and len(value) < 10):
        raise Fault(f"--retries: {value[:40]!r} is not a number", at=value[:40])
    return int(value)


def _onbuild(reading: Reading) -> Onbuild:
    reading.accept()
    inner = split_statement(
        reading.needed(), reading.statement.where, heredocs=reading.statement.heredocs
    )
    documents = "".join(f"\n{h.content}{h.name}" for h in inner.heredocs)
    return Onbuild(
        trigger=inner.text + documents, inner=_trigger(inner, reading.escape), **reading.place
    )


def _trigger(statement: Statement, escape: str) -> Instruction:
    if statement.keyword in ("ONBUILD", "FROM", "MAINTAINER"):
        raise Fault(
            f"{statement.keyword} cannot be a trigger of ONBUILD",
            at=f"ONBUILD {statement.written}",
            remedy="any instruction but ONBUILD, FROM and MAINTAINER can",
        )
    return read_instruction(statement, escape)


def _maintainer(reading: Reading) -> Maintainer:
    reading.accept()
    return Maintainer(name=reading.needed(), **reading.place)


_READERS: dict[str, Callable[[Reading], Instruction]] = {
    "ADD": _add,
    "ARG": _arg,
    "CMD": _cmd,
    "COPY": _copy,
    "ENTRYPOINT": _entrypoint,
    "ENV": _env,
    "EXPOSE": _expose,
    "FROM": _from,
    "HEALTHCHECK": _healthcheck,
    "LABEL": _label,
    "MAINTAINER": _maintainer,
    "ONBUILD": _onbuild,
    "RUN": _run,
    "SHELL": _shell,
    "STOPSIGNAL": _stop_signal,
    "USER": _user,
    "VOLUME": _volume,
    "WORKDIR": _workdir,
}
