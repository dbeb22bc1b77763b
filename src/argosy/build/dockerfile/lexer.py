"""Lines to statements: directives, comments, continued lines, here-documents.

A statement is one instruction's text, joined, with its flags taken off; what the text
means is for the parser. Source: Dockerfile reference, Format; BuildKit's frontend,
parser/parser.go.
"""

import re
from collections.abc import Iterator

from argosy.build.dockerfile.expand import unquote
from argosy.build.dockerfile.source import MAX_LINE, Fault, Source, SourceRange
from argosy.build.dockerfile.words import Flag, cut, json_words, take_flags
from argosy.values import frozen

_DIRECTIVES = frozenset(["syntax", "escape", "check"])
_TAKES_DOCUMENTS = frozenset(["RUN", "COPY", "ADD"])
_HEREDOC = re.compile(r"([0-9]*)<<(-?)\s*([^<]+)")
_AWAITS_WORD = re.compile(r"[0-9]*<<")  # `<< EOF` is one word; `<<- EOF` is not
_WORD = re.compile(r"[a-zA-Z][a-zA-Z0-9]*")


@frozen
class Directive:
    """`# name=value` at the top of the file; the name in lower case."""

    name: str
    value: str
    where: SourceRange


@frozen(kw_only=True)
class Heredoc:
    """A here-document: `content` as written; see `data` for what becomes of it."""

    name: str
    content: str
    expands: bool  # its word was not quoted
    strips_tabs: bool  # <<-
    descriptor: int = 0
    where: SourceRange

    @property
    def data(self) -> str:
        """The content, leading tabs removed where `<<-` asks for it."""
        return re.sub(r"(?m)^\t+", "", self.content) if self.strips_tabs else self.content


@frozen(kw_only=True)
class Statement:
    """One instruction: its keyword in upper case, flags, the rest of its text, documents."""

    keyword: str
    written: str  # the keyword as it is written
    flags: tuple[Flag, ...]
    rest: str
    text: str  # the whole, continued lines joined
    heredocs: tuple[Heredoc, ...] = ()
    comments: tuple[str, ...] = ()  # right above it
    gaps: tuple[int, ...] = ()  # empty lines where a continued one was expected
    where: SourceRange


@frozen(kw_only=True)
class Script:
    """A Dockerfile cut into statements."""

    source: Source
    escape: str
    directives: tuple[Directive, ...]
    statements: tuple[Statement, ...]


def decode(content: bytes | str, file: str) -> Source:
    """The lines of a Dockerfile; DockerfileError if they are no text."""
    if isinstance(content, str):
        text = content.encode(errors="replace").decode()  # half a surrogate pair is no text
    else:
        try:
            text = content.decode()
        except UnicodeDecodeError as e:
            line = content.count(b"\n", 0, e.start) + 1
            fault = Fault(
                f"line {line} is not UTF-8 text",
                why=f"byte 0x{content[e.start]:02x} cannot stand there",
                remedy="save the file as UTF-8",
            )
            shown = tuple(content.decode(errors="replace").split("\n"))
            raise Source(file, shown).error(fault, SourceRange(file, line, line)) from e
    source = Source(file, tuple(text.removeprefix("\ufeff").removesuffix("\n").split("\n")))
    for number, written in enumerate(source.lines, 1):
        _check_line(source, number, written)
    return source


def _check_line(source: Source, number: int, line: str) -> None:
    where = SourceRange(source.file, number, number)
    if len(line) > MAX_LINE // 4 and len(line.encode(errors="replace")) > MAX_LINE:
        fault = Fault(
            f"line {number} is longer than {MAX_LINE} bytes",
            remedy="break it, or COPY the content from a file",
        )
        raise source.error(fault, where)
    if "\0" in line:
        fault = Fault(
            f"line {number} holds a NUL byte",
            why="this is no text, or text in UTF-16",
            remedy="save the file as UTF-8",
        )
        raise source.error(fault, where)


def read_statements(source: Source) -> Script:
    """Cut a Dockerfile into statements; DockerfileError for documents left open and the like."""
    directives = tuple(_directives(source))
    escape = next((d.value for d in directives if d.name == "escape"), "\\")
    reader = _Reader(source, escape, directives[-1].where.last if directives else 0)
    return Script(
        source=source, escape=escape, directives=directives, statements=tuple(reader.statements())
    )


def split_statement(
    text: str, where: SourceRange, *, heredocs: tuple[Heredoc, ...] = ()
) -> Statement:
    """One statement from joined text: ONBUILD's inner instruction."""
    written, rest = cut(text)
    flags, rest = take_flags(rest)
    return Statement(
        keyword=written.upper(),
        written=written,
        flags=flags,
        rest=rest,
        text=text,
        heredocs=heredocs,
        where=where,
    )


def _directives(source: Source) -> Iterator[Directive]:
    """Directives are the first lines, before any comment, empty line or instruction."""
    seen: set[str] = set()
    for number, line in enumerate(source.lines, 1):
        if number == 1 and line.startswith("#!"):
            continue
        name, equals, value = line.strip().removeprefix("#").partition("=")
        name, value = name.strip().lower(), value.strip()
        is_one = line.lstrip().startswith("#") and equals and value and _WORD.fullmatch(name)
        if not is_one or name not in _DIRECTIVES:
            return
        where = SourceRange(source.file, number, number)
        if name in seen:
            fault = Fault(f"a second {name} directive", at=name, remedy="keep one of them")
            raise source.error(fault, where)
        if name == "escape" and value not in ("\\", "`"):
            fault = Fault(
                f"{value[:40]!r} cannot be the escape character",
                at=value,
                remedy="# escape=\\ or # escape=` are the two there are",
            )
            raise source.error(fault, where)
        seen.add(name)
        yield Directive(name, value, where)


