"""Values of the management API as people and scripts read them."""

import argparse
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from argosy.cli.terminal.table import print_json, print_table
from argosy.cli.terminal.visible import visible

Json = Mapping[str, Any]
Column = tuple[str, str | Callable[[Json], str]]
"""A header, and the field below it or a function that gives the cell."""


def show_list(
    args: argparse.Namespace, items: Sequence[Json], columns: Sequence[Column], name: str = "name"
) -> None:
    """A list, as the flags say: table, names, JSON, a template for each."""
    if args.quiet:
        print("".join(f"{item[name]}\n" for item in items), end="")
    elif args.json:
        print_json(list(items))
    elif args.format in ("", "table"):
        rows = [tuple(_cell(item, what) for _, what in columns) for item in items]
        print_table([header for header, _ in columns], rows)
    else:
        from argosy.cli.terminal.template import render

        template = "{{json .}}" if args.format == "json" else args.format.removeprefix("table ")
        print("".join(f"{render(template, dict(item))}\n" for item in items), end="")


def show(args: argparse.Namespace, value: Json, facts: Sequence[Column]) -> None:
    """One thing, as the flags say: in words, as JSON, by a template."""
    if args.json or args.format == "json":
        print_json(dict(value))
    elif args.format in ("", "pretty"):
        shown = [(title, _cell(value, what)) for title, what in facts]
        width = max((len(title) for title, text in shown if text), default=0) + 3
        print("".join(f"{title + ':':{width}}{text}\n" for title, text in shown if text), end="")
    else:
        from argosy.cli.terminal.template import render

        print(render(args.format, dict(value)))


def _cell(item: Json, what: str | Callable[[Json], str]) -> str:
    return visible(what(item) if callable(what) else _plain(item, what))


def _plain(item: Json, what: str) -> str:
    value = item.get(what)
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return str(value)


def when(field: str, never: str = "") -> Callable[[Json], str]:
    """A cell with a time, to the second."""

    def cell(item: Json) -> str:
        text = item.get(field)
        if not text:
            return never
        moment = datetime.fromisoformat(text)
        return moment.strftime("%Y-%m-%dT%H:%M:%SZ")

    return cell


def size(field: str, none: str = "") -> Callable[[Json], str]:
    """A cell with an amount of bytes."""

    def cell(item: Json) -> str:
        from argosy.cli.terminal.units import human_size

        value = item.get(field)
        return none if value is None else human_size(value)

    return cell


def _of(field: str) -> Callable[[Json], str]:
    """A cell with the amount used and the limit, if there is one: `1.2GB of 10GB`."""

    def cell(item: Json) -> str:
        from argosy.cli.terminal.units import human_size

        def told(count: int) -> str:
            return human_size(count) if field == "bytes" else str(count)

        limit = item["limit"].get(field)
        used = told(item["used"][field])
        return used if limit is None else f"{used} of {told(limit)}"

    return cell


def _limits(field: str) -> Callable[[Json], str]:
    def cell(item: Json) -> str:
        value = (item.get("limits") or {}).get(field)
        return "" if value is None else str(value)

    return cell


def _claims(item: Json) -> str:
    return ", ".join(f"{name}={pattern}" for name, pattern in item["claims"].items())


