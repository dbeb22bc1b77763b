"""`argosy build --verify-reproducible`: the verdict, told."""

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from argosy.build.options import BuildOptions, Ends
    from argosy.build.results.reproduce import Verdict
    from argosy.cli.session import Session

DIFFERENT = 8  # as of `argosy diff`
_SHOWN = 20


async def verify(
    args: argparse.Namespace, options: "BuildOptions", session: "Session", ends: "Ends"
) -> int:
    """Build twice, print what differs; the exit code."""
    from argosy.build.results.reproduce import verify_reproducible

    verdict = await verify_reproducible(
        options, settings=session.settings, ends=ends, report=session.report
    )
    if args.json:
        from argosy.cli.terminal.table import print_json

        print_json(verdict.to_json())
    else:
        print(verdict_text(verdict, has_time=_has_time(options)), end="")
    return 0 if verdict.is_reproducible else DIFFERENT


def _has_time(options: "BuildOptions") -> bool:
    given = "SOURCE_DATE_EPOCH" in options.build_args or bool(options.epoch_from)
    return given or options.source_date_epoch is not None


def verdict_text(verdict: "Verdict", *, has_time: bool) -> str:
    """One line if both are one; else the differences, and what helps against times."""
    if verdict.is_reproducible:
        return f"Reproducible: two builds gave {verdict.first.digest}\n"
    lines = [f"Not reproducible: {verdict.first.digest} and {verdict.second.digest}"]
    lines += [f"  {difference}" for difference in verdict.differences[:_SHOWN]]
    if (more := len(verdict.differences) - _SHOWN) > 0:
        lines.append(f"  and {more} more; --json lists them")
    if not has_time:
        lines.append("Times differ by nature: set SOURCE_DATE_EPOCH (seconds, git or context).")
    return "".join(f"{line}\n" for line in lines)
