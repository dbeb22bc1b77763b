"""`argosy save`."""

import argparse

from argosy.cli.options import Parser, Switch, add_platforms, add_progress

HELP = (
    "Write local images to one archive. The default is an OCI archive, which keeps all platforms"
    " and which podman, skopeo and `docker load` (25 and newer) read; --format docker writes what"
    " `docker save` does, one platform."
)


def arguments(parser: Parser) -> None:
    """The words of `save`."""
    parser.add_argument(
        "images", metavar="IMAGE", nargs="+", help="local images; `argosy images` lists them"
    )
    parser.add_argument("-o", "--output", metavar="FILE", required=True, help="the archive")
    parser.add_argument(
        "--format",
        choices=("oci", "docker", "oci-archive", "docker-archive"),
        default="oci",
        metavar="oci|docker",
        help="the kind of archive (default oci)",
    )
    parser.add_argument(
        "-f", "--force", action=Switch, default=False, help="replace an archive that is there"
    )
    add_platforms(parser, "only these platforms")
    add_progress(parser)


async def run(args: argparse.Namespace) -> int:
    """Save; prints each name with its digest."""
    from argosy.cli.session import LOCAL, Session, full_name
    from argosy.content.copy import copy
    from argosy.content.select import narrowed
    from argosy.model.platform import Platform

    docker = args.format.startswith("docker")
    wanted = args.platforms or ([Platform.host()] if docker else [])
    _check(args)
    lines = []
    async with Session(args) as session:
        archive = "docker-archive" if docker else "oci-archive"
        store, _ = await session.store(f"{archive}:{args.output}")
        for image in args.images:
            source, name = await session.source(LOCAL + full_name(image.removeprefix(LOCAL)))
            ref = name
            if wanted:
                source, ref = await narrowed(source, name, wanted)
            moved = await copy(
                source, ref, store, name, referrers=not docker, report=session.report
            )
            lines.append(f"{name}@{moved.digest}")
    print("".join(f"{line}\n" for line in lines), end="")
    return 0


def _check(args: argparse.Namespace) -> None:
    import os

    from argosy.errors import UsageError

    if os.path.exists(args.output) and not args.force:
        raise UsageError(f"{args.output} is there already", remedy="give another name, or --force")
