"""Pages of a listing: the `Link` header (RFC 8288; distribution-spec, Listing Tags)."""

import json
import re
from collections.abc import AsyncIterator, Sequence
from typing import Any
from urllib.parse import urljoin, urlsplit

from argosy.errors import RegistryError
from argosy.stores.remote.exchange import Exchange
from argosy.stores.remote.transport import Answer, Request

_LINK = re.compile(r"<([^<>]*)>((?:\s*;\s*[^;,\"]*(?:\"[^\"]*\")?)*)")
_REL = re.compile(r";\s*rel\s*=\s*\"?([^\";,]*)\"?", re.IGNORECASE)
_A_NAME = re.compile(r"[!-~]+")
_MAX_PAGE = 32 << 20  # bytes


def next_link(header: str) -> str:
    """The target of the link whose relation is `next`, as it stands; `` if there is none."""
    for target, params in _LINK.findall(header):
        rel = _REL.search(params)
        if rel is not None and "next" in rel[1].lower().split():
            return str(target)
    return ""


async def pages(
    exchange: Exchange, path: str, what: str, scopes: Sequence[str], headers: dict[str, str]
) -> AsyncIterator[tuple[Answer, dict[str, Any]]]:
    """Every page of a listing, as (answer, JSON object); RegistryError for a link that leads astray."""
    url = await exchange.url(path)
    seen = {url}
    while url:
        request = Request(method="GET", url=url, headers=headers)
        answer = await exchange.ask(request, what, scopes)
        yield answer, _object(await answer.read(_MAX_PAGE), what, exchange.endpoint.host)
        target = next_link(answer.headers.get("link", ""))
        if not target:
            return
        url = urljoin(url, target)
        if not _same_origin(url, answer.url) or url in seen:
            raise RegistryError(
                f"cannot {what}: {exchange.endpoint.host} names a next page that cannot be taken",
                why=f"{target!r} was seen before" if url in seen else f"{target!r} is elsewhere",
                remedy="check the registry's and its proxy's external URL",
            )
        seen.add(url)


def _same_origin(one: str, other: str) -> bool:
    a, b = urlsplit(one), urlsplit(other)
    # A proxy that ends TLS makes registries write http links to themselves.
    return a.netloc == b.netloc and a.scheme == b.scheme


def _object(body: bytes, what: str, host: str) -> dict[str, Any]:
    try:
        value = json.loads(body)
    except (ValueError, RecursionError) as e:
        raise _unreadable(what, host, str(e)) from e
    if not isinstance(value, dict):
        raise _unreadable(what, host, "it is not a JSON object")
    return value


def _unreadable(what: str, host: str, why: str) -> RegistryError:
    return RegistryError(
        f"cannot {what}: the answer of {host} cannot be read",
        why=why,
        remedy="check that the host is a registry and not a web page",
    )


def names(value: dict[str, Any], field: str) -> list[str]:
    """The list of names in a page; `null` is an empty one (Docker's registry writes it).

    What cannot be a name is left out: it would forge lines, or steer a terminal.
    """
    found = value.get(field) or []
    if not isinstance(found, list):
        return []
    return [n for n in found if isinstance(n, str) and _A_NAME.fullmatch(n)]
