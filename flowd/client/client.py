"""Async client of an agent or of any Hubble server: Observer, Health and flowd's own Agent service.

async with Client(server_address()) as client:
    async for response in client.get_flows(GetFlowsRequest(follow=True)):
        ...
"""

import base64
import os
import re
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, Self, TypeVar, cast

os.environ.setdefault("GRPC_VERBOSITY", "NONE")

import grpc
import grpc.aio
from google.protobuf.message import Message

from flowd.errors import ConnectError, ExitCode, FlowdError, TimedOut, UsageError
from flowd.wire.flowd import agent_pb2 as agent
from flowd.wire.health.health_pb2 import HealthCheckRequest, HealthCheckResponse
from flowd.wire.observer import observer_pb2 as observer
from flowd.wire.peer import peer_pb2 as peer

DEFAULT_SERVER = "127.0.0.1:4245"
DEFAULT_PORT = 4245
HEALTH_SERVICE = "hubble.server.Observer"
API_LEVEL = (1, 19)
"""The version of Hubble's API that this client knows."""

_OBSERVER = "/observer.Observer/"
_AGENT = "/flowd.v1.Agent/"
_VERSIONS = ("hubble-server-version", "hubble-relay-version")
_OPTIONS = [("grpc.max_receive_message_length", 64 << 20), ("grpc.enable_http_proxy", 0)]
_LOOPBACK = re.compile(r"(127\.|localhost\b|\[::1\])")

Response = TypeVar("Response", bound=Message)
Received_co = TypeVar("Received_co", covariant=True)


class _Failed(Protocol):
    """What `grpc.aio.AioRpcError` offers."""

    def code(self) -> grpc.StatusCode: ...
    def details(self) -> str | None: ...


class _Stream(AsyncIterable[Received_co], Protocol[Received_co]):
    """A call whose answers are still coming."""

    def cancel(self) -> bool: ...


class _Call(Awaitable[Received_co], Protocol[Received_co]):
    """A call with one answer."""

    async def initial_metadata(self) -> Iterable[tuple[str, str | bytes]] | None: ...


class _Channel(Protocol):
    """What is used of `grpc.aio.Channel`, with its types."""

    def unary_unary(
        self, method: str, out: Callable[[Message], bytes], back: Callable[[bytes], Response]
    ) -> Callable[..., _Call[Response]]: ...

    def unary_stream(
        self, method: str, out: Callable[[Message], bytes], back: Callable[[bytes], Response]
    ) -> Callable[..., _Stream[Response]]: ...


class Unimplemented(FlowdError):
    """The server does not offer this call, as a plain Hubble server does not offer flowd's."""


@dataclass(frozen=True, slots=True)
class Tls:
    """How to speak TLS: PEM files, and the name the server's certificate must carry.

    With a certificate and key of the client's own the connection is mutually authenticated.
    `trusted` is PEM text that is trusted besides the files.
    """

    ca_files: tuple[str, ...] = ()
    cert_file: str = ""
    key_file: str = ""
    server_name: str = ""
    trusted: bytes = b""


def newer_api(version: str) -> bool:
    """Whether a server's version of Hubble's API is above the one that this client knows."""
    match = re.match(r"v?(\d{1,6})\.(\d{1,6})", version)
    return bool(match) and (int(match[1]), int(match[2])) > API_LEVEL


def server_address(flag: str | None = None) -> str:
    """The server to ask: the flag, FLOWD_SERVER, HUBBLE_SERVER, or 127.0.0.1:4245."""
    for value in (flag, os.environ.get("FLOWD_SERVER"), os.environ.get("HUBBLE_SERVER")):
        if value:
            return value
    return DEFAULT_SERVER


