"""The key of a container: task roles of ECS, and EKS Pod Identity.

Source: AWS SDKs and Tools Reference Guide, "Container credential provider".
"""

import ipaddress
from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

from argosy.concurrency import in_thread
from argosy.errors import NetworkError
from argosy.stores.remote.transport import Request, Transport
from argosy.stores.s3.credentials.asking import ask, is_word, key_in, misset, refusal, unusable
from argosy.stores.s3.credentials.sources import Key

_PATIENCE: Final = 2.0
_ECS: Final = "http://169.254.170.2"
_KNOWN: Final = frozenset({"localhost", "169.254.170.2", "169.254.170.23", "fd00:ec2::23"})
_RELATIVE: Final = "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"
_FULL: Final = "AWS_CONTAINER_CREDENTIALS_FULL_URI"
_TOKEN: Final = "AWS_CONTAINER_AUTHORIZATION_TOKEN"  # noqa: S105 - the name of a variable


class Container:
    """A key from the agent beside the container."""

    sure: Final = True

    def __init__(self, env: Mapping[str, str], transport: Transport) -> None:
        relative, self._full = env.get(_RELATIVE, ""), env.get(_FULL, "")
        self._url = f"{_ECS}/{relative.lstrip('/')}" if relative else self._full
        self._checked = not relative
        self._token = env.get(_TOKEN, "")
        self._token_file = env.get(f"{_TOKEN}_FILE", "")
        self._transport = transport

    @property
    def name(self) -> str:
        """Where it is asked; the rest of the address may be a secret."""
        try:
            host = urlsplit(self._url).hostname
        except ValueError:
            host = ""
        return "the container's credentials" + (f" ({host})" if host else "")

    def lacks(self) -> str:
        """Why there is none."""
        if not self._url:
            return f"neither {_RELATIVE} nor {_FULL} is set"
        if self._checked and not allowed(self._url):
            raise misset(
                _FULL,
                "the key would come from another machine in the clear",
                "write https, or a loopback address, or that of ECS or EKS",
            )
        return ""

    async def fetch(self) -> Key:
        """The key as it is now."""
        token = await in_thread(self._authorization)
        headers = {"Accept": "application/json"}
        if token:
            headers["Authorization"] = token
        request = Request(method="GET", url=self._url, headers=headers)
        try:
            said = await ask(self._transport, request, _PATIENCE)
        except NetworkError as e:
            raise unusable(self.name, e.why or e.summary) from e
        if said.status != 200:
            raise refusal(self.name, said)
        return key_in(said, self.name)

    def _authorization(self) -> str:
        token = self._token
        if self._token_file:  # before the variable, and read each time: others renew it
            try:
                with open(self._token_file, encoding="ascii") as file:
                    token = file.read(1 << 16).strip()
            except (OSError, UnicodeDecodeError) as e:
                why = (isinstance(e, OSError) and e.strerror) or "it is no token"
                raise unusable(self.name, f"{self._token_file}: {why}") from e
        if not (token.isascii() and (token.isprintable() or not token)):
            raise misset(_TOKEN, "there are line ends or control characters in it", "set it anew")
        return token


def allowed(url: str) -> bool:
    """Whether a key may be asked for there: over https, or where nobody else listens."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError:
        return False
    if not host or "@" in parts.netloc or "\\" in url or not is_word(url):
        return False  # read differently by different readers
    if parts.scheme != "http" or host in _KNOWN:
        return parts.scheme in ("http", "https")
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