PROJECTS: Sequence[Column] = (
    ("NAME", "name"),
    ("PUBLIC", "public"),
    ("DESCRIPTION", "description"),
    ("CREATED", when("created_at")),
)
PROJECT: Sequence[Column] = (
    ("Name", "name"),
    ("Public", "public"),
    ("Description", "description"),
    ("Requests/s", _limits("requests")),
    ("Burst", _limits("burst")),
    ("Download/s", _limits("download")),
    ("Upload/s", _limits("upload")),
    ("Uploads", _limits("uploads")),
    ("Created", when("created_at")),
    ("Created by", "created_by"),
)
MEMBERS: Sequence[Column] = (
    ("KIND", "kind"),
    ("NAME", "name"),
    ("ROLE", "role"),
    ("SINCE", when("created_at")),
    ("BY", "created_by"),
)
MEMBER: Sequence[Column] = (("Kind", "kind"), ("Name", "name"), ("Role", "role"))
ROBOTS: Sequence[Column] = (
    ("NAME", "name"),
    ("GRANTS", "grants"),
    ("DISABLED", "disabled"),
    ("EXPIRES", when("expires_at", "never")),
    ("LAST USED", when("last_used_at", "never")),
)
ROBOT: Sequence[Column] = (
    ("Name", "name"),
    ("Project", "project"),
    ("Description", "description"),
    ("Grants", "grants"),
    ("Disabled", "disabled"),
    ("Expires", when("expires_at", "never")),
    ("Last used", when("last_used_at", "never")),
    ("Created", when("created_at")),
    ("Created by", "created_by"),
)
ROBOT_MADE: Sequence[Column] = (
    ("Name", "name"),
    ("Secret", "secret"),
    ("Expires", when("expires_at", "never")),
    ("Old secret until", when("previous_until")),
)
TRUSTS: Sequence[Column] = (
    ("ID", "id"),
    ("ISSUER", "issuer"),
    ("AUDIENCE", "audience"),
    ("CLAIMS", _claims),
)
TOKENS: Sequence[Column] = (
    ("ID", "id"),
    ("NAME", "name"),
    ("SCOPES", "scopes"),
    ("EXPIRES", when("expires_at", "never")),
    ("LAST USED", when("last_used_at", "never")),
    ("REVOKED", when("revoked_at")),
)
TOKEN_MADE: Sequence[Column] = (
    ("ID", "id"),
    ("Name", "name"),
    ("Token", "token"),
    ("Expires", when("expires_at", "never")),
)
USERS: Sequence[Column] = (
    ("NAME", "name"),
    ("EMAIL", "email"),
    ("FROM", "backend"),
    ("ADMIN", "admin"),
    ("DISABLED", "disabled"),
    ("LAST LOGIN", when("last_login_at", "never")),
)
USER: Sequence[Column] = (
    ("Name", "name"),
    ("Email", "email"),
    ("From", "backend"),
    ("Admin", "admin"),
    ("Disabled", "disabled"),
    ("Second factor", "second_factor"),
    ("Groups", "groups"),
    ("Created", when("created_at")),
    ("Last login", when("last_login_at", "never")),
)
USER_MADE: Sequence[Column] = (("Name", "name"), ("Password", "password"), ("Admin", "admin"))
TOTP: Sequence[Column] = (("Key", "key"), ("URI", "uri"))
CODES: Sequence[Column] = (("Recovery codes", "codes"),)
QUOTAS: Sequence[Column] = (
    ("PROJECT", "project"),
    ("BYTES", _of("bytes")),
    ("ARTIFACTS", _of("artifacts")),
)
RECOUNT: Sequence[Column] = (
    ("Project", "project"),
    ("Bytes", "bytes"),
    ("Artifacts", "artifacts"),
    ("Bytes were off by", "bytes_off"),
    ("Artifacts were off by", "artifacts_off"),
)
AUDIT: Sequence[Column] = (
    ("AT", when("at")),
    ("WHO", "actor"),
    ("FROM", "address"),
    ("ACTION", "action"),
    ("RESOURCE", "resource"),
    ("OUTCOME", "outcome"),
)
VERIFIED: Sequence[Column] = (
    ("Intact", "intact"),
    ("Entries", "entries"),
    ("Last hash", "hash"),
    ("Broken at", "broken_at"),
    ("Why", "why"),
)
TAG_HISTORY: Sequence[Column] = (
    ("AT", when("at")),
    ("WHO", "actor"),
    ("DIGEST", lambda item: item.get("digest") or "(deleted)"),
    ("BEFORE", "previous"),
)
TAG: Sequence[Column] = (("Repository", "repository"), ("Tag", "name"), ("Digest", "digest"))
RULES: Sequence[Column] = (
    ("ID", "id"),
    ("REPOSITORIES", "repositories"),
    ("TAGS", "tags"),
    ("DISABLED", "disabled"),
)
