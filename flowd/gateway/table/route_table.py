"""Route table: Gateways, listeners, routes and backends of one snapshot, built incrementally."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from flowd.gateway.attachment.data_plane import DataPlane, ProxyOwner
from flowd.gateway.attachment.listener import ListenerState
from flowd.gateway.attachment.listeners import GatewayState, ParentIndex, read_gateways
from flowd.gateway.attachment.mesh import Mesh
from flowd.gateway.attachment.parent_ref import ParentStatus
from flowd.gateway.attachment.route_parents import (
    RouteAttachment,
    attach_route,
    resolve_kind_conflicts,
    share_virtual_hosts,
    without_listener,
)
from flowd.gateway.matching.backend import ServiceIndex, ServicePortRef, serves
from flowd.gateway.matching.dialect import DIALECTS, Dialect
from flowd.gateway.matching.rules import Route, RouteKey, Rule
from flowd.gateway.matching.targets import MatchTargets
from flowd.gateway.table.ingress import INGRESS_CLASS, IngressRoutes
from flowd.gateway.table.routes import AnyRoute, RouteBuilder, route_objects
from flowd.kubernetes.objects import gateway_api as gw
from flowd.kubernetes.objects.proxies import ProxyGroup, proxy_groups
from flowd.kubernetes.objects.snapshot import Objects, differences
from flowd.model.route import RouteRef

_GATEWAY_KINDS = ("gateways", "listener_sets", "x_listener_sets")
"""Kinds that attachment depends on, besides the route and the labels of namespaces."""


@dataclass(frozen=True, slots=True)
class _BuiltRoute:
    """A route built from an object; the next table reuses it while its dependencies are unchanged.

    Attributes:
        source: the object.
        refs: parentRefs of the object.
        backends: namespace and name of each referenced backend.
        headers: lower-case names of the headers in its matches.
        targets: paths and query parameters in its matches and rewrites.
    """

    source: object
    route: Route
    refs: Sequence[gw.ParentReference]
    backends: tuple[tuple[str, str], ...]
    headers: tuple[str, ...]
    targets: MatchTargets


@dataclass(slots=True)
class RouteTable:
    """Gateways, listeners, routes and backends, ready to match requests; immutable once built.

    Attributes:
        gateways: Gateways by `namespace/name`, IngressClasses by `IngressClass/name`.
        mesh: routes whose parent is a Service.
        routes: routes by (kind, namespace, name), accepted or not.
        parents: status of each parentRef, in the order of the object.
        header_names: lower-case names of the request headers in any match.
        targets: paths and query parameters in any match or rewrite.
    """

    dialect: Dialect
    services: ServiceIndex
    dataplane: DataPlane
    mesh: Mesh
    gateways: dict[str, GatewayState] = field(default_factory=dict[str, GatewayState])
    routes: dict[RouteKey, Route] = field(default_factory=dict[RouteKey, Route])
    parents: dict[RouteKey, list[ParentStatus]] = field(
        default_factory=dict[RouteKey, list[ParentStatus]]
    )
    header_names: frozenset[str] = frozenset()
    targets: MatchTargets = field(default_factory=MatchTargets)
    _objects: Objects = field(default_factory=Objects)
    _built: dict[RouteKey, _BuiltRoute] = field(default_factory=dict[RouteKey, _BuiltRoute])
    _attached: dict[RouteKey, RouteAttachment] = field(
        default_factory=dict[RouteKey, RouteAttachment]
    )
    _parent_index: ParentIndex = field(default_factory=ParentIndex)
    _relabelled: set[str] = field(default_factory=set[str])
    _groups: Mapping[ProxyGroup, tuple[str, ...]] = field(
        default_factory=dict[ProxyGroup, tuple[str, ...]]
    )

    @classmethod
    def build(
        cls, objects: Objects, dialect: str = "spec", before: "RouteTable | None" = None
    ) -> "RouteTable":
        """Build a table from a snapshot of objects.

        Args:
            dialect: a key of DIALECTS.
            before: a table of earlier objects; its unchanged parts are reused.

        Raises:
            UnsupportedError: a route has a regular expression and google-re2 is not installed.
        """
        definition = DIALECTS[dialect]
        if before and before.dialect is not definition:
            before = None
        services = ServiceIndex(objects, before.services if before else None)
        plane = DataPlane(objects, definition, before.dataplane if before else None)
        table = cls(definition, services, plane, Mesh(objects), _objects=objects)
        table._groups = proxy_groups(objects)
        table._add_gateways(objects, before)
        table._add_routes(objects, before)
        return table

    def _add_gateways(self, objects: Objects, before: "RouteTable | None") -> None:
        old_objects = before._objects if before else Objects()
        changed_namespaces = differences(old_objects.namespaces, objects.namespaces)
        self._relabelled = {name for (_, name), _ in changed_namespaces}
        sets = {namespace for namespace, _ in (*objects.listener_sets, *objects.x_listener_sets)}
        if (
            not before
            or not self._relabelled.isdisjoint(sets)
            or any(
                getattr(objects, name) is not getattr(old_objects, name) for name in _GATEWAY_KINDS
            )
        ):
            self.gateways, self._parent_index = read_gateways(objects)
            return
        self._parent_index = before._parent_index
        for gateway_id, gateway in before.gateways.items():
            if gateway.namespace != INGRESS_CLASS:
                listeners = [entry.without_routes() for entry in gateway.listeners]
                self.gateways[gateway_id] = replace(gateway, listeners=listeners)

    def _add_routes(self, objects: Objects, before: "RouteTable | None") -> None:
        accepted: dict[int, list[tuple[Route, str]]] = defaultdict(list)
        headers: set[str] = set()
        builder = RouteBuilder(objects, self.services, self.dialect)
        grants = bool(before) and objects.reference_grants is before._objects.reference_grants
        kept = before._built if before and grants else {}
        same_checks = bool(objects.services) == bool(before and before._objects.services)
        attached = before._attached if before and before._parent_index is self._parent_index else {}
        for name, item in route_objects(objects):
            built = kept.get(name) if same_checks else None
            if (
                built is None
                or built.source is not item
                or not self.services.changed.isdisjoint(built.backends)
            ):
                built = _read(builder, item)
            route = built.route
            key = route.key
            self._built[key] = built
            self.routes[key] = route
            headers.update(built.headers)
            found = attached.get(key)
            if (
                found is None
                or found.route is not route
                or found.uses_mesh
                or route.namespace in self._relabelled
            ):
                found = attach_route(route, built.refs, self._parent_index, self.mesh, objects)
            self._attached[key] = found
            self.parents[key] = found.parents
            for number, pair in found.pairs:
                accepted[number].append(pair)
        if objects.ingresses:
            self._add_ingresses(objects, builder, accepted)
        if self.dialect.one_kind_a_host:
            self._resolve_kind_conflicts(accepted)
        old = {
            entry.number: entry
            for gateway in (before.gateways.values() if before else ())
            for entry in gateway.listeners
        }
        for gateway in self.gateways.values():
            if self.dialect.ports_share_hosts:
                share_virtual_hosts(gateway.listeners, accepted)
            for listener in gateway.listeners:
                listener.attach(accepted[listener.number], old.get(listener.number))
        self.header_names = frozenset(headers)
        ingresses = (route for key, route in self.routes.items() if key[0] == "Ingress")
        targets = [built.targets for built in self._built.values()]
        self.targets = MatchTargets.union([*targets, *map(MatchTargets.of, ingresses)])
        if before and before.targets == self.targets:
            self.targets = before.targets

    def _add_ingresses(
        self,
        objects: Objects,
        builder: RouteBuilder,
        accepted: dict[int, list[tuple[Route, str]]],
    ) -> None:
        used = [entry.number for owner in self.gateways.values() for entry in owner.listeners]
        ingresses = IngressRoutes(objects, builder, max(used, default=-1) + 1)
        self.gateways.update(ingresses.gateways)
        self.routes.update((route.key, route) for route in ingresses.routes)
        self.parents.update(ingresses.parents)
        for number, route, hostname in ingresses.pairs:
            accepted[number].append((route, hostname))

    def _resolve_kind_conflicts(self, accepted: dict[int, list[tuple[Route, str]]]) -> None:
        """Reject HTTPRoutes and GRPCRoutes whose hostname an older route of the other kind has."""
        for gateway in self.gateways.values():
            for listener in gateway.listeners:
                pairs = accepted[listener.number]
                kept, lost = resolve_kind_conflicts(pairs)
                if not lost:
                    continue
                accepted[listener.number] = kept
                for route in lost:
                    self.parents[route.key] = [
                        without_listener(
                            parent, gateway.namespace, gateway.name, listener.full_name
                        )
                        for parent in self.parents[route.key]
                    ]

    @property
    def objects(self) -> Objects:
        """Snapshot that the table was built from; empty once the table is retired."""
        return self._objects

    def retire(self) -> None:
        """Release the data that only building the next table needs; matching still works."""
        self._objects, self._parent_index = Objects(), ParentIndex()
        self._built, self._attached = {}, {}

    def gateways_at(self, address: bytes) -> Sequence[str]:
        """`namespace/name` of the Gateways that the proxy at an address (16 bytes) serves."""
        found: dict[str, None] = {}
        for owner in self.dataplane.owners_at(address):
            found.update(dict.fromkeys(self.gateways_of(owner)))
        return tuple(found)

    def gateways_of(self, owner: ProxyOwner) -> Sequence[str]:
        """`namespace/name` of all Gateways of a proxy owner: the Gateway itself or its group."""
        return (owner,) if isinstance(owner, str) else self._groups.get(owner, ())

    def listeners_at(self, gateways: Sequence[str], container_port: int) -> list[ListenerState]:
        """Listeners of the Gateways (all when empty) behind a container port of the proxy."""
        return [
            listener
            for gateway in self._named(gateways)
            for listener in self.listeners_behind(gateway, container_port)
        ]

    def listeners_behind(self, gateway: GatewayState, container_port: int) -> list[ListenerState]:
        """Listeners of one Gateway that its proxy serves on a container port."""
        group = ProxyGroup("class", gateway.class_name)
        return self.dataplane.listeners_behind(gateway.listeners, container_port, (group,))

    def _named(self, gateways: Sequence[str]) -> list[GatewayState]:
        if not gateways:
            return list(self.gateways.values())
        return [self.gateways[name] for name in gateways if name in self.gateways]

    def listeners_for(self, gateways: Sequence[str], http: bool) -> list[ListenerState]:
        """Listeners of the Gateways (all when empty), for HTTP or for other connections."""
        listeners = [entry for gateway in self._named(gateways) for entry in gateway.listeners]
        return [listener for listener in listeners if listener.is_http == http]

    def accepting_listeners(
        self, key: RouteKey, listeners: list[ListenerState], gateways: Sequence[str]
    ) -> list[ListenerState]:
        """Listeners that accept a route, among the given ones or, without any, among all.

        When none of the given listeners accepts the route, all given ones are returned.

        Args:
            gateways: restricts the search to these Gateways, as far as they are known.
        """
        if listeners:
            return [entry for entry in listeners if key in entry.attached] or listeners
        searched = self._named(gateways) or self._named(())
        listeners = [entry for gateway in searched for entry in gateway.listeners]
        return [listener for listener in listeners if key in listener.attached]

    def routes_using(
        self, service_ports: Sequence[ServicePortRef], listeners: list[ListenerState]
    ) -> list[tuple[RouteKey, list[Rule]]]:
        """Routes with a backend among these Service ports, and the rules that have it.

        Args:
            listeners: restricts the result to routes that one of these listeners accepts.
        """
        keys = {key for listener in listeners for key in listener.attached}
        candidates = (
            (key, [rule for rule in route.rules if serves(rule, service_ports)])
            for key, route in self.routes.items()
            if not listeners or key in keys
        )
        return [(key, rules) for key, rules in candidates if rules]

    def contains(self, ref: RouteRef) -> bool:
        """Whether Gateway, route, rule and match of a reference are in the table."""
        if ref.gateway and ref.gateway_id not in self.gateways:
            return False
        if not ref.kind:
            return True
        route = self.routes.get((ref.kind, ref.namespace, ref.name))
        if not route:
            return False
        matches = {rule.index: rule.matches[-1].index for rule in route.rules}
        return ref.rule == -1 or ref.match <= matches.get(ref.rule, -2)


def _read(builder: RouteBuilder, item: AnyRoute) -> _BuiltRoute:
    route = builder.build(item)
    backends = {
        (backend.ref.namespace, backend.ref.name)
        for rule in route.rules
        for backend in (*rule.backends, *rule.mirrors)
    }
    headers = {
        test.name for rule in route.rules for match in rule.matches for test in match.headers
    }
    refs = item.spec.parent_refs
    return _BuiltRoute(item, route, refs, tuple(backends), tuple(headers), MatchTargets.of(route))
