"""Match context of one access-log entry, and the route matches its host and path allow."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from flowd.gateway.attachment.listener import ListenerState, select_listeners
from flowd.gateway.attribution.entry import EntryFields, EntryKey
from flowd.gateway.attribution.names import RouteName
from flowd.gateway.matching.backend import ServicePortRef, serves
from flowd.gateway.matching.filters import can_rewrite_to, rewrites_hostname
from flowd.gateway.matching.hostname import ANY, covering_hostnames, normalize_host
from flowd.gateway.matching.virtual_host import Candidate
from flowd.model.enums import Attribution
from flowd.model.route import BackendRef, RouteRef


@dataclass(frozen=True, slots=True)
class AttributionResult:
    """Route, backend and kind of attribution of one entry.

    Attributes:
        by_key: every entry with the same EntryKey has the same result.
        conflict: the route name contradicts the matching rules.
    """

    route: RouteRef
    backend: BackendRef
    attribution: Attribution
    by_key: bool = False
    conflict: bool = False


@dataclass(frozen=True, slots=True)
class ProxyContext:
    """Downstream and upstream side of the proxy, the same for every entry with one EntryKey.

    Attributes:
        gateway: `namespace/name` of the Gateway, or "".
        gateways: `namespace/name` of every Gateway the proxy is known to serve; may be empty.
        listeners: the listeners behind the proxy's port.
        port_known: the proxy's port selected `listeners`, so the most specific one accepted the
            request.
        upstream: Service ports at the upstream address.
        cluster_service: Service in the cluster name.
        cluster_route: route and rule in the name of the cluster or filter chain.
        named_route: route in the Envoy route name.
        metadata_route: route in the metadata.
    """

    key: EntryKey
    is_http: bool
    gateway: str
    gateways: Sequence[str]
    listeners: list[ListenerState]
    port_known: bool
    upstream: Sequence[ServicePortRef]
    cluster_service: ServicePortRef | None
    cluster_route: RouteName | None
    named_route: RouteName | None
    metadata_route: RouteName | None

    @property
    def services(self) -> Sequence[ServicePortRef]:
        """Service in the cluster name, else the Services at the upstream address."""
        return [self.cluster_service] if self.cluster_service else self.upstream


@dataclass(frozen=True, slots=True)
class MatchContext:
    """One entry to match: proxy context, fields, and the requested host in normal form."""

    proxy: ProxyContext
    fields: EntryFields
    host: str


def requested_host(key: EntryKey, fields: EntryFields) -> str:
    """The host that the client requested, before any rewrite where the log allows that."""
    if original := fields.headers.get("x-envoy-original-host"):
        return original
    host = key.metadata.host if key.metadata else ""
    return fields.host if not host or host.startswith("*") else host


def narrow_listeners(context: MatchContext, listeners: list[ListenerState]) -> list[ListenerState]:
    """Filter listeners by server name (SNI), host and whether the connection uses TLS."""
    if len(listeners) < 2:
        return listeners
    sni, scheme = normalize_host(context.fields.sni), context.fields.scheme
    if context.proxy.port_known:
        chosen = select_listeners(listeners, sni, context.host) or listeners
    else:
        chosen = [entry for entry in listeners if _covers(entry, sni, context.host)] or listeners
        if not sni and not scheme and context.proxy.is_http:
            return chosen
    tls = bool(sni) or scheme == "https"
    return [entry for entry in chosen if entry.is_tls == tls] or chosen


def _covers(listener: ListenerState, sni: str, host: str) -> bool:
    name = (sni or host) if listener.is_tls else host
    return listener.hostname in (covering_hostnames(name) if name else (ANY,))


def belongs_to(candidate: Candidate, name: RouteName) -> bool:
    """Whether a candidate belongs to the named route, and to the named rule if there is one."""
    return candidate.route.key == name.key and name.rule in (-1, candidate.rule.index)


def fits(context: MatchContext, candidate: Candidate, only: RouteName | None) -> bool:
    """Whether a candidate agrees with the names of the entry and with its upstream Service."""
    rule = candidate.rule
    if only and not belongs_to(candidate, only):
        return False
    if only is None and context.proxy.key.route_name and context.proxy.key.route_name != rule.name:
        return False
    services = context.proxy.services
    return not services or serves(rule, services)


def direct_matches(listener: ListenerState, host: str, path: str) -> Iterator[Candidate]:
    """Matches whose path condition the logged host and path satisfy."""
    vhost = listener.vhost(host)
    for candidate in vhost.candidates if vhost else ():
        if candidate.match.matches_path(path):
            yield candidate


def rewritten_matches(listener: ListenerState, host: str, path: str) -> Iterator[Candidate]:
    """Matches whose rule has a rewrite that can have produced the logged host and path."""
    vhost = listener.vhost(host)
    for candidate in vhost.candidates if vhost else ():
        if can_rewrite_to(candidate.rule.filters, host, path):
            yield candidate
    for candidate in listener.rewriters:
        filters = candidate.rule.filters
        if rewrites_hostname(filters) and can_rewrite_to(filters, host, path):
            yield candidate
