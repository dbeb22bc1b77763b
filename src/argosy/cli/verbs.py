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
        ("tags history", "retags.history", "Show what a tag has stood for"),
        ("tags undo", "retags.undo", "Put a tag back to what it stood for before"),
        ("tags rules", "retags.rules", "Keep tags of a project from being moved or deleted"),
        ("repos", "repos", "List the repositories of a registry"),
        ("repos delete", "repositories.delete", "Delete a repository with all its tags"),
        ("tag", "tag", "Give an image more tags"),
        ("run", "run", "Run a command in an image, of any platform this machine can run"),
        ("rm", "rm", "Delete a tag, or a manifest by digest"),
        ("index create", "index", "Make a multi-platform index from images and indexes"),
    ),
    "Registry": (
        ("serve", "serve", "Run a registry"),
        ("config check", "config.check", "Check the settings of `argosy serve`"),
        ("config show", "config.show", "Show the settings in force, and where each came from"),
        ("config example", "config.example", "Print a settings file with every setting"),
        ("login", "login", "Log in to a registry"),
        ("logout", "logout", "Forget the credentials of a registry"),
    ),
    "Managing a registry": (
        ("project create", "project.create", "Make a project"),
        ("project list", "project.list", "List the projects"),
        ("project show", "project.show", "Show a project"),
        ("project update", "project.update", "Change a project"),
        ("project delete", "project.delete", "Delete an empty project"),
        ("member add", "member.add", "Give a user or group a role in a project"),
        ("member list", "member.list", "List the members of a project"),
        ("member set", "member.set", "Give a member another role"),
        ("member remove", "member.remove", "Take a member's role away"),
        ("robot create", "robot.create", "Make a robot account"),
        ("robot list", "robot.list", "List robot accounts"),
        ("robot show", "robot.show", "Show a robot account"),
        ("robot update", "robot.update", "Change a robot account"),
        ("robot rotate", "robot.rotate", "Give a robot a new secret"),
        ("robot trust", "robot.trust", "Let CI jobs be a robot without a secret"),
        ("robot disable", "robot.disable", "Refuse a robot, or let it in again"),
        ("robot delete", "robot.delete", "Delete a robot account"),
        ("token create", "token.create", "Make a personal access token"),
        ("token list", "token.list", "List your personal access tokens"),
        ("token revoke", "token.revoke", "Revoke personal access tokens"),
        ("user create", "user.create", "Make a user"),
        ("user list", "user.list", "List the users"),
        ("user show", "user.show", "Show a user"),
        ("user update", "user.update", "Change a user"),
        ("user disable", "user.disable", "Lock a user out, or let them in again"),
        ("user password", "user.password", "Change a password"),
        ("user totp", "user.totp", "Set up a second factor"),
        ("user delete", "user.delete", "Delete a user"),
        ("quota show", "quota.show", "Show how much projects use of their quotas"),
        ("quota set", "quota.set", "Limit what a project may hold"),
        ("quota recount", "quota.recount", "Count anew what a project holds"),
        ("audit list", "audit.list", "Show what was done, and what was refused"),
        ("audit export", "audit.export", "Write the audit log as JSON lines"),
        ("audit verify", "audit.verify", "Check that nobody has changed the audit log"),
        (
            "admin reset-password",
            "admin.reset_password",
            "Get into a registry again, on its own machine",
        ),
        ("admin rotate-key", "admin.rotate_key", "Sign tokens with a new key, on its own machine"),
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


def below(word: str) -> list[Verb]:
    """The verbs that begin with a word which is none itself: `robot` has `robot create` and more."""
    found = [verb for verb in VERBS if verb.name.split(" ")[0] == word]
    return [] if any(verb.name == word for verb in found) else found


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
