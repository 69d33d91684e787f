"""Map gRPC status codes of a failed call to FlowdErrors that name the server and a remedy."""

import re
from typing import TYPE_CHECKING, Protocol

from flowd.client.connection import ServerTarget
from flowd.errors import ConnectError, ExitCode, FlowdError, TimedOut

if TYPE_CHECKING:
    import grpc

_LOOPBACK = re.compile(r"(127\.|localhost\b|\[::1\])")


class RpcError(Protocol):
    """The part of `grpc.aio.AioRpcError` that is read here."""

    def code(self) -> "grpc.StatusCode": ...
    def details(self) -> str | None: ...


class Unimplemented(FlowdError):
    """The server does not offer this call, as a plain Hubble server does not offer flowd's."""


class NotFound(FlowdError):
    """The server answered NOT_FOUND."""

    code = ExitCode.FAILED


def rpc_failure(error: RpcError, method: str, timeout: float, target: ServerTarget) -> FlowdError:
    """The FlowdError of a failed call.

    Args:
        method: full gRPC method, `/package.Service/Method`.
        timeout: deadline of the call in seconds.
    """
    details, code, server = error.details() or "", error.code(), target.server
    match code.name:
        case "UNAVAILABLE":
            reason = _reason(details)
            return ConnectError(f"cannot reach {server} ({reason})", _hint(reason, target))
        case "DEADLINE_EXCEEDED":
            return TimedOut(
                f"{server} did not answer within {timeout:g} s",
                "is it a Hubble or flowd server, and should it be tls://?",
            )
        case "UNIMPLEMENTED":
            call = method.removeprefix("/")
            reason = f" ({details})" if details else ""
            return Unimplemented(f"{server} does not offer {call}{reason}")
        case "NOT_FOUND":
            return NotFound(details)
        case "UNKNOWN" | "INVALID_ARGUMENT":
            return FlowdError(details or f"{server} refused {method} without a reason")
        case "UNAUTHENTICATED" | "PERMISSION_DENIED":
            return ConnectError(f"{server} refuses us ({details or code.value[1]})")
        case _:
            return FlowdError(f"{server}: {details} ({code.value[1]})")


def _hint(reason: str, target: ServerTarget) -> str:
    if "handshake" in reason or "certificate" in reason:
        return "check --tls-ca-cert-files and --tls-server-name, or drop tls:// and --tls"
    if reason == "connection closed" and target.tls is None:
        return "the server may want TLS: tls://host:port"
    if "closed" in reason and target.tls and not target.tls.cert_file:
        return "the server may want --tls-client-cert-file and --tls-client-key-file"
    if target.address.startswith("unix:") or _LOOPBACK.match(target.address):
        return "start an agent with `flowd run`, or name another server with --server"
    return ""


def _reason(details: str) -> str:
    """Reason of a failed connection: the operating system's words inside gRPC's details."""
    if "handshake failed" in details.lower():
        verify = "CERTIFICATE_VERIFY_FAILED" in details
        return "certificate not trusted" if verify else "TLS handshake failed"
    if "lookup error" in details or "DNS resolution" in details:
        return "no such host"
    if details in ("Socket closed", "Connection reset by peer"):
        return "connection closed"
    words = details.rpartition(": ")[2].strip("[] ")
    return (words[:1].lower() + words[1:])[:200] or "unavailable"
