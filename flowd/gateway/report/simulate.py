"""Simulate how a Gateway handles a request: the result of `flowd routes match`."""

from collections.abc import Sequence
from typing import Literal, TypeAlias

import msgspec

from flowd.gateway.attachment.listener import ListenerState, select_listeners
from flowd.gateway.matching.dialect import normalize_path, split_path, unescaped
from flowd.gateway.matching.filters import (
    answers_preflight,
    filter_text,
    redirect_location,
    redirect_of,
    rewrite_request,
)
from flowd.gateway.matching.hostname import ANY, normalize_host, specificity
from flowd.gateway.matching.rules import Backend, Rule
from flowd.gateway.matching.virtual_host import Candidate
from flowd.gateway.table.route_table import RouteTable

Action: TypeAlias = Literal["forward", "redirect", "respond", "reject"]


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """A request to match; missing Gateway, listener and port are derived from the host.

    Attributes:
        gateway: `namespace/name`.
        port: port of the listener, or container port of the proxy.
        sni: server name of a TLS connection; defaults to the host when the scheme is https.
        client_namespace: namespace of the client, for routes whose parent is a Service.
    """

    gateway: str | None = None
    listener: str | None = None
    port: int | None = None
    sni: str | None = None
    host: str | None = None
    path: str | None = None
    method: str | None = None
    headers: dict[str, str] | None = None
    scheme: str | None = None
    client_namespace: str | None = None

    @property
    def is_tls(self) -> bool:
        return bool(self.sni) or self.scheme == "https"

    @property
    def is_http(self) -> bool:
        return self.host is not None or self.path is not None

    @property
    def server_name(self) -> str:
        return normalize_host(self.sni or (self.host or "" if self.is_tls else ""))


class MatchedRoute(msgspec.Struct, frozen=True):
    """The matching route with the indices of its rule and match."""

    kind: str
    namespace: str
    name: str
    rule: int
    match: int
    rule_name: str


class WeightedBackend(msgspec.Struct, frozen=True):
    """A backendRef with its weight, its filters, and the reason why it receives no traffic."""

    namespace: str
    name: str
    port: int
    weight: int
    reason: str | msgspec.UnsetType = msgspec.UNSET
    filters: list[str] | msgspec.UnsetType = msgspec.UNSET


class RulePolicy(msgspec.Struct, frozen=True, omit_defaults=True):
    """Timeouts and retries of a rule; durations as text of the object (GEP-2257)."""

    request_timeout: str = ""
    backend_timeout: str = ""
    retry_attempts: int | None = None
    retry_codes: tuple[int, ...] = ()


class ForwardedRequest(msgspec.Struct, frozen=True):
    """Host, path with query, and headers that the backend receives."""

    host: str
    path: str
    headers: dict[str, str]


class SimulationResult(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=False):
    """How the Gateway handles a request.

    Attributes:
        status: HTTP status of a response by the Gateway itself, None when a backend answers.
        backends: every backendRef of the rule with its weight, usable or not.
        parent: `Service/namespace/name:port` when the parent of the route is a Service.
        merged: other routes with an equal match that get a part of the requests, in dialects that
            merge.
        redirect: Location header.
        reason: why no route or no backend accepts the request, else "".
    """

    gateway: str
    listener: str
    route: MatchedRoute | None = None
    action: Action
    status: int | None = None
    backends: list[WeightedBackend] = msgspec.field(default_factory=list[WeightedBackend])
    redirect: str | msgspec.UnsetType = msgspec.UNSET
    rewritten: ForwardedRequest | msgspec.UnsetType = msgspec.UNSET
    mirrors: list[WeightedBackend] | msgspec.UnsetType = msgspec.UNSET
    parent: str | msgspec.UnsetType = msgspec.UNSET
    merged: list[MatchedRoute] | msgspec.UnsetType = msgspec.UNSET
    policy: RulePolicy | msgspec.UnsetType = msgspec.UNSET
    reason: str = ""


def match_request(table: RouteTable, request: Request) -> SimulationResult:
    """Simulate one request against a route table."""
    if mesh := _mesh(table, request):
        return mesh
    listeners = _listeners(table, request)
    if not listeners:
        missing = "no_gateway" if request.gateway not in (None, *table.gateways) else "no_listener"
        return _reject(request, [], missing, None)
    chosen = select_listeners(listeners, request.server_name, normalize_host(request.host or ""))
    if not chosen:
        if request.is_tls:
            return _reject(request, listeners, "filter_chain_not_found", None)
        return _reject(request, listeners, "route_not_found", 404)
    refused: SimulationResult | None = None
    for listener in sorted(chosen, key=lambda entry: _likelihood(entry, request), reverse=True):
        serve = _http if listener.is_http else _stream
        outcome = serve(table, request, listener)
        if outcome.route:
            return outcome
        refused = refused or outcome
    return refused or _reject(request, chosen, "route_not_found", 404)


