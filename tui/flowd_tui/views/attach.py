"""Attach routes and traffic to listeners: the top level of the Gateways view's tree."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

from flowd.wire.flowd import agent_pb2
from flowd_tui.data.store import Snapshot
from flowd_tui.data.traffic import TrafficKey

RouteKey = tuple[str, str, str]  # kind, namespace, name


@dataclass(slots=True)
class AttachedListener:
    """A listener of a Gateway with its routes and traffic; unknown parts of its name are "".

    Attributes:
        port: protocol and port, `HTTP:80`.
        subject: the Gateway, if the agent knows it.
        routes: the routes shown under this listener.
        traffic: keys of the requests that this listener received.
    """

    namespace: str
    gateway: str
    listener: str = ""
    hostname: str = ""
    port: str = ""
    subject: agent_pb2.Gateway | None = None
    routes: dict[RouteKey, agent_pb2.Route] = field(default_factory=dict[RouteKey, agent_pb2.Route])
    traffic: list[TrafficKey] = field(default_factory=list[TrafficKey])

    @property
    def gateway_id(self) -> str:
        """`namespace/name` of the Gateway, or ""."""
        return f"{self.namespace}/{self.gateway}" if self.gateway else ""

    def conditions(self, route: agent_pb2.Route) -> list[agent_pb2.Condition]:
        """Conditions of the route's parentRefs to this listener: one of each type, preferably false."""
        found: dict[str, agent_pb2.Condition] = {}
        for parent in route.parents:
            same_gateway = (parent.gateway_namespace, parent.gateway) == (
                self.namespace,
                self.gateway,
            )
            for condition in parent.conditions if same_gateway else ():
                refers = parent.listener in ("", self.listener)
                if refers and not (condition.status and condition.type in found):
                    found[condition.type] = condition
        return list(found.values())


ListenersByKey = dict[tuple[str, str, str], AttachedListener]
"""Listeners by namespace and name of the Gateway and name of the listener."""


def attached_listeners(snapshot: Snapshot) -> list[AttachedListener]:
    """Every listener that is configured or had traffic, gateways by name, listeners in order.

    A route that several listeners of one Gateway accept is shown under those where it had traffic,
    or under the first one if it had none.
    """
    listeners = _configured(snapshot.topology.gateways)
    for key in snapshot.totals:
        listener = _listener_for(listeners, key.gateway_namespace, key.gateway, key.listener)
        listener.traffic.append(key)
    for route in snapshot.topology.routes:
        route_key = (route.kind, route.namespace, route.name)
        for listener in _listeners_of(listeners, route):
            listener.routes[route_key] = route
    known = list(listeners.values())
    order = {id(listener): index for index, listener in enumerate(known)}
    known.sort(key=lambda one: (not one.gateway, one.namespace, one.gateway, order[id(one)]))
    return known


def _configured(gateways: Iterable[agent_pb2.Gateway]) -> ListenersByKey:
    listeners: ListenersByKey = {}
    for gateway in gateways:
        for listener in gateway.listeners:
            listeners[gateway.namespace, gateway.name, listener.name] = AttachedListener(
                gateway.namespace,
                gateway.name,
                listener.name,
                listener.hostname or "*",
                f"{listener.protocol}:{listener.port}",
                gateway,
            )
    return listeners


def _listener_for(
    listeners: ListenersByKey, namespace: str, gateway: str, name: str
) -> AttachedListener:
    """The listener of that name, added if missing; without a name the Gateway's only listener."""
    siblings = [one for key, one in listeners.items() if key[:2] == (namespace, gateway)]
    if not name and len(siblings) == 1:
        return siblings[0]
    return listeners.setdefault(
        (namespace, gateway, name), AttachedListener(namespace, gateway, name)
    )


def _listeners_of(listeners: ListenersByKey, route: agent_pb2.Route) -> Iterable[AttachedListener]:
    route_key = (route.kind, route.namespace, route.name)
    by_gateway: dict[tuple[str, str], list[AttachedListener]] = defaultdict(list)
    for parent in route.parents:
        gateway = (parent.gateway_namespace, parent.gateway)
        by_gateway[gateway].append(_listener_for(listeners, *gateway, parent.listener))
    for accepting in by_gateway.values():
        used = [one for one in accepting if any(key[3:6] == route_key for key in one.traffic)]
        yield from used or accepting[:1]
