"""One request of a browser: its form, its cookies, whose it is, and where it comes from."""

import hmac
from typing import Final
from urllib.parse import parse_qs, urlsplit

from argosy.access.signing_in.sessions import LIFE, Session
from argosy.catalog.actor import Actor
from argosy.server.guarding.who import address
from argosy.server.http.messages import Request
from argosy.server.observing.addresses import Front

_LARGEST: Final = 16 << 10  # bytes of a form
_SESSION: Final = "argosy-session"
_BINDING: Final = "argosy-login"


class Visit:
    """A request, as the pages need it. `session` is set where there is one."""

    def __init__(self, request: Request, front: Front) -> None:
        self.request: Final = request
        self.here: Final = front.url(request)
        self.address: Final = address(request)
        self.secure: Final = self.here.startswith("https:")
        self.session: Session | None = None
        self.form: dict[str, str] = {}
        self._cookies = _cookies(request)

    @property
    def query(self) -> dict[str, str]:
        """The query, the first value of each name."""
        return {name: values[0] for name, values in self.request.query.items()}

    @property
    def session_token(self) -> str:
        """What the session's cookie holds."""
        return self._cookies.get(self._name(_SESSION), "")

    @property
    def binding(self) -> str:
        """What ties a login that was begun to this browser."""
        return self._cookies.get(self._name(_BINDING), "")

    def actor(self, name: str) -> Actor:
        """Somebody who acts by this request."""
        return Actor(name=name, kind="user", address=self.address, request=self.request.id)

    async def read_form(self) -> None:
        """Fill `form`; BodyTooLarge. What is no form is an empty one."""
        kind = (self.request.headers.get("content-type") or "").partition(";")[0].strip().lower()
        body = await self.request.body.read(_LARGEST)
        if kind == "application/x-www-form-urlencoded":
            fields = parse_qs(body.decode("latin-1"), keep_blank_values=True, max_num_fields=50)
            # PostgreSQL has no text with NUL; and nobody types one.
            self.form = {name: values[0].replace("\0", "") for name, values in fields.items()}

    def is_of_another_site(self) -> bool:
        """Whether a page that is not ours sent the form (what its browser says of it)."""
        origin = self.request.headers.get("origin")
        if origin is not None:
            return urlsplit(origin).netloc != urlsplit(self.here).netloc
        return self.request.headers.get("sec-fetch-site", "none") not in ("same-origin", "none")

    def has_key(self, session: Session) -> bool:
        """Whether the form came with the session's key: no other site knows it."""
        given = self.form.get("key", "").encode()
        return hmac.compare_digest(given, session.form_key.encode())

    def session_cookie(self, token: str) -> tuple[str, str]:
        """The header that gives the browser its session, or (empty) takes it."""
        return self._cookie(_SESSION, token, LIFE)

    def binding_cookie(self, value: str) -> tuple[str, str]:
        """The header that ties a login to this browser."""
        return self._cookie(_BINDING, value, 600)

    def _name(self, name: str) -> str:
        # With this prefix a browser takes it over https only, and from this very host.
        return f"__Host-{name}" if self.secure else name

    def _cookie(self, name: str, value: str, life: float) -> tuple[str, str]:
        secure = "; Secure" if self.secure else ""
        age = f"; Max-Age={int(life) if value else 0}"
        # Lax: the way back from the provider is a navigation from another site.
        fields = f"{self._name(name)}={value}; Path=/; HttpOnly; SameSite=Lax{age}{secure}"
        return ("Set-Cookie", fields)


def safe_place(wanted: str) -> str:
    """Where to go after a login: a page of ours, whatever was asked for."""
    plain = wanted.isascii() and wanted.isprintable() and "\\" not in wanted
    if not plain or not wanted.startswith("/") or wanted.startswith("//") or len(wanted) > 500:
        return "/account"
    return wanted


def _cookies(request: Request) -> dict[str, str]:
    found: dict[str, str] = {}
    for header in request.headers.all("cookie"):
        for pair in header.split(";"):
            name, equals, value = pair.strip().partition("=")
            if equals:
                found.setdefault(name, value)
    return found
