"""Build Routes from route objects of every kind: fill in defaults, check references."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TypeAlias

from flowd.gateway.matching.backend import ServiceIndex
from flowd.gateway.matching.dialect import EXACT, PREFIX, REGEX, Dialect
from flowd.gateway.matching.filters import has_incompatible_filters, unsupported_filter
from flowd.gateway.matching.hostname import ANY
from flowd.gateway.matching.patterns import BadPattern, ValueMatcher, full_match
from flowd.gateway.matching.rules import (
    Backend,
    Match,
    Rank,
    Route,
    RouteKey,
    Rule,
    grpc_rank,
    http_rank,
)
from flowd.kubernetes.objects import gateway_api as gw
from flowd.kubernetes.objects.core import ObjectMeta
from flowd.kubernetes.objects.snapshot import Objects
from flowd.model.route import BackendRef

AnyRule: TypeAlias = gw.HTTPRouteRule | gw.GRPCRouteRule | gw.L4Rule

_NO_TIMEOUTS = gw.HTTPRouteTimeouts()
_L4_MATCH = Match(0, PREFIX, "", "", (), (), None, "", ())
_FOREIGN = {("gateway.envoyproxy.io", "Backend"), ("multicluster.x-k8s.io", "ServiceImport")}
"""Backend kinds that flowd does not read; references to them count as resolved."""


AnyRoute: TypeAlias = gw.HTTPRoute | gw.GRPCRoute | gw.TLSRoute | gw.TCPRoute | gw.UDPRoute


def route_objects(objects: Objects) -> Iterator[tuple[RouteKey, AnyRoute]]:
    """Yield every route object of the Gateway API with its key (kind, namespace, name)."""
    for kind, items in (
        ("HTTPRoute", objects.http_routes),
        ("GRPCRoute", objects.grpc_routes),
        ("TLSRoute", objects.tls_routes),
        ("TCPRoute", objects.tcp_routes),
        ("UDPRoute", objects.udp_routes),
    ):
        for (namespace, name), item in items.items():
            yield (kind, namespace, name), item


def build_routes(
    objects: Objects, services: ServiceIndex, dialect: Dialect
) -> Iterator[tuple[Route, Sequence[gw.ParentReference]]]:
    """Build every route object; yield the Route with its parentRefs."""
    builder = RouteBuilder(objects, services, dialect)
    for _, item in route_objects(objects):
        yield builder.build(item), item.spec.parent_refs


class RouteBuilder:
    """Build Routes, and check their references against one snapshot of objects.

    References to Services count as resolved when the snapshot holds no Service at all.
    """

    def __init__(self, objects: Objects, services: ServiceIndex, dialect: Dialect) -> None:
        self._objects = objects
        self._services = services
        self._dialect = dialect
        self._ranks: dict[Rank, Rank] = {}
        self._backends: dict[tuple[object, ...], tuple[Backend, ...]] = {}
        self._grants: dict[str, list[gw.ReferenceGrant]] = defaultdict(list)
        for grant in objects.reference_grants.values():
            self._grants[grant.metadata.namespace].append(grant)

    def build(self, item: AnyRoute) -> Route:
        """Build one route object."""
        spec, kind = item.spec, type(item).__name__
        if isinstance(spec, gw.HTTPRouteSpec):
            return self._route(kind, item.metadata, spec.hostnames, spec.rules)
        if isinstance(spec, gw.GRPCRouteSpec):
            return self._route(
                kind, item.metadata, spec.hostnames, spec.rules or (gw.GRPCRouteRule(),)
            )
        hostnames = spec.hostnames if kind == "TLSRoute" else ()
        return self._route(kind, item.metadata, hostnames, spec.rules)

    def _route(
        self, kind: str, metadata: ObjectMeta, hostnames: Sequence[str], rules: Sequence[AnyRule]
    ) -> Route:
        built: list[Rule] = []
        invalid_rules: list[tuple[int, str]] = []
        reason = "UnsupportedValue"
        for index, rule in enumerate(rules):
            if not isinstance(rule, gw.L4Rule) and has_incompatible_filters(rule.filters):
                invalid_rules.append((index, "RequestRedirect and URLRewrite exclude each other"))
                reason = "IncompatibleFilters"
                continue
            try:
                built.append(self._rule(kind, metadata.namespace, index, rule))
            except BadPattern as error:
                invalid_rules.append((index, str(error)))
        names = tuple(name.lower() for name in hostnames if name) or (ANY,)
        return Route(
            kind,
            metadata.namespace,
            metadata.name,
            metadata.creation_timestamp,
            names,
            tuple(built),
            tuple(invalid_rules),
            reason,
        )

    def _rule(self, kind: str, namespace: str, index: int, rule: AnyRule) -> Rule:
        filters = () if isinstance(rule, gw.L4Rule) else rule.filters
        http = rule if isinstance(rule, gw.HTTPRouteRule) else None
        key = kind, namespace, rule.backend_refs
        backends = self._backends.get(key)
        if backends is None:
            backends = tuple(self._filtered(kind, namespace, ref) for ref in rule.backend_refs)
            self._backends[key] = backends
        mirrors = [entry.request_mirror.backend_ref for entry in filters if entry.request_mirror]
        return Rule(
            index,
            rule.name,
            tuple(self._matches(rule)),
            filters,
            backends,
            tuple(self.backend(kind, namespace, ref) for ref in mirrors),
            http.timeouts if http else _NO_TIMEOUTS,
            http.retry if http else None,
            unsupported_filter(filters, self._dialect.extensions) if filters else "",
        )

    def _matches(self, rule: AnyRule) -> Iterator[Match]:
        if isinstance(rule, gw.HTTPRouteRule):
            for index, match in enumerate(rule.matches or (gw.HTTPRouteMatch(),)):
                yield self._http(index, match)
        elif isinstance(rule, gw.GRPCRouteRule):
            for index, match in enumerate(rule.matches or (gw.GRPCRouteMatch(),)):
                yield self._grpc(index, match)
        else:
            yield _L4_MATCH

    def _http(self, index: int, match: gw.HTTPRouteMatch) -> Match:
        kind, value = match.path.type, match.path.value
        path = value.rstrip("/") if kind == PREFIX else value
        headers, query = _tests(match.headers, lower=True), _tests(match.query_params)
        built = Match(
            index,
            kind,
            path,
            match.method,
            headers,
            query,
            full_match(path) if kind == REGEX else None,
            match,
            (),
        )
        return self._ranked(built, http_rank(built, self._dialect))

    def _grpc(self, index: int, match: gw.GRPCRouteMatch) -> Match:
        service, method = match.method.service, match.method.method
        regex = match.method.type == REGEX and bool(service or method)
        headers = _tests(match.headers, lower=True)
        if service and method and not regex:
            kind, path = EXACT, f"/{service}/{method}"
        elif (service and not regex) or not (service or method):
            kind, path = PREFIX, f"/{service}".rstrip("/")
        else:
            kind = REGEX
            path = f"/{_part(service, regex)}/{_part(method, regex)}"
        accepts = full_match(path) if kind == REGEX else None
        built = Match(index, kind, path, "", headers, (), accepts, match, ())
        return self._ranked(built, grpc_rank(built, service, method, regex, self._dialect))

    def _ranked(self, match: Match, rank: Rank) -> Match:
        """Set the rank of a match; equal ranks share one tuple."""
        return replace(match, rank=self._ranks.setdefault(rank, rank))

    def _filtered(self, kind: str, namespace: str, ref: gw.BackendRef) -> Backend:
        """Build a backendRef including its own filters."""
        own = ref.filters if isinstance(ref, gw.HTTPBackendRef) else ()
        backend = self.backend(kind, namespace, ref)
        if not own:
            return backend
        reason = backend.reason or unsupported_filter(own, self._dialect.extensions)
        return replace(backend, filters=own, reason=reason)

    def backend(self, kind: str, namespace: str, ref: gw.BackendRef) -> Backend:
        """Build and check a backendRef of a route of the given kind and namespace."""
        where = ref.namespace or namespace
        built = BackendRef(ref.kind, where, ref.name, ref.port or 0, ref.weight)
        if (ref.group, ref.kind) in _FOREIGN:
            return Backend(built)
        if (ref.group, ref.kind) != ("", "Service"):
            return Backend(built, "InvalidKind")
        if where != namespace and not self._granted(kind, namespace, ref):
            return Backend(built, "RefNotPermitted")
        service = self._objects.services.get((where, ref.name))
        if service is None:
            return Backend(built, "BackendNotFound" if self._objects.services else "")
        if ref.port and ref.port not in [port.port for port in service.spec.ports]:
            return Backend(built, "BackendNotFound")
        return Backend(built, "", *self._services.endpoint_count(where, ref.name))

    def _granted(self, kind: str, namespace: str, ref: gw.BackendRef) -> bool:
        """Whether a ReferenceGrant in the Service's namespace allows the reference."""
        return any(
            (source.group, source.kind, source.namespace) == (gw.GROUP, kind, namespace)
            and (target.group, target.kind) == ("", "Service")
            and target.name in ("", ref.name)
            for grant in self._grants.get(ref.namespace, ())
            for source in grant.spec.from_
            for target in grant.spec.to
        )


def _tests(matches: Sequence[gw.ValueMatch], lower: bool = False) -> tuple[ValueMatcher, ...]:
    """Value matchers of a match; the first of a repeated name counts."""
    tests: dict[str, ValueMatcher] = {}
    for match in matches:
        name = match.name.lower() if lower else match.name
        if name not in tests:
            tests[name] = ValueMatcher.build(name, match.value, match.type == REGEX)
    return tuple(tests.values())


def _part(text: str, regex: bool) -> str:
    """Service or method of a gRPC path as an RE2 expression."""
    if not text:
        return "[^/]+"
    return f"(?:{text})" if regex else "".join(c if c.isalnum() else "\\" + c for c in text)
