"""How a build asks the web: protocols that the caller's HTTP client keeps (see `options.Ends`)."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Protocol


class Page(Protocol):
    """The answer to one GET, after redirects; its body is still on the wire."""

    @property
    def status(self) -> int:
        """The HTTP status."""
        ...

    @property
    def headers(self) -> Mapping[str, str]:
        """By lower-case name."""
        ...

    def pieces(self) -> AsyncIterator[bytes]:
        """The body as it was sent; NetworkError if it breaks off."""
        ...


class Fetch(Protocol):
    """GETs an http or https URL: redirects, retries, proxies and TLS are its business."""

    def __call__(
        self, url: str, headers: Mapping[str, str], /
    ) -> AbstractAsyncContextManager[Page]:
        """The answer, whatever its status. NetworkError if there is none."""
        ...
