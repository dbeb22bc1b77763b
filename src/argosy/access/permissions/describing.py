"""The table of roles as the documentation shows it, made from the one that decides."""

from typing import Final

from argosy.access.permissions.permission import OF_EVERYBODY, OF_ROLE, Action, Resource, Role

BEGIN: Final = "<!-- roles: written by `make docs` -->"
END: Final = "<!-- end of roles -->"
_SPOKEN: Final = {
    (Resource.REPOSITORY, Action.PULL): "pull manifests and blobs, list referrers",
    (Resource.REPOSITORY, Action.LIST): "list repositories and tags",
    (Resource.REPOSITORY, Action.READ): "see a repository's details, the history of its tags",
    (Resource.REPOSITORY, Action.PUSH): "push, move tags",
    (Resource.REPOSITORY, Action.DELETE): "delete tags, manifests, blobs, repositories",
    (Resource.PROJECT, Action.READ): "see the project",
    (Resource.PROJECT, Action.WRITE): "change it: description, whether it is public",
    (Resource.PROJECT, Action.ADMIN): "remove it",
    (Resource.TAG_RULE, Action.READ): "see rules for tags",
    (Resource.TAG_RULE, Action.WRITE): "make and remove rules for tags",
    (Resource.QUOTA, Action.READ): "see what of the quota is used",
    (Resource.MEMBER, Action.READ): "see the members",
    (Resource.MEMBER, Action.WRITE): "add and remove members, give roles",
    (Resource.ROBOT, Action.READ): "see the robots",
    (Resource.ROBOT, Action.WRITE): "make, change and remove robots",
    (Resource.AUDIT, Action.READ): "read the project's audit log",
}


def role_table() -> str:
    """Markdown: a row for each permission that a role has, a column for each role."""
    heads = ["permission", "so that they may", "anybody, if public", *Role]
    rows = [f"| {' | '.join(heads)} |", "|---|---|" + ":-:|" * (len(heads) - 2)]
    # In the order in which the roles get them.
    pairs = sorted(OF_ROLE[Role.PROJECT_ADMIN], key=lambda pair: (_first(pair), pair))
    for pair in pairs:
        marks = [pair in OF_EVERYBODY, *(pair in OF_ROLE[role] for role in Role)]
        shown = " | ".join("yes" if mark else "" for mark in marks)
        rows.append(f"| `{pair[0]}:{pair[1]}` | {_SPOKEN[pair]} | {shown} |")
    return "\n".join(rows) + "\n"


def page(text: str) -> str:
    """A page with the table in it as it is now, between its two marks."""
    head, _, rest = text.partition(BEGIN)
    _, _, tail = rest.partition(END)
    return f"{head}{BEGIN}\n{role_table()}{END}{tail}"


def _first(pair: tuple[Resource, Action]) -> int:
    return next(place for place, role in enumerate(Role) if pair in OF_ROLE[role])
