"""Listings by pages: tags, repositories, referrers, and the Link to what follows (RFC 8288)."""

import json
from collections.abc import Sequence
from functools import partial
from typing import Any, Final
from urllib.parse import quote, urlencode

from sqlalchemy import Connection

from argosy.access.permissions.visible import Visible
from argosy.catalog.catalog import Catalog
from argosy.catalog.registry import listing
from argosy.catalog.registry.listing import Among
from argosy.catalog.registry.rows import ReferrersQuery
from argosy.concurrency import in_thread
from argosy.model import media
from argosy.model.digest import Digest
from argosy.server.http.messages import Request, Response
from argosy.server.v2.errors import JSON, VERSION, Problem

MOST: Final = 10_000
"""Names on one page, whatever is asked for."""

_SCANNED: Final = 1_000
_REFERRERS: Final = 1_000
_REFERRERS_BYTES: Final = 3 << 20  # clients read at most 4 MiB of an index


async def tags(catalog: Catalog, name: str, request: Request) -> Response:
    """GET tags/list: sorted, a page at a time; `n=0` lists nothing but still knows the repository."""
    count, last = _page(request)
    found = await catalog.tags(name, last, count + 1)
    link = _next(f"/v2/{name}/tags/list", found, count)
    return _listing({"name": name, "tags": found[:count]}, link)


async def repositories(catalog: Catalog, request: Request, seen: Visible) -> Response:
    """GET _catalog: every repository that may be seen, a page at a time."""
    count, last = _page(request)
    if seen.all:
        found = await catalog.repositories(last, count + 1)
    else:
        found = await _seen(catalog, seen, last, count + 1)
    return _listing({"repositories": found[:count]}, _next("/v2/_catalog", found, count))


async def _seen(catalog: Catalog, seen: Visible, last: str, count: int) -> list[str]:
    """At most `count` of what may be seen: the catalog looks in the projects, we at each name."""
    found: list[str] = []
    while len(found) < count:
        rows = await catalog.database.read(partial(_rows, last, seen.among))
        # Off the loop: who has a token with scopes has written patterns for each of these names.
        found += await in_thread(seen.seen, rows)
        if len(rows) < _SCANNED:
            break
        last = rows[-1][0]
    return found[:count]


def _rows(last: str, among: Among, conn: Connection) -> list[tuple[str, bool]]:
    return listing.repositories(conn, last, _SCANNED, among)


async def referrers(catalog: Catalog, name: str, ref: str, request: Request) -> Response:
    """GET referrers: an index of the manifests about a digest; empty, never 404, if there are none."""
    subject = Digest.parse(ref)
    count, last = _page(request, _REFERRERS)
    kind = _one(request, "artifactType")
    query = ReferrersQuery(subject=subject, artifact_type=kind, last=last, count=count + 1)
    found = await catalog.referrers(name, query)
    shown = _fitting([d.to_json() for d in found[:count]])
    headers = [VERSION, ("Content-Type", media.OCI_INDEX)]
    if kind:
        headers.append(("OCI-Filters-Applied", "artifactType"))
    if shown and len(shown) < len(found):
        more = {"n": count, "last": str(found[len(shown) - 1].digest)}
        more |= {"artifactType": kind} if kind else {}
        headers.append(("Link", f'</v2/{name}/referrers/{subject}?{urlencode(more)}>; rel="next"'))
    body = {"schemaVersion": 2, "mediaType": media.OCI_INDEX, "manifests": shown}
    return Response(200, headers, json.dumps(body, separators=(",", ":")).encode())


def _fitting(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """As many entries as one page can hold; at least one."""
    room = _REFERRERS_BYTES
    for index, entry in enumerate(entries):
        room -= len(json.dumps(entry))
        if room < 0 and index:
            return entries[:index]
    return entries


def _page(request: Request, default: int = MOST) -> tuple[int, str]:
    text = _one(request, "n")
    if not text:
        return default, _one(request, "last")
    if not text.isascii() or not text.isdigit():
        raise Problem(
            400, "PAGINATION_NUMBER_INVALID", f"n={text!r} is not a number", detail={"n": text}
        )
    return min(int(text[:9]), default), _one(request, "last")


def _one(request: Request, name: str) -> str:
    return request.query.get(name, [""])[0]


def _next(path: str, found: Sequence[str], count: int) -> str | None:
    if not 0 < count < len(found):
        return None
    return f'<{path}?n={count}&last={quote(found[count - 1], safe="")}>; rel="next"'


def _listing(value: dict[str, Any], link: str | None) -> Response:
    headers = [VERSION, JSON] + ([("Link", link)] if link else [])
    return Response(200, headers, json.dumps(value, separators=(",", ":")).encode())