class _Reader:
    """Goes down the lines; what it has read of the statement at hand is its state."""

    def __init__(self, source: Source, escape: str, at: int) -> None:
        self._source = source
        self._lines = source.lines
        self._escape = escape
        self._at = at  # the index of the next line

    def statements(self) -> Iterator[Statement]:
        comments: list[str] = []
        while self._at < len(self._lines):
            line = self._lines[self._at].strip("\r").lstrip()
            if line.startswith("#"):
                comments.append(line[1:].strip())
                self._at += 1
            elif not line:
                comments = []
                self._at += 1
            else:
                statement = self._statement(tuple(comments))
                comments = []
                if statement:
                    yield statement

    def _statement(self, comments: tuple[str, ...]) -> Statement | None:
        first = self._at + 1
        text, gaps = self._joined()
        if not text.strip():
            return None
        head = split_statement(text, SourceRange(self._source.file, first, self._at))
        heredocs = tuple(self._heredocs(head))
        return Statement(
            keyword=head.keyword,
            written=head.written,
            flags=head.flags,
            rest=head.rest,
            text=text.strip(),
            heredocs=heredocs,
            comments=comments,
            gaps=gaps,
            where=SourceRange(self._source.file, first, self._at),
        )

    def _joined(self) -> tuple[str, tuple[int, ...]]:
        """The lines of a statement joined, and the empty ones in between."""
        parts: list[str] = []
        gaps: list[int] = []
        goes_on = True
        while goes_on and self._at < len(self._lines):
            line = self._lines[self._at].rstrip("\r")
            self._at += 1
            bare = line.strip()
            if parts and bare.startswith("#"):
                continue
            if parts and not bare:
                gaps.append(self._at)
                continue
            line, goes_on = self._continued(line if parts else line.lstrip())
            parts.append(line)
        return "".join(parts), tuple(gaps)

    def _continued(self, line: str) -> tuple[str, bool]:
        """The line without its continuation, and whether it had one."""
        bare = line.rstrip(" \t")
        if not bare.endswith(self._escape) or bare.endswith(self._escape * 2):
            return line, False
        return bare[:-1], True

    def _heredocs(self, head: Statement) -> Iterator[Heredoc]:
        statement = head
        if head.keyword == "ONBUILD":
            statement = split_statement(head.rest, head.where)
        if statement.keyword not in _TAKES_DOCUMENTS or "<<" not in statement.rest:
            return
        try:
            if json_words(statement.rest) is not None:
                return
        except Fault:
            return  # the parser will say what is wrong with it
        for descriptor, dash, word in _openings(statement.rest):
            yield self._body(head, descriptor, dash, word)

    def _body(self, head: Statement, descriptor: str, dash: str, word: str) -> Heredoc:
        name = unquote(word)
        first = self._at + 1
        while self._at < len(self._lines):
            line = self._lines[self._at].rstrip("\r")
            self._at += 1
            if (line.lstrip("\t") if dash else line) == name:
                lines = self._lines[first - 1 : self._at - 1]
                return Heredoc(
                    name=name,
                    content="".join(f"{text}\n" for text in lines),
                    expands=name.count("'") + name.count('"') == word.count("'") + word.count('"'),
                    strips_tabs=bool(dash),
                    descriptor=int(descriptor[:9] or 0),
                    where=SourceRange(self._source.file, first, self._at),
                )
        fault = Fault(
            f"the here-document {name!r} is not closed",
            at=f"<<{dash}{word}",
            why=f"no line after it is just {name}",
            remedy=f"end it with a line {name}, without blanks before or after",
        )
        raise self._source.error(fault, head.where)


def _openings(text: str) -> list[tuple[str, str, str]]:
    """The `<<WORD`s that are words of their own: (file descriptor, dash, word)."""
    found = []
    for word in _shell_words(text):
        match = _HEREDOC.fullmatch(word)
        if match and _closed(match[3]):
            found.append((match[1], match[2], match[3]))
    return found


def is_one_opening(text: str) -> bool:
    """Whether the text is a single `<<WORD` and nothing else."""
    words = _shell_words(text)
    return len(words) == 1 and len(_openings(text)) == 1


def _closed(word: str) -> bool:
    try:
        return unquote(word) != ""
    except Fault:
        return False


def _shell_words(text: str) -> list[str]:
    """Words as a shell would see them, quotes and escapes kept; none after a quote left open."""
    words: list[str] = []
    start, position, quote = 0, 0, ""
    while position < len(text):
        char = text[position]
        if char == "\\" and quote != "'":
            position += 1
        elif quote:
            quote = "" if char == quote else quote
        elif char in "'\"":
            quote = char
        elif char.isspace() and _AWAITS_WORD.fullmatch(text, start, position):
            while text[position + 1 : position + 2].isspace():
                position += 1
        elif char.isspace():
            words.append(text[start:position])
            start = position + 1
        position += 1
    return [] if quote else [w for w in (*words, text[start:]) if w]
