"""`argosy robot trust`."""

import argparse

from argosy.cli.managing.options import add_list, add_registry
from argosy.cli.managing.words import pairs
from argosy.cli.options import Parser

HELP = (
    "Let CI jobs be a robot without a secret: jobs whose token (of GitHub, GitLab, Kubernetes, …)"
    " comes from --issuer and has every --claim. Without --issuer the rules are listed; --remove"
    " takes one away."
)


def arguments(parser: Parser) -> None:
    """The words of `robot trust`."""
    parser.add_argument("robot", metavar="ROBOT", help="its whole name: robot$project+name")
    parser.add_argument("--issuer", metavar="URL", default="", help="who signs the jobs' tokens")
    parser.add_argument(
        "--audience", metavar="NAME", default="", help="of the tokens; default https://REGISTRY"
    )
    parser.add_argument(
        "--claim",
        metavar="NAME=PATTERN",
        action="append",
        default=[],
        help="what a token has to say: repository=team/app, ref=refs/heads/*; repeatable",
    )
    parser.add_argument("--remove", metavar="ID", type=int, help="take this rule away")
    add_list(parser)
    add_registry(parser)


async def run(args: argparse.Namespace) -> int:
    """Add, remove or list; prints the rules there are."""
    from argosy.cli.managing.client import path
    from argosy.cli.managing.options import managing
    from argosy.cli.managing.views import TRUSTS, show_list

    where = path("robots", args.robot, "workload-rules")
    async with managing(args) as api:
        if args.remove is not None:
            await api.delete(where + path(args.remove))
        elif args.issuer:
            audience = args.audience or f"https://{api.host}"
            body = {"issuer": args.issuer, "audience": audience, "claims": pairs(args.claim)}
            await api.post(where, body)
        show_list(args, [one async for one in api.every(where)], TRUSTS, name="id")
    return 0
