"""What is remembered of one build: its words without secrets, what became of it, its steps."""

import os
import secrets
import string
from collections.abc import Mapping
from dataclasses import field
from typing import TYPE_CHECKING, Any, Literal, Self

from argosy.build.dockerfile.git_reference import shown
from argosy.values import frozen

if TYPE_CHECKING:
    from argosy.build.options import BuildOptions, BuildResult

Status = Literal["running", "completed", "error", "canceled", "interrupted"]
_ALPHABET = string.digits + string.ascii_lowercase
_DIGITS = 25
_PLACE = "argosy/local/"  # builder and node, where buildx has them in a ref
HIDDEN = "***"
HISTORY = "history"  # the folder in the build state


def new_ref() -> str:
    """An id as BuildKit's: 25 letters and digits."""
    return "".join(secrets.choice(_ALPHABET) for _ in range(_DIGITS))


def full_ref(ref: str) -> str:
    """As `buildx.build.ref` in a metadata file has it: builder/node/id."""
    return _PLACE + ref


@frozen(kw_only=True)
class BuildRecord:
    """One build. Times are seconds since 1970; `steps` are those that something was told of."""

    ref: str
    name: str
    started: float
    status: Status = "running"
    completed: float = 0.0
    context: str = ""
    dockerfile: str = ""
    target: str = ""
    platforms: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    git: Mapping[str, Any] = field(default_factory=dict)
    total: int = 0  # steps in all
    cached: int = 0
    digest: str = ""
    names: tuple[str, ...] = ()
    manifests: tuple[Mapping[str, Any], ...] = ()
    warnings: tuple[Mapping[str, Any], ...] = ()
    reasons: tuple[Any, ...] = ()  # why steps were run, where the build was asked to tell
    error: Mapping[str, Any] = field(default_factory=dict)
    steps: tuple[Mapping[str, Any], ...] = ()

    @property
    def duration(self) -> float:
        """Seconds; 0 if it has no end."""
        return max(0.0, self.completed - self.started) if self.completed else 0.0

    @classmethod
    def begun(cls, ref: str, options: "BuildOptions", now: float) -> Self:
        """What is known of a build before it begins."""
        context = options.context if options.context == "-" else shown(options.context)
        if "://" not in context and context != "-" and os.path.isdir(context):
            context = os.path.abspath(context)
        head = options.tags[0] if options.tags else os.path.basename(context.rstrip("/")) or context
        return cls(
            ref=ref,
            name=head + (f" ({options.target})" if options.target else ""),
            started=now,
            context=context,
            dockerfile=options.dockerfile or "Dockerfile",
            target=options.target,
            platforms=tuple(str(p) for p in options.platforms),
            options=told(options),
        )

    def to_json(self) -> dict[str, Any]:
        """As it is kept."""
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name in type(self).__annotations__
            if (value := getattr(self, name)) or name in ("ref", "name", "started", "status")
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Of what `to_json` gave; KeyError or TypeError for anything else."""
        known = {name: value[name] for name in cls.__annotations__ if name in value}
        lists = {k: tuple(v) for k, v in known.items() if isinstance(v, list)}
        return cls(**{**known, **lists})


def told(options: "BuildOptions") -> dict[str, Any]:
    """The words of a build that are no secrets; those that look like one are hidden."""
    found: dict[str, Any] = {
        "tags": list(options.tags),
        "build_args": _hidden(options.build_args),
        "labels": dict(options.labels),
        "annotations": dict(options.annotations),
        "build_contexts": {k: shown(v) for k, v in options.build_contexts.items()},
        "secrets": [secret.id for secret in options.secrets],
        "ssh": [agent.id for agent in options.agents],
        "outputs": [{"type": o.kind, "dest": o.dest} for o in options.outputs],
        "cache_from": [cache.name for cache in options.cache_from],
        "cache_to": [cache.name for cache in options.cache_to],
        "network": options.conditions.network,
        "push": options.push,
        "load": options.load,
        "no_cache": options.no_cache,
        "no_cache_filter": list(options.no_cache_filter),
        "pull": options.pull,
        "source_date_epoch": options.source_date_epoch,
    }
    return {name: value for name, value in found.items() if value not in ([], {}, False, None)}


def _hidden(args: Mapping[str, str]) -> dict[str, str]:
    if not args:
        return {}
    from argosy.build.dockerfile.lint.values import is_secret_name  # noqa: PLC0415 - slow, rarely

    return {name: HIDDEN if is_secret_name(name) else value for name, value in args.items()}


def outcome(result: "BuildResult") -> dict[str, Any]:
    """What a record says of a build that came to something."""
    return {
        "total": result.steps,
        "cached": result.cached,
        "digest": str(result.digest),
        "names": tuple(result.names),
        "platforms": tuple(str(p) for p in result.platforms),
        "manifests": tuple(m.to_json() for m in result.manifests),
        "warnings": tuple(dict(w) for w in result.warnings),
        "reasons": tuple(reason.to_json() for reason in result.reasons),
    }
