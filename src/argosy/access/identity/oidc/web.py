"""Asking an identity provider over HTTPS: small answers, no redirects, one time limit for all."""

import base64
import json
from asyncio import timeout
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote_plus, urlencode, urlsplit

from argosy.access.identity.oidc.addresses import check_address
from argosy.access.signing_in.backends import BackendUnavailable
from argosy.concurrency import in_thread
from argosy.errors import ArgosyError, ConfigError, NetworkError
from argosy.settings import Settings
from argosy.stores.remote.hosts import Hosts, Places
from argosy.stores.remote.transport import Request, Transport, Trust
from argosy.values import frozen

_LARGEST: Final = 1 << 20  # bytes of an answer
_NO_FILES: Final = Places()
_JSON: Final = {"accept": "application/json"}


@frozen
class Answered:
    """A status and the JSON object that came with it; empty when what came was none."""

    status: int
    value: Mapping[str, Any]


class Web:
    """HTTP for talking to providers; close it at the end.

    `ca_file`: an authority to trust besides the usual ones. `allow_http`: plain HTTP also to
    other machines, for providers inside of a trusted network.
    """

    def __init__(self, *, ca_file: str = "", allow_http: bool = False, limit: float = 10.0) -> None:
        self._ca_file, self._allow_http, self._limit = ca_file, allow_http, limit
        settings = Settings(connect_timeout=limit, read_timeout=limit)
        self._transport = Transport(settings, self._trust)
        # Only for the proxies: what the user's files say of registries is not for providers.
        self._hosts = Hosts(places=_NO_FILES)

    async def close(self) -> None:
        """Give the connections back."""
        await self._transport.close()

    async def get(self, url: str, bearer: str = "") -> Answered:
        """GET a JSON object; BackendUnavailable when there is no answer."""
        headers = {**_JSON, "authorization": f"Bearer {bearer}"} if bearer else _JSON
        return await self._send(Request(method="GET", url=url, headers=headers))

    async def post(self, url: str, fields: Mapping[str, str], basic: str = "") -> Answered:
        """POST a form, perhaps with Basic credentials; BackendUnavailable when there is no answer."""
        headers = {**_JSON, "content-type": "application/x-www-form-urlencoded"}
        if basic:
            headers["authorization"] = f"Basic {basic}"
        body = urlencode(fields).encode()
        return await self._send(Request(method="POST", url=url, headers=headers, body=body))

    async def _send(self, request: Request) -> Answered:
        self.check(request.url)
        where = urlsplit(request.url).netloc
        try:
            async with timeout(self._limit), await self._transport.send(request) as answer:
                body = await answer.read(_LARGEST + 1)
                status = answer.status
        except TimeoutError as e:
            raise _down(where, f"it did not answer within {self._limit:g} s") from e
        except NetworkError as e:
            raise _down(where, f"{e.summary}: {e.why}" if e.why else e.summary) from e
        if status >= 500 or len(body) > _LARGEST:
            raise _down(where, f"it answered {status} with {len(body)} bytes")
        return Answered(status, await in_thread(_object, body))

    def check(self, url: str) -> None:
        """ConfigError for a URL that nothing may be sent to."""
        check_address(url, allow_http=self._allow_http)

    def _trust(self, url: str) -> Trust:
        """The system's authorities and ours; through a proxy where the environment names one."""
        return Trust(ca=self._authority(), proxy=self._hosts.trust(url).proxy)

    def _authority(self) -> tuple[bytes, ...]:
        if not self._ca_file:
            return ()
        try:
            with open(self._ca_file, "rb") as file:
                return (file.read(),)
        except OSError as e:
            raise ConfigError(
                f"cannot read the authority {self._ca_file}", why=e.strerror or str(e)
            ) from e


def basic(name: str, secret: str) -> str:
    """Client credentials for Basic, each form-encoded first (RFC 6749 §2.3.1)."""
    return base64.b64encode(f"{quote_plus(name)}:{quote_plus(secret)}".encode()).decode()


def _object(body: bytes) -> dict[str, Any]:
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _down(where: str, why: str) -> ArgosyError:
    return BackendUnavailable(
        f"the identity provider {where} cannot be asked",
        why=why,
        remedy="see whether it runs; personal access tokens and local users go on working",
    )
