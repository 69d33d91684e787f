"""Convert an agent's RoutesResponse (agent.proto) into the RoutesInfo of `flowd.gateway.report`."""

from flowd.gateway.attachment.parent_ref import Condition
from flowd.gateway.report.describe import (
    BackendInfo,
    GatewayInfo,
    ListenerInfo,
    ParentInfo,
    RouteInfo,
    RoutesInfo,
    RuleInfo,
)
from flowd.gateway.table.backend_tls import Problem
from flowd.wire.flowd import agent_pb2 as agent


def routes_info(response: agent.RoutesResponse) -> RoutesInfo:
    """Gateways, routes and problems of a response as RoutesInfo; texts are not yet printable."""
    gateways = [
        GatewayInfo(
            gateway.namespace,
            gateway.name,
            gateway.class_name,
            tuple(
                ListenerInfo(entry.name, entry.port, entry.protocol, entry.hostname)
                for entry in gateway.listeners
            ),
        )
        for gateway in response.gateways
    ]
    problems = (Problem(entry.object, entry.what) for entry in response.problems)
    return RoutesInfo(tuple(gateways), tuple(map(_route, response.routes)), tuple(problems))


def _route(route: agent.Route) -> RouteInfo:
    parents = (
        ParentInfo(
            parent.gateway_namespace,
            parent.gateway,
            parent.listener,
            tuple(
                Condition(entry.type, entry.status, entry.reason, entry.message)
                for entry in parent.conditions
            ),
        )
        for parent in route.parents
    )
    rules = (
        RuleInfo(
            rule.name,
            tuple(rule.matches),
            tuple(rule.filters),
            tuple(map(_backend, rule.backends)),
        )
        for rule in route.rules
    )
    return RouteInfo(
        route.kind,
        route.namespace,
        route.name,
        tuple(route.hostnames),
        tuple(parents),
        tuple(rules),
    )


def _backend(entry: agent.Backend) -> BackendInfo:
    return BackendInfo(
        entry.kind,
        entry.namespace,
        entry.name,
        entry.port,
        entry.weight,
        entry.ready_endpoints,
        entry.endpoints,
        entry.endpoints_known,
        entry.reason,
        entry.tls,
    )
