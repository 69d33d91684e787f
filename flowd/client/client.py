"""Async gRPC client of an agent or a Hubble server: Observer, Peer, Health, flowd's Agent service.

async with Client(server_address()) as client:
    async for response in client.get_flows(GetFlowsRequest(follow=True)):
        ...
"""

import base64
import os
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable
from typing import Protocol, Self, TypeVar, cast

os.environ.setdefault("GRPC_VERBOSITY", "NONE")

import grpc
import grpc.aio
from google.protobuf.message import Message

from flowd.client.connection import DEFAULT_SERVER, ServerTarget, TlsOptions, parse_address
from flowd.client.errors import NotFound, RpcError, Unimplemented, rpc_failure
from flowd.errors import UsageError
from flowd.wire.flowd import agent_pb2 as agent
from flowd.wire.health.health_pb2 import HealthCheckRequest, HealthCheckResponse
from flowd.wire.observer import observer_pb2 as observer
from flowd.wire.peer import peer_pb2 as peer

HEALTH_SERVICE = "hubble.server.Observer"

_OBSERVER = "/observer.Observer/"
_AGENT = "/flowd.v1.Agent/"
_VERSIONS = ("hubble-server-version", "hubble-relay-version")
_OPTIONS = [("grpc.max_receive_message_length", 64 << 20), ("grpc.enable_http_proxy", 0)]

Response = TypeVar("Response", bound=Message)
Received_co = TypeVar("Received_co", covariant=True)


class _ResponseStream(AsyncIterable[Received_co], Protocol[Received_co]):
    """A unary-stream call in progress."""

    def cancel(self) -> bool: ...


class _UnaryCall(Awaitable[Received_co], Protocol[Received_co]):
    """A unary-unary call in progress."""

    async def initial_metadata(self) -> Iterable[tuple[str, str | bytes]] | None: ...


class _Channel(Protocol):
    """The methods of `grpc.aio.Channel` that are called here, with their types."""

    def unary_unary(
        self, method: str, serialize: Callable[[Message], bytes], parse: Callable[[bytes], Response]
    ) -> Callable[..., _UnaryCall[Response]]: ...

    def unary_stream(
        self, method: str, serialize: Callable[[Message], bytes], parse: Callable[[bytes], Response]
    ) -> Callable[..., _ResponseStream[Response]]: ...


