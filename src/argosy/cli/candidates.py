"""Names a shell may complete: of local images, repositories and tags.

A shell waits while this runs, so what cannot be had at once is left out, and no
error is ever told.
"""

import argparse
import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from argosy.cli.session import Session

HELP = "Print names that begin with a word; for completion scripts."

_LOCAL_VERBS = frozenset({"push", "save"})
_REGISTRY_VERBS = frozenset(
    {"copy", "pull", "inspect", "digest", "tags", "tag", "rm", "diff", "doctor", "index create"}
)
_PATIENCE = 1.0  # seconds a shell may be kept waiting
_MANY = 500


def arguments(parser: argparse.ArgumentParser) -> None:
    """The words of the hidden verb."""
    parser.add_argument("verb")
    parser.add_argument("typed", nargs="?", default="")


async def run(args: argparse.Namespace) -> int:
    """Print what is found in time."""
    names: list[str] = []
    with suppress(Exception):  # the shell's user asked for nothing
        async with asyncio.timeout(_PATIENCE):
            await _collect(args, names)
    print("".join(f"{name}\n" for name in sorted(set(names))), end="")
    return 0


async def _collect(args: argparse.Namespace, names: list[str]) -> None:
    from argosy.cli.session import LOCAL, Session

    async with Session(args) as session:
        if args.verb in _LOCAL_VERBS or args.typed.startswith(LOCAL):
            prefix = LOCAL if args.typed.startswith(LOCAL) else ""
            found = [prefix + name async for name in session.images().tags()]
            names += [name for name in found if name.startswith(args.typed)]
        elif args.verb in _REGISTRY_VERBS:
            await _remote(session, args.typed, names)


async def _remote(session: "Session", typed: str, names: list[str]) -> None:
    """Tags after `host/name:`, repositories after `host/`."""
    from argosy.content.store import ListsTags

    host, slash, rest = typed.removeprefix("docker://").partition("/")
    if not slash:
        return
    prefix = typed[: len(typed) - len(rest)]
    if ":" in rest:
        repository = typed.rpartition(":")[0]
        source, _ = await session.source(repository)
        found = source.tags() if isinstance(source, ListsTags) else None
        prefix = f"{repository}:"
    else:
        found = (await session.client()).registry(host).repositories()
    if found is None:
        return
    async for name in found:
        if (prefix + name).startswith(typed):
            names.append(prefix + name)
        if len(names) >= _MANY:
            return
