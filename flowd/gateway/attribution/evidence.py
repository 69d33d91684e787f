"""Attribution of one entry against one table.

Names come first, then metadata, the rules matched again, the cluster, the listener.
"""

from dataclasses import replace

from flowd.gateway.attachment.listener import Listener
from flowd.gateway.attribution.entry import NO_ADDRESS, Detail, Shape, no_route_reason
from flowd.gateway.attribution.match_context import (
    Answer,
    Case,
    Sides,
    asked_host,
    direct,
    fits,
    is_of,
    narrow,
    rewritten,
)
from flowd.gateway.attribution.names import (
    RouteName,
    cluster_gateway,
    cluster_route,
    cluster_service,
    gateway_name,
    route_names,
)
from flowd.gateway.matching.backend import backend_of
from flowd.gateway.matching.dialect import split_path
from flowd.gateway.matching.hostname import ANY, normal, specificity
from flowd.gateway.matching.rules import RouteKey, Rule
from flowd.gateway.matching.virtual_host import Candidate, Query
from flowd.gateway.table.route_table import RouteTable
from flowd.kubernetes.objects.proxies import Group
from flowd.model.address import unpack
from flowd.model.enums import Attribution, EntryKind
from flowd.model.metadata import Metadata
from flowd.model.route import NO_BACKEND, NO_ROUTE, BackendRef, RouteRef

MAX_SHAPES = 16_384
MAX_NAMED = 8
"""Most Gateways named of those that share a proxy."""
MAX_KEY = 1024
"""Most characters of the names in a shape that is remembered."""


