"""A route with all its parentRefs: where each one attaches it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from flowd.gateway.attachment.listener import HTTP_KINDS, Listener
from flowd.gateway.attachment.listeners import Offers
from flowd.gateway.attachment.mesh import Mesh
from flowd.gateway.attachment.parent_ref import Condition, Parent, attach_parent
from flowd.gateway.matching.hostname import ANY, covers, matching
from flowd.gateway.matching.rules import Route
from flowd.kubernetes.objects import gateway_api as gw
from flowd.kubernetes.objects.snapshot import Objects

Pair: TypeAlias = tuple[Route, str]
"""A route, and a hostname to match it under."""

_SET_KINDS = {"XListenerSet": "ListenerSet"}


@dataclass(frozen=True, slots=True)
class Attached:
    """Where a route is attached.

    Attributes:
        pairs: number of a listener, and what it accepts: the route and a hostname to match it under.
        uses_mesh: a Service is among the parents.
    """

    route: Route
    parents: list[Parent]
    pairs: tuple[tuple[int, Pair], ...]
    uses_mesh: bool


def attach_route(
    route: Route, refs: Sequence[gw.ParentRef], offers: Offers, mesh: Mesh, objects: Objects
) -> Attached:
    """Attach a route to every parent that it names; parents of kinds not known are passed over."""
    parents: list[Parent] = []
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
            route, ref, offers.by_parent.get(key), objects, offers.problems.get(key, "")
        )
        parents.append(parent)
        pairs.update(((listener.number, hostname), None) for listener, hostname in found)
    every = tuple((number, (route, hostname)) for number, hostname in pairs)
    return Attached(route, parents, every, uses_mesh)


def part_kinds(
    pairs: Sequence[tuple[Route, str]],
) -> tuple[list[tuple[Route, str]], list[Route]]:
    """Keep what one listener may accept: no HTTPRoute and GRPCRoute with hostnames that overlap.

    The older route wins (gateway-api, apis/v1/grpcroute_types.go, GRPCRouteSpec.Hostnames).

    Returns:
        The pairs that stay, and the routes that do not.
    """
    if len({route.kind for route, _ in pairs if route.kind in HTTP_KINDS}) < 2:
        return list(pairs), []
    names: dict[tuple[str, str, str], list[str]] = {}
    routes: dict[tuple[str, str, str], Route] = {}
    for route, hostname in pairs:
        names.setdefault(route.key, []).append(hostname)
        routes[route.key] = route
    taken: dict[str, set[str]] = {kind: set() for kind in HTTP_KINDS}
    lost: dict[tuple[str, str, str], Route] = {}
    for route in sorted(routes.values(), key=lambda entry: entry.age):
        if route.kind not in HTTP_KINDS:
            continue
        (other,) = (taken[kind] for kind in HTTP_KINDS if kind != route.kind)
        if any(_overlaps(name, other) for name in names[route.key]):
            lost[route.key] = route
        else:
            taken[route.kind].update(names[route.key])
    return [pair for pair in pairs if pair[0].key not in lost], list(lost.values())


def _overlaps(hostname: str, taken: set[str]) -> bool:
    if not taken:
        return False
    if hostname == ANY or any(name in taken for name in matching(hostname)):
        return True
    return hostname.startswith("*") and any(covers(hostname, name) for name in taken)


def share_hosts(listeners: Sequence[Listener], accepted: dict[int, list[Pair]]) -> None:
    """Let listeners without TLS of one Gateway accept what any of them does, also for their ports.

    As Cilium has it, whose listeners of that kind are one RouteConfiguration (`listener-insecure`).
    Gateways with a single such listener are left alone.
    """
    plain = [entry for entry in listeners if entry.protocol == "HTTP" and not entry.problem]
    if len(plain) < 2:
        return
    pairs = [pair for listener in plain for pair in accepted[listener.number]]
    every = list({(id(route), hostname): (route, hostname) for route, hostname in pairs}.values())
    for listener in plain:
        listener.shares_hosts = True
        accepted[listener.number] = every


def without_listener(parent: Parent, namespace: str, gateway: str, listener: str) -> Parent:
    """A parent whose listener does not accept the route for the sake of an older one."""
    if (parent.gateway_namespace, parent.gateway) != (namespace, gateway):
        return parent
    left = tuple(name for name in parent.listeners if name != listener)
    if left or not parent.listeners:
        return replace(parent, listeners=left)
    message = f"an older route of the other kind has the hostname on {listener}"
    accepted = Condition("Accepted", False, "HostnameConflict", message)
    return replace(parent, listeners=(), conditions=(accepted, *parent.conditions[1:]))
