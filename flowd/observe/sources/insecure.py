"""What `--tls-allow-insecure` trusts: the very certificate that the server shows.

gRPC for Python has no way not to check certificates, so the one that is shown becomes the only one
that is trusted, under a name that it carries.
"""

import socket
import ssl
from typing import TypeAlias, cast

from flowd.client.client import Tls
from flowd.errors import ConnectError

_Parts: TypeAlias = "dict[str, tuple[tuple[str, str], ...]]"


def shown_certificate(host: str, port: int, tls: Tls, timeout: float) -> Tls:
    """`tls` that trusts the certificate of the server at an address.

    Raises:
        ConnectError: the server cannot be reached, speaks no TLS, or shows a certificate that
            cannot be used even so, such as an expired one.
    """
    try:
        shown = ssl.DER_cert_to_PEM_cert(_shake(_context(tls), host, port, timeout)[0])
        pinned = _context(tls)
        pinned.verify_mode = ssl.CERT_REQUIRED
        pinned.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        pinned.load_verify_locations(cadata=shown)
        names = _shake(pinned, host, port, timeout)[1]
    except (OSError, ValueError) as error:
        reason = getattr(error, "verify_message", "") or getattr(error, "strerror", "") or error
        raise ConnectError(
            f"cannot use the certificate of {host}:{port} ({str(reason).lower()})"
        ) from None
    name = tls.server_name if tls.server_name in names else next(iter(names), "")
    return Tls(tls.ca_files, tls.cert_file, tls.key_file, name, shown.encode())


def _context(tls: Tls) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    if tls.cert_file and tls.key_file:
        context.load_cert_chain(tls.cert_file, tls.key_file)
    return context


def _shake(
    context: ssl.SSLContext, host: str, port: int, timeout: float
) -> tuple[bytes, list[str]]:
    """The certificate in DER, and the names in it if the context verifies."""
    with (
        socket.create_connection((host, port), timeout) as plain,
        context.wrap_socket(plain, server_hostname=host) as secured,
    ):
        parts = cast("_Parts", secured.getpeercert() or {})
        return secured.getpeercert(binary_form=True) or b"", _names(parts)


def _names(parts: _Parts) -> list[str]:
    """Names that the certificate is good for; a wildcard as one name that it matches."""
    pairs = parts.get("subjectAltName", ())
    return [value.replace("*", "any", 1) for kind, value in pairs if kind in ("DNS", "IP Address")]
