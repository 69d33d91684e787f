"""Virtual host: the matches that compete for the requests of one hostname."""

import operator
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from flowd.gateway.matching.dialect import EXACT, PREFIX
from flowd.gateway.matching.rules import Match, Route, Rule


class Candidate(NamedTuple):
    """A match with its route and rule."""

    route: Route
    rule: Rule
    match: Match


class QueryParams(dict[str, str]):
    """Query parameters by name, not percent-decoded; the first value of a repeated name counts."""

    def __init__(self, query: str) -> None:
        pairs = (part.partition("=") for part in query.split("&")) if query else ()
        super().__init__()
        for name, _, value in pairs:
            self.setdefault(name, value)


@dataclass(slots=True)
class VirtualHost:
    """Candidates of one hostname in order of precedence, indexed by path condition.

    Envoy selects one virtual host for a request; a request that no candidate accepts has no route.

    Attributes:
        candidates: all matches, highest precedence first.
        rewriters: candidates whose rule has a URLRewrite filter.
    """

    hostname: str
    candidates: list[Candidate] = field(default_factory=list[Candidate])
    _exact: dict[str, tuple[int, ...]] = field(default_factory=dict[str, tuple[int, ...]])
    _prefix: dict[str, tuple[int, ...]] = field(default_factory=dict[str, tuple[int, ...]])
    _other: list[int] = field(default_factory=list[int])
    rewriters: list[Candidate] = field(default_factory=list[Candidate])
    _longest: int = 0
    _routes: list[Route] = field(default_factory=list[Route])

    @classmethod
    def build(cls, hostname: str, routes: Iterable[Route]) -> "VirtualHost":
        """Order the matches of all rules of the routes by precedence."""
        routes = list(routes)
        every = [
            Candidate(route, rule, match)
            for route in routes
            for rule in route.rules
            for match in rule.matches
        ]
        every.sort(key=_precedence)
        vhost = cls(hostname, every, _routes=routes)
        vhost.rewriters = [
            candidate
            for candidate in every
            if any(entry.url_rewrite for entry in candidate.rule.filters)
        ]
        places: dict[str, dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
        for order, candidate in enumerate(every):
            match = candidate.match
            if match.path_type in (EXACT, PREFIX):
                places[match.path_type][match.path].append(order)
            else:
                vhost._other.append(order)
        vhost._exact = {path: tuple(orders) for path, orders in places[EXACT].items()}
        vhost._prefix = {path: tuple(orders) for path, orders in places[PREFIX].items()}
        vhost._longest = max(map(len, vhost._prefix), default=0)
        return vhost

    def built_from(self, routes: Sequence[Route]) -> bool:
        """Whether the virtual host was built from these route objects (compared by identity)."""
        return len(routes) == len(self._routes) and all(map(operator.is_, routes, self._routes))

    def equal_matches(self, found: Candidate) -> list[Candidate]:
        """Matches of other routes with the same conditions as a candidate."""
        wanted = _conditions(found.match)
        return [
            other
            for other in self.candidates
            if other.route is not found.route and _conditions(other.match) == wanted
        ]

    def find(
        self, path: str, query: str, method: str, headers: Mapping[str, str]
    ) -> Candidate | None:
        """The match that accepts a request, or None.

        Args:
            path: normalized, without query.
            headers: names in lower case.
        """
        parameters: QueryParams | None = None
        for order in self._orders(path):
            candidate = self.candidates[order]
            match = candidate.match
            if parameters is None and match.query:
                parameters = QueryParams(query)
            if match.matches_rest(method, headers, parameters or {}):
                return candidate
        return None

    def _orders(self, path: str) -> list[int]:
        """Positions of all candidates whose path condition holds, in order of precedence."""
        orders = list(self._exact.get(path, ()))
        if self._prefix:
            for prefix in _prefixes(path, self._longest):
                orders += self._prefix.get(prefix, ())
        for order in self._other:
            if self.candidates[order].match.matches_path(path):
                orders.append(order)
        orders.sort()
        return orders


def _prefixes(path: str, longest: int) -> Iterator[str]:
    """Yield the prefixes of whole path elements up to a length, without a slash at the end.

    `/a/b` has the prefixes `/a/b`, `/a` and "".
    """
    if not path.startswith("/"):
        return
    if len(path) <= longest:
        yield path
    at = path.rfind("/", 0, longest + 1)
    while at >= 0:
        yield path[:at]
        at = path.rfind("/", 0, at)


def _conditions(match: Match) -> tuple[object, ...]:
    tests = frozenset(match.headers), frozenset(match.query)
    return match.path_type, match.path, match.method, *tests


def _precedence(candidate: Candidate) -> tuple[object, ...]:
    rank = tuple(-part for part in candidate.match.rank)
    return rank, candidate.route.age, candidate.rule.index, candidate.match.index
