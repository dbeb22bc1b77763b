"""The table of verbs: what `argosy` knows before it imports anything.

A verb is a module of this package with `arguments(parser)` and `run(args)`
(plain or async, giving the exit code); it is imported when it is used.
"""

from collections.abc import Sequence
from typing import NamedTuple


class Verb(NamedTuple):
    """One verb: the words that name it, its module here, and one line of help."""

    name: str
    module: str
    help: str
    group: str


_TABLE = {
    "Build": (
        ("build", "build", "Build an image from a Dockerfile, for one or more platforms"),
        ("base", "base", "Make a base image from distribution packages"),
        ("history ls", "history.ls", "List the builds there were"),
        (
            "history inspect",
            "history.inspect",
            "Show a build: what was asked for, what became of it",
        ),
        ("history logs", "history.logs", "Print what a build printed"),
        ("history rm", "history.rm", "Forget builds"),
        ("du", "du", "Show what builds keep on the disk"),
        ("prune", "prune", "Remove what builds keep on the disk"),
    ),
    "Images": (
        ("copy", "copy", "Copy an image, all platforms of it, between any two stores"),
        ("push", "push", "Send a local image to its registry"),
        ("pull", "pull", "Fetch an image from a registry to the local images"),
        ("save", "save", "Write local images to an archive"),
        ("load", "load", "Read images from an archive into the local images"),
        ("images", "images", "List the local images"),
        ("inspect", "inspect", "Show an image: its platforms, manifest or config"),
        ("diff", "diff", "Compare two images"),
        ("digest", "digest", "Print the digest of an image"),
        ("tags", "tags", "List the tags of a repository"),
        ("repos", "repos", "List the repositories of a registry"),
        ("tag", "tag", "Give an image more tags"),
        ("run", "run", "Run a command in an image, of any platform this machine can run"),
        ("rm", "rm", "Delete a tag, or a manifest by digest"),
        ("index create", "index", "Make a multi-platform index from images and indexes"),
    ),
    "Registry": (
        ("serve", "serve", "Run a registry"),
        ("login", "login", "Log in to a registry"),
        ("logout", "logout", "Forget the credentials of a registry"),
    ),
    "Help": (
        ("doctor", "doctor", "Find out why a push, pull or build fails"),
        ("completion", "completion", "Print the completion script of a shell"),
        ("version", "version", "Show the version"),
    ),
}

VERBS = tuple(
    Verb(name, module, text, group) for group, rows in _TABLE.items() for name, module, text in rows
)

# Completion scripts ask it; people do not.
_HIDDEN = {"__complete": Verb("__complete", "candidates", "", "")}

# What users of docker, buildx, skopeo, crane and oras type, and what it means here.
ALIASES = {
    "cp": "copy",
    "ls": "tags",
    "list-tags": "tags",
    "catalog": "repos",
    "delete": "rm",
    "resolve": "digest",
    "manifest": "inspect --raw",
    "manifest inspect": "inspect --raw",
    "manifest fetch": "inspect --raw",
    "config": "inspect --config",
    "imagetools create": "index create",
    "imagetools inspect": "inspect",
    "buildx build": "build",
    "buildx du": "du",
    "buildx history ls": "history ls",
    "buildx history inspect": "history inspect",
    "buildx history logs": "history logs",
    "buildx history rm": "history rm",
    "buildx prune": "prune",
    "builder prune": "prune",
    "buildx imagetools create": "index create",
    "buildx imagetools inspect": "inspect",
    "image ls": "images",
}

_LONGEST = 3  # words


class Call(NamedTuple):
    """A verb and the words that are left for it."""

    verb: Verb
    rest: list[str]


def find(words: Sequence[str]) -> Call | None:
    """The verb the first words name, aliases replaced; None if they name none."""
    by_name = {**{verb.name: verb for verb in VERBS}, **_HIDDEN}
    for count in range(min(_LONGEST, len(words)), 0, -1):
        head, rest = " ".join(words[:count]), list(words[count:])
        if head in ALIASES:
            return find([*ALIASES[head].split(), *rest])
        if head in by_name:
            return Call(by_name[head], rest)
    return None