class Evidence:
    """Answers for entries, from what the objects of one moment say."""

    def __init__(self, table: RouteTable) -> None:
        self._table = table
        self._known: dict[Shape, Sides] = {}

    def answer(self, shape: Shape, detail: Detail) -> Answer:
        """Gather the evidence; a later kind of it only fills what an earlier one left open."""
        sides = self._known.get(shape)
        if sides is None:
            sides = self._sides(shape)
            if len(shape.route_name) + len(shape.cluster) + len(shape.node_cluster) <= MAX_KEY:
                if len(self._known) >= MAX_SHAPES:
                    self._known.clear()
                self._known[shape] = sides
        case = Case(sides, detail, normal(asked_host(shape, detail)))
        if sides.name:
            return self._by_name(case, sides.name)
        if sides.told:
            return self._by_metadata(case, sides.told)
        reason = no_route_reason(shape.kind, detail.details, detail.flags)
        if not reason:
            answer = self._by_mesh(case) or self._by_rules(case) or self._by_cluster(case)
            if answer:
                return answer
        return _by_listener(case, reason or "unresolved")

    def _sides(self, shape: Shape) -> Sides:
        table = self._table
        is_http = shape.kind == EntryKind.HTTP
        metadata = shape.metadata or Metadata()
        among = table.gateways_at(shape.local_addr)
        among = among or table.gateways_of(Group("class", shape.node_cluster))
        claims = [
            among[0] if len(among) == 1 else "",
            cluster_gateway(shape.cluster),
            metadata.gateway,
            gateway_name(shape.node_cluster),
        ]
        known = next((claim for claim in claims if claim in table.gateways), "")
        gateway = known or next(filter(None, claims), "")
        among = (known,) if known else tuple(name for name in among if name in table.gateways)
        listeners = table.listeners_at(among, shape.local_port) if shape.local_port else []
        placed = bool(listeners)
        if not listeners and (among or not shape.local_port):
            listeners = table.listeners_for(among, is_http)
        if known and known == metadata.gateway:
            named = [entry for entry in listeners if entry.name == metadata.listener]
            listeners, placed = named or listeners, placed or bool(named)
        reached = shape.up_addr != NO_ADDRESS
        owner = cluster_route(shape.cluster) if shape.cluster else None
        if not is_http and not owner and metadata.filter_chain:
            owner = cluster_route(metadata.filter_chain)
        return Sides(
            shape,
            is_http,
            gateway,
            among,
            listeners,
            placed,
            table.services.at(shape.up_addr, shape.up_port) if reached else (),
            cluster_service(shape.cluster) if shape.cluster else None,
            owner,
            self._name(shape.route_name) if is_http else owner,
            self._told(metadata) if metadata.kind else None,
        )

    def _name(self, text: str) -> RouteName | None:
        for name in route_names(text):
            if name.certain or name.key in self._table.routes:
                return name
        return None

    def _told(self, metadata: Metadata) -> RouteName:
        """The route that metadata names, and its rule where the rule has a name of its own."""
        key = metadata.kind, metadata.namespace, metadata.name
        route = self._table.routes.get(key)
        rules = route.rules if route else ()
        if metadata.rule_name:
            rules = [rule for rule in rules if rule.name == metadata.rule_name]
        return RouteName(key, rules[0].index if len(rules) == 1 else -1)

    def _by_metadata(self, case: Case, told: RouteName) -> Answer:
        """The route that metadata names, with the rule of it that matches."""
        attached = self._table.accepting(told.key, case.sides.listeners, case.sides.among)
        chosen = narrow(case, attached)
        only = replace(told, rule=max(told.rule, 0)) if not case.sides.is_http else told
        found = [entry for entry in self._resolve(case, only) if is_of(entry[1], only)]
        rule, match = self._rule(only) if only.rule >= 0 else None, -1
        if len(found) == 1:
            _, (_, rule, candidate) = found[0]
            match = candidate.index
        elif rule and len(rule.matches) == 1:
            match = 0
        conflict = not found and told.key in self._table.routes and case.sides.is_http
        index = rule.index if rule else only.rule
        route = _route_ref(case, chosen, told.key, index, match, rule)
        return Answer(route, _backend(case, rule), Attribution.METADATA, conflict=conflict)

    def _by_name(self, case: Case, name: RouteName) -> Answer:
        attached = self._table.accepting(name.key, case.sides.listeners, case.sides.among)
        chosen = narrow(case, attached)
        rule = self._rule(name)
        match = name.match
        by_shape = len(attached) <= 1
        if not case.sides.is_http or (match < 0 and rule and len(rule.matches) == 1):
            match = 0
        elif match < 0:
            found = [entry for entry in self._resolve(case, name) if is_of(entry[1], name)]
            match, by_shape = (found[0][1].match.index if len(found) == 1 else -1), False
        index = rule.index if rule else max(name.rule, 0 if not case.sides.is_http else -1)
        route = _route_ref(case, chosen, name.key, index, match, rule)
        backend = _backend(case, rule, name.backend)
        return Answer(route, backend, Attribution.NAME, by_shape, self._disagree(case, name))

    def _disagree(self, case: Case, name: RouteName) -> bool:
        """Whether no match of the rule that the name tells can have taken the request."""
        if not case.sides.is_http or name.key not in self._table.routes or name.rule < 0:
            return False
        listeners = narrow(case, case.sides.listeners)
        path, query = split_path(case.detail.original_path or case.detail.path)
        parameters, method, headers = Query(query), case.detail.method, case.detail.headers
        return bool(listeners) and not any(
            (candidate.route.key, candidate.rule.index) == (name.key, name.rule)
            and candidate.match.takes_rest(method, headers, parameters, lenient=True)
            for listener in listeners
            for reachable in (direct, rewritten)
            for candidate in reachable(listener, case.host, path)
        )

    def _by_rules(self, case: Case) -> Answer | None:
        found = self._resolve(case, case.sides.owner)
        if not found:
            return None
        _, (route, rule, match) = found[0]
        if any((other.route, other.rule) != (route, rule) for _, other in found):
            return _ambiguous(case, found)
        ref = _route_ref(
            case, [listener for listener, _ in found], route.key, rule.index, match.index, rule
        )
        return Answer(ref, _backend(case, rule), Attribution.RESOLVER)

    def _by_cluster(self, case: Case) -> Answer | None:
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
        chosen = narrow(case, self._table.accepting(key, case.sides.listeners, case.sides.among))
        ref = _route_ref(case, chosen, key, index, match, rule)
        backend = _backend(case, rule, owner.backend if owner else -1)
        return Answer(ref, backend, Attribution.CLUSTER)

    def _rule(self, name: RouteName) -> Rule | None:
        route = self._table.routes.get(name.key)
        index = max(name.rule, 0)
        return next((rule for rule in route.rules if rule.index == index), None) if route else None

    def _by_mesh(self, case: Case) -> Answer | None:
        """A route of the Service that a client meant, where no Gateway's proxy took it."""
        shape, mesh = case.sides.shape, self._table.mesh
        if case.sides.gateway in self._table.gateways:
            return None
        client = shape.node_cluster.rpartition(".")[2] if "/" not in shape.node_cluster else ""
        target = mesh.target(unpack(shape.local_addr), shape.local_port, client)
        if target is None and case.host:
            port = case.detail.host.rpartition(":")[2]
            number = int(port) if port.isascii() and port.isdigit() and len(port) < 6 else None
            target = mesh.target(case.host, number, client)
        if target is None:
            return None
        path, query = split_path(case.detail.original_path or case.detail.path)
        method, headers = case.detail.method, case.detail.headers
        found = mesh.stream(target, client)
        if case.sides.is_http:
            found = mesh.find(target, client, path, query, method, headers)
        if not found:
            return None
        route, rule, match = found
        ref = RouteRef("", "", "", *route.key, rule.index, match.index, rule.name)
        return Answer(ref, _backend(case, rule), Attribution.RESOLVER)

    def _resolve(self, case: Case, only: RouteName | None) -> list[tuple[Listener, Candidate]]:
        """Match the request again; what the upstream side contradicts yields to what fits it.

        A logged host or path may be that after a rewrite, and a header that a match looks at may
        not be in the log: then it is what those facts allow and what leads to the Service which
        answered; more than one when matches of several rules do.
        """
        listeners = narrow(case, case.sides.listeners)
        if not case.sides.is_http:
            streams = ((entry, entry.stream(case.detail.sni.lower())) for entry in listeners)
            return [(entry, found) for entry, found in streams if found][:1]
        path, query = split_path(case.detail.original_path or case.detail.path)
        method, headers = case.detail.method, case.detail.headers
        if "user-agent" in self._table.header_names:
            headers = {"user-agent": case.detail.user_agent, **headers}
        first: list[tuple[Listener, Candidate]] = []
        if not case.sides.placed:
            listeners = _likeliest(case, listeners)
        taken: list[tuple[Listener, Candidate]] = []
        for listener in listeners:
            found = listener.find(case.host, path, query, method, headers)
            if found and fits(case, found, only):
                taken.append((listener, found))
                if case.sides.placed and len(case.sides.among) < 2:
                    return taken
            first = first or ([(listener, found)] if found else [])
        if taken:
            return taken
        sides = case.sides
        if first and not (only or sides.points or sides.service or sides.shape.route_name):
            return first
        parameters = Query(query)
        for reachable in (direct, rewritten):
            several = {
                (candidate.route.key, candidate.rule.index): (listener, candidate)
                for listener in reversed(listeners)
                for candidate in reversed(list(reachable(listener, case.host, path)))
                if candidate.match.takes_rest(method, headers, parameters, lenient=True)
                and fits(case, candidate, only)
            }
            if several:
                return list(reversed(several.values()))
        return first


