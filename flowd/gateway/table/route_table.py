"""Everything that the Gateway API objects of one moment say about requests."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from flowd.gateway.attachment.data_plane import DataPlane, Owner
from flowd.gateway.attachment.listener import Listener
from flowd.gateway.attachment.listeners import Gateway, Offers, read_gateways
from flowd.gateway.attachment.mesh import Mesh
from flowd.gateway.attachment.parent_ref import Parent
from flowd.gateway.attachment.route_parents import (
    Attached,
    attach_route,
    part_kinds,
    share_hosts,
    without_listener,
)
from flowd.gateway.matching.backend import ServicePoint, Services, serves
from flowd.gateway.matching.dialect import DIALECTS, Dialect
from flowd.gateway.matching.rules import Route, RouteKey, Rule
from flowd.gateway.matching.targets import Targets
from flowd.gateway.table.ingress import OWNER, Ingresses
from flowd.gateway.table.routes import AnyRoute, Builder, route_objects
from flowd.kubernetes.objects import gateway_api as gw
from flowd.kubernetes.objects.proxies import Group, groups
from flowd.kubernetes.objects.snapshot import Objects, differences
from flowd.model.route import RouteRef

_GATEWAY_KINDS = ("gateways", "listener_sets", "x_listener_sets")
"""What attachment to a Gateway depends on, apart from the route and the labels of namespaces."""


@dataclass(frozen=True, slots=True)
class _Built:
    """A route object as it was read, to be taken over as long as nothing it depends on changes.

    Attributes:
        backends: namespaces and names of what it refers to.
        headers: lower-case names of the headers that its matches look at.
        targets: what its matches and rewrites look at in paths and queries.
    """

    source: object
    route: Route
    refs: Sequence[gw.ParentRef]
    backends: tuple[tuple[str, str], ...]
    headers: tuple[str, ...]
    targets: Targets


@dataclass(slots=True)
class RouteTable:
    """Gateways, listeners, routes and backends, ready to match requests; not changed once built.

    Attributes:
        gateways: by `namespace/name`; an IngressClass is `IngressClass/name`.
        mesh: routes of Services.
        routes: by (kind, namespace, name), accepted or not.
        parents: what became of each parentRef, in the order of the object.
        header_names: lower-case names of the request headers that some match looks at.
        targets: what some match or rewrite looks at in paths and queries.
    """

    dialect: Dialect
    services: Services
    dataplane: DataPlane
    mesh: Mesh
    gateways: dict[str, Gateway] = field(default_factory=dict[str, Gateway])
    routes: dict[RouteKey, Route] = field(default_factory=dict[RouteKey, Route])
    parents: dict[RouteKey, list[Parent]] = field(default_factory=dict[RouteKey, list[Parent]])
    header_names: frozenset[str] = frozenset()
    targets: Targets = field(default_factory=Targets)
    _objects: Objects = field(default_factory=Objects)
    _built: dict[RouteKey, _Built] = field(default_factory=dict[RouteKey, _Built])
    _attached: dict[RouteKey, Attached] = field(default_factory=dict[RouteKey, Attached])
    _offers: Offers = field(default_factory=Offers)
    _relabelled: set[str] = field(default_factory=set[str])
    _groups: Mapping[Group, tuple[str, ...]] = field(default_factory=dict[Group, tuple[str, ...]])

    @classmethod
    def build(
        cls, objects: Objects, dialect: str = "spec", before: "RouteTable | None" = None
    ) -> "RouteTable":
        """Read the objects.

        Args:
            dialect: one of DIALECTS.
            before: a table of earlier objects; what did not change is taken over.

        Raises:
            UnsupportedError: a route has a regular expression and google-re2 is not installed.
        """
        words = DIALECTS[dialect]
        if before and before.dialect is not words:
            before = None
        services = Services(objects, before.services if before else None)
        plane = DataPlane(objects, words, before.dataplane if before else None)
        table = cls(words, services, plane, Mesh(objects), _objects=objects)
        table._groups = groups(objects)
        table._add_gateways(objects, before)
        table._add_routes(objects, before)
        return table

    def _add_gateways(self, objects: Objects, before: "RouteTable | None") -> None:
        known = before._objects if before else Objects()
        moved = differences(known.namespaces, objects.namespaces)
        self._relabelled = {name for (_, name), _ in moved}
        sets = {namespace for namespace, _ in (*objects.listener_sets, *objects.x_listener_sets)}
        if (
            not before
            or not self._relabelled.isdisjoint(sets)
            or any(getattr(objects, name) is not getattr(known, name) for name in _GATEWAY_KINDS)
        ):
            self.gateways, self._offers = read_gateways(objects)
            return
        self._offers = before._offers
        for gateway_id, gateway in before.gateways.items():
            if gateway.namespace != OWNER:
                listeners = [entry.bare() for entry in gateway.listeners]
                self.gateways[gateway_id] = replace(gateway, listeners=listeners)

    def _add_routes(self, objects: Objects, before: "RouteTable | None") -> None:
        accepted: dict[int, list[tuple[Route, str]]] = defaultdict(list)
        headers: set[str] = set()
        builder = Builder(objects, self.services, self.dialect)
        grants = bool(before) and objects.reference_grants is before._objects.reference_grants
        kept = before._built if before and grants else {}
        anything = bool(objects.services) == bool(before and before._objects.services)
        attached = before._attached if before and before._offers is self._offers else {}
        for name, item in route_objects(objects):
            built = kept.get(name) if anything else None
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
                found = attach_route(route, built.refs, self._offers, self.mesh, objects)
            self._attached[key] = found
            self.parents[key] = found.parents
            for number, pair in found.pairs:
                accepted[number].append(pair)
        if objects.ingresses:
            self._add_ingresses(objects, builder, accepted)
        if self.dialect.one_kind_a_host:
            self._part_kinds(accepted)
        old = {
            entry.number: entry
            for gateway in (before.gateways.values() if before else ())
            for entry in gateway.listeners
        }
        for gateway in self.gateways.values():
            if self.dialect.ports_share_hosts:
                share_hosts(gateway.listeners, accepted)
            for listener in gateway.listeners:
                listener.attach(accepted[listener.number], old.get(listener.number))
        self.header_names = frozenset(headers)
        ingresses = (route for key, route in self.routes.items() if key[0] == "Ingress")
        every = [built.targets for built in self._built.values()]
        self.targets = Targets.union([*every, *map(Targets.of, ingresses)])
        if before and before.targets == self.targets:
            self.targets = before.targets

    def _add_ingresses(
        self,
        objects: Objects,
        builder: Builder,
        accepted: dict[int, list[tuple[Route, str]]],
    ) -> None:
        used = [entry.number for owner in self.gateways.values() for entry in owner.listeners]
        ingresses = Ingresses(objects, builder, max(used, default=-1) + 1)
        self.gateways.update(ingresses.gateways)
        self.routes.update((route.key, route) for route in ingresses.routes)
        self.parents.update(ingresses.parents)
        for number, route, hostname in ingresses.pairs:
            accepted[number].append((route, hostname))

    def _part_kinds(self, accepted: dict[int, list[tuple[Route, str]]]) -> None:
        """Leave out HTTPRoutes and GRPCRoutes whose hostname an older one of the other kind has."""
        for gateway in self.gateways.values():
            for listener in gateway.listeners:
                pairs = accepted[listener.number]
                kept, lost = part_kinds(pairs)
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
        """What the table was read from; nothing once it is retired."""
        return self._objects

    def retire(self) -> None:
        """Forget what only the next table needs: it goes on to answer for requests of its time."""
        self._objects, self._offers = Objects(), Offers()
        self._built, self._attached = {}, {}

    def gateways_at(self, address: bytes) -> Sequence[str]:
        """`namespace/name` of the Gateways that the proxy at an address (16 bytes) serves."""
        found: dict[str, None] = {}
        for owner in self.dataplane.owners_at(address):
            found.update(dict.fromkeys(self.gateways_of(owner)))
        return tuple(found)

    def gateways_of(self, owner: Owner) -> Sequence[str]:
        """`namespace/name` of all Gateways that share a proxy; of one Gateway itself."""
        return (owner,) if isinstance(owner, str) else self._groups.get(owner, ())

    def listeners_at(self, gateways: Sequence[str], container_port: int) -> list[Listener]:
        """The listeners of Gateways, or of all when there are none, behind a port of the proxy."""
        return [
            listener
            for gateway in self._named(gateways)
            for listener in self.behind(gateway, container_port)
        ]

    def behind(self, gateway: Gateway, container_port: int) -> list[Listener]:
        """The listeners of a Gateway that its proxy serves on a port of its own."""
        group = Group("class", gateway.class_name)
        return self.dataplane.behind(gateway.listeners, container_port, (group,))

    def _named(self, gateways: Sequence[str]) -> list[Gateway]:
        if not gateways:
            return list(self.gateways.values())
        return [self.gateways[name] for name in gateways if name in self.gateways]

    def listeners_for(self, gateways: Sequence[str], http: bool) -> list[Listener]:
        """The listeners of Gateways, or of all, for requests or for connections."""
        listeners = [entry for gateway in self._named(gateways) for entry in gateway.listeners]
        return [listener for listener in listeners if listener.is_http == http]

    def accepting(
        self, key: RouteKey, listeners: list[Listener], gateways: Sequence[str]
    ) -> list[Listener]:
        """Those of the listeners that accept a route, or where there are none, all that do.

        Args:
            gateways: only listeners of these, where one of them is known.
        """
        if listeners:
            return [entry for entry in listeners if key in entry.attached] or listeners
        every = self._named(gateways) or self._named(())
        listeners = [entry for gateway in every for entry in gateway.listeners]
        return [listener for listener in listeners if key in listener.attached]

    def users(
        self, points: Sequence[ServicePoint], listeners: list[Listener]
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
        matches = {rule.index: rule.matches[-1].index for rule in route.rules}
        return ref.rule == -1 or ref.match <= matches.get(ref.rule, -2)


def _read(builder: Builder, item: AnyRoute) -> _Built:
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
    return _Built(item, route, refs, tuple(backends), tuple(headers), Targets.of(route))
