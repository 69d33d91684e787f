"""Certificates: TLS and mutual TLS contexts from PEM files, reloaded when the files change."""

import logging
import os
import ssl
from collections.abc import Sequence

from flowd.errors import UsageError

log = logging.getLogger(__name__)


class Certificates:
    """A server's certificate and the authorities of its clients' certificates.

    Args:
        cert_file: PEM file of the certificate chain, without the root.
        key_file: PEM file of the private key.
        client_ca_files: PEM files of authorities; with any, clients must have a certificate.

    Raises:
        UsageError: a file cannot be used.
    """

    def __init__(self, cert_file: str, key_file: str, client_ca_files: Sequence[str] = ()) -> None:
        self._cert_file = cert_file
        self._key_file = key_file
        self._client_ca_files = tuple(client_ca_files)
        self._loaded = self._fingerprint()
        self._failed: object = None
        try:
            self._context = self._read()
        except OSError as error:
            files = ", ".join((cert_file, key_file, *client_ca_files))
            hint = "PEM files of a certificate, its key and the clients' authorities are wanted"
            raise UsageError(f"cannot use TLS files {files}: {_reason(error)}", hint) from None

    def context(self) -> ssl.SSLContext:
        """The TLS context for the next client, of the last usable contents of the files."""
        fingerprint = self._fingerprint()
        if fingerprint not in (self._loaded, self._failed):
            try:
                self._context = self._read()
            except OSError as error:
                self._failed = fingerprint
                log.warning("TLS files changed and cannot be used: %s", _reason(error))
            else:
                self._loaded, self._failed = fingerprint, None
                log.info("TLS files changed and were read again")
        return self._context

    def _fingerprint(self) -> tuple[tuple[int, int, int] | None, ...]:
        """Modification time, inode and size of each file, links followed; None for a missing file.

        A mounted Kubernetes Secret changes through its links.
        """
        found: list[tuple[int, int, int] | None] = []
        for path in (self._cert_file, self._key_file, *self._client_ca_files):
            try:
                state = os.stat(path)
            except OSError:
                found.append(None)
            else:
                found.append((state.st_mtime_ns, state.st_ino, state.st_size))
        return tuple(found)

    def _read(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.set_alpn_protocols(["h2"])
        context.load_cert_chain(self._cert_file, self._key_file, password=_no_password)
        for path in self._client_ca_files:
            context.load_verify_locations(path)
        if self._client_ca_files:
            context.verify_mode = ssl.CERT_REQUIRED
        return context


def tls_certificates(
    cert_file: str, key_file: str, client_ca_files: Sequence[str]
) -> Certificates | None:
    """The certificates that the settings name; None for plain text.

    Raises:
        UsageError: settings are missing, or a file cannot be used.
    """
    if not (cert_file or key_file or client_ca_files):
        return None
    if not (cert_file and key_file):
        raise UsageError(
            "TLS of the Hubble API needs a certificate and its key",
            "set both hubble_tls_cert_file and hubble_tls_key_file",
        )
    return Certificates(cert_file, key_file, client_ca_files)


def _no_password() -> str:
    """An empty password: without a callback OpenSSL would ask at the terminal."""
    return ""


def _reason(error: OSError) -> str:
    if isinstance(error, ssl.SSLError):
        return (error.reason or "not PEM, or a key of another certificate").lower()
    return (error.strerror or str(error)).lower()
