"""`argosy build`."""

import argparse
import os
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING, Any, Literal

from argosy.cli.options import (
    Parser,
    Switch,
    add_json,
    add_platforms,
    add_progress,
    add_tls,
    whole,
)
from argosy.errors import UsageError

if TYPE_CHECKING:
    from argosy.build.pipeline import BuildOptions, BuildResult, Secret
    from argosy.content.store import Store

HELP = (
    "Build an image from a Dockerfile, for one or more platforms, without a daemon. The result is"
    " kept in the local images; --push sends it to its registry, -o writes it elsewhere."
)


def arguments(parser: Parser) -> None:
    """The words of `build`; spelled as in `docker buildx build`."""
    parser.add_argument(
        "context", metavar="PATH", help="the build context, a directory; - reads a Dockerfile"
    )
    parser.add_argument(
        "-f", "--file", metavar="FILE", default="", help="the Dockerfile (default PATH/Dockerfile)"
    )
    parser.add_argument(
        "-t", "--tag", metavar="NAME", action="append", default=[], help="a name; repeatable"
    )
    add_platforms(parser, "build for these platforms (default: this machine's)")
    _steps(parser)
    _results(parser)
    add_progress(parser)
    add_tls(parser)


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
        help="a further context for COPY --from",
    )
    group.add_argument(
        "--secret",
        metavar="id=ID[,src=FILE|,env=NAME]",
        action="append",
        default=[],
        help="a secret for RUN --mount=type=secret",
    )
    group.add_argument("--no-cache", action=Switch, default=False, help="run every step anew")
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


def _results(parser: Parser) -> None:
    group = parser.add_argument_group("results")
    group.add_argument("--push", action=Switch, default=False, help="push to the names' registries")
    group.add_argument(
        "--load", action=Switch, default=False, help="keep it in the local images (always done)"
    )
    group.add_argument(
        "-o",
        "--output",
        metavar="type=TYPE,dest=PATH",
        action="append",
        default=[],
        help="also write it: type oci, docker, local, tar, registry or image; repeatable",
    )
    group.add_argument("--label", metavar="NAME=VALUE", action="append", default=[], help="a label")
    group.add_argument(
        "--annotation",
        metavar="[KIND:]NAME=VALUE",
        action="append",
        default=[],
        help="an annotation; KIND is manifest or index",
    )
    group.add_argument(
        "--metadata-file", metavar="FILE", default="", help="write what was built as JSON"
    )
    group.add_argument("--iidfile", metavar="FILE", default="", help="write the image's digest")
    for name in ("provenance", "sbom"):
        group.add_argument(
            f"--{name}", action=Switch, default=False, help="only =false: none is made yet"
        )
    add_json(parser, "print {digest, names, platforms, manifests, steps, cached}")


def run(args: argparse.Namespace) -> Coroutine[Any, Any, int]:
    """Build; prints each name with the digest."""
    from argosy.build.snapshot.mounts import enter_private_mounts

    options = options_of(args, os.environ, sys.stdin.buffer.read)
    enter_private_mounts()  # before any thread starts: a mount namespace is a thread's own
    return _build(args, options)


async def _build(args: argparse.Namespace, options: "BuildOptions") -> int:
    from argosy.build.pipeline import Ends, build
    from argosy.cli.session import Session

    async with Session(args) as session:
        client = await session.client()
        ends = Ends(images=session.images(), repository=client.repository, archive=archive)
        result = await build(options, settings=session.settings, ends=ends, report=session.report)
    _tell(args, result)
    return 0


def _tell(args: argparse.Namespace, result: "BuildResult") -> None:
    if args.json:
        from argosy.cli.terminal.table import print_json

        print_json(
            {
                "digest": str(result.digest),
                "mediaType": result.descriptor.media_type,
                "names": list(result.names),
                "platforms": [str(p) for p in result.platforms],
                "manifests": [m.to_json() for m in result.manifests],
                "steps": result.steps,
                "cached": result.cached,
            }
        )
    elif args.quiet or not result.names:
        print(result.digest)
    else:
        print("".join(f"{name}@{result.digest}\n" for name in result.names), end="")


