"""What a request of the management API wanted, in the words that the audit log has for what was done.

The API is another room: here are only its path and the ids of its operations.
"""

import re
from typing import Final

_PREFIX: Final = "/api/v1/"
_ID: Final = re.compile(r"([a-z]+)(?:Project|System|User)?([A-Z][A-Za-z]*)")
_WORD: Final = re.compile(r"(?<!^)(?=[A-Z])")
_OF_PROJECT: Final = re.compile(r"(?:projects|repositories)/([a-z0-9][a-z0-9._-]{0,127})(?:/|$)")
_OTHERS: Final = {  # where a change has another name than its operation
    "updateMember": "member.set",
    "updateQuota": "quota.set",
    "changePassword": "user.password",
    "resetPassword": "user.password",
    "rotateSigningKey": "signing-key.create",
}


def action(operation: str) -> str:
    """`user.delete` of deleteUser, `tag-rule.create` of createTagRule; empty if it is no operation."""
    if operation in _OTHERS:
        return _OTHERS[operation]
    found = _ID.fullmatch(operation)
    if found is None:
        return ""
    noun = "-".join(_WORD.split(found[2])).lower()
    if noun.endswith("ies"):
        noun = f"{noun[:-3]}y"
    return f"{noun.removesuffix('s')}.{found[1]}"


def resource(path: str) -> str:
    """What a path is about: `users/ada` of /api/v1/users/ada; any other path as it is."""
    below = path.removeprefix(_PREFIX)
    return path if below == path else _plain(below)


def project(path: str) -> str:
    """The project that a path is below of; empty if it is below none."""
    if not path.startswith(_PREFIX):
        return ""
    found = _OF_PROJECT.match(_plain(path.removeprefix(_PREFIX)))
    return found[1] if found else ""


def _plain(text: str) -> str:
    # Nothing else: what is escaped may be no text to keep.
    return text.replace("%2F", "/").replace("%2f", "/")
