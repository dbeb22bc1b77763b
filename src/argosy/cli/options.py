"""The parser every verb uses, and the flags many verbs share.

Flags are spelled as in docker, buildx, skopeo and crane; switches also take the
form `--push=false`, which Docker's users type.
"""

import argparse
from collections.abc import Sequence
from typing import Any, NoReturn

from argosy.errors import UsageError

PROGRESS = ("auto", "tty", "plain", "rawjson", "quiet", "none")
# Go's words for booleans, which docker's users type, and two more.
_TRUE = ("1", "t", "T", "true", "True", "TRUE", "yes", "on")
_FALSE = ("0", "f", "F", "false", "False", "FALSE", "no", "off")


class Parser(argparse.ArgumentParser):
    """argparse, with our help text, our errors, no guessed abbreviations, and `--switch=false`."""

    def __init__(self, *, prog: str, description: str = "") -> None:
        super().__init__(prog=prog, description=description, allow_abbrev=False, add_help=False)

    def add_switch(self, *names: str, help: str, default: bool | None = False) -> None:  # noqa: A002
        """A flag without a value; `--name=false` turns it off."""
        self.add_argument(*names, help=help, default=default, action=Switch)

    def add_debug(self) -> None:
        """The flags every verb has."""
        common = self.add_argument_group("common")
        common.add_argument("-D", "--debug", action="store_true", help="show tracebacks of errors")
        common.add_argument("-h", "--help", action=_Help, nargs=0, help="show this text")

    def format_help(self) -> str:
        """The help text; laid out here so that it does not change with Python or the terminal."""
        from argosy.cli.terminal.help import text

        return text(self)

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: Any = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """As argparse, with `--switch=value` understood."""
        known = self._option_string_actions
        for action in [a for a in self._actions if isinstance(a, Switch)]:
            for value in (*_TRUE, *_FALSE):
                fixed = _Fixed(action.dest, value in _TRUE)
                known |= {f"{name}={value}": fixed for name in action.option_strings}
        return super().parse_known_args(args, namespace)

    def parse_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: Any = None
    ) -> argparse.Namespace:
        """The parsed words; UsageError says which word is off."""
        # Flags may stand between positionals, as everywhere else in this field.
        found, rest = self._interleaved(list(args or ()), namespace)
        if rest:
            self._reject(rest[0])
        return found

    def error(self, message: str) -> NoReturn:
        """Raise what argparse would print and exit with."""
        raise UsageError(f"{self.prog}: {message}", remedy=f"`{self.prog} --help` shows the usage")

    def _interleaved(
        self, words: list[str], namespace: Any
    ) -> tuple[argparse.Namespace, list[str]]:
        # argparse takes `a --flag b` for one list only when told to, and then forgets what `--` means.
        lists = any(a.nargs in ("*", "+") for a in self._get_positional_actions())
        if lists and "--" not in words:
            return self.parse_known_intermixed_args(words, namespace)
        return self.parse_known_args(words, namespace)

    def _reject(self, word: str) -> NoReturn:
        import difflib

        if not word.startswith("-"):
            self.error(f"one argument too many: {word!r}")
        known = [name for name in self._option_string_actions if "=" not in name]
        near = difflib.get_close_matches(word.partition("=")[0], known, n=1)
        raise UsageError(
            f"{self.prog} has no flag {word}",
            why=f"did you mean {near[0]}?" if near else "",
            remedy=f"`{self.prog} --help` lists the flags",
        )


class Switch(argparse.Action):
    """A flag without a value that also takes `=true` and `=false` (see Parser)."""

    def __init__(self, option_strings: Sequence[str], dest: str, **more: Any) -> None:
        super().__init__(option_strings, dest, nargs=0, **more)

    def __call__(self, _parser: Any, namespace: Any, *_: Any) -> None:
        """It was given: true."""
        setattr(namespace, self.dest, True)


class _Fixed(argparse.Action):
    """`--switch=value` as one word: argparse looks for whole words first."""

    def __init__(self, dest: str, value: bool) -> None:
        super().__init__([], dest, nargs=0)
        self._value = value

    def __call__(self, _parser: Any, namespace: Any, *_: Any) -> None:
        setattr(namespace, self.dest, self._value)


class _Help(argparse.Action):
    def __call__(self, parser: Any, *_: Any) -> None:
        print(parser.format_help(), end="")
        raise SystemExit(0)


def listed(text: str) -> list[str]:
    """The parts of a comma list; for repeatable flags (`action="extend"`)."""
    return [part.strip() for part in text.split(",") if part.strip()]


def platforms(text: str) -> list[Any]:
    """Platforms of a comma list; InvalidPlatform names the bad one."""
    from argosy.model.platform import Platform

    return [Platform.parse(part) for part in listed(text)]


def whole(text: str) -> int:
    """A whole number from 1 up."""
    if text.isdecimal() and int(text) > 0:
        return int(text)
    raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 up")


def count(text: str) -> int:
    """A whole number from 0 up."""
    if text.isdecimal():
        return int(text)
    raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 0 up")


def add_json(parser: argparse.ArgumentParser, what: str = "print JSON") -> None:
    """`--json`."""
    parser.add_argument("--json", action="store_true", help=what)


def add_platforms(parser: argparse.ArgumentParser, what: str) -> None:
    """`--platform`, repeatable and with comma lists."""
    parser.add_argument(
        "--platform",
        dest="platforms",
        metavar="OS/ARCH[,…]",
        action="extend",
        type=platforms,
        default=[],
        help=what + "; repeatable",
    )


def add_tls(parser: "Parser", *, ends: Sequence[str] = ()) -> None:
    """How registries are reached; with `ends` (src, dest) for each end of a copy as well."""
    group = parser.add_argument_group("registries")
    group.add_argument(
        "--tls-verify",
        action=Switch,
        default=True,
        help="check certificates; =false takes any certificate, and plain HTTP",
    )
    group.add_argument(
        "--insecure", "-k", action=Switch, default=False, help="the same as --tls-verify=false"
    )
    group.add_argument("--plain-http", action=Switch, default=False, help="speak HTTP without TLS")
    for end in ends:
        group.add_argument(
            f"--{end}-tls-verify",
            action=Switch,
            default=True,
            help=f"--tls-verify for the {'source' if end == 'src' else 'destination'} only",
        )


def add_transfer(parser: "Parser") -> None:
    """How many transfers at once, and how often each is tried."""
    group = parser.add_argument_group("transfer")
    group.add_argument("-j", "--jobs", type=whole, metavar="N", help="blobs in flight (default 4)")
    group.add_argument(
        "--retry-times", type=count, metavar="N", help="tries after a failure (default 5)"
    )


def add_progress(parser: "Parser") -> None:
    """What is shown on stderr while the verb works."""
    group = parser.add_argument_group("output")
    group.add_argument(
        "--progress",
        choices=PROGRESS,
        metavar="KIND",
        help="auto, tty, plain, rawjson or quiet (default: $BUILDKIT_PROGRESS, else auto)",
    )
    group.add_argument("-q", "--quiet", action=Switch, default=False, help="show no progress")
