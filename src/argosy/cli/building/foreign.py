"""Flags of `docker build` and buildx that mean something else here, or nothing.

None of them is taken for a typing error: each works as its users expect, does nothing
where there is nothing to do, or is refused with what to write instead.
"""

import argparse
from argparse import SUPPRESS
from collections.abc import Sequence
from typing import Any, NoReturn

from argosy.cli.options import Parser, Switch
from argosy.errors import UsageError

_LIMITS = (
    "memory",
    "memory-swap",
    "cpu-period",
    "cpu-quota",
    "cpu-shares",
    "cpuset-cpus",
    "cpuset-mems",
)
_SHORT = {"memory": "-m", "cpu-shares": "-c"}
_NOTHING_TO_DO = ("--rm", "--force-rm", "--compress")  # buildx takes and ignores them too
_REFUSED = {
    "--builder": (
        "there are no builders to choose from: Argosy builds by itself",
        "leave --builder away; for foreign architectures `argosy doctor` says what is missing",
    ),
    "--isolation": (
        "steps run in an OCI runtime, in namespaces of their own",
        "leave --isolation away",
    ),
    "--policy": (
        "Argosy evaluates no policies of sources",
        "name bases by digest (FROM NAME@sha256:…), and use ADD --checksum",
    ),
    "--print": ("buildx calls it --call now", "write --call=outline, targets or check"),
    "--security-opt": (
        "steps have Docker's default seccomp profile and capabilities",
        "for one step write RUN --security=insecure, and build with --allow security.insecure",
    ),
    "--squash": (
        "layers are never merged after the fact",
        "end the Dockerfile with FROM scratch and COPY --from=STAGE / /",
    ),
}
_NONE = ("false", "0", "f", "F", "False", "FALSE", "no", "off", "disabled=true")


class _Limit(argparse.Action):
    """`--memory 1g` is `--resource memory=1g`."""

    def __call__(self, _parser: Any, namespace: Any, value: Any, *_: Any) -> None:
        """Added to the resources."""
        name = self.option_strings[0].removeprefix("--")
        namespace.resource = [*namespace.resource, f"{name}={value}"]


class _Refused(argparse.Action):
    """A flag that cannot be honoured."""

    def __call__(self, _parser: Any, _namespace: Any, _value: Any, flag: Any = None) -> NoReturn:
        """Say why, and what to write instead."""
        why, remedy = _REFUSED[str(flag)]
        raise UsageError(f"argosy build has no {flag}", why=why, remedy=remedy)


def add_foreign(parser: Parser) -> None:
    """Let the parser know them; its help does not tell of them."""
    for name in _LIMITS:
        names = [f"--{name}", *([_SHORT[name]] if name in _SHORT else [])]
        parser.add_argument(*names, action=_Limit, default=SUPPRESS, help=SUPPRESS)
    for flag in _NOTHING_TO_DO:
        parser.add_argument(flag, action=Switch, default=False, help=SUPPRESS)
    for flag in _REFUSED:
        parser.add_argument(flag, action=_Refused, default=SUPPRESS, help=SUPPRESS)


def refuse_attestations(args: argparse.Namespace) -> None:
    """UsageError when one is asked for; saying that there shall be none is fine."""
    for name in ("provenance", "sbom"):
        if (value := getattr(args, name)) and value not in _NONE:
            _no_attestation(f"--{name} {value}", f"leave --{name} away, or write --{name}=false")
    for word in args.attest:
        if not _is_disabled(word.split(",")):
            _no_attestation(f"--attest {word}", "leave --attest away")


def _is_disabled(parts: Sequence[str]) -> bool:
    return any(part.strip() in ("disabled=true", "disabled=1", "disabled") for part in parts)


def _no_attestation(what: str, remedy: str) -> NoReturn:
    raise UsageError(f"{what}: Argosy makes no attestations yet", remedy=remedy)
