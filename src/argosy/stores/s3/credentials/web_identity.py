"""A role by the token of a workload: Kubernetes' service accounts (IRSA), and CI jobs.

Source: AWS STS API Reference, AssumeRoleWithWebIdentity. The request is not signed; the
token says who asks.
"""

import os
import re
import socket
from collections.abc import Mapping
from typing import Final
from urllib.parse import urlencode

from argosy.concurrency import in_thread
from argosy.errors import NetworkError
from argosy.stores.remote.transport import Request, Transport
from argosy.stores.s3.credentials.asking import (
    Said,
    ask,
    is_word,
    key_of,
    misset,
    plain,
    refusal,
    unusable,
)
from argosy.stores.s3.credentials.sources import Key
from argosy.stores.s3.documents import Element, parse

_PATIENCE: Final = 10.0
_TOKEN, _ROLE = "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_ROLE_ARN"
_FORM: Final = {"Content-Type": "application/x-www-form-urlencoded"}
_GLOBAL: Final = re.compile(
    r"(ap-northeast-1|ap-south-1|ap-southeast-[12]|ca-central-1|eu-(central|north)-1|eu-west-[123]"
    r"|sa-east-1|us-(east|west)-[12])"
)
"""What `AWS_STS_REGIONAL_ENDPOINTS=legacy` speaks of: regions that are older than their endpoints."""


class WebIdentity:
    """A key of a role, for a token in a file."""

    sure: Final = True

    def __init__(self, env: Mapping[str, str], transport: Transport, region: str) -> None:
        self._file = env.get(_TOKEN, "")
        self._role = env.get(_ROLE, "")
        self._session = env.get("AWS_ROLE_SESSION_NAME") or _session()
        self._url = endpoint(env, region)
        self._transport = transport

    @property
    def name(self) -> str:
        """The role, once it is known."""
        return f"the role {self._role} by web identity" if self._role else "web identity"

    def lacks(self) -> str:
        """Why there is none."""
        if not self._file:
            return f"{_TOKEN} is not set"
        if not self._role:
            raise misset(_TOKEN, f"{_ROLE} is not set", "set both, or none of them")
        return ""

    async def fetch(self) -> Key:
        """A key; the token is read each time, because others renew it."""
        token = await in_thread(self._token)
        request = Request(method="POST", url=self._url, headers=_FORM, body=self._asked(token))
        try:
            said = await ask(self._transport, request, _PATIENCE)
            if said.status == 200:
                return _key(said, self.name)
            raise refusal(self.name, said, **_fault(said, token))
        except NetworkError as e:
            raise unusable(self.name, f"{self._url}: {e.why or e.summary}") from e

    def _asked(self, token: str) -> bytes:
        words = {
            "Action": "AssumeRoleWithWebIdentity",
            "Version": "2011-06-15",
            "RoleArn": self._role,
            "RoleSessionName": self._session,
            "WebIdentityToken": token,
        }
        return urlencode(words).encode()

    def _token(self) -> str:
        try:
            with open(self._file, encoding="ascii") as file:
                token = file.read(1 << 16).strip()
        except (OSError, UnicodeDecodeError) as e:
            why = (isinstance(e, OSError) and e.strerror) or "it is no token"
            raise unusable(self.name, f"{self._file}: {why}") from e
        if not token or not is_word(token):
            raise unusable(self.name, f"{self._file}: there is no token in it")
        return token


def endpoint(env: Mapping[str, str], region: str) -> str:
    """Where STS is: where it is said to be, or at the region's own address."""
    if env.get("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "").lower() != "true":
        for name in ("AWS_ENDPOINT_URL_STS", "AWS_ENDPOINT_URL"):
            if found := env.get(name):
                return found
    region = env.get("AWS_REGION") or env.get("AWS_DEFAULT_REGION") or region
    legacy = env.get("AWS_STS_REGIONAL_ENDPOINTS", "").lower() == "legacy"
    if legacy and _GLOBAL.fullmatch(region):
        return "https://sts.amazonaws.com/"
    ending = ".cn" if region.startswith("cn-") else ""
    return f"https://sts.{region}.amazonaws.com{ending}/"


def _session() -> str:
    """Whose sessions AWS's logs show: this machine's, which in Kubernetes is the pod's name."""
    host = re.sub(r"[^\w+=,.@-]", "-", socket.gethostname(), flags=re.ASCII)
    return f"argosy-{host or os.getpid()}"[:64]


def _key(said: Said, name: str) -> Key:
    found = _within(parse(said.body), "AssumeRoleWithWebIdentityResult", "Credentials")
    return key_of({child.name: child.text for child in found.children}, name, said.at)


def _fault(said: Said, token: str) -> dict[str, str]:
    if not said.body.lstrip().startswith(b"<"):
        return {"code": "", "message": ""}
    found = _within(parse(said.body), "Error")
    # A proxy may say again what it was sent.
    message = plain(found.get("Message").replace(token, "(the token)"))
    return {"code": plain(found.get("Code")), "message": message}


def _within(found: Element, *names: str) -> Element:
    for name in names:
        found = next(iter(found.all(name)), Element(""))
    return found
