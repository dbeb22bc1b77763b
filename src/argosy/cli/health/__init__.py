"""What `argosy doctor` looks at: this machine, then the way to a registry and an image."""

import argparse
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from argosy.cli.health.finding import Finding

if TYPE_CHECKING:
    from argosy.cli.health.way import Way
    from argosy.cli.session import Session


async def findings(args: argparse.Namespace) -> AsyncIterator[Finding]:
    """Every finding asked for, in the order of what rests on what; UsageError for an unknown check."""
    from argosy.cli.health import machine, way
    from argosy.cli.health.rootless import is_root, rootless
    from argosy.cli.session import Session
    from argosy.errors import UsageError

    known = (*machine.CHECKS, "rootless", *way.CHECKS)
    if strange := [name for name in args.only if name not in known]:
        raise UsageError(f"there is no check {strange[0]!r}", remedy="use " + ", ".join(known))
    async with Session(args) as session:
        for name, check in machine.CHECKS.items():
            if not args.only or name in args.only:
                yield await check(session.settings, args.repaired)
        if "rootless" in args.only or (not args.only and not is_root(args.entered)):
            yield rootless(args.entered)
        if args.image and (not args.only or set(args.only) & set(way.CHECKS)):
            async for finding in _way(session, args).findings():
                # One check rests on another: all are made, and those asked for (or in the way) told.
                if not args.only or finding.check in args.only or finding.state == "fail":
                    yield finding


def _way(session: "Session", args: argparse.Namespace) -> "Way":
    from argosy.cli.access import hosts
    from argosy.cli.health.way import Way
    from argosy.model.reference import Reference

    text = args.image.removeprefix("docker://").removeprefix("https://").removeprefix("http://")
    if "/" not in text.rstrip("/") and ("." in text or ":" in text or text == "localhost"):
        return Way(session, text.rstrip("/"), hosts(args))
    reference = Reference.parse(text)
    return Way(session, reference.registry, hosts(args), reference, push=args.push)
