"""observer.Observer: flows of this node (https://docs.cilium.io/en/stable/_api/v1/observer/)."""

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
from flowd_exporters.h2grpc.service import Context, Services, stream, unary
from flowd_exporters.hubble.agent_events import AgentEvents, Happened
from flowd_exporters.hubble.encode.fast_encode import FlowFrames
from flowd_exporters.hubble.encode.field_mask import MaskError
from flowd_exporters.hubble.encode.flow_to_protobuf import shown_node
from flowd_exporters.hubble.lost import stamp
from flowd_exporters.hubble.rate import FlowRate, Namespaces
from flowd_exporters.hubble.ring import FlowRing
from flowd_exporters.hubble.stream import FlowStream, Query, RequestError, parse_query

SERVICE = "observer.Observer"
VERSION = f"flowd v{__version__}"
_MOST_MASKS = 4  # each keeps some 10 MB of parts at most


class Observer:
    """Answers the six calls over a ring of flows.

    Args:
        address: where other nodes reach this server, as GetNodes tells it.
        tls_name: the name in its certificate; empty without TLS.
    """

    def __init__(
        self,
        ring: FlowRing,
        directory: Directory,
        losses: Losses,
        rate: FlowRate,
        namespaces: Namespaces,
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
        self._frames: dict[frozenset[str], FlowFrames] = {}
        self._began = time.monotonic_ns()

    def add_to(self, services: Services) -> None:
        """Register the service."""
        methods = {
            "GetFlows": stream(self.get_flows, wire.GetFlowsRequest),
            "GetAgentEvents": stream(self.get_agent_events, wire.GetAgentEventsRequest),
            "GetDebugEvents": stream(self.get_debug_events, wire.GetDebugEventsRequest),
            "GetNodes": unary(self.get_nodes, wire.GetNodesRequest),
            "GetNamespaces": unary(self.get_namespaces, wire.GetNamespacesRequest),
            "ServerStatus": unary(self.server_status, wire.ServerStatusRequest),
        }
        services.add(SERVICE, methods)

    async def get_flows(
        self, request: wire.GetFlowsRequest, context: Context
    ) -> AsyncIterator[bytes]:
        """Flows from the ring, and new ones as they come."""
        try:
            query = parse_query(request, self._directory)
        except (RequestError, MaskError) as error:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        except (UnsupportedFilter, ExpressionError) as error:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, _sentence(error))
        except FilterError as error:
            await context.abort(grpc.StatusCode.UNKNOWN, _sentence(error))
        flows = FlowStream(query, self._ring, self._frames_of(request, query), self._directory)
        try:
            async with aclosing(flows.responses(self._losses)) as framed:
                async for many in framed:
                    yield many
        except CostlyFilter as error:
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, _sentence(error))

    def _frames_of(self, request: wire.GetFlowsRequest, query: Query) -> FlowFrames:
        """What makes the answers under this mask; readers with the same mask share it."""
        key = frozenset(request.field_mask.paths)
        known = self._frames.pop(key, None) or FlowFrames(self._directory, query.mask)
        if len(self._frames) >= _MOST_MASKS:
            del self._frames[next(iter(self._frames))]
        self._frames[key] = known
        return known

    async def get_agent_events(
        self, request: wire.GetAgentEventsRequest, context: Context
    ) -> AsyncIterator[wire.GetAgentEventsResponse]:
        """The start of the agent and what changed since, and with `follow` what changes."""
        if request.first and request.follow:
            message = "first cannot be used together with follow"
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, message)
        node_name = shown_node(self._directory)
        until = request.until.ToNanoseconds() if request.HasField("until") else None
        found = self._past_events(request)
        last = self._events.last
        while True:
            seen = self._events.changes.count
            for one in found:
                if until is not None and one.time_ns > until:
                    return
                yield wire.GetAgentEventsResponse(
                    agent_event=one.make(), node_name=node_name, time=stamp(one.time_ns)
                )
                last = max(last, one.number)
            if not request.follow or not await self._more_events(last, seen):
                return
            found = self._events.after(last)

    async def _more_events(self, last: int, seen: int) -> bool:
        return self._events.last > last or await self._events.changes.after(seen)

    def _past_events(self, request: wire.GetAgentEventsRequest) -> list[Happened]:
        """Events to begin with, chosen as GetFlows chooses flows."""
        since = request.since.ToNanoseconds() if request.HasField("since") else None
        if request.follow and not request.number and since is None:
            return []
        held = [one for one in self._events.held() if since is None or one.time_ns >= since]
        if request.HasField("until"):
            until = request.until.ToNanoseconds()
            held = [one for one in held if one.time_ns <= until]
        if not request.number or (request.follow and since is not None):
            return held
        most = min(request.number, len(held))
        return held[:most] if request.first or since is not None else held[len(held) - most :]

    async def get_debug_events(
        self, request: wire.GetDebugEventsRequest, context: Context
    ) -> AsyncIterator[wire.GetDebugEventsResponse]:
        """Nothing: there is no Cilium datapath to debug."""
        await context.abort(grpc.StatusCode.UNIMPLEMENTED, "flowd has no debug events")
        yield wire.GetDebugEventsResponse()

    async def get_nodes(
        self, request: wire.GetNodesRequest, context: Context
    ) -> wire.GetNodesResponse:
        """This node."""
        node = wire.Node(
            name=shown_node(self._directory),
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
        """Namespaces with flows in the last hour."""
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
        """Flows held and seen, and their rate over the last minute."""
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