class Client:
    """One connection to one server; every failed call raises a FlowdError that names the server.

    Args:
        server: `host[:port]`, `tls://host[:port]` or `unix:///path`.
        timeout: seconds that the first health check may take.
        request_timeout: seconds that each later unary call may take.
        tls: None for plain text unless `server` begins with `tls://`.
        basic_auth: name and password for HTTP basic authentication (RFC 7617); needs TLS.

    Attributes:
        server: the address as given.
        server_version: version of Hubble's API from the response metadata, or "".

    Raises:
        UsageError: by the constructor, for an unusable address, file or combination.
        ConnectError, TimedOut: by `async with`, when the server cannot be reached.
    """

    def __init__(
        self,
        server: str = DEFAULT_SERVER,
        *,
        timeout: float = 5.0,
        request_timeout: float = 12.0,
        tls: TlsOptions | None = None,
        basic_auth: tuple[str, str] | None = None,
    ) -> None:
        self.server = server
        address, secure = parse_address(server)
        self._target = ServerTarget(server, address, tls or (TlsOptions() if secure else None))
        self._credentials = _credentials(self._target.tls) if self._target.tls else None
        self._timeout = timeout
        self._request_timeout = request_timeout
        self._metadata: list[tuple[str, str]] = []
        if basic_auth:
            if not self._target.tls:
                raise UsageError("basic authentication needs TLS", "use --tls or tls://host:port")
            pair = base64.b64encode(":".join(basic_auth).encode()).decode()
            self._metadata.append(("authorization", f"Basic {pair}"))
        self._channel: grpc.aio.Channel | None = None
        self.server_version = ""

    async def __aenter__(self) -> Self:
        options: list[tuple[str, str | int]] = [*_OPTIONS]
        target = self._target
        if target.tls and target.tls.server_name:
            options.append(("grpc.ssl_target_name_override", target.tls.server_name))
        if self._credentials:
            channel = grpc.aio.secure_channel(target.address, self._credentials, options)
        else:
            channel = grpc.aio.insecure_channel(target.address, options)
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
        """Serving status of the Observer: `SERVING`, `NOT_SERVING`, `UNKNOWN`...

        `SERVICE_UNKNOWN` when the server has no Observer or no health service (grpc.health.v1).
        """
        return await self._health(self._request_timeout)

    async def server_status(self) -> observer.ServerStatusResponse:
        """Number of flows stored and seen, flow rate, uptime and version."""
        return await self._unary(
            _OBSERVER + "ServerStatus",
            observer.ServerStatusRequest(),
            observer.ServerStatusResponse,
        )

    async def nodes(self) -> observer.GetNodesResponse:
        """Nodes behind the server; raises Unimplemented at a Cilium agent."""
        return await self._unary(
            _OBSERVER + "GetNodes", observer.GetNodesRequest(), observer.GetNodesResponse
        )

    async def namespaces(self) -> observer.GetNamespacesResponse:
        """Namespaces with recent flows, and their clusters."""
        return await self._unary(
            _OBSERVER + "GetNamespaces",
            observer.GetNamespacesRequest(),
            observer.GetNamespacesResponse,
        )

    def get_flows(
        self, request: observer.GetFlowsRequest
    ) -> AsyncIterator[observer.GetFlowsResponse]:
        """Flows, lost events and node states, until the server ends the stream."""
        return self._stream(_OBSERVER + "GetFlows", request, observer.GetFlowsResponse)

    def get_agent_events(
        self, request: observer.GetAgentEventsRequest
    ) -> AsyncIterator[observer.GetAgentEventsResponse]:
        """Events of the agent itself; raises Unimplemented at a relay."""
        return self._stream(_OBSERVER + "GetAgentEvents", request, observer.GetAgentEventsResponse)

    def get_debug_events(
        self, request: observer.GetDebugEventsRequest
    ) -> AsyncIterator[observer.GetDebugEventsResponse]:
        """Debug events of Cilium's datapath; raises Unimplemented at any other server."""
        return self._stream(_OBSERVER + "GetDebugEvents", request, observer.GetDebugEventsResponse)

    def peers(self) -> AsyncIterator[peer.ChangeNotification]:
        """Every peer the server knows, then every change, without end (peer.Peer/Notify)."""
        return self._stream("/peer.Peer/Notify", peer.NotifyRequest(), peer.ChangeNotification)

    async def agent_status(self) -> agent.StatusResponse:
        """State of every part of a flowd agent; raises Unimplemented at any other server."""
        return await self._unary(_AGENT + "Status", agent.StatusRequest(), agent.StatusResponse)

    async def routes(self) -> agent.RoutesResponse:
        """Gateways and routes of a flowd agent; raises Unimplemented at any other server."""
        return await self._unary(_AGENT + "Routes", agent.RoutesRequest(), agent.RoutesResponse)

    async def explain(self, request: bytes) -> bytes:
        """A flowd agent's explanation of which route takes a request; both are JSON.

        Raises Unimplemented at any other server.
        """
        message = agent.ExplainRequest(request=request)
        response = await self._unary(_AGENT + "Explain", message, agent.ExplainResponse)
        return response.explanation

    def watch(self) -> AsyncIterator[agent.Snapshot]:
        """Traffic by route, one snapshot a second, without end.

        Raises Unimplemented at a server that is not a flowd agent.
        """
        return self._stream(_AGENT + "Watch", agent.WatchRequest(), agent.Snapshot)

    async def _health(self, timeout: float) -> str:
        try:
            response = await self._unary(
                "/grpc.health.v1.Health/Check",
                HealthCheckRequest(service=HEALTH_SERVICE),
                HealthCheckResponse,
                timeout,
            )
        except (Unimplemented, NotFound):
            return "SERVICE_UNKNOWN"
        if response.status not in HealthCheckResponse.ServingStatus.values():
            return str(int(response.status))
        return HealthCheckResponse.ServingStatus.Name(response.status)

    async def _unary(
        self, method: str, request: Message, response_type: type[Response], timeout: float = 0.0
    ) -> Response:
        timeout = timeout or self._request_timeout
        start = self._open_channel().unary_unary(method, _serialize, response_type.FromString)
        try:
            call = start(request, timeout=timeout, metadata=self._metadata)
            response = await call
            self._note_version(await call.initial_metadata())
            return response
        except grpc.aio.AioRpcError as error:
            raise rpc_failure(error, method, timeout, self._target) from None

    async def _stream(
        self, method: str, request: Message, response_type: type[Response]
    ) -> AsyncIterator[Response]:
        call = self._open_channel().unary_stream(method, _serialize, response_type.FromString)(
            request, metadata=self._metadata
        )
        try:
            async for message in call:
                yield message
        except grpc.aio.AioRpcError as error:
            if cast("RpcError", error).code() is not grpc.StatusCode.CANCELLED:
                raise rpc_failure(error, method, 0.0, self._target) from None
        finally:
            call.cancel()

    def _note_version(self, metadata: Iterable[tuple[str, str | bytes]] | None) -> None:
        for key, value in metadata or ():
            if key in _VERSIONS and not self.server_version:
                self.server_version = str(value)

    def _open_channel(self) -> _Channel:
        if self._channel is None:
            raise RuntimeError("use `async with Client(...)`")
        return cast("_Channel", self._channel)


def _serialize(message: Message) -> bytes:
    return message.SerializeToString()


def _credentials(tls: TlsOptions) -> grpc.ChannelCredentials:
    return grpc.ssl_channel_credentials(*tls.read_files())
