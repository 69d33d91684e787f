"""ObserverService: observer.Observer, the flows of this node.

API: https://docs.cilium.io/en/stable/_api/v1/observer/.
"""

import time
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing

import grpc

from flowd import __version__
from flowd.errors import FlowdError
from flowd.filter import CostlyFilter, ExpressionError, FilterError, UnsupportedFilter
from flowd.model.directory import Directory
from flowd.model.losses import Losses
from flowd.wire.observer import observer_pb2 as wire
from flowd.wire.relay.relay_pb2 import NODE_CONNECTED
from flowd_exporters.h2grpc.service import Context, ServiceTable, unary_stream, unary_unary
from flowd_exporters.hubble.agent_events import AgentEvents, TimedEvent
from flowd_exporters.hubble.encode.fast_encode import FastFlowEncoder
from flowd_exporters.hubble.encode.field_mask import MaskError
from flowd_exporters.hubble.encode.flow_to_protobuf import reported_node_name
from flowd_exporters.hubble.lost import to_timestamp
from flowd_exporters.hubble.rate import FlowRate, RecentNamespaces
from flowd_exporters.hubble.ring import FlowRing
from flowd_exporters.hubble.stream import FlowQuery, FlowStream, RequestError, parse_query

SERVICE = "observer.Observer"
VERSION = f"flowd v{__version__}"
_MAX_MASKS = 4  # an encoder caches some 10 MB of parts at most


