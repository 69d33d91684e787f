"""Clients from the server flags."""

from typing import Any

import click

from flowd.client import Client, Tls, newer_api, server_address
from flowd.errors import UsageError
from flowd.text import printable


def make_client(params: dict[str, Any]) -> Client:
    """The client that the flags of `server_options` describe.

    Raises:
        UsageError: for an address, a file or a combination that cannot be used.
    """
    return _client(params, server_address(params["server"]))


def make_clients(params: dict[str, Any]) -> list[Client]:
    """One client for each `--server`, or one for the server of the environment.

    Raises:
        UsageError: as `make_client`.
    """
    return [_client(params, server) for server in params["server"] or [server_address()]]


def ignore(client: Client) -> None:
    """Say nothing of a server."""


def warn_if_newer(client: Client) -> None:
    """Tell on stderr that a server may send what this client does not know."""
    if newer_api(client.server_version):
        click.echo(
            f"flowd: warning: {client.server} speaks Hubble {printable(client.server_version)}, "
            "newer than this client: what is new there is not shown",
            err=True,
        )


def _client(params: dict[str, Any], server: str) -> Client:
    if params["tls_allow_insecure"]:
        raise UsageError(
            "--tls-allow-insecure: gRPC for Python always checks certificates",
            "trust the server's with --tls-ca-cert-files, name it with --tls-server-name",
        )
    files: tuple[str, ...] = params["tls_ca_cert_files"]
    cert, key = params["tls_client_cert_file"], params["tls_client_key_file"]
    name = params["tls_server_name"]
    tls = None
    if params["tls"] or server.startswith("tls://"):
        paths = tuple(path for value in files for path in value.split(",") if path)
        tls = Tls(ca_files=paths, cert_file=cert, key_file=key, server_name=name)
    user: str = params["basic_auth_username"]
    return Client(
        server,
        timeout=params["timeout"],
        request_timeout=params["request_timeout"],
        tls=tls,
        basic_auth=(user, params["basic_auth_password"]) if user else None,
    )