class Client:
    """One connection to a server; every failure is a FlowdError that names the server.

    Args:
        server: `host[:port]`, `tls://host[:port]` or `unix:///path`.
        timeout: seconds until the server must have answered for the first time.
        request_timeout: seconds that a call with one answer may take.
        tls: None for plain text unless `server` begins with `tls://`.
        basic_auth: name and password, sent as HTTP basic authentication; needs TLS.

    Attributes:
        server_version: version of Hubble's API that the server tells, or "".

    Raises:
        UsageError: from the constructor, for an address or files that cannot be used.
        ConnectError, TimedOut: from `async with`, when the server cannot be reached.
    """

    def __init__(
        self,
        server: str = DEFAULT_SERVER,
        *,
        timeout: float = 5.0,
        request_timeout: float = 12.0,
        tls: Tls | None = None,
        basic_auth: tuple[str, str] | None = None,
    ) -> None:
        self.server = server
        self._target, secure = split_target(server)
        self._tls = tls or (Tls() if secure else None)
        self._credentials = _credentials(self._tls) if self._tls else None
        self._timeout = timeout
        self._request_timeout = request_timeout
        self._metadata: list[tuple[str, str]] = []
        if basic_auth:
            if not self._tls:
                raise UsageError("basic authentication needs TLS", "use --tls or tls://host:port")
            pair = base64.b64encode(":".join(basic_auth).encode()).decode()
            self._metadata.append(("authorization", f"Basic {pair}"))
        self._channel: grpc.aio.Channel | None = None
        self.server_version = ""

    async def __aenter__(self) -> Self:
        options: list[tuple[str, str | int]] = [*_OPTIONS]
        if self._tls and self._tls.server_name:
            options.append(("grpc.ssl_target_name_override", self._tls.server_name))
        if self._credentials:
            channel = grpc.aio.secure_channel(self._target, self._credentials, options)
        else:
            channel = grpc.aio.insecure_channel(self._target, options)
        self._channel = channel
        try:
            await self._health(self._timeout)
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *exc: object) -> None:
        if self._channel:
            await self._channel.close(None)
            self._channel = None

    async def health(self) -> str:
        """State of the Observer by the health service: `SERVING`, `NOT_SERVING`, `UNKNOWN`...

        `SERVICE_UNKNOWN` when the server has no such service or no health service at all.
        """
        return await self._health(self._request_timeout)

    async def server_status(self) -> observer.ServerStatusResponse:
        """Flows held and seen, rate, uptime, version."""
        return await self._one(
            _OBSERVER + "ServerStatus",
            observer.ServerStatusRequest(),
            observer.ServerStatusResponse,
        )

    async def nodes(self) -> observer.GetNodesResponse:
        """The nodes behind the server; Unimplemented at an agent of Cilium."""
        return await self._one(
            _OBSERVER + "GetNodes", observer.GetNodesRequest(), observer.GetNodesResponse
        )

    async def namespaces(self) -> observer.GetNamespacesResponse:
        """Namespaces that had flows lately, with their clusters."""
        return await self._one(
            _OBSERVER + "GetNamespaces",
            observer.GetNamespacesRequest(),
            observer.GetNamespacesResponse,
        )

    def get_flows(
        self, request: observer.GetFlowsRequest
    ) -> AsyncIterator[observer.GetFlowsResponse]:
        """Flows, lost events and node states, until the server ends the stream."""
        return self._many(_OBSERVER + "GetFlows", request, observer.GetFlowsResponse)

    def get_agent_events(
        self, request: observer.GetAgentEventsRequest
    ) -> AsyncIterator[observer.GetAgentEventsResponse]:
        """What happened to the agent itself; Unimplemented at a relay."""
        return self._many(_OBSERVER + "GetAgentEvents", request, observer.GetAgentEventsResponse)

    def get_debug_events(
        self, request: observer.GetDebugEventsRequest
    ) -> AsyncIterator[observer.GetDebugEventsResponse]:
        """Debug events of Cilium's datapath; Unimplemented elsewhere."""
        return self._many(_OBSERVER + "GetDebugEvents", request, observer.GetDebugEventsResponse)

    def peers(self) -> AsyncIterator[peer.ChangeNotification]:
        """Every node that the server knows, then every change, without end."""
        return self._many("/peer.Peer/Notify", peer.NotifyRequest(), peer.ChangeNotification)

    async def agent_status(self) -> agent.StatusResponse:
        """State of every part of a flowd agent; Unimplemented elsewhere."""
        return await self._one(_AGENT + "Status", agent.StatusRequest(), agent.StatusResponse)

    async def routes(self) -> agent.RoutesResponse:
        """Gateways and routes that a flowd agent knows; Unimplemented elsewhere."""
        return await self._one(_AGENT + "Routes", agent.RoutesRequest(), agent.RoutesResponse)

    async def explain(self, request: bytes) -> bytes:
        """Why a flowd agent's routes take a request, both as JSON; Unimplemented elsewhere."""
        wanted = agent.ExplainRequest(request=request)
        return (await self._one(_AGENT + "Explain", wanted, agent.ExplainResponse)).explanation

    def watch(self) -> AsyncIterator[agent.Snapshot]:
        """Traffic by route, one snapshot a second, without end; Unimplemented elsewhere."""
        return self._many(_AGENT + "Watch", agent.WatchRequest(), agent.Snapshot)

    async def _health(self, timeout: float) -> str:
        try:
            answer = await self._one(
                "/grpc.health.v1.Health/Check",
                HealthCheckRequest(service=HEALTH_SERVICE),
                HealthCheckResponse,
                timeout,
            )
        except (Unimplemented, _NotFound):
            return "SERVICE_UNKNOWN"
        if answer.status not in HealthCheckResponse.ServingStatus.values():
            return str(int(answer.status))
        return HealthCheckResponse.ServingStatus.Name(answer.status)

    async def _one(
        self, method: str, request: Message, answer: type[Response], timeout: float = 0.0
    ) -> Response:
        timeout = timeout or self._request_timeout
        call = self._open().unary_unary(method, _serialize, answer.FromString)
        try:
            calling = call(request, timeout=timeout, metadata=self._metadata)
            response = await calling
            self._note_version(await calling.initial_metadata())
            return response
        except grpc.aio.AioRpcError as error:
            raise self._failure(error, method, timeout) from None

    async def _many(
        self, method: str, request: Message, answer: type[Response]
    ) -> AsyncIterator[Response]:
        call = self._open().unary_stream(method, _serialize, answer.FromString)(
            request, metadata=self._metadata
        )
        try:
            async for message in call:
                yield message
        except grpc.aio.AioRpcError as error:
            if cast("_Failed", error).code() is not grpc.StatusCode.CANCELLED:
                raise self._failure(error, method, 0.0) from None
        finally:
            call.cancel()

    def _note_version(self, metadata: Iterable[tuple[str, str | bytes]] | None) -> None:
        for key, value in metadata or ():
            if key in _VERSIONS and not self.server_version:
                self.server_version = str(value)

    def _open(self) -> _Channel:
        if self._channel is None:
            raise RuntimeError("use `async with Client(...)`")
        return cast("_Channel", self._channel)

    def _failure(self, error: _Failed, method: str, timeout: float) -> FlowdError:
        details = error.details() or ""
        match error.code():
            case grpc.StatusCode.UNAVAILABLE:
                reason = _reason(details)
                return ConnectError(f"cannot reach {self.server} ({reason})", self._hint(reason))
            case grpc.StatusCode.DEADLINE_EXCEEDED:
                return TimedOut(
                    f"{self.server} did not answer within {timeout:g} s",
                    "is it a Hubble or flowd server, and should it be tls://?",
                )
            case grpc.StatusCode.UNIMPLEMENTED:
                call = method.removeprefix("/")
                reason = f" ({details})" if details else ""
                return Unimplemented(f"{self.server} does not offer {call}{reason}")
            case grpc.StatusCode.NOT_FOUND:
                return _NotFound(details)
            case grpc.StatusCode.UNKNOWN | grpc.StatusCode.INVALID_ARGUMENT:
                return FlowdError(details or f"{self.server} refused {method} without a reason")
            case grpc.StatusCode.UNAUTHENTICATED | grpc.StatusCode.PERMISSION_DENIED as code:
                return ConnectError(f"{self.server} refuses us ({details or code.value[1]})")
            case code:
                return FlowdError(f"{self.server}: {details} ({code.value[1]})")

    def _hint(self, reason: str) -> str:
        if "handshake" in reason or "certificate" in reason:
            return "check --tls-ca-cert-files and --tls-server-name, or drop tls:// and --tls"
        if reason == "connection closed" and self._tls is None:
            return "the server may want TLS: tls://host:port"
        if "closed" in reason and self._tls and not self._tls.cert_file:
            return "the server may want --tls-client-cert-file and --tls-client-key-file"
        if self._target.startswith("unix:") or _LOOPBACK.match(self._target):
            return "start an agent with `flowd run`, or name another server with --server"
        return ""


