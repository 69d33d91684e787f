"""Make gRPC clients from the server flags, with TLS and port-forward."""

from typing import Any

import click

from flowd.client.client import Client
from flowd.client.connection import TlsOptions, is_newer_api, parse_address, server_address
from flowd.errors import UsageError
from flowd.text import printable


def make_client(params: dict[str, Any]) -> Client:
    """A client from the flags of `server_options`.

    Raises:
        UsageError: an address, a file or a combination of flags cannot be used.
    """
    return _client(params, _forwarded(params) or server_address(params["server"]))


def make_clients(params: dict[str, Any]) -> list[Client]:
    """A client for each `--server`, or one for the server of the environment.

    Raises:
        UsageError: as `make_client`.
    """
    forwarded = _forwarded(params)
    servers = [forwarded] if forwarded else params["server"] or [server_address()]
    return [_client(params, server) for server in servers]


def ignore(client: Client) -> None:
    """Ignore a newly reached server (`--silent`)."""


def warn_if_newer(client: Client) -> None:
    """Warn on stderr if a server's API is newer than this client's."""
    if is_newer_api(client.server_version):
        click.echo(
            f"flowd: warning: {client.server} speaks Hubble {printable(client.server_version)}, "
            "newer than this client: what is new there is not shown",
            err=True,
        )


def _forwarded(params: dict[str, Any]) -> str:
    """Local address of `--port-forward` while the command runs; "" without the flag."""
    if not params["port_forward"]:
        return ""
    from flowd.observe.sources.forward import KubectlOptions, forwarded

    kubectl = KubectlOptions(params["kube_namespace"], params["kube_context"], params["kubeconfig"])
    forward = forwarded(kubectl, params["port_forward_port"], params["timeout"])
    address = click.get_current_context().with_resource(forward)
    return f"tls://{address}" if params["tls"] else address


def _client(params: dict[str, Any], server: str) -> Client:
    files: tuple[str, ...] = params["tls_ca_cert_files"]
    cert, key = params["tls_client_cert_file"], params["tls_client_key_file"]
    tls = None
    if params["tls"] or server.startswith("tls://"):
        paths = tuple(path for value in files for path in value.split(",") if path)
        tls = TlsOptions(paths, cert, key, params["tls_server_name"])
        if params["tls_allow_insecure"]:
            tls = _insecure(server, tls, params["timeout"])
    if params["debug"]:
        transport = "TLS" if tls else "plain text"
        click.echo(f"flowd: debug: asking {printable(server)} over {transport}", err=True)
    user: str = params["basic_auth_username"]
    return Client(
        server,
        timeout=params["timeout"],
        request_timeout=params["request_timeout"],
        tls=tls,
        basic_auth=(user, params["basic_auth_password"]) if user else None,
    )


def _insecure(server: str, tls: TlsOptions, timeout: float) -> TlsOptions:
    from flowd.observe.sources.insecure import pin_certificate

    target, _ = parse_address(server)
    if target.startswith("unix:"):
        raise UsageError("--tls-allow-insecure is of no use with a unix socket")
    host, _, port = target.rpartition(":")
    return pin_certificate(host.strip("[]"), int(port), tls, timeout)
