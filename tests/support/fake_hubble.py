"""A fake Hubble server for tests of the client: canned answers over real gRPC on a free port."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
from google.protobuf.message import Message

from flowd.wire.flowd import agent_pb2 as agent
from flowd.wire.health.health_pb2 import HealthCheckRequest, HealthCheckResponse
from flowd.wire.observer import observer_pb2 as observer
from flowd.wire.peer import peer_pb2 as peer

BAD_PATTERN = "("

_grpc: Any = grpc  # its stubs are only half typed


class FakeHubble:
    """Serves `flows` to every client, then waits if the client follows; records the requests.

    With `breaks`, streams end like a lost connection. An `http_path` filter of BAD_PATTERN is
    rejected as a bad regular expression. Debug events are unimplemented unless some are given.
    `with_agent` adds flowd's own service; `health` is the state of the Observer, `version` the
    server's API version.
    """

    def __init__(self, *, with_agent: bool = True, health: str = "SERVING") -> None:
        self.flows: list[observer.GetFlowsResponse] = []
        self.status = observer.ServerStatusResponse()
        self.nodes: list[observer.Node] = []
        self.namespaces: list[observer.Namespace] = []
        self.agent = agent.StatusResponse()
        self.snapshots: list[agent.Snapshot] = []
        self.routes = agent.RoutesResponse()
        self.agent_events: list[observer.GetAgentEventsResponse] = []
        self.debug_events: list[observer.GetDebugEventsResponse] = []
        self.peers: list[peer.ChangeNotification] = []
        self.version = ""
        self.requests: list[Any] = []
        self.metadata: dict[str, Any] = {}
        self.breaks = False
        self.waiting = threading.Event()
        self._with_agent = with_agent
        self._health = health
        self._stop = threading.Event()
        self._server = _grpc.server(ThreadPoolExecutor(8))
        self._server.add_generic_rpc_handlers(tuple(self._services()))

    def start(self, address: str = "127.0.0.1:0", credentials: Any = None) -> str:
        """Listen; returns the address to connect to."""
        if credentials:
            port = self._server.add_secure_port(address, credentials)
        else:
            port = self._server.add_insecure_port(address)
        self._server.start()
        return address if address.startswith("unix:") else f"127.0.0.1:{port}"

    def stop(self) -> None:
        """End all streams and the server."""
        self._stop.set()
        self._server.stop(0).wait()

    def _services(self) -> Iterator[Any]:
        yield _service(
            "observer.Observer",
            GetFlows=_stream(self._get_flows, observer.GetFlowsRequest),
            GetAgentEvents=_stream(self._get_agent_events, observer.GetAgentEventsRequest),
            GetDebugEvents=_stream(self._get_debug_events, observer.GetDebugEventsRequest),
            ServerStatus=_unary(lambda: self.status, observer.ServerStatusRequest),
            GetNodes=_unary(
                lambda: observer.GetNodesResponse(nodes=self.nodes), observer.GetNodesRequest
            ),
            GetNamespaces=_unary(
                lambda: observer.GetNamespacesResponse(namespaces=self.namespaces),
                observer.GetNamespacesRequest,
            ),
        )
        yield _service("peer.Peer", Notify=_stream(self._notify, peer.NotifyRequest))
        check = _grpc.unary_unary_rpc_method_handler(
            self._check, HealthCheckRequest.FromString, _serialize
        )
        yield _service("grpc.health.v1.Health", Check=check)
        if self._with_agent:
            yield _service(
                "flowd.v1.Agent",
                Status=_unary(lambda: self.agent, agent.StatusRequest),
                Routes=_unary(lambda: self.routes, agent.RoutesRequest),
                Watch=_stream(self._watch, agent.WatchRequest),
            )

    def _notify(
        self, request: peer.NotifyRequest, context: Any
    ) -> Iterator[peer.ChangeNotification]:
        yield from self.peers

    def _get_agent_events(
        self, request: observer.GetAgentEventsRequest, context: Any
    ) -> Iterator[observer.GetAgentEventsResponse]:
        self.requests.append(request)
        yield from self.agent_events

    def _get_debug_events(
        self, request: observer.GetDebugEventsRequest, context: Any
    ) -> Iterator[observer.GetDebugEventsResponse]:
        self.requests.append(request)
        if not self.debug_events:
            context.abort(grpc.StatusCode.UNIMPLEMENTED, "no debug events here")
        yield from self.debug_events

    def _watch(self, request: agent.WatchRequest, context: Any) -> Iterator[agent.Snapshot]:
        yield from self.snapshots

    def _check(self, request: HealthCheckRequest, context: Any) -> HealthCheckResponse:
        self.metadata = dict(context.invocation_metadata())
        if self.version:
            context.send_initial_metadata([("hubble-server-version", self.version)])
        if request.service != "hubble.server.Observer":
            context.abort(grpc.StatusCode.NOT_FOUND, "unknown service")
        return HealthCheckResponse(status=self._health)

    def _get_flows(
        self, request: observer.GetFlowsRequest, context: Any
    ) -> Iterator[observer.GetFlowsResponse]:
        self.requests.append(request)
        for one in request.whitelist:
            if BAD_PATTERN in one.http_path:
                context.abort(grpc.StatusCode.UNKNOWN, "failed to compile regexp: missing )")
        yield from self.flows
        if self.breaks:
            context.abort(grpc.StatusCode.UNAVAILABLE, "Socket closed")
        if request.follow:
            self.waiting.set()
            context.add_callback(self._stop.set)
            self._stop.wait(30)


def _serialize(message: Message) -> bytes:
    return message.SerializeToString()


def _unary(answer: Callable[[], Message], request: type[Message]) -> Any:
    def handler(request: Message, context: Any) -> Message:
        return answer()

    return _grpc.unary_unary_rpc_method_handler(handler, request.FromString, _serialize)


def _stream(handler: Callable[..., Iterator[Message]], request: type[Message]) -> Any:
    return _grpc.unary_stream_rpc_method_handler(handler, request.FromString, _serialize)


def _service(name: str, **methods: Any) -> Any:
    return _grpc.method_handlers_generic_handler(name, methods)
