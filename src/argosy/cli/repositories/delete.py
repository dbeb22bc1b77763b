"""`argosy repos delete`."""

import argparse

from argosy.cli.options import Parser, add_tls
from argosy.errors import UsageError

HELP = (
    "Delete a repository with all its tags and images, at once and for good; the history of its"
    " tags goes, too. What no other repository of the project has, is freed in its quota."
)


def arguments(parser: Parser) -> None:
    """The words of `repos delete`."""
    parser.add_argument("repository", metavar="REPOSITORY", help="registry/repository")
    add_tls(parser)


async def run(args: argparse.Namespace) -> int:
    """Delete it; prints its name."""
    from argosy.cli.managing.client import path
    from argosy.cli.managing.options import managing
    from argosy.cli.session import registry_reference

    found = registry_reference(args.repository)
    if found.tag or found.digest:
        raise UsageError(
            f"{args.repository} names one image",
            remedy=f"argosy rm {args.repository}, or name the repository alone",
        )
    async with managing(args, found.registry) as api:
        await api.delete(path("repositories", found.repository))
    print(args.repository)
    return 0
