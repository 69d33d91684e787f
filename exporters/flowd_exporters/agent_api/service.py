"""AgentService: the gRPC service flowd.v1.Agent, with status, routes, explain and live traffic."""

import time
from collections.abc import AsyncIterator, Callable, Sequence

import grpc

from flowd import __version__
from flowd.model.describe import Description, RouteDescription
from flowd.model.directory import Directory
from flowd.model.losses import Losses
from flowd.model.status import PartStatus
from flowd.text import printable
from flowd.wire.flowd import agent_pb2
from flowd_exporters.agent_api.traffic import TopExporter, resident_bytes, wire_losses
from flowd_exporters.h2grpc.service import Context, ServiceTable, unary_stream, unary_unary

SERVICE = "flowd.v1.Agent"


class AgentService:
    """Serves Status, Routes, Explain and Watch.

    Args:
        status: state of every part of the agent.
        routes: the gateways and routes now.
        explain: explains a request, JSON in and out; raises ValueError for an invalid request.
        live_connections: number of open connections.
    """

    def __init__(
        self,
        directory: Directory,
        losses: Losses,
        top: TopExporter,
        *,
        status: Callable[[], Sequence[PartStatus]],
        routes: Callable[[], Description],
        explain: Callable[[bytes], bytes],
        live_connections: Callable[[], int] = lambda: 0,
    ) -> None:
        self._directory = directory
        self._losses = losses
        self._top = top
        self._status = status
        self._routes = routes
        self._explain = explain
        self._live_connections = live_connections
        self._began = time.monotonic_ns()

    def add_to(self, services: ServiceTable) -> None:
        """Register the service."""
        methods = {
            "Status": unary_unary(self.status, agent_pb2.StatusRequest),
            "Routes": unary_unary(self.routes, agent_pb2.RoutesRequest),
            "Explain": unary_unary(self.explain, agent_pb2.ExplainRequest),
            "Watch": unary_stream(self.watch, agent_pb2.WatchRequest),
        }
        services.add(SERVICE, methods)

    async def status(
        self, request: agent_pb2.StatusRequest, context: object
    ) -> agent_pb2.StatusResponse:
        """Return the state of every part, the losses and the resource use."""
        return agent_pb2.StatusResponse(
            version=__version__,
            node_name=self._directory.node_name,
            cluster_name=self._directory.cluster_name,
            uptime_ns=time.monotonic_ns() - self._began,
            parts=[
                agent_pb2.Part(part=part.part, state=part.state, detail=part.detail)
                for part in self._status()
            ],
            losses=wire_losses(self._losses),
            resident_bytes=resident_bytes(),
            cpu_seconds=time.process_time(),
            seen_flows=self._top.seen_flows,
            live_connections=self._live_connections(),
        )

    async def routes(
        self, request: agent_pb2.RoutesRequest, context: object
    ) -> agent_pb2.RoutesResponse:
        """Return every gateway, listener, route, rule and backend."""
        described = self._routes()
        return agent_pb2.RoutesResponse(
            gateways=[
                agent_pb2.Gateway(
                    namespace=gateway.namespace,
                    name=gateway.name,
                    class_name=gateway.class_name,
                    listeners=[
                        agent_pb2.Listener(
                            name=listener.name,
                            port=listener.port,
                            protocol=listener.protocol,
                            hostname=listener.hostname,
                        )
                        for listener in gateway.listeners
                    ],
                )
                for gateway in described.gateways
            ],
            routes=[_route(route) for route in described.routes],
            problems=[
                agent_pb2.Problem(object=entry.object, what=entry.what)
                for entry in described.problems
            ],
        )

    async def explain(
        self, request: agent_pb2.ExplainRequest, context: Context
    ) -> agent_pb2.ExplainResponse:
        """Explain which route, rule and backend one request gets."""
        try:
            explanation = self._explain(request.request)
        except ValueError as error:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, printable(str(error), 300))
        return agent_pb2.ExplainResponse(explanation=explanation)

    async def watch(
        self, request: agent_pb2.WatchRequest, context: object
    ) -> AsyncIterator[agent_pb2.Snapshot]:
        """Stream the snapshots of the last minutes, then one a second."""
        async for snapshot in self._top.watch():
            yield snapshot


def _route(route: RouteDescription) -> agent_pb2.Route:
    return agent_pb2.Route(
        kind=route.kind,
        namespace=route.namespace,
        name=route.name,
        hostnames=route.hostnames,
        parents=[
            agent_pb2.Parent(
                gateway_namespace=parent.gateway_namespace,
                gateway=parent.gateway,
                listener=parent.listener,
                conditions=[
                    agent_pb2.Condition(
                        type=condition.type,
                        status=condition.status,
                        reason=condition.reason,
                        message=condition.message,
                    )
                    for condition in parent.conditions
                ],
            )
            for parent in route.parents
        ],
        rules=[
            agent_pb2.Rule(
                name=rule.name,
                matches=rule.matches,
                filters=rule.filters,
                backends=[
                    agent_pb2.Backend(
                        kind=backend.kind,
                        namespace=backend.namespace,
                        name=backend.name,
                        port=backend.port,
                        weight=backend.weight,
                        ready_endpoints=backend.ready_endpoints,
                        endpoints=backend.endpoints,
                        endpoints_known=backend.counted,
                        reason=backend.reason,
                        tls=backend.tls,
                    )
                    for backend in rule.backends
                ],
            )
            for rule in route.rules
        ],
    )
