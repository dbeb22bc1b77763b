"""`argosy base`."""

import argparse
import os

from argosy.cli.options import (
    Parser,
    Switch,
    add_json,
    add_platforms,
    add_progress,
    add_tls,
    listed,
)
from argosy.errors import UsageError
from argosy.model.platform import Platform

HELP = (
    "Make a base image from distribution packages, for one or more platforms, without a hub; kept"
    " by content, so asked for again it is there at once."
)


def arguments(parser: Parser) -> None:
    """The words of `base`."""
    parser.add_argument(
        "what",
        metavar="DISTRIBUTION:RELEASE",
        help="debian:bookworm, debian:bookworm-slim without documentation; or busybox, static",
    )
    parser.add_argument(
        "-t",
        "--tag",
        metavar="NAME",
        action="append",
        default=[],
        help="a name, needed; repeatable",
    )
    add_platforms(parser, "make it for these platforms (default: this machine's)")
    parser.add_argument(
        "--include",
        metavar="PKG[,…]",
        action="extend",
        type=listed,
        default=[],
        help="more packages; repeatable",
    )
    parser.add_argument("--mirror", metavar="URL", default="", help="where the packages come from")
    parser.add_argument(
        "--refresh", action=Switch, default=False, help="make it anew from the newest packages"
    )
    parser.add_argument(
        "--push", action=Switch, default=False, help="push it to the names' registries"
    )
    add_json(parser, "print {digest, names, platforms}")
    add_progress(parser)
    add_tls(parser)


async def run(args: argparse.Namespace) -> int:
    """Make it; prints each name with the digest."""
    from argosy.build.base_images.maker import BaseSpec, make_base
    from argosy.cli.session import LOCAL, Session, full_name
    from argosy.cli.transfer import Transfer, move

    names = tuple(dict.fromkeys(map(full_name, args.tag)))
    if not names:
        raise UsageError("the image needs a name", remedy="add --tag registry/repository:tag")
    spec = BaseSpec(
        what=args.what,
        platforms=tuple(dict.fromkeys(args.platforms)),
        packages=tuple(args.include),
        tags=names,
        mirror=args.mirror,
        refresh=args.refresh,
    )
    async with Session(args) as session:
        workdir = os.path.join(session.settings.home, "base")
        made = await make_base(
            spec, images=session.images(), workdir=workdir, report=session.report
        )
        for name in names if args.push else ():
            await move(session, Transfer(source=LOCAL + name, destination=name))
    if args.json:
        from argosy.cli.terminal.table import print_json

        platforms = [str(p) for p in spec.platforms or [Platform.host()]]
        print_json({"digest": str(made.digest), "names": list(names), "platforms": platforms})
    else:
        print("".join(f"{name}@{made.digest}\n" for name in names), end="")
    return 0
