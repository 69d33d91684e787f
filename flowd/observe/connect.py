"""A client from the server flags."""

from typing import Any

from flowd.client import Client, Tls, server_address


def make_client(params: dict[str, Any]) -> Client:
    """The client that the flags of `server_options` describe.

    Raises:
        UsageError: for an address, a file or a combination that cannot be used.
    """
    files: tuple[str, ...] = params["tls_ca_cert_files"]
    cert, key = params["tls_client_cert_file"], params["tls_client_key_file"]
    name = params["tls_server_name"]
    server = server_address(params["server"])
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
