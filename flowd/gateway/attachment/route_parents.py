"""Attach routes by all their parentRefs, and resolve kind conflicts of one hostname."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from flowd.gateway.attachment.listener import HTTP_KINDS, ListenerState
from flowd.gateway.attachment.listeners import ParentIndex
from flowd.gateway.attachment.mesh import Mesh
from flowd.gateway.attachment.parent_ref import Condition, ParentStatus, attach_parent
from flowd.gateway.matching.hostname import ANY, covering_hostnames, covers
from flowd.gateway.matching.rules import Route
from flowd.kubernetes.objects import gateway_api as gw
from flowd.kubernetes.objects.snapshot import Objects

AcceptedRoute: TypeAlias = tuple[Route, str]
"""An accepted route with a hostname to match it under."""

_SET_KINDS = {"XListenerSet": "ListenerSet"}


@dataclass(frozen=True, slots=True)
class RouteAttachment:
    """Attachment of one route.

    Attributes:
        parents: status of each parentRef.
        pairs: number of the accepting listener, and the route with a hostname to match it under.
        uses_mesh: a Service is among the parents.
    """

    route: Route
    parents: list[ParentStatus]
    pairs: tuple[tuple[int, AcceptedRoute], ...]
    uses_mesh: bool


def attach_route(
    route: Route,
    refs: Sequence[gw.ParentReference],
    index: ParentIndex,
    mesh: Mesh,
    objects: Objects,
) -> RouteAttachment:
    """Attach a route to every parent it names; parents of unknown kinds are ignored."""
    parents: list[ParentStatus] = []
    pairs: dict[tuple[int, str], None] = {}
    uses_mesh = False
    for ref in refs:
        if (ref.group, ref.kind) == ("", "Service"):
            parents.append(mesh.attach(route, ref))
            uses_mesh = True
            continue
        kind = _SET_KINDS.get(ref.kind, ref.kind)
        if kind not in ("Gateway", "ListenerSet") or ref.group not in (gw.GROUP, gw.X_GROUP):
            continue
        key = kind, ref.namespace or route.namespace, ref.name
        parent, found = attach_parent(
            route, ref, index.by_parent.get(key), objects, index.problems.get(key, "")
        )
        parents.append(parent)
        pairs.update(((listener.number, hostname), None) for listener, hostname in found)
    accepted = tuple((number, (route, hostname)) for number, hostname in pairs)
    return RouteAttachment(route, parents, accepted, uses_mesh)


def resolve_kind_conflicts(
    pairs: Sequence[tuple[Route, str]],
) -> tuple[list[tuple[Route, str]], list[Route]]:
    """Reject routes of one listener that conflict in kind: HTTPRoute and GRPCRoute on one hostname.

    The older route wins (gateway-api, apis/v1/grpcroute_types.go, GRPCRouteSpec.Hostnames).

    Returns:
        The accepted pairs, and the rejected routes.
    """
    if len({route.kind for route, _ in pairs if route.kind in HTTP_KINDS}) < 2:
        return list(pairs), []
    names: dict[tuple[str, str, str], list[str]] = {}
    routes: dict[tuple[str, str, str], Route] = {}
    for route, hostname in pairs:
        names.setdefault(route.key, []).append(hostname)
        routes[route.key] = route
    hostnames: dict[str, set[str]] = {kind: set() for kind in HTTP_KINDS}
    lost: dict[tuple[str, str, str], Route] = {}
    for route in sorted(routes.values(), key=lambda entry: entry.age):
        if route.kind not in HTTP_KINDS:
            continue
        (other,) = (hostnames[kind] for kind in HTTP_KINDS if kind != route.kind)
        if any(_overlaps(name, other) for name in names[route.key]):
            lost[route.key] = route
        else:
            hostnames[route.kind].update(names[route.key])
    return [pair for pair in pairs if pair[0].key not in lost], list(lost.values())


def _overlaps(hostname: str, hostnames: set[str]) -> bool:
    if not hostnames:
        return False
    if hostname == ANY or any(name in hostnames for name in covering_hostnames(hostname)):
        return True
    return hostname.startswith("*") and any(covers(hostname, name) for name in hostnames)


def share_virtual_hosts(
    listeners: Sequence[ListenerState], accepted: dict[int, list[AcceptedRoute]]
) -> None:
    """Share the routes of all listeners without TLS of one Gateway, across ports.

    Cilium puts these listeners into one RouteConfiguration (`listener-insecure`). A Gateway with a
    single such listener is not changed.

    Args:
        accepted: accepted routes by number of the listener, changed in place.
    """
    plain = [entry for entry in listeners if entry.protocol == "HTTP" and not entry.problem]
    if len(plain) < 2:
        return
    pairs = [pair for listener in plain for pair in accepted[listener.number]]
    shared = list({(id(route), hostname): (route, hostname) for route, hostname in pairs}.values())
    for listener in plain:
        listener.shares_hosts = True
        accepted[listener.number] = shared


def without_listener(
    parent: ParentStatus, namespace: str, gateway: str, listener: str
) -> ParentStatus:
    """Parent status after a listener rejected the route in favour of an older one."""
    if (parent.gateway_namespace, parent.gateway) != (namespace, gateway):
        return parent
    remaining = tuple(name for name in parent.listeners if name != listener)
    if remaining or not parent.listeners:
        return replace(parent, listeners=remaining)
    message = f"an older route of the other kind has the hostname on {listener}"
    accepted = Condition("Accepted", False, "HostnameConflict", message)
    return replace(parent, listeners=(), conditions=(accepted, *parent.conditions[1:]))
