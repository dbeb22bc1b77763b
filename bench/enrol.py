"""Somebody who may push: from the one-time password of `admin` to a robot and its token."""

import base64
import json
import re
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

PASSWORD = "correct horse battery staple"


def one_time_password(log: Path, seconds: float = 30) -> str:
    """The password that a server with access control prints at its first start."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := re.search(r"one-time password (\S+)", log.read_text()):
            return found[1]
        time.sleep(0.02)
    raise SystemExit(f"no one-time password in {log}")


def basic(name: str, password: str) -> dict[str, str]:
    """The header of who logs in."""
    secret = base64.b64encode(f"{name}:{password}".encode()).decode()
    return {"Authorization": f"Basic {secret}"}


def ask(
    url: str, method: str = "GET", body: Any = None, headers: dict[str, str] | None = None
) -> Any:
    """One request with JSON both ways; AssertionError with the answer if it is refused."""
    fields = {"Content-Type": "application/json", "If-Match": "*", **(headers or {})}
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, fields, method=method)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            content = answer.read()
            return json.loads(content) if content else None
    except urllib.error.HTTPError as e:
        with e:
            raise AssertionError(f"{method} {url}: {e.code} {e.read()[:500]!r}") from e


def robot(url: str, once: str, project: str) -> tuple[str, str]:
    """Make a project and a robot that may pull and push there; its name and secret."""
    change = {"name": "admin", "current": once, "password": PASSWORD}
    ask(f"{url}/api/v1/password", "POST", change)
    admin = basic("admin", PASSWORD)
    ask(f"{url}/api/v1/projects", "POST", {"name": project}, admin)
    grants = [f"repository:{project}/**:pull,push"]
    body = {"name": "driver", "grants": grants}
    made = ask(f"{url}/api/v1/projects/{project}/robots", "POST", body, admin)
    return made["name"], made["secret"]


def bearer(url: str, who: tuple[str, str], repository: str) -> dict[str, str]:
    """The header of a token for one repository, as docker gets it."""
    query = urlencode({"service": "argosy", "scope": f"repository:{repository}:pull,push"})
    found = ask(f"{url}/token?{query}", headers=basic(*who))
    return {"Authorization": f"Bearer {found['token']}"}
