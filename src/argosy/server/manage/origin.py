"""No other site may make a browser change something here (CSRF).

A browser adds cookies, and passwords it was given once, to requests that other sites
start. It also says where a request comes from: what it says of another site is refused.
Who shows nothing but a cookie has to send `X-Argosy-Request` as well, which a browser
lets no other site send without asking (and nobody is allowed: there is no CORS here).
"""

from typing import Final
from urllib.parse import urlsplit

from argosy.server.http.messages import Request
from argosy.server.manage.problems import Refusal

HEADER: Final = "X-Argosy-Request"


def check_origin(request: Request) -> None:
    """Refusal 403 for a change that another site's page has begun."""
    headers = request.headers
    site = (headers.get("sec-fetch-site") or "").lower()
    origin = headers.get("origin")
    if site in ("cross-site", "same-site") or (
        origin is not None and not _is_ours(origin, headers.get("host"))
    ):
        raise Refusal(
            403,
            "cross-site",
            "a page of another site may not change anything here",
            remedy="send the request from a page of this registry, or from a program",
        )
    if "cookie" in headers and "authorization" not in headers and not headers.get(HEADER):
        raise Refusal(
            403,
            "header-needed",
            f"changes by a browser's session need the header {HEADER}",
            why="without it another site could have begun the request",
            remedy=f"send {HEADER}: 1",
        )


def _is_ours(origin: str, host: str | None) -> bool:
    try:
        return urlsplit(origin).netloc.lower() == (host or "").lower() != ""
    except ValueError:
        return False
