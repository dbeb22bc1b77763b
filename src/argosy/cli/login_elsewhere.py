"""Logging in without a password here: in a browser, or as a CI job by the token of its provider."""

import argparse
import asyncio
import json
import os
import sys
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode, urlsplit

from argosy.errors import NetworkError, Unauthorized, UsageError
from argosy.stores.remote.auth import Credential
from argosy.stores.remote.client import Client
from argosy.stores.remote.credentials import Credentials
from argosy.stores.remote.exchange import Exchange
from argosy.stores.remote.transport import Request

_LARGEST = 1 << 20
_SOURCE = "argosy login"
_VARIABLE = "ARGOSY_ID_TOKEN"
_EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
_ID_TOKEN = "urn:ietf:params:oauth:token-type:id_token"  # noqa: S105 - a name


class Nobody(Credentials):
    """No credentials, whatever the files say: they are what is about to be got."""

    async def find(self, registry: str, repository: str = "") -> Credential | None:  # noqa: ARG002
        """None."""
        return None


async def by_browser(registries: Client, host: str, *, provider: bool) -> Credential:
    """A personal access token that somebody allows in a browser (RFC 8628)."""
    import socket

    exchange = await registries.exchange(host)
    asked = {"client": f"argosy on {socket.gethostname()}"} | (
        {"flow": "provider"} if provider else {}
    )
    told = await _post(exchange, host, "/auth/device", asked)
    if "device_code" not in told:
        raise _refused(host, told)
    where = told.get("verification_uri_complete") or told["verification_uri"]
    print(
        f"Open {_shown(where)} in a browser, and see that it shows the code"
        f" {_shown(told['user_code'])}.",
        file=sys.stderr,
        flush=True,
    )
    given = await _awaited(exchange, host, told)
    return Credential(username=given["username"], password=given["token"], source=_SOURCE)


async def _awaited(exchange: Exchange, host: str, told: Mapping[str, Any]) -> dict[str, Any]:
    """The token, once somebody has said yes; Unauthorized when they said no, or nothing."""
    interval = min(max(float(told.get("interval", 5)), 0.05), 60.0)
    fields = {"device_code": str(told["device_code"])}
    while True:
        await asyncio.sleep(interval)
        given = await _post(exchange, host, "/auth/device/token", fields)
        if "token" in given:
            return given
        if given.get("error") == "slow_down":
            interval += 5  # RFC 8628 §3.5
        elif given.get("error") != "authorization_pending":
            raise _refused(host, given)


async def by_job(registries: Client, host: str, args: argparse.Namespace) -> Credential:
    """What a robot's CI job gets for its provider's token: good for an hour."""
    exchange = await registries.exchange(host)
    token = await _job_token(exchange, args.audience or f"https://{host}")
    fields = {
        "grant_type": _EXCHANGE,
        "subject_token": token,
        "subject_token_type": _ID_TOKEN,
        "client_id": "argosy",
    }
    given = await _post(exchange, host, "/token", {**fields, "robot": args.username or ""})
    if "refresh_token" not in given:
        raise _refused(host, given)
    return Credential(
        username=given["username"], identity_token=given["refresh_token"], source=_SOURCE
    )


async def _job_token(exchange: Exchange, audience: str) -> str:
    """The job's own token: from the variable, else asked of GitHub's runner."""
    if token := os.environ.get(_VARIABLE, ""):
        return token.strip()
    url = os.environ.get("ACTIONS_ID_TOKEN_REQUEST_URL", "")
    bearer = os.environ.get("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "")
    if not url or not bearer:
        raise UsageError(
            "there is no token of a CI job in the environment",
            why=f"neither {_VARIABLE} nor GitHub's ACTIONS_ID_TOKEN_REQUEST_URL is set",
            remedy="GitHub: `permissions: id-token: write`; GitLab: `id_tokens:` with"
            f" {_VARIABLE} and `aud: {audience}`",
        )
    joint = "&" if urlsplit(url).query else "?"
    headers = {"authorization": f"Bearer {bearer}", "accept": "application/json"}
    where = f"{url}{joint}{urlencode({'audience': audience})}"
    given = await _asked(exchange, Request(method="GET", url=where, headers=headers), "the runner")
    if not isinstance(given.get("value"), str):
        raise NetworkError(
            "the runner gives no token", remedy="see the job's `permissions: id-token: write`"
        )
    return str(given["value"])


async def _post(
    exchange: Exchange, host: str, path: str, fields: Mapping[str, str]
) -> dict[str, Any]:
    root = (await exchange.url("")).removesuffix("/v2/")
    headers = {"content-type": "application/x-www-form-urlencoded", "accept": "application/json"}
    body = urlencode(fields).encode()
    request = Request(method="POST", url=root + path, headers=headers, body=body)
    return await _asked(exchange, request, host)


async def _asked(exchange: Exchange, request: Request, who: str) -> dict[str, Any]:
    """A JSON object, whatever the status it comes with."""
    async with await exchange.send(request, ()) as answer:
        raw, status = await answer.read(_LARGEST), answer.status
    try:
        found = json.loads(raw)
    except ValueError:
        found = None
    if not isinstance(found, dict) or status == 404:
        raise UsageError(
            f"{who} has no such login",
            why=f"it answered {status}",
            remedy="log in with a name and a personal access token: argosy login -u NAME",
        )
    return found


def _refused(host: str, given: Mapping[str, Any]) -> Unauthorized:
    why = str(given.get("error_description") or given.get("error") or "it gave no reason")
    return Unauthorized(
        f"{host} does not let you in",
        why=_shown(why),
        remedy="begin again; a CI job's token has to fit a rule: argosy robot trust ROBOT",
    )


def _shown(text: object) -> str:
    """What came from elsewhere, as a terminal may have it."""
    return "".join(c for c in str(text)[:500] if c.isprintable())
