"""What a browser does in a login at the provider: it fills in the form, and follows one redirect back."""

import http.client
from urllib.parse import parse_qs, urlencode, urlsplit


def log_in(url: str, user: str) -> str:
    """Post the provider's form as `user`; the address the browser is sent to."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=20)
    try:
        target = f"{parts.path}?{parts.query}"
        connection.request("GET", target)
        page = connection.getresponse()
        assert page.status == 200, page.read()
        page.read()
        form = urlencode({"user": user, "password": user[::-1]})
        connection.request(
            "POST", target, form, {"Content-Type": "application/x-www-form-urlencoded"}
        )
        answer = connection.getresponse()
        answer.read()
        assert answer.status in (200, 302), answer.status
        return answer.headers.get("Location", "")
    finally:
        connection.close()


def query_of(url: str) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}
