"""The key of an EC2 instance, from its metadata service, version 2: never without a session token.

Source: Amazon EC2 User Guide, "Use the Instance Metadata Service".
"""

from collections.abc import Mapping
from typing import Final
from urllib.parse import quote

from argosy.errors import ArgosyError, NetworkError, NetworkTimeout
from argosy.stores.remote.transport import Request, Transport
from argosy.stores.s3.credentials.asking import Said, ask, is_word, key_in, refusal, unusable
from argosy.stores.s3.credentials.sources import Key

_PATIENCE: Final = 1.0
_TOKEN_PATH: Final = "/latest/api/token"  # noqa: S105 - a path
_ROLES: Final = "/latest/meta-data/iam/security-credentials/"
_LIFETIME: Final = {"X-aws-ec2-metadata-token-ttl-seconds": "60"}  # used at once, and no more


class Instance:
    """A key of the role that is attached to the machine."""

    sure: Final = False  # where it does not answer, this is no such machine

    def __init__(self, env: Mapping[str, str], transport: Transport) -> None:
        self._off = env.get("AWS_EC2_METADATA_DISABLED", "").lower() == "true"
        six = env.get("AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE", "").lower() == "ipv6"
        usual = "http://[fd00:ec2::254]" if six else "http://169.254.169.254"
        given = env.get("AWS_EC2_METADATA_SERVICE_ENDPOINT", "")
        self._base = (given or usual).rstrip("/")
        self._transport = transport

    @property
    def name(self) -> str:
        """What it is, and where."""
        return f"the EC2 instance's role ({self._base})"

    def lacks(self) -> str:
        """Why it is not asked."""
        return "AWS_EC2_METADATA_DISABLED is set" if self._off else ""

    async def fetch(self) -> Key:
        """The key as it is now."""
        token = _word(await self._said("PUT", _TOKEN_PATH, _LIFETIME))
        if not token:
            raise unusable(self.name, "it gives no session token")
        headers = {"X-aws-ec2-metadata-token": token}
        role = _word(await self._said("GET", _ROLES, headers))
        if not role:
            raise unusable(self.name, "no role is attached to this instance")
        said = await self._said("GET", _ROLES + quote(role, safe=""), headers)
        return key_in(said, f"the EC2 instance's role {role}")

    async def _said(self, method: str, path: str, headers: Mapping[str, str]) -> Said:
        request = Request(method=method, url=self._base + path, headers=headers)
        try:
            said = await ask(self._transport, request, _PATIENCE)
        except NetworkTimeout as e:
            hint = "; in a container on EC2, set the instance's hop limit to 2"
            raise unusable(self.name, f"{e.why}{hint}") from e
        except NetworkError as e:
            raise unusable(self.name, e.why or e.summary) from e
        if said.status != 200:
            raise self._refused(path, said)
        return said

    def _refused(self, path: str, said: Said) -> ArgosyError:
        if path == _ROLES and said.status == 404:
            return unusable(self.name, "no role is attached to this instance")
        return refusal(self.name, said)


def _word(said: Said) -> str:
    """The first line, if it can go into a header; empty otherwise."""
    try:
        text = said.body.decode("ascii").strip().partition("\n")[0].strip()
    except UnicodeDecodeError:
        return ""
    return text if is_word(text) else ""