def _mesh(table: RouteTable, request: Request) -> SimulationResult | None:
    """Result by the routes of a Service, when a client in the cluster addresses that Service."""
    if request.gateway is not None or request.listener is not None or request.host is None:
        return None
    host, client = request.host, request.client_namespace or ""
    port = request.port
    if (
        port is None
        and (tail := host.rpartition(":")[2]).isdigit()
        and host != normalize_host(host)
    ):
        port = int(tail[:6])
    target = table.mesh.target(normalize_host(host), port, client)
    if target is None:
        return None
    path, query = split_path(request.path or "/")
    path = normalize_path(path, table.dialect)
    headers = {name.lower(): value for name, value in (request.headers or {}).items()}
    method = request.method or "GET"
    parent = f"Service/{target.namespace}/{target.name}:{target.port}"
    found = table.mesh.find(target, client, path, query, method, headers)
    listener = ListenerState("", "", "", target.port, "HTTP", ANY)
    if found:
        outcome = _matched(table, request, listener, found, path, query, headers)
    elif found := table.mesh.stream(target, client):
        outcome = _connection(listener, found)
    elif table.mesh.routes(target, client):
        outcome = _reject(request, [], "route_not_found", 404)
    else:
        return None
    return msgspec.structs.replace(outcome, gateway="", parent=parent)


def _listeners(table: RouteTable, request: Request) -> list[ListenerState]:
    """Listeners without conflict that the request names or that its protocol allows."""
    found = [
        listener
        for gateway_id, gateway in table.gateways.items()
        if request.gateway in (None, gateway_id)
        for listener in gateway.listeners
        if request.listener in (None, listener.name) and not listener.problem
    ]
    if request.port is not None:
        return [entry for entry in found if entry.port == request.port] or [
            entry
            for gateway in table.gateways.values()
            for entry in table.listeners_behind(gateway, request.port)
            if entry in found
        ]
    if request.listener is None:
        found = [entry for entry in found if entry.is_http == request.is_http]
        return [entry for entry in found if entry.is_tls == request.is_tls] or found
    return found


def _likelihood(listener: ListenerState, request: Request) -> tuple[object, ...]:
    """Sort key of ambiguous listeners: most specific virtual host, then the default port."""
    vhost = listener.vhost(normalize_host(request.host or ""))
    usual = listener.port == (443 if request.is_tls else 80)
    return vhost is not None, specificity(vhost.hostname if vhost else ANY), usual


def _http(table: RouteTable, request: Request, listener: ListenerState) -> SimulationResult:
    dialect = table.dialect
    host = request.host or ""
    path, query = split_path(request.path or "/")
    headers = {name.lower(): value for name, value in (request.headers or {}).items()}
    if dialect.reject_underscores and any("_" in name for name in headers):
        return _reject(request, [listener], "unexpected_underscore", 400)
    if dialect.redirect_escaped_slashes and (plain := unescaped(path)):
        return SimulationResult(
            gateway=listener.gateway_id,
            listener=listener.name,
            action="redirect",
            status=307,
            redirect=normalize_path(plain, dialect) + (f"?{query}" if query else ""),
            reason="path_normalization_failed",
        )
    path = normalize_path(path, dialect)
    found = listener.find(normalize_host(host), path, query, request.method or "GET", headers)
    if not found:
        return _reject(request, [listener], "route_not_found", 404)
    return _matched(table, request, listener, found, path, query, headers)


