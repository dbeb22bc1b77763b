"""The HTTP library's exceptions as ours, with what a person can do about each."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from pyreqwest.exceptions import BuilderError, ConnectError, PyreqwestError, RequestTimeoutError

from argosy.errors import ArgosyError, NetworkError, NetworkTimeout, TLSError

_TLS_CAUSES = (
    (
        ("corrupt message", "invalidcontenttype"),
        "it does not speak TLS: it is probably a plain HTTP registry",
        'put `tls = "off"` under [host."{host}"] in ~/.config/argosy/hosts.toml',
    ),
    (
        ("unknownissuer", "self signed", "self-signed"),
        "its certificate is signed by an authority this machine does not know",
        "put the authority's certificate in ~/.config/argosy/certs.d/{host}/ca.crt",
    ),
    (
        ("notvalidforname", "not valid for name"),
        "its certificate is for another name",
        "use a name the certificate lists, or renew the certificate with this name",
    ),
    (
        ("expired", "not valid yet", "notvalidyet"),
        "its certificate is not valid today",
        "renew it; if it is fresh, check this machine's clock",
    ),
    (
        ("certificaterequired", "handshakefailure"),
        "it wants a client certificate",
        "put client.cert and client.key in ~/.config/argosy/certs.d/{host}/",
    ),
)
"""Signs in the library's words, what they mean, and what to do."""

_TLS_WORDS = ("certificate", "tls", "handshake", "corrupt message", "alert", "unknownissuer")


@contextmanager
def translated(url: str) -> Iterator[None]:
    """Whatever the HTTP library raises inside comes out as a NetworkError about `url`."""
    try:
        yield
    except PyreqwestError as e:
        raise _as_ours(e, url) from e
    except TimeoutError as e:
        raise _timeout(url, []) from e


def _as_ours(error: PyreqwestError, url: str) -> ArgosyError:
    host = urlsplit(url).netloc.rpartition("@")[2]
    causes = causes_of(error)
    words = " ".join(causes).lower()
    evidence: dict[str, Any] = {"url": bare(url), "causes": causes}
    if isinstance(error, RequestTimeoutError):
        return _timeout(url, causes)
    if isinstance(error, BuilderError):
        return NetworkError(
            f"refused to go to {url.partition('?')[0]!r}",
            why=causes[-1],
            evidence={**evidence, "phase": "refused"},
        )
    if isinstance(error, ConnectError):
        if "dns error" in words:
            return NetworkError(
                f"the name of {host} cannot be resolved",
                why=causes[-1],
                remedy="check the spelling of the registry's name, /etc/resolv.conf and the proxy variables",
                evidence={**evidence, "phase": "dns"},
            )
        if any(word in words for word in _TLS_WORDS):
            return _tls(host, words, causes, evidence)
        return NetworkError(
            f"cannot connect to {host}",
            why=causes[-1],
            remedy="check that the registry runs and that host and port are right",
            evidence={**evidence, "phase": "connect"},
        )
    return NetworkError(
        f"the connection to {host} broke",
        why=causes[-1],
        remedy="try again; if it stays, look at the registry's log and at proxies between",
        evidence={**evidence, "phase": "transfer"},
    )


def _tls(host: str, words: str, causes: list[str], evidence: dict[str, Any]) -> TLSError:
    found = next((c for c in _TLS_CAUSES if any(sign in words for sign in c[0])), None)
    _signs, why, remedy = found or ((), causes[-1], "check certificates and TLS versions")
    return TLSError(
        f"no trusted connection to {host}",
        why=why,
        remedy=remedy.format(host=host),
        evidence=evidence,
    )


def _timeout(url: str, causes: list[str]) -> NetworkTimeout:
    host = urlsplit(url).netloc.rpartition("@")[2]
    return NetworkTimeout(
        f"{host} did not answer in time",
        why=causes[-1] if causes else "no byte moved within the read timeout",
        remedy="check HTTPS_PROXY and NO_PROXY; lower --jobs; raise ARGOSY_READ_TIMEOUT",
        evidence={"url": bare(url), "causes": causes},
    )


def causes_of(error: BaseException) -> list[str]:
    """What the library says led to an error, outermost first."""
    details = getattr(error, "details", None) or {}
    found = [str(c["message"]) for c in details.get("causes") or ()]
    # The outermost repeats the URL, whose query may hold secrets.
    return [c for c in found if "for url (" not in c] or ["the request failed"]


def bare(url: str) -> str:
    """The URL without its query and user info, which may hold secrets: what an error may show."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def check_url(url: str) -> None:
    """NetworkError unless it is an absolute http(s) URL with a host: registries send us URLs."""
    try:
        parts = urlsplit(url)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        good = False
    if not good or any(c.isspace() or ord(c) < 32 for c in url):
        raise NetworkError(
            f"refused to go to {url.partition('?')[0]!r}",
            why="only http and https URLs with a host are followed",
            remedy="the registry (or a proxy in front of it) sends a wrong URL: check its external URL",
            evidence={"phase": "refused"},
        )
