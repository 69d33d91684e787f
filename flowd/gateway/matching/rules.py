"""Routes as they are matched: rules, matches in order of precedence, backends, filters."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from flowd.gateway.matching.dialect import EXACT, PREFIX, REGEX, Dialect
from flowd.gateway.matching.patterns import Predicate, ValueTest
from flowd.kubernetes.objects.gateway_api import Filter, GRPCMatch, HTTPMatch, Retry, Timeouts
from flowd.model.route import BackendRef

RouteKey: TypeAlias = tuple[str, str, str]
"""(kind, namespace, name) of a route object."""

Rank: TypeAlias = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Match:
    """One entry of a rule's `matches`; the implicit one of a rule without any has index 0.

    Attributes:
        path_type: Exact, PathPrefix or RegularExpression.
        path: what is compared; prefixes have no slash at the end, so `/` is "".
        accepts_path: the compiled expression of RegularExpression.
        method: "" for any.
        source: as it stands in the object, or how a person writes it, "" where there is nothing.
        rank: greater is tried first.
    """

    index: int
    path_type: str
    path: str
    method: str
    headers: tuple[ValueTest, ...]
    query: tuple[ValueTest, ...]
    accepts_path: Predicate | None
    source: HTTPMatch | GRPCMatch | str
    rank: Rank

    @property
    def text(self) -> str:
        """The match as a person writes it, for gRPC without the translation to a path."""
        if isinstance(self.source, str):
            return self.source
        tests = [f"header {test}" for test in self.headers]
        tests += [f"query {test}" for test in self.query]
        if isinstance(self.source, HTTPMatch):
            words = [f"{self.path_type} {self.source.path.value}", self.method]
        else:
            wanted = self.source.method
            words = [f"{wanted.type} {wanted.service or '*'}/{wanted.method or '*'}"]
        return " ".join(filter(None, [*words, *tests]))

    def takes_path(self, path: str) -> bool:
        """Whether a normalized path without query satisfies the match."""
        if self.path_type == EXACT:
            return path == self.path
        if self.path_type == PREFIX:
            return path.startswith(self.path) and path[len(self.path) : len(self.path) + 1] in "/"
        return self.accepts_path is not None and self.accepts_path(path)

    def takes_rest(
        self,
        method: str,
        headers: Mapping[str, str],
        query: Mapping[str, str],
        lenient: bool = False,
    ) -> bool:
        """Whether method, headers (names in lower case) and query parameters satisfy the match.

        Args:
            lenient: a header that is not there may have been, as logs hold only some.
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
        reason: why it takes no traffic, in the API's words (`BackendNotFound`), or "".
        ready, total: endpoints of the Service; -1 when no EndpointSlice tells.
        filters: those of this backendRef alone.
    """

    ref: BackendRef
    reason: str = ""
    ready: int = -1
    total: int = -1
    filters: tuple[Filter, ...] = ()


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule of a route, whatever its kind.

    Attributes:
        refusal: why its requests get an error instead of a backend, or "".
    """

    index: int
    name: str
    matches: tuple[Match, ...]
    filters: tuple[Filter, ...]
    backends: tuple[Backend, ...]
    mirrors: tuple[Backend, ...] = ()
    timeouts: Timeouts = field(default_factory=Timeouts)
    retry: Retry | None = None
    refusal: str = ""


@dataclass(frozen=True, slots=True)
class Route:
    """A route object of any kind.

    Attributes:
        key: kind, namespace and name.
        left_out: index of each rule that is not among `rules`, and why.
        reason: of the Accepted condition when no rule is left.
    """

    kind: str
    namespace: str
    name: str
    created: str
    hostnames: tuple[str, ...]
    rules: tuple[Rule, ...]
    left_out: tuple[tuple[int, str], ...] = ()
    reason: str = "UnsupportedValue"
    key: RouteKey = field(init=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "key", (self.kind, self.namespace, self.name))

    @property
    def problem(self) -> str:
        """Why rules of it were left out, or ""."""
        return "; ".join(f"rule {index}: {why}" for index, why in self.left_out)

    @property
    def age(self) -> tuple[bool, str, str, str]:
        """Sort key of the API's ties: oldest first, then by namespace and name.

        An object that was never created in a cluster counts as the youngest.
        """
        return not self.created, self.created, self.namespace, self.name


def http_rank(match: Match, dialect: Dialect) -> Rank:
    """Precedence of an HTTPRoute match (gateway-api, apis/v1/httproute_types.go, HTTPRouteRule)."""
    order = -dialect.path_order.index(match.path_type)
    return (order, len(match.path), 0, *_rest_rank(match, dialect))


def grpc_rank(match: Match, service: str, method: str, regex: bool, dialect: Dialect) -> Rank:
    """Precedence of a GRPCRoute match: characters in service, then in method, then headers.

    Only regular expressions bring in the order of path types, where the dialect puts them first
    or last (gateway-api, apis/v1/grpcroute_types.go, GRPCRouteRule).
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
