"""Server addresses, TLS files and API versions: what a client needs before it opens a channel."""

import os
import re
from dataclasses import dataclass
from pathlib import Path

from flowd.errors import UsageError

DEFAULT_SERVER = "127.0.0.1:4245"
DEFAULT_PORT = 4245
API_LEVEL = (1, 19)
"""Newest version of Hubble's API, (major, minor), that this client knows."""


@dataclass(frozen=True, slots=True)
class TlsOptions:
    """TLS settings of a connection: PEM files, and the name the server's certificate must carry.

    With `cert_file` and `key_file` the connection is mutually authenticated.

    Attributes:
        trusted: PEM text of certificates that are trusted in addition to `ca_files`.
    """

    ca_files: tuple[str, ...] = ()
    cert_file: str = ""
    key_file: str = ""
    server_name: str = ""
    trusted: bytes = b""

    def read_files(self) -> tuple[bytes | None, bytes | None, bytes | None]:
        """Root certificates, private key and certificate chain in PEM; None for each not given.

        Raises:
            UsageError: a file cannot be read, or only one of certificate and key is given.
        """
        roots = self.trusted + b"".join(_read(path) for path in self.ca_files) or None
        if bool(self.cert_file) != bool(self.key_file):
            raise UsageError("a client certificate and its key are only of use together")
        key = _read(self.key_file) if self.key_file else None
        chain = _read(self.cert_file) if self.cert_file else None
        return roots, key, chain


@dataclass(frozen=True, slots=True)
class ServerTarget:
    """One server: the address as the user wrote it, the gRPC target, and TLS or None."""

    server: str
    address: str
    tls: TlsOptions | None


def is_newer_api(version: str) -> bool:
    """Whether a server's version of Hubble's API is above API_LEVEL."""
    match = re.match(r"v?(\d{1,6})\.(\d{1,6})", version)
    return bool(match) and (int(match[1]), int(match[2])) > API_LEVEL


def server_address(flag: str | None = None) -> str:
    """Address of the server: the flag, FLOWD_SERVER, HUBBLE_SERVER, or 127.0.0.1:4245."""
    for value in (flag, os.environ.get("FLOWD_SERVER"), os.environ.get("HUBBLE_SERVER")):
        if value:
            return value
    return DEFAULT_SERVER


def parse_address(server: str) -> tuple[str, bool]:
    """gRPC target of `host[:port]`, `tls://host[:port]` or `unix:///path`, and whether it is TLS.

    Raises:
        UsageError: the text is none of these, or the port is out of range.
    """
    secure = server.startswith("tls://")
    address = server.removeprefix("tls://")
    if address.startswith("unix:"):
        path = "/" + address.removeprefix("unix:").lstrip("/")
        if path == "/":
            raise UsageError(f"server address {server!r} names no socket", "unix:///path")
        return f"unix:{path}", secure
    match = re.fullmatch(r"(?P<host>\[[^\]]+\]|[^:/\s]+|):?(?P<port>\d{1,5})?", address)
    if not match or not address or "://" in address:
        raise UsageError(
            f"server address {server!r} cannot be used",
            "host:port, tls://host:port or unix:///path",
        )
    host, port = match["host"] or "localhost", int(match["port"] or DEFAULT_PORT)
    if not 0 < port < 65536:
        raise UsageError(f"server address {server!r} has no such port")
    return f"{host}:{port}", secure


def _read(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise UsageError(f"cannot read {path} ({(error.strerror or '').lower()})") from None
