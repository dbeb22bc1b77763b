"""The words of `argosy build`: every flag, spelled as in `docker buildx build`."""

from argparse import SUPPRESS

from argosy.cli.building.foreign import add_foreign
from argosy.cli.options import (
    Parser,
    Switch,
    add_json,
    add_platforms,
    add_progress,
    add_tls,
    whole,
)


def arguments(parser: Parser) -> None:
    """The words of `build`; spelled as in `docker buildx build`."""
    parser.add_argument(
        "context",
        metavar="PATH|URL|-",
        help="the build context: a directory, the URL of a git repository or an archive, or - for"
        " an archive or a Dockerfile on standard input",
    )
    parser.add_argument(
        "-f", "--file", metavar="FILE", default="", help="the Dockerfile (default PATH/Dockerfile)"
    )
    parser.add_argument(
        "-t", "--tag", metavar="NAME", action="append", default=[], help="a name; repeatable"
    )
    add_platforms(parser, "build for these platforms (default: this machine's)")
    _steps(parser)
    _sandbox(parser)
    _caches(parser)
    _results(parser)
    _asking(parser)
    add_progress(parser)
    add_tls(parser)
    add_foreign(parser)


def _steps(parser: Parser) -> None:
    group = parser.add_argument_group("steps")
    group.add_argument("--target", metavar="STAGE", default="", help="the stage to build")
    group.add_argument(
        "--build-arg", metavar="NAME[=VALUE]", action="append", default=[], help="set an ARG"
    )
    group.add_argument(
        "--build-context",
        metavar="NAME=WHERE",
        action="append",
        default=[],
        help="a further context for COPY --from and FROM: a path, the URL of a repository or archive,"
        " docker-image://, oci-layout:// or target:",
    )
    group.add_argument(
        "--secret",
        metavar="id=ID[,src=FILE|,env=NAME]",
        action="append",
        default=[],
        help="a secret for RUN --mount=type=secret",
    )
    group.add_argument("--no-cache", action=Switch, default=False, help="run every step anew")
    group.add_argument(
        "--no-cache-filter",
        metavar="STAGE[,…]",
        action="append",
        default=[],
        help="run the steps of these stages anew; repeatable",
    )
    group.add_argument("--pull", action=Switch, default=False, help="ask for newer base images")
    group.add_argument(
        "--network",
        choices=("default", "none", "host"),
        default="default",
        metavar="default|none|host",
        help="the network of RUN steps",
    )
    group.add_argument(
        "-j",
        "--jobs",
        type=whole,
        metavar="N",
        help="steps at once (default: processors, at least 2)",
    )


def _asking(parser: Parser) -> None:
    group = parser.add_argument_group("instead of building")
    group.add_argument(
        "--check", action=Switch, default=False, help="check the Dockerfile (as --call=check)"
    )
    group.add_argument(
        "--verify-reproducible",
        action=Switch,
        default=False,
        help="build twice without cache and tell every difference; delivers nothing",
    )
    group.add_argument(
        "--call",
        metavar="METHOD[,format=json]",
        default="",
        help="build, check, outline or targets: what the Dockerfile takes and offers",
    )


def _sandbox(parser: Parser) -> None:
    group = parser.add_argument_group("what RUN steps have")
    words = {
        "--ssh": ("ID[=SOCKET|KEY,…]", "an SSH agent, or keys, for RUN --mount=type=ssh"),
        "--add-host": (
            "NAME:ADDRESS",
            "a further name in /etc/hosts; host-gateway is this machine",
        ),
        "--allow": (
            "ENTITLEMENT",
            "allow security.insecure (or network.host, which needs no leave)",
        ),
        "--resource": ("NAME=VALUE", "a limit: memory, memory-swap, cpu-quota, cpuset-cpus, …"),
        "--ulimit": ("NAME=SOFT[:HARD]", "a limit of the processes, such as nofile=1024"),
    }
    for flag, (metavar, text) in words.items():
        group.add_argument(flag, metavar=metavar, action="append", default=[], help=text)
    group.add_argument("--shm-size", metavar="SIZE", default="", help="of /dev/shm (default 64m)")
    group.add_argument(
        "--cgroup-parent", metavar="PATH", default="", help="the cgroup that steps run below"
    )
    group.add_argument(
        "--explain",
        action=Switch,
        default=False,
        help="say of each step why it ran: which input is not what it was",
    )
    group.add_argument(
        "--debug-shell",
        action=Switch,
        default=False,
        help="when a step fails, open a shell where it failed",
    )


def _caches(parser: Parser) -> None:
    group = parser.add_argument_group("caches of other machines")
    group.add_argument(
        "--cache-from",
        metavar="REF|type=TYPE,…",
        action="append",
        default=[],
        help="look steps up there: type registry, local or gha; repeatable",
    )
    group.add_argument(
        "--cache-to",
        metavar="REF|type=TYPE,…[,mode=max]",
        action="append",
        default=[],
        help="keep the steps there: type registry, local, inline or gha; repeatable",
    )


def _results(parser: Parser) -> None:
    group = parser.add_argument_group("results")
    group.add_argument("--push", action=Switch, default=False, help="push to the names' registries")
    group.add_argument(
        "--load",
        action=Switch,
        default=False,
        help="keep it in the local images; --load=docker, podman or containerd: load it there too",
    )
    for engine in ("docker", "podman", "containerd"):
        # Whole words, since a value of its own would swallow the context after a bare --load.
        group.add_argument(
            f"--load={engine}",
            dest="engines",
            action="append_const",
            const=engine,
            default=[],
            help=SUPPRESS,
        )
    group.add_argument(
        "-o",
        "--output",
        metavar="type=TYPE,dest=PATH",
        action="append",
        default=[],
        help="also write it: type oci, docker, local, tar, registry, image or cacheonly; repeatable",
    )
    group.add_argument("--label", metavar="NAME=VALUE", action="append", default=[], help="a label")
    group.add_argument(
        "--annotation",
        metavar="[KIND:]NAME=VALUE",
        action="append",
        default=[],
        help="an annotation; KIND is manifest, index, manifest-descriptor or index-descriptor",
    )
    group.add_argument(
        "--describe",
        metavar="base|git|labels|trace|none",
        action="append",
        default=[],
        help="what the image tells of its origin (default base,git: as annotations)",
    )
    group.add_argument(
        "--metadata-file", metavar="FILE", default="", help="write what was built as JSON"
    )
    group.add_argument("--iidfile", metavar="FILE", default="", help="write the image's digest")
    for name in ("provenance", "sbom"):
        group.add_argument(f"--{name}", metavar="false", help="only false: none is made yet")
    group.add_argument(
        "--attest",
        metavar="type=TYPE,disabled=true",
        action="append",
        default=[],
        help="only with disabled=true: none is made yet",
    )
    add_json(parser, "print {digest, names, platforms, manifests, steps, cached}")
