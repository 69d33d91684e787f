"""Which routes and which traffic stand under which listener."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

from flowd.wire.flowd import agent_pb2
from flowd_tui.data.store import Snapshot
from flowd_tui.data.traffic import Key

RouteId = tuple[str, str, str]  # kind, namespace, name


@dataclass(slots=True)
class Place:
    """One listener of one gateway, and what belongs under it; "" when that is not known.

    Attributes:
        port: `HTTP:80`.
        routes: those that attach here.
        traffic: the keys of requests that came in here.
    """

    namespace: str
    gateway: str
    listener: str = ""
    hostname: str = ""
    port: str = ""
    subject: agent_pb2.Gateway | None = None
    routes: dict[RouteId, agent_pb2.Route] = field(default_factory=dict[RouteId, agent_pb2.Route])
    traffic: list[Key] = field(default_factory=list[Key])

    @property
    def gateway_id(self) -> str:
        """`namespace/name`, or ""."""
        return f"{self.namespace}/{self.gateway}" if self.gateway else ""

    def conditions(self, route: agent_pb2.Route) -> list[agent_pb2.Condition]:
        """What the route's parentRefs to this listener say, one of a type and the false one."""
        found: dict[str, agent_pb2.Condition] = {}
        for parent in route.parents:
            mine = (parent.gateway_namespace, parent.gateway) == (self.namespace, self.gateway)
            for condition in parent.conditions if mine else ():
                here = parent.listener in ("", self.listener)
                if here and not (condition.status and condition.type in found):
                    found[condition.type] = condition
        return list(found.values())


def attached(snapshot: Snapshot) -> list[Place]:
    """Every listener that is configured or had traffic, gateways by name, listeners in order.

    Of the listeners of one gateway that accept a route, it stands under those where it had
    traffic, and without any under the first.
    """
    places = _configured(snapshot.topology.gateways)
    for key in snapshot.totals:
        _place_of(places, key.gateway_namespace, key.gateway, key.listener).traffic.append(key)
    for route in snapshot.topology.routes:
        ids = (route.kind, route.namespace, route.name)
        for place in _places_for(places, route):
            place.routes[ids] = route
    known = list(places.values())
    order = {id(place): index for index, place in enumerate(known)}
    known.sort(key=lambda p: (not p.gateway, p.namespace, p.gateway, order[id(p)]))
    return known


Places = dict[tuple[str, str, str], Place]


def _configured(gateways: Iterable[agent_pb2.Gateway]) -> Places:
    places: Places = {}
    for gateway in gateways:
        for listener in gateway.listeners:
            places[gateway.namespace, gateway.name, listener.name] = Place(
                gateway.namespace,
                gateway.name,
                listener.name,
                listener.hostname or "*",
                f"{listener.protocol}:{listener.port}",
                gateway,
            )
    return places


def _place_of(places: Places, namespace: str, gateway: str, listener: str) -> Place:
    here = [place for key, place in places.items() if key[:2] == (namespace, gateway)]
    if not listener and len(here) == 1:
        return here[0]
    return places.setdefault((namespace, gateway, listener), Place(namespace, gateway, listener))


def _places_for(places: Places, route: agent_pb2.Route) -> Iterable[Place]:
    ids = (route.kind, route.namespace, route.name)
    by_gateway: dict[tuple[str, str], list[Place]] = defaultdict(list)
    for parent in route.parents:
        gateway = (parent.gateway_namespace, parent.gateway)
        by_gateway[gateway].append(_place_of(places, *gateway, parent.listener))
    for here in by_gateway.values():
        used = [place for place in here if any(key[3:6] == ids for key in place.traffic)]
        yield from used or here[:1]
