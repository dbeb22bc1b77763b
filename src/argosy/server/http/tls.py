"""The server's TLS: which certificate it shows, and whose it wants to see."""

import ssl
from typing import Final

from argosy.errors import ConfigError

_REMEDY: Final = "give PEM files: a certificate with its chain, and the key that belongs to it"


def tls_context(
    certificate: str, key: str | None = None, *, client_ca: str | None = None
) -> ssl.SSLContext:
    """TLS 1.2 or newer with that certificate; ConfigError when a file cannot be used.

    With `client_ca`, only clients that show a certificate of that authority
    get in (mTLS). HTTP/1.1 is the only protocol offered (ALPN, RFC 7301):
    HTTP/2 uploads cost several times the CPU for the same bytes.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_IGNORE_UNEXPECTED_EOF
    try:
        context.load_cert_chain(certificate, key)
    except (OSError, ssl.SSLError) as e:
        files = certificate if key is None else f"{certificate} with {key}"
        raise ConfigError(f"cannot use the certificate {files}", why=str(e), remedy=_REMEDY) from e
    if client_ca is not None:
        _ask_clients(context, client_ca)
    return context


def renew(context: ssl.SSLContext, certificate: str, key: str) -> None:
    """Show the certificate that the files hold now to who connects from now on; ConfigError.

    Where they cannot be used, the one of before stays.
    """
    tls_context(certificate, key)  # loading halfway would leave a certificate without its key
    context.load_cert_chain(certificate, key)


def _ask_clients(context: ssl.SSLContext, client_ca: str) -> None:
    try:
        context.load_verify_locations(client_ca)
    except (OSError, ssl.SSLError) as e:
        raise ConfigError(
            f"cannot use the client authority {client_ca}",
            why=str(e),
            remedy="give a PEM file with the certificates of the authorities to trust",
        ) from e
    context.verify_mode = ssl.CERT_REQUIRED
