"""The settings as people read them: an example file, a page of the docs, what is in force."""

import re
from collections.abc import Iterator
from itertools import groupby

from argosy.server.config.loading import Loaded, Setting, table
from argosy.server.config.sections import ServerSettings

_MASK = "********"
_IN_URL = re.compile(r"(://[^/?#@:]*:)[^@]*@")


def example() -> str:
    """A whole argosy.toml: every setting with its meaning, commented out at its default."""
    parts = ["# argosy.toml: what is commented out is the default."]
    for section, items in groupby(table(), lambda item: item.section):
        parts += ["", f"# {_about(section)}", f"[{section}]"]
        for item in items:
            parts += [f"# {item.help}", f"# {item.name} = {item.kind.write(item.default)}"]
    return "\n".join(parts) + "\n"


def page() -> str:
    """docs/settings.md."""
    parts = [_INTRODUCTION]
    for section, items in groupby(table(), lambda item: item.section):
        parts += [f"## [{section}]", "", _about(section), "", *_rows(list(items)), ""]
    return "\n".join(parts)


_INTRODUCTION = """\
# The settings of `argosy serve`

Written by `make docs` from `src/argosy/server/config/sections.py`.

`argosy serve --config argosy.toml`. A flag stands above the environment, that above the
file, that above the default. In the environment a setting is `ARGOSY_<SECTION>_<NAME>`, as
`ARGOSY_STORAGE_S3_BUCKET`; lists have commas there. A secret may also come from a file
(`ARGOSY_DATABASE_PASSWORD_FILE`, or `password = { file = "/run/secrets/db" }`) or from
another variable (`password = { env = "PGPASSWORD" }`). `argosy config check` finds every
problem at once, `argosy config show` tells what is in force and where it came from.
"""


def _rows(items: list[Setting]) -> Iterator[str]:
    yield "| setting | kind | default | meaning |"
    yield "|---|---|---|---|"
    for item in items:
        flag = f" (`{item.flag}`)" if item.flag else ""
        secret = " Secret." if item.secret else ""
        kind = item.kind.name.replace("|", "\\|")
        default = item.kind.write(item.default).replace("|", "\\|")
        meaning = f"{item.help}{flag}.{secret}".replace("|", "\\|")
        yield f"| `{item.name}` | {kind} | `{default}` | {meaning} |"


def in_force(found: Loaded) -> Iterator[tuple[str, str, str]]:
    """Name, value and origin of every setting; secrets are not shown."""
    for item in table():
        value = getattr(getattr(found.settings, item.attribute), item.name)
        shown = _MASK if item.secret and value else item.kind.write(value)
        yield item.key, _IN_URL.sub(rf"\1{_MASK}@", shown), found.origins.get(item.key, "default")


def _about(section: str) -> str:
    settings = ServerSettings()
    item = next(item for item in table() if item.section == section)
    found = type(getattr(settings, item.attribute)).__doc__
    assert found, f"section {section} says nothing of itself"
    return found