class _NotFound(FlowdError):
    """gRPC's NOT_FOUND."""

    code = ExitCode.FAILED


def _serialize(message: Message) -> bytes:
    return message.SerializeToString()


def split_target(server: str) -> tuple[str, bool]:
    """gRPC target and whether it is TLS, of an address as people write it."""
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


def _credentials(tls: Tls) -> grpc.ChannelCredentials:
    roots = tls.trusted + b"".join(_read(path) for path in tls.ca_files) or None
    if bool(tls.cert_file) != bool(tls.key_file):
        raise UsageError("a client certificate and its key are only of use together")
    key = _read(tls.key_file) if tls.key_file else None
    chain = _read(tls.cert_file) if tls.cert_file else None
    return grpc.ssl_channel_credentials(roots, key, chain)


def _read(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise UsageError(f"cannot read {path} ({(error.strerror or '').lower()})") from None


def _reason(details: str) -> str:
    """The system's own words inside gRPC's account of a failed connection."""
    if "handshake failed" in details.lower():
        verify = "CERTIFICATE_VERIFY_FAILED" in details
        return "certificate not trusted" if verify else "TLS handshake failed"
    if "lookup error" in details or "DNS resolution" in details:
        return "no such host"
    if details in ("Socket closed", "Connection reset by peer"):
        return "connection closed"
    words = details.rpartition(": ")[2].strip("[] ")
    return (words[:1].lower() + words[1:])[:200] or "unavailable"
