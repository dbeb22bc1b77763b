"""One statement being read: its flags, its forms, its names and values.

What the readers of the instructions have in common; each of them is in `parser`.
"""

from typing import Any

from argosy.build.dockerfile.instructions import Command
from argosy.build.dockerfile.lexer import Statement
from argosy.build.dockerfile.source import Fault, did_you_mean
from argosy.build.dockerfile.words import boolean, cut, fields, json_words, quoted_words


class Reading:
    """One statement being read: its flags are asked for by name, the others are refused."""

    def __init__(self, statement: Statement, escape: str) -> None:
        self.statement = statement
        self.escape = escape
        self.rest = statement.rest
        self.place: dict[str, Any] = {"where": statement.where, "text": statement.text}

    @property
    def keyword(self) -> str:
        """In capitals."""
        return self.statement.keyword

    def accept(self, *names: str, repeated: tuple[str, ...] = ()) -> None:
        """Refuse the flags that are not named, and those given twice."""
        seen: set[str] = set()
        for flag in self.statement.flags:
            if flag.name not in (*names, *repeated):
                raise self._unknown(flag.name, (*names, *repeated))
            if flag.name in seen and flag.name not in repeated:
                raise Fault(f"--{flag.name} is given twice", at=f"--{flag.name}")
            seen.add(flag.name)

    def _unknown(self, name: str, known: tuple[str, ...]) -> Fault:
        listed = " ".join(f"--{k}" for k in known)
        return Fault(
            f"{self.keyword} has no flag --{name[:40]}",
            at=f"--{name[:40]}",
            why=f"its flags are: {listed}" if known else "it has no flags",
            remedy=did_you_mean(f"--{name}", [f"--{k}" for k in known]),
        )

    def flags(self, name: str) -> tuple[str, ...]:
        """Every value of a flag that needs one."""
        found = [f.value for f in self.statement.flags if f.name == name]
        if None in found:
            raise Fault(
                f"--{name} needs a value",
                at=f"--{name}",
                remedy=f"write --{name}=VALUE, with no blank around the =",
            )
        return tuple(v for v in found if v is not None)

    def flag(self, name: str) -> str:
        """The value of a flag, `` if it is not there."""
        return next(iter(self.flags(name)), "")

    def switch(self, name: str) -> bool | None:
        """A flag that may stand alone; None if it is not there."""
        for flag in self.statement.flags:
            if flag.name == name:
                return flag.value is None or boolean(f"--{name}", flag.value)
        return None

    def needed(self) -> str:
        """The text after the flags, which must not be empty."""
        if not self.rest:
            raise Fault(f"{self.keyword} needs an argument", at=self.statement.written)
        return self.rest

    def command(self) -> Command:
        """The shell or exec form."""
        words = json_words(self.rest)
        if words is not None:
            return Command(words, shell=False)
        # CMD alone is a shell that runs nothing, as with BuildKit.
        return Command((self.rest,), shell=words is None)

    def list(self) -> tuple[str, ...]:
        """A JSON array, or words between blanks."""
        words = json_words(self.rest)
        return words if words is not None else tuple(fields(self.rest))

    def pairs(self) -> tuple[tuple[tuple[str, str], ...], bool]:
        """`name=value …`, or the old `name value`; and whether it is the old form."""
        words = quoted_words(self.needed(), self.escape)
        if not words or "=" not in words[0]:
            name, value = cut(self.rest)
            if not value:
                raise Fault(
                    f"{self.keyword} {name[:60]} has no value",
                    at=name[:60],
                    remedy=f"write {self.keyword} {name[:60]}=VALUE",
                )
            return ((name, value),), True
        return tuple(self._pair(word) for word in words), False

    def _pair(self, word: str) -> tuple[str, str]:
        name, equals, value = word.partition("=")
        if not equals:
            raise Fault(
                f"{word[:60]!r} is not name=value",
                at=word[:60],
                why=f"after one name=value, {self.keyword} takes only more of them",
                remedy="put a value that holds blanks into double quotes",
            )
        if not name:
            raise Fault(f"a name is missing before {word[:60]!r}", at=word[:60])
        return name, value
