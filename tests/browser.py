"""A browser without scripts: cookies, redirects, and forms that are filled in and sent."""

import http.client
from dataclasses import dataclass, field
from html.parser import HTMLParser
from http.cookies import SimpleCookie
from urllib.parse import urlencode, urljoin, urlsplit


@dataclass
class Form:
    """A form of a page: where it goes, its fields with their values, its button."""

    action: str
    method: str = "get"
    fields: dict[str, str] = field(default_factory=dict)
    button: str = ""


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.forms: list[Form] = []
        self.links: dict[str, str] = {}
        self.codes: list[str] = []
        self.text = ""
        self._inside: list[str] = []
        self._href = ""

    def handle_starttag(self, tag, attrs):
        given = {name: value or "" for name, value in attrs}
        if tag == "form":
            self.forms.append(Form(given.get("action", ""), given.get("method", "get")))
        elif tag == "input":
            self.forms[-1].fields[given["name"]] = given.get("value", "")
        if tag == "a":
            self._href = given["href"]
        if tag == "code":
            self.codes.append("")
        if tag not in ("input", "meta"):
            self._inside.append(tag)

    def handle_endtag(self, tag):
        while self._inside and self._inside.pop() != tag:
            pass

    def handle_data(self, data):
        if self._inside and self._inside[-1] == "style":
            return
        self.text += data
        if "button" in self._inside:
            self.forms[-1].button += data
        if "a" in self._inside:
            self.links[data] = self._href
        if "code" in self._inside:
            self.codes[-1] += data


@dataclass(frozen=True)
class Page:
    """What the browser shows, and how it came."""

    url: str
    status: int
    headers: http.client.HTTPMessage
    body: str
    forms: list[Form]
    links: dict[str, str]
    codes: list[str]
    text: str

    def form(self, button: str) -> Form:
        """The form with that button."""
        found = [form for form in self.forms if form.button == button]
        assert found, f"no button {button!r} in {self.text!r}"
        return found[0]


class Browser:
    """One browser: cookies by host."""

    def __init__(self, home: str) -> None:
        self.home = home
        self.jars: dict[str, SimpleCookie] = {}

    def get(self, url: str, **headers: str) -> Page:
        """Open a page, following redirects."""
        return self._go("GET", urljoin(self.home, url), "", headers)

    def post(self, url: str, fields: dict[str, str], **headers: str) -> Page:
        """Send a form, following redirects."""
        whole = urljoin(self.home, url)
        parts = urlsplit(whole)
        more = {"Origin": f"{parts.scheme}://{parts.netloc}", "Sec-Fetch-Site": "same-origin"}
        sent = {k: v for k, v in {**more, **headers}.items() if v}
        return self._go("POST", whole, urlencode(fields), sent)

    def press(self, page: Page, button: str, **filled: str) -> Page:
        """Fill in the form with that button, and press it."""
        form = page.form(button)
        unknown = set(filled) - set(form.fields)
        assert not unknown, f"the form has no {unknown}: {form.fields}"
        where = urljoin(page.url, form.action) if form.action else page.url
        return self.post(where, {**form.fields, **filled})

    def follow(self, page: Page, link: str) -> Page:
        """Press a link."""
        return self.get(urljoin(page.url, page.links[link]))

    def cookies(self, url: str = "") -> SimpleCookie:
        return self.jars.setdefault(urlsplit(url or self.home).netloc, SimpleCookie())

    def _go(self, method: str, url: str, body: str, headers: dict[str, str]) -> Page:
        for _ in range(10):
            page = self._once(method, url, body, headers)
            if page.status not in (302, 303):
                return page
            method, body, headers = "GET", "", {}
            url = urljoin(url, page.headers["Location"])
        raise AssertionError("redirects without end")

    def _once(self, method: str, url: str, body: str, headers: dict[str, str]) -> Page:
        parts = urlsplit(url)
        jar = self.cookies(url)
        sent = dict(headers)
        if jar:
            sent["Cookie"] = "; ".join(f"{name}={m.value}" for name, m in jar.items())
        if method == "POST":
            sent.setdefault("Content-Type", "application/x-www-form-urlencoded")
        connection = http.client.HTTPConnection(parts.netloc, timeout=30)
        try:
            target = parts.path + (f"?{parts.query}" if parts.query else "")
            connection.request(method, target, body or None, sent)
            answer = connection.getresponse()
            text = answer.read().decode()
        finally:
            connection.close()
        for cookie in answer.headers.get_all("Set-Cookie", []):
            jar.load(cookie)
        for name in [name for name, m in jar.items() if not m.value or m["max-age"] == "0"]:
            del jar[name]
        reader = _Reader()
        if answer.headers.get_content_type() == "text/html":
            reader.feed(text)
        return Page(
            url,
            answer.status,
            answer.headers,
            text,
            reader.forms,
            reader.links,
            reader.codes,
            reader.text,
        )
