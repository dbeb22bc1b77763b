"""What the pages say."""

import time
from collections.abc import Sequence
from urllib.parse import urlencode

from argosy.access.identity.totp import DIGITS
from argosy.access.signing_in.second_factor import Enrolment
from argosy.access.signing_in.sessions import Session
from argosy.catalog.people.tokens import PersonalToken
from argosy.catalog.people.users import User
from argosy.server.http.messages import Response, retry_after
from argosy.server.login.html import Markup, page, tag, text


def problem(why: str, remedy: str = "", *, status: int = 403) -> Response:
    """Something that did not work, and what to do."""
    again = tag("p", tag("a", "Log in", href="/login", class_="button"))
    return page("That did not work", said(why, remedy), again, status=status)


def too_often(seconds: float) -> Response:
    """Somebody has to wait."""
    wait = retry_after(seconds)
    answer = problem(f"that was too often: wait {wait[1]} s", status=429)
    return Response(429, [*answer.headers, wait], answer.body)


def said(why: str, remedy: str = "") -> Markup:
    """A problem in a page."""
    if not why:
        return Markup("")
    more = (tag("p", _sentence(remedy)),) if remedy else ()
    return tag("div", tag("p", _sentence(why)), *more, class_="wrong", role="alert")


def _sentence(words: str) -> str:
    return f"{words[:1].upper()}{words[1:]}." if words else ""


def form(where: str, button: str, *fields: str, key: str = "") -> Markup:
    """A form that posts; `key` is the session's form key."""
    hidden = (tag("input", type="hidden", name="key", value=key),) if key else ()
    pressed = tag("p", tag("button", button))
    return tag("form", *hidden, *fields, pressed, method="post", action=where)


def field(label: str, name: str, kind: str = "text", **more: str) -> Markup:
    """A labelled input."""
    return tag("label", label, tag("input", name=name, type=kind, **more))


def hidden(name: str, value: str) -> Markup:
    """A field nobody sees."""
    return tag("input", type="hidden", name=name, value=value)


def login(go_on: str, sso: str, *, name: str = "", problem: Markup | None = None) -> Response:
    """The way in; `sso` is what the provider's button says, if there is a provider."""
    other: tuple[Markup, ...] = ()
    if sso:
        where = "/auth/oidc/login?" + urlencode({"next": go_on})
        other = (tag("p", tag("a", f"Log in with {sso}", href=where, class_="button")),)
    fields = form(
        "/login",
        "Log in",
        hidden("next", go_on),
        field("Name", "name", autocomplete="username", value=name, autofocus="", required=""),
        field("Password", "password", "password", autocomplete="current-password", required=""),
    )
    return page("Log in", problem or "", *other, fields, status=403 if problem else 200)


def code(handle: str, problem: Markup | None = None) -> Response:
    """The second step: the app's code, or one from paper."""
    label = f"The {DIGITS} digits that your app shows, or a recovery code"
    fields = form(
        "/login/code",
        "Go on",
        hidden("handle", handle),
        field(label, "code", autocomplete="one-time-code", autofocus="", required=""),
    )
    return page("Second factor", problem or "", fields, status=403 if problem else 200)


def new_password(go_on: str, name: str, problem: Markup | None = None) -> Response:
    """A one-time password has to become another one."""
    fields = form(
        "/login/password",
        "Change it and log in",
        hidden("next", go_on),
        field("Name", "name", autocomplete="username", value=name, required=""),
        field("One-time password", "password", "password", required=""),
        field("New password", "new", "password", autocomplete="new-password", required=""),
        field("The same again", "again", "password", autocomplete="new-password", required=""),
    )
    why = tag("p", "Your password was made for one login: choose another one now.")
    return page("A new password", why, problem or "", fields, status=403 if problem else 200)


def account(
    session: Session, groups: Sequence[str], tokens: Sequence[PersonalToken], codes_left: int
) -> Response:
    """Who you are here, your tokens, your second factor."""
    user, key = session.user, session.form_key
    where = user.backend + (f", {user.email}" if user.email else "")
    about = f"{user.name} ({where})" + (", a system admin" if user.is_admin else "")
    return page(
        "Your account",
        tag("p", about),
        tag("p", "Groups: " + ", ".join(groups)) if groups else "",
        *_tokens(tokens, key),
        *_second_factor(user, key, codes_left),
        tag("h2", "Leave"),
        form("/logout", "Log out", key=key),
    )


