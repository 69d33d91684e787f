"""Attribution of one entry against one table: name, resolver, cluster, listener, in this order."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from flowd.gateway.backend import ServicePoint, backend_of, serves
from flowd.gateway.dialect import split_path
from flowd.gateway.entry import NO_ADDRESS, Detail, Shape, no_route_reason
from flowd.gateway.filters import can_produce, renames
from flowd.gateway.hostname import normal
from flowd.gateway.listener import Listener, choose
from flowd.gateway.names import RouteName, cluster_route, cluster_service, gateway_name, route_names
from flowd.gateway.rules import RouteKey, Rule
from flowd.gateway.table import RouteTable
from flowd.gateway.vhost import Candidate, Query
from flowd.model.enums import Attribution, EntryKind
from flowd.model.route import NO_BACKEND, NO_ROUTE, BackendRef, RouteRef

MAX_SHAPES = 65_536


@dataclass(frozen=True, slots=True)
class Answer:
    """The outcome for an entry.

    Attributes:
        by_shape: every entry of that shape has the same.
        conflict: the name of the route and the matching rules disagree.
    """

    route: RouteRef
    backend: BackendRef
    attribution: Attribution
    by_shape: bool = False
    conflict: bool = False


@dataclass(frozen=True, slots=True)
class _Sides:
    """What is known of both sides of the proxy, the same for every entry of a shape.

    Attributes:
        gateway: `namespace/name`, or "".
        listeners: those that the proxy's port leaves.
        points: Services of the upstream address.
        service, owner: Service, or route and rule, that the cluster is named after.
        name: what the names say of the route.
    """

    shape: Shape
    is_http: bool
    gateway: str
    listeners: list[Listener]
    points: Sequence[ServicePoint]
    service: ServicePoint | None
    owner: RouteName | None
    name: RouteName | None


@dataclass(frozen=True, slots=True)
class _Case:
    """An entry: its two sides, its own part, and its host as compared."""

    sides: _Sides
    detail: Detail
    host: str


class Evidence:
    """Answers for entries, from what the objects of one moment say."""

    def __init__(self, table: RouteTable) -> None:
        self._table = table
        self._known: dict[Shape, _Sides] = {}

    def answer(self, shape: Shape, detail: Detail) -> Answer:
        """Gather the evidence; a later kind of it only fills what an earlier one left open."""
        sides = self._known.get(shape)
        if sides is None:
            if len(self._known) >= MAX_SHAPES:
                self._known.clear()
            sides = self._known[shape] = self._sides(shape)
        host = normal(detail.headers.get("x-envoy-original-host") or detail.host)
        case = _Case(sides, detail, host)
        if sides.name:
            return self._by_name(case, sides.name)
        reason = no_route_reason(shape.kind, detail.details, detail.flags)
        if not reason:
            answer = self._by_rules(case) or self._by_cluster(case)
            if answer:
                return answer
        return _by_listener(case, reason or "unresolved")

    def _sides(self, shape: Shape) -> _Sides:
        table = self._table
        is_http = shape.kind == EntryKind.HTTP
        gateway = table.dataplane.gateway_at(shape.local_addr) or gateway_name(shape.node_cluster)
        known = gateway if gateway in table.gateways else ""
        listeners = table.listeners_at(known, shape.local_port) if shape.local_port else []
        if not listeners and (known or not shape.local_port):
            listeners = table.listeners_for(known, is_http)
        told = shape.up_addr != NO_ADDRESS
        owner = cluster_route(shape.cluster) if shape.cluster else None
        return _Sides(
            shape,
            is_http,
            gateway,
            listeners,
            table.services.at(shape.up_addr, shape.up_port) if told else (),
            cluster_service(shape.cluster) if shape.cluster else None,
            owner,
            self._name(shape.route_name) if is_http else owner,
        )

    def _name(self, text: str) -> RouteName | None:
        for name in route_names(text):
            if name.certain or name.key in self._table.routes:
                return name
        return None

    def _by_name(self, case: _Case, name: RouteName) -> Answer:
        attached = self._table.accepting(name.key, case.sides.listeners, case.sides.gateway)
        chosen = _choose(case, attached)
        rule = self._rule(name)
        match = name.match
        by_shape = len(attached) <= 1
        if not case.sides.is_http or (match < 0 and rule and len(rule.matches) == 1):
            match = 0
        elif match < 0:
            found = self._resolve(case, name)
            match, by_shape = (found[1].match.index if found else -1), False
        index = rule.index if rule else max(name.rule, 0 if not case.sides.is_http else -1)
        route = _route_ref(case, chosen, name.key, index, match, rule)
        backend = _backend(case, rule, name.backend)
        return Answer(route, backend, Attribution.NAME, by_shape, self._disagree(case, name))

    def _disagree(self, case: _Case, name: RouteName) -> bool:
        """Whether no match of the rule that the name tells can have taken the request."""
        if not case.sides.is_http or name.key not in self._table.routes or name.rule < 0:
            return False
        listeners = _choose(case, case.sides.listeners)
        path, query = split_path(case.detail.original_path or case.detail.path)
        parameters, method, headers = Query(query), case.detail.method, case.detail.headers
        return bool(listeners) and not any(
            (candidate.route.key, candidate.rule.index) == (name.key, name.rule)
            and candidate.match.takes_rest(method, headers, parameters, lenient=True)
            for listener in listeners
            for candidate in _reachable(listener, case.host, path)
        )

    def _by_rules(self, case: _Case) -> Answer | None:
        found = self._resolve(case, case.sides.owner)
        if not found:
            return None
        listener, (route, rule, match) = found
        ref = _route_ref(case, [listener], route.key, rule.index, match.index, rule)
        return Answer(ref, _backend(case, rule), Attribution.RESOLVER)

    def _by_cluster(self, case: _Case) -> Answer | None:
        """A route that the cluster is named after, or the only one that uses the backend."""
        if owner := case.sides.owner:
            rule = self._rule(owner)
            key, index = owner.key, owner.rule
        else:
            points = [case.sides.service] if case.sides.service else case.sides.points
            users = self._table.users(points, case.sides.listeners)
            if len(users) != 1:
                return None
            key, rules = users[0]
            rule = rules[0] if len(rules) == 1 else None
            index = rule.index if rule else -1
        match = 0 if rule and len(rule.matches) == 1 else -1
        chosen = _choose(case, self._table.accepting(key, case.sides.listeners, case.sides.gateway))
        ref = _route_ref(case, chosen, key, index, match, rule)
        backend = _backend(case, rule, owner.backend if owner else -1)
        return Answer(ref, backend, Attribution.CLUSTER)

    def _rule(self, name: RouteName) -> Rule | None:
        route = self._table.routes.get(name.key)
        index = max(name.rule, 0)
        return next((rule for rule in route.rules if rule.index == index), None) if route else None

    def _resolve(self, case: _Case, only: RouteName | None) -> tuple[Listener, Candidate] | None:
        """Match the request again; what the upstream side contradicts yields to what fits it.

        A logged host or path may be that after a rewrite, and a header that a match looks at may
        not be in the log: then the first match that those facts allow and that leads to the
        Service which answered is the one.
        """
        listeners = _choose(case, case.sides.listeners)
        if not case.sides.is_http:
            streams = ((entry, entry.stream(case.detail.sni.lower())) for entry in listeners)
            return next(((entry, found) for entry, found in streams if found), None)
        path, query = split_path(case.detail.original_path or case.detail.path)
        method, headers = case.detail.method, case.detail.headers
        if "user-agent" in self._table.header_names:
            headers = {"user-agent": case.detail.user_agent, **headers}
        first: tuple[Listener, Candidate] | None = None
        for listener in listeners:
            found = listener.find(case.host, path, query, method, headers)
            if found and _fits(case, found, only):
                return listener, found
            first = first or ((listener, found) if found else None)
        if only or case.sides.points or case.sides.service or case.sides.shape.route_name:
            parameters = Query(query)
            for listener in listeners:
                for candidate in _reachable(listener, case.host, path):
                    takes = candidate.match.takes_rest(method, headers, parameters, lenient=True)
                    if takes and _fits(case, candidate, only):
                        return listener, candidate
        return first


def _choose(case: _Case, listeners: list[Listener]) -> list[Listener]:
    """The listeners that server name and host leave, TLS ones for a TLS connection."""
    if len(listeners) < 2:
        return listeners
    sni = normal(case.detail.sni)
    chosen = choose(listeners, sni, case.host) or listeners
    tls = bool(sni) or case.detail.scheme == "https"
    return [entry for entry in chosen if entry.is_tls == tls] or chosen


def _fits(case: _Case, candidate: Candidate, only: RouteName | None) -> bool:
    """Whether nothing that names or the upstream side tell speaks against a candidate."""
    rule = candidate.rule
    if only and (only.key, only.rule) != (candidate.route.key, rule.index):
        return False
    if only is None and case.sides.shape.route_name and case.sides.shape.route_name != rule.name:
        return False
    points = [case.sides.service] if case.sides.service else case.sides.points
    return not points or serves(rule, points)


def _reachable(listener: Listener, host: str, path: str) -> Iterator[Candidate]:
    """The matches that a logged host and path may come from: as they are, then by a rewrite."""
    vhost = listener.vhost(host)
    candidates = vhost.candidates if vhost else []
    for candidate in candidates:
        if candidate.match.takes_path(path):
            yield candidate
    for candidate in candidates:
        if can_produce(candidate.rule.filters, host, path):
            yield candidate
    for candidate in listener.rewriters:
        filters = candidate.rule.filters
        if renames(filters) and can_produce(filters, host, path):
            yield candidate


def _backend(case: _Case, rule: Rule | None, index: int = -1) -> BackendRef:
    """The backendRef that took the request, as the address tells, then the cluster's name."""
    if case.sides.shape.up_addr == NO_ADDRESS and not case.sides.shape.cluster:
        return NO_BACKEND
    if rule:
        if 0 <= index < len(rule.backends):
            return rule.backends[index].ref
        if ref := backend_of(rule, case.sides.points, case.sides.service):
            return ref
    point = case.sides.service or (case.sides.points[0] if len(case.sides.points) == 1 else None)
    return BackendRef("Service", *point) if point else NO_BACKEND


def _by_listener(case: _Case, reason: str) -> Answer:
    backend = _backend(case, None)
    chosen = _choose(case, case.sides.listeners)
    if chosen or case.sides.gateway:
        return Answer(RouteRef(*_base(case, chosen), reason=reason), backend, Attribution.LISTENER)
    found = Attribution.CLUSTER if backend != NO_BACKEND else Attribution.NONE
    return Answer(NO_ROUTE, backend, found)


def _route_ref(
    case: _Case,
    listeners: list[Listener],
    key: RouteKey,
    index: int,
    match: int,
    rule: Rule | None,
) -> RouteRef:
    return RouteRef(*_base(case, listeners), *key, index, match, rule.name if rule else "")


def _base(case: _Case, listeners: list[Listener]) -> tuple[str, str, str]:
    """Namespace and name of the Gateway and name of the listener, as far as they are one."""
    gateways = {listener.gateway_id for listener in listeners}
    names = {listener.name for listener in listeners}
    gateway = gateways.pop() if len(gateways) == 1 else case.sides.gateway
    namespace, _, name = gateway.partition("/")
    return namespace, name, names.pop() if len(listeners) == 1 else ""