class ObserverService:
    """Serves the six methods of Observer over a ring of flows.

    Args:
        address: `host:port` of this server for GetNodes.
        tls_name: TLS server name of this node; empty without TLS.
    """

    def __init__(
        self,
        ring: FlowRing,
        directory: Directory,
        losses: Losses,
        rate: FlowRate,
        namespaces: RecentNamespaces,
        events: AgentEvents,
        address: Callable[[], str],
        tls_name: str = "",
    ) -> None:
        self._ring = ring
        self._directory = directory
        self._losses = losses
        self._rate = rate
        self._namespaces = namespaces
        self._events = events
        self._address = address
        self._tls = wire.TLS(enabled=bool(tls_name), server_name=tls_name)
        self._encoders: dict[frozenset[str], FastFlowEncoder] = {}
        self._began = time.monotonic_ns()

    def add_to(self, services: ServiceTable) -> None:
        """Register the service."""
        methods = {
            "GetFlows": unary_stream(self.get_flows, wire.GetFlowsRequest),
            "GetAgentEvents": unary_stream(self.get_agent_events, wire.GetAgentEventsRequest),
            "GetDebugEvents": unary_stream(self.get_debug_events, wire.GetDebugEventsRequest),
            "GetNodes": unary_unary(self.get_nodes, wire.GetNodesRequest),
            "GetNamespaces": unary_unary(self.get_namespaces, wire.GetNamespacesRequest),
            "ServerStatus": unary_unary(self.server_status, wire.ServerStatusRequest),
        }
        services.add(SERVICE, methods)

    async def get_flows(
        self, request: wire.GetFlowsRequest, context: Context
    ) -> AsyncIterator[bytes]:
        """Stream flows from the ring, and with `follow` new ones."""
        try:
            query = parse_query(request, self._directory)
        except (RequestError, MaskError) as error:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        except (UnsupportedFilter, ExpressionError) as error:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, _sentence(error))
        except FilterError as error:
            await context.abort(grpc.StatusCode.UNKNOWN, _sentence(error))
        flows = FlowStream(query, self._ring, self._encoder_for(request, query), self._directory)
        try:
            async with aclosing(flows.responses(self._losses)) as responses:
                async for framed in responses:
                    yield framed
        except CostlyFilter as error:
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, _sentence(error))

    def _encoder_for(self, request: wire.GetFlowsRequest, query: FlowQuery) -> FastFlowEncoder:
        """The encoder for the request's field mask; readers with the same mask share it (LRU)."""
        key = frozenset(request.field_mask.paths)
        encoder = self._encoders.pop(key, None) or FastFlowEncoder(self._directory, query.mask)
        if len(self._encoders) >= _MAX_MASKS:
            del self._encoders[next(iter(self._encoders))]
        self._encoders[key] = encoder
        return encoder

    async def get_agent_events(
        self, request: wire.GetAgentEventsRequest, context: Context
    ) -> AsyncIterator[wire.GetAgentEventsResponse]:
        """Stream the kept agent events, and with `follow` new ones."""
        if request.first and request.follow:
            message = "first cannot be used together with follow"
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, message)
        node_name = reported_node_name(self._directory)
        until = request.until.ToNanoseconds() if request.HasField("until") else None
        events = self._past_events(request)
        last = self._events.last
        while True:
            seen = self._events.changes.count
            for event in events:
                if until is not None and event.time_ns > until:
                    return
                yield wire.GetAgentEventsResponse(
                    agent_event=event.make(), node_name=node_name, time=to_timestamp(event.time_ns)
                )
                last = max(last, event.number)
            if not request.follow or not await self._more_events(last, seen):
                return
            events = self._events.after(last)

    async def _more_events(self, last: int, seen: int) -> bool:
        return self._events.last > last or await self._events.changes.wait_after(seen)

    def _past_events(self, request: wire.GetAgentEventsRequest) -> list[TimedEvent]:
        """Kept events that the request selects, by the rules of GetFlows."""
        since = request.since.ToNanoseconds() if request.HasField("since") else None
        if request.follow and not request.number and since is None:
            return []
        events = [
            event for event in self._events.events() if since is None or event.time_ns >= since
        ]
        if request.HasField("until"):
            until = request.until.ToNanoseconds()
            events = [event for event in events if event.time_ns <= until]
        if not request.number or (request.follow and since is not None):
            return events
        count = min(request.number, len(events))
        from_start = request.first or since is not None
        return events[:count] if from_start else events[len(events) - count :]

    async def get_debug_events(
        self, request: wire.GetDebugEventsRequest, context: Context
    ) -> AsyncIterator[wire.GetDebugEventsResponse]:
        """Abort with UNIMPLEMENTED: there is no Cilium datapath to debug."""
        await context.abort(grpc.StatusCode.UNIMPLEMENTED, "flowd has no debug events")
        yield wire.GetDebugEventsResponse()

    async def get_nodes(
        self, request: wire.GetNodesRequest, context: Context
    ) -> wire.GetNodesResponse:
        """Return this node."""
        node = wire.Node(
            name=reported_node_name(self._directory),
            version=VERSION,
            address=self._address(),
            state=NODE_CONNECTED,
            tls=self._tls,
            uptime_ns=time.monotonic_ns() - self._began,
            num_flows=len(self._ring),
            max_flows=self._ring.capacity,
            seen_flows=self._ring.written,
        )
        return wire.GetNodesResponse(nodes=[node])

    async def get_namespaces(
        self, request: wire.GetNamespacesRequest, context: Context
    ) -> wire.GetNamespacesResponse:
        """Return the namespaces with flows in the last hour."""
        cluster = self._directory.cluster_name
        return wire.GetNamespacesResponse(
            namespaces=[
                wire.Namespace(cluster=cluster, namespace=name)
                for name in self._namespaces.recent(time.monotonic())
            ]
        )

    async def server_status(
        self, request: wire.ServerStatusRequest, context: Context
    ) -> wire.ServerStatusResponse:
        """Return the number of flows in the ring and since the start, and their rate."""
        return wire.ServerStatusResponse(
            num_flows=len(self._ring),
            max_flows=self._ring.capacity,
            seen_flows=self._ring.written,
            uptime_ns=time.monotonic_ns() - self._began,
            version=VERSION,
            flows_rate=self._rate.rate(time.monotonic()),
        )


def _sentence(error: FlowdError) -> str:
    return f"{error.message}; {error.hint}" if error.hint else error.message