def _tokens(tokens: Sequence[PersonalToken], key: str) -> tuple[Markup, ...]:
    now = int(time.time() * 1e6)
    rows = [
        tag(
            "tr",
            tag("td", one.name),
            tag("td", ", ".join(one.scopes) or "all that you may"),
            tag("td", _day(one.expires_at)),
            tag(
                "td",
                form("/account/tokens/revoke", "Revoke", hidden("token", str(one.id)), key=key),
            ),
        )
        for one in tokens
        if one.good(now)
    ]
    heads = ("Name", "For", "Until", "")
    table = tag("table", tag("tr", *(tag("th", head) for head in heads)), *rows)
    new = form(
        "/account/tokens",
        "Make a token",
        field("Name", "name", maxlength="100", required="", placeholder="laptop"),
        field("Good for how many days (empty: for ever)", "days", "number", min="1", value="90"),
        key=key,
    )
    about = "A token is the password for docker, podman, skopeo and argosy. It is shown once."
    return (
        tag("h2", "Personal access tokens"),
        tag("p", about),
        *((table,) if rows else ()),
        new,
    )


def _second_factor(user: User, key: str, codes_left: int) -> tuple[Markup, ...]:
    title = tag("h2", "Second factor")
    where = "/account/second-factor"
    if not user.second_factor:
        why = "Not set up. With one, clients such as docker need a personal access token."
        return (title, tag("p", why), form(f"{where}/begin", "Set it up", key=key))
    digits = field("A code of your app, or a recovery code", "code", required="")
    left = tag("p", f"On; {codes_left} recovery codes are left.")
    renew = form(f"{where}/codes", "New recovery codes", digits, key=key)
    return title, left, renew, form(f"{where}/off", "Turn it off", digits, key=key)


def token_made(name: str, user: str, secret: str, host: str) -> Response:
    """The token, this once."""
    return page(
        "Your new token",
        tag(
            "div",
            tag("p", f"{name}: copy it now, it is not shown again."),
            tag("p", tag("code", secret)),
            class_="good",
        ),
        tag("p", "With docker: ", tag("code", f"docker login {host} -u {user}")),
        tag("p", tag("a", "Back", href="/account")),
    )


def enrolment(session: Session, new: Enrolment, problem: Markup | None = None) -> Response:
    """The secret for the app, and the question for its first code."""
    opened = tag("a", "Open your authenticator app", href=new.uri)
    typed = text("or type this key into it: ", tag("code", new.secret))
    fields = form(
        "/account/second-factor/confirm",
        "Turn it on",
        field(f"The {DIGITS} digits that it shows then", "code", autocomplete="one-time-code"),
        key=session.form_key,
    )
    return page("Second factor", problem or "", tag("p", opened, ", ", typed), fields)


def recovery_codes(codes: Sequence[str]) -> Response:
    """The codes, this once."""
    return page(
        "Recovery codes",
        tag("p", "Keep these where you find them without your device. Each is good once."),
        tag("ul", *(tag("li", tag("code", one)) for one in codes)),
        tag("p", tag("a", "Done", href="/account")),
    )


def device(session: Session, code: str, asks: str, problem: Markup | None = None) -> Response:
    """Somebody's command line wants to be let in: whose, and is that right?"""
    key = session.form_key
    if not asks:
        asked = field("The code that it shows", "user_code", value=code, autofocus="", required="")
        fields: tuple[Markup, ...] = (form("/auth/device/page", "Go on", asked, key=key),)
    else:
        kept = hidden("user_code", code)
        fields = (
            tag("p", f"{asks} wants to act as {session.user.name}, and shows the code {code}."),
            tag("p", "Say yes only if you have just started that yourself."),
            form("/auth/device/page", "Yes", kept, hidden("answer", "yes"), key=key),
            form("/auth/device/page", "No", kept, hidden("answer", "no"), key=key),
        )
    return page("A command line asks", problem or "", *fields)


def done(what: str) -> Response:
    """The end of something."""
    return page("Done", tag("div", tag("p", what), class_="good"))


def _day(at: int | None) -> str:
    return "for ever" if at is None else time.strftime("%Y-%m-%d", time.gmtime(at / 1e6))
