"""Describe Gateways and routes with their status as plain values, for terminal output and the API.

The classes satisfy the protocols of flowd.model.describe.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from flowd.gateway.attachment.listeners import GatewayState
from flowd.gateway.attachment.parent_ref import Condition
from flowd.gateway.matching.filters import filter_text, policy_texts
from flowd.gateway.matching.hostname import ANY
from flowd.gateway.matching.rules import Backend, Route
from flowd.gateway.table.backend_tls import BackendTls, Problem
from flowd.gateway.table.route_table import RouteTable


@dataclass(frozen=True, slots=True)
class ListenerInfo:
    """A listener of a Gateway."""

    name: str
    port: int
    protocol: str
    hostname: str  # "" for any


@dataclass(frozen=True, slots=True)
class GatewayInfo:
    """A Gateway or IngressClass with its listeners."""

    namespace: str
    name: str
    class_name: str
    listeners: tuple[ListenerInfo, ...]


@dataclass(frozen=True, slots=True)
class BackendInfo:
    """A backendRef with its endpoints.

    Attributes:
        counted: whether the numbers of endpoints are known; they are 0 otherwise.
        reason: why the backend receives no traffic, or "".
        tls: server name and BackendTLSPolicy, or "".
    """

    kind: str
    namespace: str
    name: str
    port: int
    weight: int
    ready_endpoints: int
    endpoints: int
    counted: bool
    reason: str
    tls: str


@dataclass(frozen=True, slots=True)
class RuleInfo:
    """A rule with descriptions of its matches and filters, and its backends."""

    name: str
    matches: tuple[str, ...]
    filters: tuple[str, ...]
    backends: tuple[BackendInfo, ...]


@dataclass(frozen=True, slots=True)
class ParentInfo:
    """A listener that accepts the route, or a parentRef that no listener accepts."""

    gateway_namespace: str
    gateway: str
    listener: str
    conditions: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class RouteInfo:
    """A route with its parents and rules."""

    kind: str
    namespace: str
    name: str
    hostnames: tuple[str, ...]
    parents: tuple[ParentInfo, ...]
    rules: tuple[RuleInfo, ...]


@dataclass(frozen=True, slots=True)
class RoutesInfo:
    """All Gateways and routes of a table, and the problems of objects."""

    gateways: tuple[GatewayInfo, ...]
    routes: tuple[RouteInfo, ...]
    problems: tuple[Problem, ...] = ()


_LEFT_OUT = RuleInfo("", ("left out",), (), ())
"""Placeholder for an invalid rule, so that the position of a rule is its index."""


def describe(table: RouteTable) -> RoutesInfo:
    """Describe a route table, sorted by kind, namespace and name."""
    tls = BackendTls(table.objects)
    return RoutesInfo(
        tuple(_gateway(gateway) for _, gateway in sorted(table.gateways.items())),
        tuple(_route(table, route, tls) for _, route in sorted(table.routes.items())),
        (*_left_out(table), *tls.problems),
    )


def _left_out(table: RouteTable) -> Iterator[Problem]:
    for (kind, namespace, name), route in sorted(table.routes.items()):
        for index, why in route.invalid_rules:
            yield Problem(f"{kind}/{namespace}/{name}", f"rule {index} is left out: {why}")


def _gateway(gateway: GatewayState) -> GatewayInfo:
    listeners = (
        ListenerInfo(
            entry.full_name,
            entry.port,
            entry.protocol,
            "" if entry.hostname == ANY else entry.hostname,
        )
        for entry in gateway.listeners
    )
    return GatewayInfo(gateway.namespace, gateway.name, gateway.class_name, tuple(listeners))


def _route(table: RouteTable, route: Route, tls: BackendTls) -> RouteInfo:
    parents = (
        ParentInfo(
            parent.gateway_namespace,
            parent.gateway if parent.kind != "Service" else f"{parent.gateway} (Service)",
            listener,
            parent.conditions,
        )
        for parent in table.parents[route.key]
        for listener in parent.listeners or (parent.section,)
    )
    indices = (*(rule.index for rule in route.rules), *(index for index, _ in route.invalid_rules))
    rules = [_LEFT_OUT] * (max(indices, default=-1) + 1)
    for rule in route.rules:
        rules[rule.index] = RuleInfo(
            rule.name,
            tuple(match.text for match in rule.matches if match.text),
            (
                *(filter_text(entry) for entry in rule.filters),
                *policy_texts(rule.timeouts, rule.retry),
            ),
            tuple(_backend(backend, tls, route.kind) for backend in rule.backends),
        )
    hostnames = tuple(name for name in route.hostnames if name != ANY)
    return RouteInfo(*route.key, hostnames, tuple(parents), tuple(rules))


def _backend(backend: Backend, tls: BackendTls, kind: str) -> BackendInfo:
    ref = backend.ref
    return BackendInfo(
        ref.kind,
        ref.namespace,
        ref.name,
        ref.port,
        ref.weight,
        max(backend.ready, 0),
        max(backend.total, 0),
        backend.total >= 0,
        backend.reason,
        tls.of(ref, kind),
    )
