"""Routes prepared for matching: rules, matches with their precedence, backends, filters."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from flowd.gateway.matching.dialect import EXACT, PREFIX, REGEX, Dialect
from flowd.gateway.matching.patterns import Predicate, ValueMatcher
from flowd.kubernetes.objects.gateway_api import (
    GRPCRouteMatch,
    HTTPRouteFilter,
    HTTPRouteMatch,
    HTTPRouteRetry,
    HTTPRouteTimeouts,
)
from flowd.model.route import BackendRef

RouteKey: TypeAlias = tuple[str, str, str]
"""(kind, namespace, name) of a route object."""

Rank: TypeAlias = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Match:
    """One entry of a rule's `matches`; the implicit one of a rule without any has index 0.

    Attributes:
        path_type: Exact, PathPrefix or RegularExpression.
        path: compared value; prefixes have no slash at the end, so `/` is "".
        accepts_path: compiled predicate of a RegularExpression.
        method: HTTP method, "" for any.
        source: match of the object, or its description for people; "" for an L4 match.
        rank: precedence; the greatest is tried first.
    """

    index: int
    path_type: str
    path: str
    method: str
    headers: tuple[ValueMatcher, ...]
    query: tuple[ValueMatcher, ...]
    accepts_path: Predicate | None
    source: HTTPRouteMatch | GRPCRouteMatch | str
    rank: Rank

    @property
    def text(self) -> str:
        """Describe the match for people; a gRPC match keeps service and method."""
        if isinstance(self.source, str):
            return self.source
        tests = [f"header {test}" for test in self.headers]
        tests += [f"query {test}" for test in self.query]
        if isinstance(self.source, HTTPRouteMatch):
            words = [f"{self.path_type} {self.source.path.value}", self.method]
        else:
            wanted = self.source.method
            words = [f"{wanted.type} {wanted.service or '*'}/{wanted.method or '*'}"]
        return " ".join(filter(None, [*words, *tests]))

    def matches_path(self, path: str) -> bool:
        """Whether a normalized path without query satisfies the match."""
        if self.path_type == EXACT:
            return path == self.path
        if self.path_type == PREFIX:
            return path.startswith(self.path) and path[len(self.path) : len(self.path) + 1] in "/"
        return self.accepts_path is not None and self.accepts_path(path)

    def matches_rest(
        self,
        method: str,
        headers: Mapping[str, str],
        query: Mapping[str, str],
        lenient: bool = False,
    ) -> bool:
        """Whether method, headers (names in lower case) and query parameters satisfy the match.

        Args:
            lenient: accept missing headers, because logs hold only some of them.
        """
        if self.method and self.method != method:
            return False
        for test in self.headers:
            value = headers.get(test.name)
            if not lenient if value is None else not test.predicate(value):
                return False
        for test in self.query:
            value = query.get(test.name)
            if value is None or not test.predicate(value):
                return False
        return True


@dataclass(frozen=True, slots=True)
class Backend:
    """A backendRef of a rule.

    Attributes:
        reason: why it receives no traffic, as an API reason (`BackendNotFound`), or "".
        ready, total: numbers of endpoints of the Service; -1 when unknown.
        filters: filters of this backendRef only.
    """

    ref: BackendRef
    reason: str = ""
    ready: int = -1
    total: int = -1
    filters: tuple[HTTPRouteFilter, ...] = ()


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule of a route of any kind.

    Attributes:
        error_reason: why the rule answers requests with an error, or "".
    """

    index: int
    name: str
    matches: tuple[Match, ...]
    filters: tuple[HTTPRouteFilter, ...]
    backends: tuple[Backend, ...]
    mirrors: tuple[Backend, ...] = ()
    timeouts: HTTPRouteTimeouts = field(default_factory=HTTPRouteTimeouts)
    retry: HTTPRouteRetry | None = None
    error_reason: str = ""


@dataclass(frozen=True, slots=True)
class Route:
    """A route object of any kind.

    Attributes:
        key: kind, namespace and name.
        invalid_rules: index of each invalid rule, which is missing in `rules`, and the reason.
        reason: reason of the Accepted condition when no rule is valid.
    """

    kind: str
    namespace: str
    name: str
    created: str
    hostnames: tuple[str, ...]
    rules: tuple[Rule, ...]
    invalid_rules: tuple[tuple[int, str], ...] = ()
    reason: str = "UnsupportedValue"
    key: RouteKey = field(init=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "key", (self.kind, self.namespace, self.name))

    @property
    def problem(self) -> str:
        """Reasons why rules were left out, or ""."""
        return "; ".join(f"rule {index}: {why}" for index, why in self.invalid_rules)

    @property
    def age(self) -> tuple[bool, str, str, str]:
        """Sort key that breaks ties: oldest first, then by namespace and name.

        An object without creation timestamp (from a file) counts as the youngest.
        """
        return not self.created, self.created, self.namespace, self.name


def http_rank(match: Match, dialect: Dialect) -> Rank:
    """Precedence of an HTTPRoute match (gateway-api, apis/v1/httproute_types.go, HTTPRouteRule)."""
    order = -dialect.path_order.index(match.path_type)
    return (order, len(match.path), 0, *_rest_rank(match, dialect))


def grpc_rank(match: Match, service: str, method: str, regex: bool, dialect: Dialect) -> Rank:
    """Precedence of a GRPCRoute match: characters in service, then in method, then headers.

    The order of path types matters for regular expressions only, which the dialect tries first or
    last (gateway-api, apis/v1/grpcroute_types.go, GRPCRouteRule).
    """
    path_type = REGEX if regex else EXACT if service and method else PREFIX
    order = -dialect.path_order.index(path_type)
    return (order, len(service), len(method), *_rest_rank(match, dialect))


def _rest_rank(match: Match, dialect: Dialect) -> Rank:
    if dialect.method_is_header:
        exact = sum(not test.regex for test in match.headers)
        method = bool(match.method)
        return (len(match.headers) + method, exact + method, len(match.query))
    return (bool(match.method), len(match.headers), len(match.query))
