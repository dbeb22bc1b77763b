"""`argosy build --check` and `--call`: what is asked of a Dockerfile, printed as buildx does."""

import argparse
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from argosy.errors import UsageError
from argosy.values import frozen

if TYPE_CHECKING:
    from argosy.build.calls import Checked, Offered
    from argosy.build.dockerfile.lint.findings import Finding
    from argosy.build.dockerfile.outline import Outline
    from argosy.build.dockerfile.source import Source
    from argosy.build.options import BuildOptions, Ends
    from argosy.settings import Settings

_METHODS = {
    "build": "Build and deliver the image",
    "check": "Check the Dockerfile without building",
    "outline": "List what the target takes: arguments, secrets, ssh agents, caches",
    "targets": "List the targets of the Dockerfile",
    "subrequests.describe": "List what can be asked",
}
_ALIASES = {"lint": "check"}  # BuildKit's own name for it


@frozen
class Call:
    """What is asked for: a method, and how the answer is to look."""

    method: str = "build"
    as_json: bool = False
    ignores_status: bool = False


def call_of(args: argparse.Namespace) -> Call:
    """`--call=METHOD[,format=json|text][,ignorestatus=true]`, or --check; UsageError for others."""
    words = [w.strip() for w in (args.call or "build").split(",")]
    method = _ALIASES.get(words[0], words[0])
    if args.check:
        if method not in ("build", "check"):
            raise UsageError(f"--check and --call={method} ask for two things", remedy="give one")
        method = "check"
    if method not in _METHODS:
        import difflib

        near = difflib.get_close_matches(method, _METHODS, n=1)
        meant = f"; did you mean {near[0]}?" if near else ""
        raise _unreadable(args.call, f"METHOD is one of {', '.join(_METHODS)}{meant}")
    known = {"format": ("json", "text"), "ignorestatus": ("true", "false", "1", "0")}
    options = {}
    for word in words[1:]:
        name, _, value = word.partition("=")
        if value not in known.get(name, ()):
            raise _unreadable(
                args.call, f"{word!r} is not format=json, format=text or ignorestatus"
            )
        options[name] = value
    return Call(
        method,
        as_json=options.get("format", "json" if args.json else "text") == "json",
        ignores_status=options.get("ignorestatus") in ("true", "1"),
    )


def _unreadable(text: str, why: str) -> UsageError:
    remedy = "write for example --call=check or --call=outline,format=json"
    return UsageError(f"--call {text!r} cannot be read", why=why, remedy=remedy)


async def answer(call: Call, options: "BuildOptions", settings: "Settings", ends: "Ends") -> int:
    """Print the answer to a call; gives the exit code."""
    from argosy.build import calls

    if call.method == "subrequests.describe":
        _describe(call)
        return 0
    if call.method == "check":
        checked = await calls.call_check(options, settings, ends)
        _print_checked(checked, call)
        return 0 if call.ignores_status else checked.status
    value: Outline | Offered
    if call.method == "outline":
        value = await calls.call_outline(options, settings, ends)
        text = outline_text(value)
    else:
        value = await calls.call_targets(options, settings, ends)
        text = targets_text(value)
    _print(value.to_json() if call.as_json else text)
    return 0


def _print(value: object) -> None:
    if isinstance(value, str):
        print(value, end="")
        return
    from argosy.cli.terminal.table import print_json

    print_json(value)


def _describe(call: Call) -> None:
    from argosy.build.dockerfile.outline import VERSION

    asked = [(name, text) for name, text in _METHODS.items() if name != "build"]
    if call.as_json:
        _print([{"name": n, "version": VERSION, "description": text} for n, text in asked])
    else:
        rows = [("NAME", "VERSION", "DESCRIPTION"), *((n, VERSION, text) for n, text in asked)]
        _print(_table(rows))


def _print_checked(checked: "Checked", call: Call) -> None:
    if call.as_json:
        _print(checked.to_json())
        return
    for unseen in checked.unseen:
        print(f"argosy: checks that need a base image are left out: {unseen}", file=sys.stderr)
    _print(checked_text(checked))
    if checked.error:
        from argosy.cli.terminal.failures import tell

        tell(checked.error)


def checked_text(checked: "Checked") -> str:
    """The findings with the lines they are about, and how many there are."""
    count = len(checked.findings)
    if not count:
        return "" if checked.error else "Check complete, no warnings found.\n"
    many = "1 warning has" if count == 1 else f"{count} warnings have"
    head = f"Check complete, {many} been found!\n"
    return head + "".join(finding_text(f, checked.source) for f in checked.findings)


def finding_text(finding: "Finding", source: "Source") -> str:
    """One finding: its rule, its page, what was found, and where."""
    from argosy.build.dockerfile.render import excerpt

    page = f" - {finding.rule.url}" if finding.rule.url else ""
    head = f"\nWARNING: {finding.rule.name}{page}\n{finding.detail}\n"
    return head + excerpt(source, finding.where) + "\n"


def outline_text(outline: "Outline") -> str:
    """What a target takes, as tables; those that would be empty are left out."""
    parts = []
    if outline.name or outline.description:
        head = [("TARGET:", outline.name or "(default)")]
        head += [("DESCRIPTION:", outline.description)] if outline.description else []
        parts.append(_table(head, gap=1))
    if outline.args:
        rows = [(a.name, a.value, a.description) for a in outline.args]
        parts.append(_table([("BUILD ARG", "VALUE", "DESCRIPTION"), *rows]))
    for title, needs in (("SECRET", outline.secrets), ("SSH", outline.agents)):
        if needs:
            rows_of = [(need.id, "true" if need.required else "") for need in needs]
            parts.append(_table([(title, "REQUIRED"), *rows_of]))
    if outline.caches:
        parts.append(_table([("CACHE",), *((cache.id,) for cache in outline.caches)]))
    return "".join(f"{part}\n" for part in parts)


def targets_text(offered: "Offered") -> str:
    """The targets as a table; the default one says so."""
    rows = [("TARGET", "DESCRIPTION")]
    for offer in offered.targets:
        name = f"{offer.name} (default)".strip() if offer.is_default else offer.name
        rows.append((name, offer.description))
    return _table(rows, gap=1)


def _table(rows: Sequence[Sequence[str]], *, gap: int = 3) -> str:
    """Columns as far apart as buildx has them."""
    widths = [max(len(row[n]) for row in rows) + gap for n in range(len(rows[0]))]
    lines = ("".join(f"{cell:{w}}" for cell, w in zip(row, widths, strict=True)) for row in rows)
    return "".join(f"{line.rstrip()}\n" for line in lines)
