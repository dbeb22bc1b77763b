"""How an object store is reached and used; the server's settings say what each is for."""

from dataclasses import field
from typing import Final
from urllib.parse import urlsplit

from argosy.errors import ConfigError
from argosy.stores.s3.signing import Credentials, escaped
from argosy.values import frozen

SMALLEST_PART: Final = 5 << 20
"""What S3 takes as a part that is not the last one."""

LARGEST_PART: Final = 5 << 30


@frozen(kw_only=True)
class S3Options:
    """As the section `storage.s3` of the settings, name by name."""

    bucket: str
    endpoint: str = ""
    prefix: str = ""
    region: str = "us-east-1"
    access_key: str = ""
    secret_key: str = field(default="", repr=False)
    session_token: str = field(default="", repr=False)
    path_style: bool = True
    ca: str = ""
    redirect: bool = True
    redirect_endpoint: str = ""
    redirect_ttl: float = 1200.0
    part_size: int = 8 << 20
    retries: int = 5
    connect_timeout: float = 5.0
    read_timeout: float = 30.0
    lease: float = 30.0  # seconds an upload stays ours after a sign of life
    memory: int = 96 << 20  # bytes of parts on their way, of all uploads of this process

    def checked(self) -> "S3Options":
        """These options; ConfigError if they cannot work."""
        if not self.bucket:
            raise _bad("there is no bucket", "set storage.s3.bucket to one that exists")
        for url in (self.endpoint, self.redirect_endpoint):
            parts = urlsplit(url)
            if url and (parts.scheme not in ("http", "https") or not parts.hostname):
                raise _bad(f"{url!r} is no address of a service", "write http(s)://host[:port]")
        if not SMALLEST_PART <= self.part_size <= LARGEST_PART:
            raise _bad(
                f"parts of {self.part_size} bytes cannot be stored",
                "S3 takes parts from 5 MiB to 5 GiB: set storage.s3.part_size",
            )
        return self

    @property
    def credentials(self) -> Credentials:
        """The key of the settings, if they have one."""
        return Credentials(
            access_key=self.access_key,
            secret_key=self.secret_key,
            session_token=self.session_token,
        )

    def url(self, key: str = "", *, public: bool = False) -> str:
        """Where an object is (the bucket itself, if no key); `public`: as clients reach it."""
        base = (public and self.redirect_endpoint) or self.endpoint
        base = base.rstrip("/") or f"https://s3.{self.region}.amazonaws.com"
        path = escaped(f"{self.prefix}{key}" if key else "", slashes=True)
        if self.path_style:
            return f"{base}/{self.bucket}/{path}".removesuffix("/" if not path else "")
        scheme, _, rest = base.partition("://")
        return f"{scheme}://{self.bucket}.{rest}/{path}"


def _bad(summary: str, remedy: str) -> ConfigError:
    return ConfigError(f"the object store cannot be used: {summary}", remedy=remedy)
