"""Everything that the Gateway API objects of one moment say about requests."""

from collections import defaultdict
from dataclasses import dataclass, field

from flowd.gateway.attachment import Offer, Parent, attach_parent
from flowd.gateway.backend import ServicePoint, Services, serves
from flowd.gateway.build import build_routes
from flowd.gateway.dataplane import DataPlane
from flowd.gateway.dialect import DIALECTS, Dialect
from flowd.gateway.hostname import ANY
from flowd.gateway.listener import Listener
from flowd.gateway.rules import Route, RouteKey, Rule
from flowd.kubernetes.objects import Objects
from flowd.model.route import RouteRef


@dataclass(slots=True)
class Gateway:
    """A Gateway and its listeners in the order of the object."""

    namespace: str
    name: str
    class_name: str
    listeners: list[Listener]


@dataclass(slots=True)
class RouteTable:
    """Gateways, listeners, routes and backends, ready to match requests; not changed once built.

    Attributes:
        gateways: by `namespace/name`.
        routes: by (kind, namespace, name), accepted or not.
        parents: what became of each parentRef that names a Gateway, in the order of the object.
        header_names: lower-case names of the request headers that some match looks at.
    """

    dialect: Dialect
    services: Services
    dataplane: DataPlane
    gateways: dict[str, Gateway] = field(default_factory=dict[str, Gateway])
    routes: dict[RouteKey, Route] = field(default_factory=dict[RouteKey, Route])
    parents: dict[RouteKey, list[Parent]] = field(default_factory=dict[RouteKey, list[Parent]])
    header_names: frozenset[str] = frozenset()

    @classmethod
    def build(cls, objects: Objects, dialect: str = "spec") -> "RouteTable":
        """Read the objects.

        Args:
            dialect: one of DIALECTS.

        Raises:
            UnsupportedError: a route has a regular expression and google-re2 is not installed.
        """
        services = Services(objects)
        table = cls(DIALECTS[dialect], services, DataPlane(objects, DIALECTS[dialect]))
        offers = table._add_gateways(objects)
        table._add_routes(objects, offers)
        return table

    def _add_gateways(self, objects: Objects) -> dict[str, list[Offer]]:
        offers: dict[str, list[Offer]] = {}
        for (namespace, name), gateway in sorted(objects.gateways.items()):
            gateway_id = f"{namespace}/{name}"
            offers[gateway_id] = [
                Offer(
                    Listener(
                        namespace,
                        name,
                        spec.name,
                        spec.port,
                        spec.protocol,
                        spec.hostname.lower() or ANY,
                    ),
                    spec,
                )
                for spec in gateway.spec.listeners
            ]
            listeners = [offer.listener for offer in offers[gateway_id]]
            class_name = gateway.spec.gateway_class_name
            self.gateways[gateway_id] = Gateway(namespace, name, class_name, listeners)
        return offers

    def _add_routes(self, objects: Objects, offers: dict[str, list[Offer]]) -> None:
        accepted: dict[int, list[tuple[Route, str]]] = defaultdict(list)
        headers: set[str] = set()
        for route, refs in build_routes(objects, self.services, self.dialect):
            self.routes[route.key] = route
            parents = self.parents[route.key] = []
            headers.update(
                test.name
                for rule in route.rules
                for match in rule.matches
                for test in match.headers
            )
            for ref in refs:
                if ref.kind != "Gateway":
                    continue
                gateway_id = f"{ref.namespace or route.namespace}/{ref.name}"
                parent, pairs = attach_parent(route, ref, offers.get(gateway_id), objects)
                parents.append(parent)
                for listener, hostname in pairs:
                    if (route, hostname) not in accepted[id(listener)]:
                        accepted[id(listener)].append((route, hostname))
        for gateway in self.gateways.values():
            for listener in gateway.listeners:
                listener.attach(accepted[id(listener)])
        self.header_names = frozenset(headers)

    def listeners_at(self, gateway_id: str, container_port: int) -> list[Listener]:
        """The listeners of a Gateway, or of all when it is "", behind a port of the proxy."""
        gateways = [self.gateways.get(gateway_id)] if gateway_id else self.gateways.values()
        return [
            listener
            for gateway in gateways
            if gateway
            for listener in self.dataplane.behind(gateway.listeners, container_port)
        ]

    def listeners_for(self, gateway_id: str, http: bool) -> list[Listener]:
        """The listeners of a Gateway, or of all, for requests or for connections."""
        gateways = [self.gateways.get(gateway_id)] if gateway_id else self.gateways.values()
        listeners = [listener for gateway in gateways if gateway for listener in gateway.listeners]
        return [listener for listener in listeners if listener.is_http == http]

    def accepting(
        self, key: RouteKey, listeners: list[Listener], gateway_id: str
    ) -> list[Listener]:
        """Those of the listeners that accept a route, or where there are none, all that do."""
        if listeners:
            return [entry for entry in listeners if key in entry.attached] or listeners
        return [
            listener
            for gateway in self.gateways.values()
            if gateway_id not in self.gateways
            or f"{gateway.namespace}/{gateway.name}" == gateway_id
            for listener in gateway.listeners
            if key in listener.attached
        ]

    def users(
        self, points: list[ServicePoint], listeners: list[Listener]
    ) -> list[tuple[RouteKey, list[Rule]]]:
        """The routes with a backend among these Services, and their rules that have it.

        Args:
            listeners: only routes that one of these accepts, where there are any.
        """
        keys = {key for listener in listeners for key in listener.attached}
        every = (
            (key, [rule for rule in route.rules if serves(rule, points)])
            for key, route in self.routes.items()
            if not listeners or key in keys
        )
        return [(key, rules) for key, rules in every if rules]

    def confirms(self, ref: RouteRef) -> bool:
        """Whether all that a reference names is among the objects."""
        if ref.gateway and ref.gateway_id not in self.gateways:
            return False
        if not ref.kind:
            return True
        route = self.routes.get((ref.kind, ref.namespace, ref.name))
        if not route:
            return False
        matches = {rule.index: len(rule.matches) for rule in route.rules}
        return ref.rule == -1 or ref.match < matches.get(ref.rule, -1)
