"""What the tests of the remote client share."""

from dataclasses import replace

from argosy.model import media
from argosy.model.descriptor import Descriptor
from argosy.model.reference import Reference
from argosy.observe import silent
from argosy.settings import Settings
from argosy.stores.remote.auth import Credential
from argosy.stores.remote.client import Client
from argosy.stores.remote.credentials import Credentials
from argosy.stores.remote.hosts import Hosts, Places
from tests.scripted import Reply, Scripted

FAST = Settings(
    retries=3,
    retry_wait=0.01,
    retry_wait_max=0.02,
    auth_retry_wait=0.01,
    read_timeout=0.4,
    connect_timeout=2.0,
)


def client(
    registry: Scripted, *, user: str = "", credentials=None, report=silent, hosts=None, **settings
):
    """A client that reads no file of this machine, waits little, and speaks plain HTTP."""
    given = Credential(username=user, password="secret", source="the test") if user else None
    return Client(
        replace(FAST, **settings),
        hosts=hosts or Hosts({}, places=Places(), tls={registry.host: "off"}),
        credentials=credentials or Credentials({"HOME": "/nonexistent"}, given=given),
        report=report,
    )


def REPO(registry: Scripted, name: str = "a/b") -> Reference:
    return Reference.parse(f"{registry.host}/{name}")


def blob(data: bytes) -> Descriptor:
    return Descriptor.of(media.OCI_LAYER, data)


def manifest_reply(desc: Descriptor, body: bytes, status: int = 200) -> Reply:
    headers = {"Content-Type": desc.media_type, "Docker-Content-Digest": str(desc.digest)}
    return Reply(status, body, headers)
