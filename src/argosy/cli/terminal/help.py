"""Help texts, laid out the same on every Python and every terminal: 80 columns."""

import argparse
import textwrap

WIDTH = 80
_COLUMN = 30


def text(parser: argparse.ArgumentParser) -> str:
    """The whole help text of a parser."""
    parts = [f"Usage: {usage(parser)}"]
    if parser.description:
        parts.append(textwrap.fill(parser.description, WIDTH))
    for group in parser._action_groups:  # noqa: SLF001 - argparse offers no other way to ask
        rows = [row(action) for action in group._group_actions if visible(action)]  # noqa: SLF001
        if rows:
            title = {"options": "Options", "positional arguments": "Arguments"}
            name = title.get(group.title or "", (group.title or "").capitalize())
            parts.append("\n".join([f"{name}:", *map(_laid_out, rows)]))
    if parser.epilog:
        parts.append(parser.epilog.rstrip())
    return "\n\n".join(parts) + "\n"


def usage(parser: argparse.ArgumentParser) -> str:
    """One line: the verb, then its positionals."""
    positionals = [a for a in parser._actions if not a.option_strings and visible(a)]  # noqa: SLF001
    return " ".join([parser.prog, "[FLAGS]", *(_positional(a) for a in positionals)])


def visible(action: argparse.Action) -> bool:
    """Whether an argument is told of."""
    return action.help is not argparse.SUPPRESS


def row(action: argparse.Action) -> tuple[str, str]:
    """An argument as people write it, and its help."""
    if not action.option_strings:
        return _name(action), action.help or ""
    names = ", ".join(action.option_strings)
    return (names if action.nargs == 0 else f"{names} {_name(action)}"), action.help or ""


def _name(action: argparse.Action) -> str:
    if isinstance(action.metavar, str):
        return action.metavar
    return action.dest.upper().replace("_", "-")


def _positional(action: argparse.Action) -> str:
    name = _name(action)
    forms = {"?": f"[{name}]", "*": f"[{name}…]", "+": f"{name}…"}
    return forms.get(str(action.nargs), name)


def _laid_out(cells: tuple[str, str]) -> str:
    name, about = cells
    lines = textwrap.wrap(about, WIDTH - _COLUMN - 2, break_on_hyphens=False) or [""]
    first = f"  {name:{_COLUMN - 2}}  {lines[0]}".rstrip()
    if len(name) > _COLUMN - 2:
        first = f"  {name}\n{'':{_COLUMN}}  {lines[0]}"
    return "\n".join([first, *(f"{'':{_COLUMN}}  {line}" for line in lines[1:])])
