"""From the words of `argosy build` to the build's options."""

import argparse
import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from argosy.errors import UsageError

if TYPE_CHECKING:
    from argosy.build.pipeline import BuildOptions, Secret


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