def options_of(
    args: argparse.Namespace,
    environ: "os._Environ[str] | dict[str, str]",
    stdin: Callable[[], bytes],
) -> "BuildOptions":
    """The build's options; UsageError says which word cannot be read."""
    from argosy.build.pipeline import BuildOptions, Output

    _refuse(args)
    text = stdin() if "-" in (args.context, args.file) else None
    return BuildOptions(
        context=args.context,
        dockerfile="-" if text is not None else args.file,
        dockerfile_text=text,
        tags=tuple(args.tag),
        platforms=tuple(args.platforms),
        target=args.target,
        build_args=build_args(args.build_arg, environ),
        labels=pairs("--label", args.label),
        annotations=pairs("--annotation", args.annotation),
        build_contexts=pairs("--build-context", args.build_context),
        secrets=tuple(_secret(text) for text in args.secret),
        outputs=tuple(Output.parse(text) for text in args.output),
        push=args.push,
        no_cache=args.no_cache,
        pull=args.pull,
        network=args.network,
        metadata_file=args.metadata_file,
        iidfile=args.iidfile,
        source_date_epoch=_epoch(environ.get("SOURCE_DATE_EPOCH", "")),
        jobs=args.jobs or 0,
    )


def _refuse(args: argparse.Namespace) -> None:
    for name in ("provenance", "sbom"):
        if getattr(args, name):
            raise UsageError(
                f"--{name}: Argosy makes no attestations yet", remedy=f"leave --{name} away"
            )
    if args.push and not args.tag:
        raise UsageError(
            "--push needs a name to push to", remedy="add --tag registry/repository:tag"
        )


def build_args(
    words: Sequence[str], environ: "os._Environ[str] | dict[str, str]"
) -> dict[str, str]:
    """`NAME=VALUE`, or `NAME` for the environment's value if it has one (as docker has it)."""
    found: dict[str, str] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not name:
            raise UsageError(f"--build-arg {word!r} has no name", remedy="write NAME=VALUE")
        if equals:
            found[name] = value
        elif name in environ:
            found[name] = environ[name]
    return found


def pairs(flag: str, words: Sequence[str]) -> dict[str, str]:
    """`NAME=VALUE` words of a repeatable flag; UsageError if one has no equal sign."""
    found: dict[str, str] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not name or not equals:
            raise UsageError(f"{flag} {word!r} cannot be read", remedy=f"write {flag} NAME=VALUE")
        found[name] = value
    return found


def _secret(text: str) -> "Secret":
    from argosy.build.pipeline import Secret

    parts = dict(part.partition("=")[::2] for part in text.split(","))
    name = parts.pop("id", "")
    parts.pop("type", "")  # buildx writes type=file and type=env, which the keys say anyway
    file = parts.pop("src", "") or parts.pop("source", "")
    variable = parts.pop("env", "")
    if not name or parts or (file and variable):
        raise UsageError(
            f"--secret {text!r} cannot be read", remedy="write id=ID,src=FILE or id=ID,env=NAME"
        )
    return Secret(id=name, file=file, env=variable or ("" if file else name))


def _epoch(text: str) -> int | None:
    if not text:
        return None
    if text.isdecimal():
        return int(text)
    raise UsageError(
        f"SOURCE_DATE_EPOCH={text!r} is not a time", remedy="it must be whole seconds since 1970"
    )


@asynccontextmanager
async def archive(kind: Literal["oci", "docker"], path: str) -> AsyncIterator["Store"]:
    """A store that becomes an archive at `path`: `-` is stdout, `DIR/` an OCI layout."""
    if path.endswith("/"):
        from argosy.stores.layout import OCILayout

        yield OCILayout(path)
        return
    from argosy.stores.archive import write_archive

    if path != "-":
        async with write_archive(path, docker=kind == "docker") as store:
            yield store
        return
    import tempfile

    with tempfile.TemporaryDirectory(prefix="argosy-") as scratch:
        whole_file = os.path.join(scratch, "image.tar")
        async with write_archive(whole_file, docker=kind == "docker") as store:
            yield store
        from argosy.concurrency import in_thread

        await in_thread(_to_stdout, whole_file)


def _to_stdout(path: str) -> None:
    import shutil

    with open(path, "rb") as file:
        shutil.copyfileobj(file, sys.stdout.buffer, 1 << 20)


_Archive = Callable[[Literal["oci", "docker"], str], AbstractAsyncContextManager["Store"]]
