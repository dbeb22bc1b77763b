"""From the words of `argosy build` to the build's options."""

import argparse
import ipaddress
import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from argosy.cli.building.foreign import refuse_attestations
from argosy.cli.options import listed
from argosy.errors import UsageError

if TYPE_CHECKING:
    from argosy.build.engines.loading import EngineName
    from argosy.build.limits import Conditions
    from argosy.build.pipeline import BuildOptions, Secret
    from argosy.build.remote_cache.words import CacheFrom, CacheTo
    from argosy.build.ssh import Agent

_INLINE = ("BUILDKIT_INLINE_CACHE=1", "BUILDKIT_INLINE_CACHE=true")  # buildx's older way to say it

_EPOCHS = ("git", "context")  # SOURCE_DATE_EPOCH from the last commit, or the newest file


def options_of(
    args: argparse.Namespace,
    environ: "os._Environ[str] | dict[str, str]",
    stdin: Callable[[], bytes],
) -> "BuildOptions":
    """The build's options; UsageError says which word cannot be read."""
    from argosy.build.pipeline import BuildOptions, Output
    from argosy.build.telling import Telling

    _refuse(args)
    if args.context == "-" and args.file == "-":
        raise UsageError(
            "standard input cannot be both the context and the Dockerfile",
            remedy="give one of them a path",
        )
    text = stdin() if args.file == "-" else None
    arguments = build_args(args.build_arg, environ)
    return BuildOptions(
        context=args.context,
        dockerfile="-" if text is not None else args.file,
        dockerfile_text=text,
        tags=tuple(args.tag),
        platforms=tuple(args.platforms),
        target=args.target,
        build_args=arguments,
        labels=pairs("--label", args.label),
        annotations=pairs("--annotation", args.annotation),
        build_contexts=pairs("--build-context", args.build_context),
        secrets=tuple(_secret(text) for text in args.secret),
        outputs=tuple(Output.parse(text) for text in args.output),
        push=args.push,
        load=bool(args.load),
        engines=_engines(args.engines, environ),
        no_cache=args.no_cache,
        no_cache_filter=tuple(name for word in args.no_cache_filter for name in listed(word)),
        pull=args.pull,
        agents=_agents(args.ssh),
        conditions=_conditions(args, arguments),
        debug_shell=args.debug_shell,
        metadata_file=args.metadata_file,
        metadata_warnings=_is_true(environ.get("BUILDX_METADATA_WARNINGS", "")),
        iidfile=args.iidfile,
        cache_from=_cache_from(args.cache_from),
        cache_to=_cache_to(args),
        source_date_epoch=_epoch(given := environ.get("SOURCE_DATE_EPOCH", "")),
        epoch_from=given if given in _EPOCHS else "",
        telling=Telling.parse(args.describe, environ),
        jobs=args.jobs or 0,
    )


def _agents(words: Sequence[str]) -> "tuple[Agent, ...]":
    from argosy.build.ssh import Agent

    return tuple(Agent.parse(word) for word in words)


def _engines(
    words: Sequence[str], environ: "os._Environ[str] | dict[str, str]"
) -> "tuple[EngineName, ...]":
    if not words:
        return ()
    from argosy.build.engines.loading import EngineName

    namespace = environ.get("CONTAINERD_NAMESPACE", "")  # ctr's own variable
    return tuple(
        EngineName("containerd", namespace) if word == "containerd" else EngineName.parse(word)
        for word in dict.fromkeys(words)
    )


def _cache_from(words: Sequence[str]) -> "tuple[CacheFrom, ...]":
    if not words:
        return ()
    from argosy.build.remote_cache.words import CacheFrom

    return tuple(CacheFrom.parse(word) for word in words)


def _cache_to(args: argparse.Namespace) -> "tuple[CacheTo, ...]":
    inline = any(word in _INLINE for word in args.build_arg)
    if not args.cache_to and not inline:
        return ()
    from argosy.build.remote_cache.words import CacheTo

    return tuple(CacheTo.parse(w) for w in [*args.cache_to, *(["type=inline"] if inline else [])])


def _conditions(args: argparse.Namespace, given: dict[str, str]) -> "Conditions":
    from argosy.build.limits import Conditions, Limits, Ulimit, read_resources, read_size

    limits = Limits(
        **read_resources(args.resource),
        shm_size=read_size("--shm-size", args.shm_size),
        ulimits=tuple(Ulimit.parse(word) for word in args.ulimit),
        cgroup_parent=args.cgroup_parent,
    )
    return Conditions(
        hostname=given.get("BUILDKIT_SANDBOX_HOSTNAME") or Conditions().hostname,
        network=args.network,
        hosts=tuple(_host(word) for word in args.add_host),
        limits=limits,
        allow=frozenset(_entitlement(word) for word in args.allow),
    )


def _host(word: str) -> tuple[str, str]:
    # As docker: NAME:ADDRESS or NAME=ADDRESS; an IPv6 address may stand in brackets.
    name, _, address = word.partition("=" if "=" in word else ":")
    address = address.removeprefix("[").removesuffix("]")
    if address == "host-gateway":
        address = "127.0.0.1"  # the steps' network is this machine's own
    try:
        ipaddress.ip_address(address)
    except ValueError as e:
        raise UsageError(
            f"--add-host {word!r} cannot be read",
            why=str(e),
            remedy="write --add-host NAME:ADDRESS",
        ) from e
    if not name or set(name) & set(" \t\n#"):
        raise UsageError(f"--add-host {word!r} has no usable name")
    return name, address


def _entitlement(word: str) -> str:
    known = ("network.host", "security.insecure")
    if word not in known:
        raise UsageError(f"--allow {word!r} is not known", remedy=f"use one of {', '.join(known)}")
    return word


def _refuse(args: argparse.Namespace) -> None:
    refuse_attestations(args)
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


def _is_true(text: str) -> bool:
    return text.lower() in ("1", "t", "true")


def _epoch(text: str) -> int | None:
    if not text or text in _EPOCHS:
        return None
    if text.isdecimal():
        return int(text)
    raise UsageError(
        f"SOURCE_DATE_EPOCH={text!r} is not a time",
        remedy="give whole seconds since 1970, git, or context",
    )