def _matched(
    table: RouteTable,
    request: Request,
    listener: ListenerState,
    found: Candidate,
    path: str,
    query: str,
    headers: dict[str, str],
) -> SimulationResult:
    rule = found.rule
    host = request.host or ""
    target = path + (f"?{query}" if query else "")
    if rule.error_reason:
        return _outcome(listener, found, "respond", 500, reason=rule.error_reason)
    if answers_preflight(rule.filters, request.method or "GET", headers):
        return _outcome(listener, found, "respond", 200, reason="cors_preflight")
    if redirect := redirect_of(rule.filters):
        scheme = request.scheme or ("https" if listener.is_tls else "http")
        url = redirect_location(redirect, found.match, scheme, host, target, listener.port)
        return _outcome(listener, found, "redirect", redirect.status_code, redirect=url)
    vhost = listener.vhost(normalize_host(host)) if table.dialect.merges_equal else None
    others = vhost.equal_matches(found) if vhost else []
    backends = [*rule.backends, *(entry for other in others for entry in other.rule.backends)]
    status, reason = _refusal(backends)
    if status:
        return _outcome(listener, found, "respond", status, others=others, reason=reason)
    weighted = [backend for backend in backends if backend.ref.weight]
    own = weighted[0].filters if len(weighted) == 1 else ()
    after = rewrite_request((*rule.filters, *own), found.match, host, target, headers)
    return _outcome(
        listener,
        found,
        "forward",
        others=others,
        rewritten=ForwardedRequest(after.host, after.path, after.headers)
        if after.changed
        else msgspec.UNSET,
        mirrors=_targets(rule.mirrors) if rule.mirrors else msgspec.UNSET,
    )


def _refusal(backends: Sequence[Backend]) -> tuple[int, str]:
    """Status and reason when none of the backends can answer (HTTPRouteRule.backendRefs)."""
    weighted = [backend for backend in backends if backend.ref.weight]
    if not weighted:
        return 500, "no_backends"
    usable = [backend for backend in weighted if not backend.reason]
    if not usable:
        return 500, weighted[0].reason
    if all(backend.ready == 0 for backend in usable):
        return 503, "no_endpoints"
    return 0, ""


def _stream(_table: RouteTable, request: Request, listener: ListenerState) -> SimulationResult:
    found = listener.stream(request.server_name if listener.is_tls else "")
    if found:
        return _connection(listener, found)
    reason = "filter_chain_not_found" if listener.is_tls else "route_not_found"
    return _reject(request, [listener], reason, None)


def _connection(listener: ListenerState, found: Candidate) -> SimulationResult:
    """Result for a connection: forwarded to a backend, or rejected when none is usable."""
    status, reason = _refusal(found.rule.backends)
    return _outcome(listener, found, "reject" if status else "forward", reason=reason)


def _outcome(
    listener: ListenerState,
    found: Candidate,
    action: Action,
    status: int | None = None,
    *,
    others: Sequence[Candidate] = (),
    redirect: str | msgspec.UnsetType = msgspec.UNSET,
    rewritten: ForwardedRequest | msgspec.UnsetType = msgspec.UNSET,
    mirrors: list[WeightedBackend] | msgspec.UnsetType = msgspec.UNSET,
    reason: str = "",
) -> SimulationResult:
    rule = found.rule
    backends = [*rule.backends, *(entry for other in others for entry in other.rule.backends)]
    return SimulationResult(
        gateway=listener.gateway_id,
        listener=listener.name,
        route=_route(found),
        action=action,
        status=status,
        backends=_targets(backends),
        redirect=redirect,
        rewritten=rewritten,
        mirrors=mirrors,
        merged=[_route(other) for other in others] if others else msgspec.UNSET,
        policy=_policy(rule),
        reason=reason,
    )


def _route(found: Candidate) -> MatchedRoute:
    route, rule, match = found
    return MatchedRoute(*route.key, rule.index, match.index, rule.name)


def _policy(rule: Rule) -> RulePolicy | msgspec.UnsetType:
    times, retry = rule.timeouts, rule.retry
    if not (retry or times.request or times.backend_request):
        return msgspec.UNSET
    attempts, codes = (retry.attempts, retry.codes) if retry else (None, ())
    return RulePolicy(times.request, times.backend_request, attempts, codes)


def _targets(backends: Sequence[Backend]) -> list[WeightedBackend]:
    return [
        WeightedBackend(
            backend.ref.namespace,
            backend.ref.name,
            backend.ref.port,
            backend.ref.weight,
            backend.reason or msgspec.UNSET,
            [filter_text(entry) for entry in backend.filters] or msgspec.UNSET,
        )
        for backend in backends
    ]


def _reject(
    request: Request, listeners: list[ListenerState], reason: str, status: int | None
) -> SimulationResult:
    """Result for a request without route; names the listener if it is the only candidate."""
    only = listeners[0] if len(listeners) == 1 else None
    return SimulationResult(
        gateway=only.gateway_id if only else request.gateway or "",
        listener=only.name if only else request.listener or "",
        action="reject",
        status=status,
        reason=reason,
    )
