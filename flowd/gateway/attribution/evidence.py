"""Attribute one access-log entry against one route table.

The first source of evidence that names a route decides: the Envoy route name, metadata, the
matching rules evaluated again, the cluster name, the listener.
"""

from dataclasses import replace

from flowd.gateway.attachment.listener import ListenerState
from flowd.gateway.attribution.entry import NO_ADDRESS, EntryFields, EntryKey, no_route_reason
from flowd.gateway.attribution.match_context import (
    AttributionResult,
    MatchContext,
    ProxyContext,
    belongs_to,
    direct_matches,
    fits,
    narrow_listeners,
    requested_host,
    rewritten_matches,
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
from flowd.gateway.matching.hostname import ANY, normalize_host, specificity
from flowd.gateway.matching.rules import RouteKey, Rule
from flowd.gateway.matching.virtual_host import Candidate, QueryParams
from flowd.gateway.table.route_table import RouteTable
from flowd.kubernetes.objects.proxies import ProxyGroup
from flowd.model.address import unpack
from flowd.model.enums import Attribution, EntryKind
from flowd.model.metadata import Metadata
from flowd.model.route import NO_BACKEND, NO_ROUTE, BackendRef, RouteRef

MAX_ENTRY_KEYS = 16_384
MAX_NAMED = 8
"""Most Gateways of a shared proxy that a reason lists."""
MAX_KEY = 1024
"""Most characters of the names in an EntryKey that is cached."""


class Evidence:
    """Attribution of entries by the evidence in one route table."""

    def __init__(self, table: RouteTable) -> None:
        self._table = table
        self._proxies: dict[EntryKey, ProxyContext] = {}

    def answer(self, key: EntryKey, fields: EntryFields) -> AttributionResult:
        """Attribute an entry; later sources of evidence fill only what earlier ones left open."""
        proxy = self._proxies.get(key)
        if proxy is None:
            proxy = self._proxy_context(key)
            if len(key.route_name) + len(key.cluster) + len(key.node_cluster) <= MAX_KEY:
                if len(self._proxies) >= MAX_ENTRY_KEYS:
                    self._proxies.clear()
                self._proxies[key] = proxy
        context = MatchContext(proxy, fields, normalize_host(requested_host(key, fields)))
        if proxy.named_route:
            return self._by_name(context, proxy.named_route)
        if proxy.metadata_route:
            return self._by_metadata(context, proxy.metadata_route)
        reason = no_route_reason(key.kind, fields.details, fields.flags)
        if not reason:
            answer = self._by_mesh(context) or self._by_rules(context) or self._by_cluster(context)
            if answer:
                return answer
        return _by_listener(context, reason or "unresolved")

    def _proxy_context(self, key: EntryKey) -> ProxyContext:
        table = self._table
        is_http = key.kind == EntryKind.HTTP
        metadata = key.metadata or Metadata()
        gateways = table.gateways_at(key.local_addr)
        gateways = gateways or table.gateways_of(ProxyGroup("class", key.node_cluster))
        names = [
            gateways[0] if len(gateways) == 1 else "",
            cluster_gateway(key.cluster),
            metadata.gateway,
            gateway_name(key.node_cluster),
        ]
        known_gateway = next((name for name in names if name in table.gateways), "")
        gateway = known_gateway or next(filter(None, names), "")
        gateways = (
            (known_gateway,)
            if known_gateway
            else tuple(name for name in gateways if name in table.gateways)
        )
        listeners = table.listeners_at(gateways, key.local_port) if key.local_port else []
        port_known = bool(listeners)
        if not listeners and (gateways or not key.local_port):
            listeners = table.listeners_for(gateways, is_http)
        if known_gateway and known_gateway == metadata.gateway:
            named = [entry for entry in listeners if entry.name == metadata.listener]
            listeners, port_known = named or listeners, port_known or bool(named)
        connected = key.up_addr != NO_ADDRESS
        owner = cluster_route(key.cluster) if key.cluster else None
        if not is_http and not owner and metadata.filter_chain:
            owner = cluster_route(metadata.filter_chain)
        return ProxyContext(
            key,
            is_http,
            gateway,
            gateways,
            listeners,
            port_known,
            table.services.at(key.up_addr, key.up_port) if connected else (),
            cluster_service(key.cluster) if key.cluster else None,
            owner,
            self._named_route(key.route_name) if is_http else owner,
            self._metadata_route(metadata) if metadata.kind else None,
        )

    def _named_route(self, text: str) -> RouteName | None:
        for name in route_names(text):
            if name.certain or name.key in self._table.routes:
                return name
        return None

    def _metadata_route(self, metadata: Metadata) -> RouteName:
        """Route named by the metadata; with its rule where that is named or the only one."""
        key = metadata.kind, metadata.namespace, metadata.name
        route = self._table.routes.get(key)
        rules = route.rules if route else ()
        if metadata.rule_name:
            rules = [rule for rule in rules if rule.name == metadata.rule_name]
        return RouteName(key, rules[0].index if len(rules) == 1 else -1)

    def _by_metadata(self, context: MatchContext, named: RouteName) -> AttributionResult:
        """Attribute to the route that the metadata names, and to the rule of it that matches."""
        attached = self._table.accepting_listeners(
            named.key, context.proxy.listeners, context.proxy.gateways
        )
        chosen = narrow_listeners(context, attached)
        only = replace(named, rule=max(named.rule, 0)) if not context.proxy.is_http else named
        found = [entry for entry in self._resolve(context, only) if belongs_to(entry[1], only)]
        rule, match = self._rule(only) if only.rule >= 0 else None, -1
        if len(found) == 1:
            _, (_, rule, candidate) = found[0]
            match = candidate.index
        elif rule and len(rule.matches) == 1:
            match = 0
        conflict = not found and named.key in self._table.routes and context.proxy.is_http
        index = rule.index if rule else only.rule
        route = _route_ref(context, chosen, named.key, index, match, rule)
        backend = _backend(context, rule)
        return AttributionResult(route, backend, Attribution.METADATA, conflict=conflict)

    def _by_name(self, context: MatchContext, name: RouteName) -> AttributionResult:
        attached = self._table.accepting_listeners(
            name.key, context.proxy.listeners, context.proxy.gateways
        )
        chosen = narrow_listeners(context, attached)
        rule = self._rule(name)
        match = name.match
        by_key = len(attached) <= 1
        if not context.proxy.is_http or (match < 0 and rule and len(rule.matches) == 1):
            match = 0
        elif match < 0:
            found = [entry for entry in self._resolve(context, name) if belongs_to(entry[1], name)]
            match, by_key = (found[0][1].match.index if len(found) == 1 else -1), False
        index = rule.index if rule else max(name.rule, 0 if not context.proxy.is_http else -1)
        route = _route_ref(context, chosen, name.key, index, match, rule)
        backend = _backend(context, rule, name.backend)
        conflict = self._contradicts(context, name)
        return AttributionResult(route, backend, Attribution.NAME, by_key, conflict)

    def _contradicts(self, context: MatchContext, name: RouteName) -> bool:
        """Whether no match of the named rule can have accepted the request."""
        if not context.proxy.is_http or name.key not in self._table.routes or name.rule < 0:
            return False
        listeners = narrow_listeners(context, context.proxy.listeners)
        path, query = split_path(context.fields.original_path or context.fields.path)
        method, headers = context.fields.method, context.fields.headers
        parameters = QueryParams(query)
        return bool(listeners) and not any(
            (candidate.route.key, candidate.rule.index) == (name.key, name.rule)
            and candidate.match.matches_rest(method, headers, parameters, lenient=True)
            for listener in listeners
            for reachable in (direct_matches, rewritten_matches)
            for candidate in reachable(listener, context.host, path)
        )

    def _by_rules(self, context: MatchContext) -> AttributionResult | None:
        found = self._resolve(context, context.proxy.cluster_route)
        if not found:
            return None
        _, (route, rule, match) = found[0]
        if any((other.route, other.rule) != (route, rule) for _, other in found):
            return _ambiguous(context, found)
        ref = _route_ref(
            context, [listener for listener, _ in found], route.key, rule.index, match.index, rule
        )
        return AttributionResult(ref, _backend(context, rule), Attribution.RESOLVER)

    def _by_cluster(self, context: MatchContext) -> AttributionResult | None:
        """Attribute to the route in the cluster name, or the only route that uses the backend."""
        if owner := context.proxy.cluster_route:
            rule = self._rule(owner)
            key, index = owner.key, owner.rule
        else:
            services = context.proxy.services
            users = self._table.routes_using(services, context.proxy.listeners)
            if len(users) != 1:
                return None
            key, rules = users[0]
            rule = rules[0] if len(rules) == 1 else None
            index = rule.index if rule else -1
        match = 0 if rule and len(rule.matches) == 1 else -1
        chosen = narrow_listeners(
            context,
            self._table.accepting_listeners(key, context.proxy.listeners, context.proxy.gateways),
        )
        ref = _route_ref(context, chosen, key, index, match, rule)
        backend = _backend(context, rule, owner.backend if owner else -1)
        return AttributionResult(ref, backend, Attribution.CLUSTER)

    def _rule(self, name: RouteName) -> Rule | None:
        route = self._table.routes.get(name.key)
        index = max(name.rule, 0)
        return next((rule for rule in route.rules if rule.index == index), None) if route else None

    def _by_mesh(self, context: MatchContext) -> AttributionResult | None:
        """Attribute to a route whose parent is the requested Service (no Gateway proxy)."""
        key, mesh = context.proxy.key, self._table.mesh
        if context.proxy.gateway in self._table.gateways:
            return None
        client = key.node_cluster.rpartition(".")[2] if "/" not in key.node_cluster else ""
        target = mesh.target(unpack(key.local_addr), key.local_port, client)
        if target is None and context.host:
            port = context.fields.host.rpartition(":")[2]
            number = int(port) if port.isascii() and port.isdigit() and len(port) < 6 else None
            target = mesh.target(context.host, number, client)
        if target is None:
            return None
        path, query = split_path(context.fields.original_path or context.fields.path)
        method, headers = context.fields.method, context.fields.headers
        found = mesh.stream(target, client)
        if context.proxy.is_http:
            found = mesh.find(target, client, path, query, method, headers)
        if not found:
            return None
        route, rule, match = found
        ref = RouteRef("", "", "", *route.key, rule.index, match.index, rule.name)
        return AttributionResult(ref, _backend(context, rule), Attribution.RESOLVER)

    def _resolve(
        self, context: MatchContext, only: RouteName | None
    ) -> list[tuple[ListenerState, Candidate]]:
        """Evaluate the matching rules for a logged request; keep candidates the upstream allows.

        The log may hold the host or path after a rewrite, and may lack a header that a match
        compares. Then all matches are returned that the logged fields allow and that lead to the
        Service which answered; these can belong to several rules.

        Args:
            only: restrict the result to this route and rule.
        """
        listeners = narrow_listeners(context, context.proxy.listeners)
        if not context.proxy.is_http:
            streams = ((entry, entry.stream(context.fields.sni.lower())) for entry in listeners)
            return [(entry, found) for entry, found in streams if found][:1]
        path, query = split_path(context.fields.original_path or context.fields.path)
        method, headers = context.fields.method, context.fields.headers
        if "user-agent" in self._table.header_names:
            headers = {"user-agent": context.fields.user_agent, **headers}
        fallback: list[tuple[ListenerState, Candidate]] = []
        if not context.proxy.port_known:
            listeners = _likeliest(context, listeners)
        consistent: list[tuple[ListenerState, Candidate]] = []
        for listener in listeners:
            found = listener.find(context.host, path, query, method, headers)
            if found and fits(context, found, only):
                consistent.append((listener, found))
                if context.proxy.port_known and len(context.proxy.gateways) < 2:
                    return consistent
            fallback = fallback or ([(listener, found)] if found else [])
        if consistent:
            return consistent
        proxy = context.proxy
        if fallback and not (
            only or proxy.upstream or proxy.cluster_service or proxy.key.route_name
        ):
            return fallback
        parameters = QueryParams(query)
        for reachable in (direct_matches, rewritten_matches):
            several = {
                (candidate.route.key, candidate.rule.index): (listener, candidate)
                for listener in reversed(listeners)
                for candidate in reversed(list(reachable(listener, context.host, path)))
                if candidate.match.matches_rest(method, headers, parameters, lenient=True)
                and fits(context, candidate, only)
            }
            if several:
                return list(reversed(several.values()))
        return fallback


def _likeliest(context: MatchContext, listeners: list[ListenerState]) -> list[ListenerState]:
    """The listeners whose virtual host for the requested host is the most specific."""
    vhosts = [listener.vhost(context.host) for listener in listeners]
    ranks = [specificity(vhost.hostname) if vhost else specificity(ANY) for vhost in vhosts]
    best = max(ranks, default=None)
    return [entry for entry, rank in zip(listeners, ranks, strict=True) if rank == best]


def _ambiguous(
    context: MatchContext, found: list[tuple[ListenerState, Candidate]]
) -> AttributionResult:
    """Attribute to the common part (route, else listeners) of several candidate rules."""
    listeners = list({listener.full_name: listener for listener, _ in found}.values())
    base = _base(context, listeners)
    keys = {candidate.route.key for _, candidate in found}
    backend = _backend(context, None)
    if len(keys) == 1:
        return AttributionResult(RouteRef(*base, *keys.pop()), backend, Attribution.RESOLVER)
    return AttributionResult(RouteRef(*base, reason="ambiguous"), backend, Attribution.LISTENER)


def _backend(context: MatchContext, rule: Rule | None, index: int = -1) -> BackendRef:
    """The backendRef that served the request, by upstream address, then by cluster name."""
    if context.proxy.key.up_addr == NO_ADDRESS and not context.proxy.key.cluster:
        return NO_BACKEND
    if rule:
        if 0 <= index < len(rule.backends):
            return rule.backends[index].ref
        if ref := backend_of(rule, context.proxy.upstream, context.proxy.cluster_service):
            return ref
    services = context.proxy.services
    return BackendRef("Service", *services[0]) if len(services) == 1 else NO_BACKEND


def _by_listener(context: MatchContext, reason: str) -> AttributionResult:
    backend = _backend(context, None)
    chosen = narrow_listeners(context, context.proxy.listeners)
    if chosen or context.proxy.gateway:
        return AttributionResult(
            RouteRef(*_base(context, chosen), reason=reason), backend, Attribution.LISTENER
        )
    found = Attribution.CLUSTER if backend != NO_BACKEND else Attribution.NONE
    return AttributionResult(NO_ROUTE, backend, found)


def _route_ref(
    context: MatchContext,
    listeners: list[ListenerState],
    key: RouteKey,
    index: int,
    match: int,
    rule: Rule | None,
) -> RouteRef:
    base, name = _base(context, listeners), rule.name if rule else ""
    reason = "" if base[1] else _shared(context, listeners)
    return RouteRef(*base, *key, index, match, name, reason)


def _shared(context: MatchContext, listeners: list[ListenerState]) -> str:
    """List the candidate Gateways of a shared proxy, or ""."""
    if len(context.proxy.gateways) < 2:
        return ""
    taking = dict.fromkeys(listener.gateway_id for listener in listeners)
    names = sorted(taking or context.proxy.gateways)
    more = f" and {len(names) - MAX_NAMED} more" if len(names) > MAX_NAMED else ""
    return f"shared by {', '.join(names[:MAX_NAMED])}{more}"


def _base(context: MatchContext, listeners: list[ListenerState]) -> tuple[str, str, str]:
    """Namespace and name of the Gateway and name of the listener, "" where ambiguous."""
    gateways = {listener.gateway_id for listener in listeners}
    names = {listener.name for listener in listeners}
    gateway = gateways.pop() if len(gateways) == 1 else context.proxy.gateway
    namespace, _, name = gateway.partition("/")
    return namespace, name, names.pop() if len(listeners) == 1 else ""
