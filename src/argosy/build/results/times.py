"""The time of a reproducible build: given, or taken `git`'s commit or the `context`'s newest file."""

import os
from dataclasses import replace
from typing import Literal, get_args

from argosy.build.options import BuildOptions
from argosy.build.results.git_facts import GitFacts, git_facts
from argosy.build.results.metadata import Metadata
from argosy.build.results.variants import output_epoch
from argosy.errors import UsageError
from argosy.observe import Event, Report

EpochSource = Literal["git", "context"]
_NAME = "SOURCE_DATE_EPOCH"


def with_time(options: BuildOptions, context: str) -> BuildOptions:
    """The options with SOURCE_DATE_EPOCH as a number, also where it is a build argument (blocking)."""
    word = options.epoch_from or options.build_args.get(_NAME, "")
    if word not in get_args(EpochSource):
        return options
    epoch = _commit_time(context) if word == "git" else newest_change(context)
    args = dict(options.build_args)
    if _NAME in args:
        args[_NAME] = str(epoch)
    return replace(options, source_date_epoch=epoch, epoch_from="", build_args=args)


def epoch_of(options: BuildOptions) -> int | None:
    """The time that a reproducible build asks for: an option, an output's, or the build argument."""
    if options.source_date_epoch is not None:
        return options.source_date_epoch
    if (wanted := output_epoch(options.outputs)) is not None:
        return wanted
    given = options.build_args.get(_NAME, "")
    if given and not given.isdecimal():
        raise UsageError(
            f"{_NAME}={given!r} is not a time",
            remedy="give whole seconds since 1970, git, or context",
        )
    return int(given) if given else None


def metadata_of(options: BuildOptions, context: str, report: Report) -> Metadata:
    """What the images tell of where they come from; git is asked only if it is wanted (blocking)."""
    if "git" not in options.telling.words or not context:
        return Metadata(telling=options.telling)
    facts = git_facts(context)
    if isinstance(facts, GitFacts):
        return Metadata(telling=options.telling, git=facts)
    if facts != "none":
        text = f"the image does not tell its commit: {facts}"
        report(Event("warning", "git", "git", text=text))
    return Metadata(telling=options.telling)


def _commit_time(context: str) -> int:
    facts = git_facts(context) if context else "none"
    if isinstance(facts, GitFacts):
        return facts.time
    raise UsageError(
        f"{_NAME}=git, but git tells no time",
        why="the context is in no repository with a commit" if facts == "none" else facts,
        remedy=f"build from a checkout, or set {_NAME} to seconds since 1970",
    )


def newest_change(directory: str) -> int:
    """The newest time of a file in a directory, whole seconds; `.git` does not count (blocking)."""
    newest = 0.0
    for folder, names, files in os.walk(directory or "."):
        names[:] = [name for name in names if name != ".git"]
        for name in files:
            newest = max(newest, os.lstat(os.path.join(folder, name)).st_mtime)
    return int(newest)