def _likeliest(case: Case, listeners: list[Listener]) -> list[Listener]:
    """Of listeners that nothing but the host tells apart, those with the narrowest virtual host."""
    vhosts = [listener.vhost(case.host) for listener in listeners]
    ranks = [specificity(vhost.hostname) if vhost else specificity(ANY) for vhost in vhosts]
    best = max(ranks, default=None)
    return [entry for entry, rank in zip(listeners, ranks, strict=True) if rank == best]


def _ambiguous(case: Case, found: list[tuple[Listener, Candidate]]) -> Answer:
    """What several rules have in common that may all have taken the request."""
    listeners = list({listener.full_name: listener for listener, _ in found}.values())
    base = _base(case, listeners)
    keys = {candidate.route.key for _, candidate in found}
    backend = _backend(case, None)
    if len(keys) == 1:
        return Answer(RouteRef(*base, *keys.pop()), backend, Attribution.RESOLVER)
    return Answer(RouteRef(*base, reason="ambiguous"), backend, Attribution.LISTENER)


def _backend(case: Case, rule: Rule | None, index: int = -1) -> BackendRef:
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


def _by_listener(case: Case, reason: str) -> Answer:
    backend = _backend(case, None)
    chosen = narrow(case, case.sides.listeners)
    if chosen or case.sides.gateway:
        return Answer(RouteRef(*_base(case, chosen), reason=reason), backend, Attribution.LISTENER)
    found = Attribution.CLUSTER if backend != NO_BACKEND else Attribution.NONE
    return Answer(NO_ROUTE, backend, found)


def _route_ref(
    case: Case,
    listeners: list[Listener],
    key: RouteKey,
    index: int,
    match: int,
    rule: Rule | None,
) -> RouteRef:
    base, name = _base(case, listeners), rule.name if rule else ""
    reason = "" if base[1] else _shared(case, listeners)
    return RouteRef(*base, *key, index, match, name, reason)


def _shared(case: Case, listeners: list[Listener]) -> str:
    """Which Gateways it may have been where one proxy serves several, or ""."""
    if len(case.sides.among) < 2:
        return ""
    taking = dict.fromkeys(listener.gateway_id for listener in listeners)
    names = sorted(taking or case.sides.among)
    more = f" and {len(names) - MAX_NAMED} more" if len(names) > MAX_NAMED else ""
    return f"shared by {', '.join(names[:MAX_NAMED])}{more}"


def _base(case: Case, listeners: list[Listener]) -> tuple[str, str, str]:
    """Namespace and name of the Gateway and name of the listener, as far as they are one."""
    gateways = {listener.gateway_id for listener in listeners}
    names = {listener.name for listener in listeners}
    gateway = gateways.pop() if len(gateways) == 1 else case.sides.gateway
    namespace, _, name = gateway.partition("/")
    return namespace, name, names.pop() if len(listeners) == 1 else ""
