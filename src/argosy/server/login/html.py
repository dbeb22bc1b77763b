"""HTML made of parts in which nothing but what is meant as such can be a tag."""

import base64
import hashlib
from html import escape
from typing import Final

from argosy.server.http.messages import Response

_STYLE: Final = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:36rem;margin:3rem auto;padding:0 1rem;"
    "color:#1a1a1a;background:#fff}"
    "h1{font-size:1.4rem}h2{font-size:1.1rem;margin-top:2rem}"
    "label{display:block;margin:.8rem 0}"
    "input{font:inherit;display:block;width:100%;box-sizing:border-box;padding:.4rem .6rem;"
    "border:1px solid #767676;border-radius:4px}"
    "button,.button{font:inherit;display:inline-block;padding:.4rem 1rem;border:1px solid #1a4f8b;"
    "border-radius:4px;background:#1a4f8b;color:#fff;text-decoration:none;cursor:pointer}"
    "table{border-collapse:collapse;width:100%}td,th{text-align:left;padding:.3rem .6rem .3rem 0;"
    "border-bottom:1px solid #ccc}"
    ".wrong{border-left:4px solid #b00020;padding:.2rem .8rem}"
    ".good{border-left:4px solid #17692a;padding:.2rem .8rem}"
    "code{overflow-wrap:anywhere;background:#f2f2f2;padding:.1rem .3rem}"
    "td form{margin:0}@media(prefers-color-scheme:dark){body{background:#161616;color:#eee}"
    "code{background:#2a2a2a}input{background:#222;color:#eee}}"
)
_HASH: Final = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
_POLICY: Final = (
    f"default-src 'none'; style-src 'sha256-{_HASH}'; form-action 'self';"
    " base-uri 'none'; frame-ancestors 'none'"
)

HEADERS: Final = (
    ("Content-Type", "text/html; charset=utf-8"),
    ("Cache-Control", "no-store"),
    ("Content-Security-Policy", _POLICY),
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "DENY"),
    # Not no-referrer: browsers would send `Origin: null` with our own forms.
    ("Referrer-Policy", "same-origin"),
)


class Markup(str):
    """Text that is HTML already."""

    __slots__ = ()


def tag(element: str, /, *inner: str, **attributes: str) -> Markup:
    """An element; what is no Markup is escaped. `class_` is `class`, an attribute of "" has no value."""
    given = "".join(
        f" {key.rstrip('_').replace('_', '-')}" + (f'="{escape(value)}"' if value else "")
        for key, value in attributes.items()
    )
    if element in ("input", "meta"):
        return Markup(f"<{element}{given}>")
    return Markup(f"<{element}{given}>{text(*inner)}</{element}>")


def text(*parts: str) -> Markup:
    """Parts one after the other, escaped where they are no Markup."""
    return Markup("".join(p if isinstance(p, Markup) else escape(p) for p in parts))


def page(title: str, *body: str, status: int = 200) -> Response:
    """A whole page."""
    head = text(
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("title", f"{title} · Argosy"),
        Markup(f"<style>{_STYLE}</style>"),
    )
    whole = tag("html", tag("head", head), tag("body", tag("h1", title), *body), lang="en")
    return Response(status, list(HEADERS), f"<!DOCTYPE html>\n{whole}\n".encode())


def go(where: str, *cookies: tuple[str, str]) -> Response:
    """Send the browser to another page, by GET."""
    headers = [("Location", where), ("Cache-Control", "no-store"), *cookies]
    return Response(303, headers)
