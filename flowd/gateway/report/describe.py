"""Gateways and routes with what became of them, as plain values for a screen or a message.

The shapes are those of flowd.model.describe.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from flowd.gateway.attachment.listeners import Gateway
from flowd.gateway.attachment.parent_ref import Condition
from flowd.gateway.matching.filters import filter_text, policy_texts
from flowd.gateway.matching.hostname import ANY
from flowd.gateway.matching.rules import Backend, Route
from flowd.gateway.table.backend_tls import BackendTls, Problem
from flowd.gateway.table.route_table import RouteTable


@dataclass(frozen=True, slots=True)
class ListenerInfo:
    name: str
    port: int
    protocol: str
    hostname: str  # "" for any


@dataclass(frozen=True, slots=True)
class GatewayInfo:
    namespace: str
    name: str
    class_name: str
    listeners: tuple[ListenerInfo, ...]


@dataclass(frozen=True, slots=True)
class BackendInfo:
    """A backendRef; `reason` says why it takes no traffic, `tls` whose name and policy, or "".

    `counted` is False when no object tells of endpoints; their numbers are 0 then.
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
    name: str
    matches: tuple[str, ...]
    filters: tuple[str, ...]
    backends: tuple[BackendInfo, ...]


@dataclass(frozen=True, slots=True)
class ParentInfo:
    """A listener that accepts the route, or a parentRef that none accepts."""

    gateway_namespace: str
    gateway: str
    listener: str
    conditions: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class RouteInfo:
    kind: str
    namespace: str
    name: str
    hostnames: tuple[str, ...]
    parents: tuple[ParentInfo, ...]
    rules: tuple[RuleInfo, ...]


@dataclass(frozen=True, slots=True)
class RoutesInfo:
    gateways: tuple[GatewayInfo, ...]
    routes: tuple[RouteInfo, ...]
    problems: tuple[Problem, ...] = ()


_LEFT_OUT = RuleInfo("", ("left out",), (), ())
"""In the place of a rule that is left out, so that a rule's place is its index."""


def describe(table: RouteTable) -> RoutesInfo:
    """Everything in a table, Gateways and routes in the order of kind, namespace and name."""
    tls = BackendTls(table.objects)
    return RoutesInfo(
        tuple(_gateway(gateway) for _, gateway in sorted(table.gateways.items())),
        tuple(_route(table, route, tls) for _, route in sorted(table.routes.items())),
        (*_left_out(table), *tls.problems),
    )


def _left_out(table: RouteTable) -> Iterator[Problem]:
    for (kind, namespace, name), route in sorted(table.routes.items()):
        for index, why in route.left_out:
            yield Problem(f"{kind}/{namespace}/{name}", f"rule {index} is left out: {why}")


def _gateway(gateway: Gateway) -> GatewayInfo:
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
    indices = (*(rule.index for rule in route.rules), *(index for index, _ in route.left_out))
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
