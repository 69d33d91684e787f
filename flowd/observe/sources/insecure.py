"""Trust a server's own certificate for `--tls-allow-insecure`.

gRPC for Python cannot skip the check of certificates. The certificate that the server presents is
therefore pinned: it is trusted, under a name that it contains.
"""

import socket
import ssl
from typing import TypeAlias, cast

from flowd.client.connection import TlsOptions
from flowd.errors import ConnectError

_Parts: TypeAlias = "dict[str, tuple[tuple[str, str], ...]]"


def pin_certificate(host: str, port: int, tls: TlsOptions, timeout: float) -> TlsOptions:
    """`tls` with the certificate that the server at an address presents as a trusted one.

    Raises:
        ConnectError: the server cannot be reached, speaks no TLS, or presents a certificate that
            is invalid even when trusted, such as an expired one.
    """
    try:
        pem = ssl.DER_cert_to_PEM_cert(_handshake(_context(tls), host, port, timeout)[0])
        pinned = _context(tls)
        pinned.verify_mode = ssl.CERT_REQUIRED
        pinned.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        pinned.load_verify_locations(cadata=pem)
        names = _handshake(pinned, host, port, timeout)[1]
    except (OSError, ValueError) as error:
        reason = getattr(error, "verify_message", "") or getattr(error, "strerror", "") or error
        raise ConnectError(
            f"cannot use the certificate of {host}:{port} ({str(reason).lower()})"
        ) from None
    name = tls.server_name if tls.server_name in names else next(iter(names), "")
    return TlsOptions(tls.ca_files, tls.cert_file, tls.key_file, name, pem.encode())


def _context(tls: TlsOptions) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    if tls.cert_file and tls.key_file:
        context.load_cert_chain(tls.cert_file, tls.key_file)
    return context


def _handshake(
    context: ssl.SSLContext, host: str, port: int, timeout: float
) -> tuple[bytes, list[str]]:
    """Certificate of the server in DER, and its names if the context verifies."""
    with (
        socket.create_connection((host, port), timeout) as plain,
        context.wrap_socket(plain, server_hostname=host) as secured,
    ):
        parts = cast("_Parts", secured.getpeercert() or {})
        return secured.getpeercert(binary_form=True) or b"", _names(parts)


def _names(parts: _Parts) -> list[str]:
    """Subject alternative names; a wildcard is replaced by one name that it matches."""
    pairs = parts.get("subjectAltName", ())
    return [value.replace("*", "any", 1) for kind, value in pairs if kind in ("DNS", "IP Address")]
