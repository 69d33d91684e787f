"""The matches that compete for the requests of one hostname."""

import operator
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from flowd.gateway.matching.dialect import EXACT, PREFIX
from flowd.gateway.matching.rules import Match, Route, Rule


class Candidate(NamedTuple):
    """A match with the rule and route that it belongs to."""

    route: Route
    rule: Rule
    match: Match


class Query(dict[str, str]):
    """Query parameters as they stand, not decoded; of several with one name the first counts."""

    def __init__(self, query: str) -> None:
        pairs = (part.partition("=") for part in query.split("&")) if query else ()
        super().__init__()
        for name, _, value in pairs:
            self.setdefault(name, value)


@dataclass(slots=True)
class VirtualHost:
    """Candidates by what their path demands, so that few are tried for a request.

    Envoy commits to one virtual host: a request that nothing here takes has no route.
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

    def is_of(self, routes: Sequence[Route]) -> bool:
        """Whether it was built of these very routes."""
        return len(routes) == len(self._routes) and all(map(operator.is_, routes, self._routes))

    def equals(self, found: Candidate) -> list[Candidate]:
        """The matches of other routes that ask for just the same as a candidate."""
        wanted = _demand(found.match)
        return [
            other
            for other in self.candidates
            if other.route is not found.route and _demand(other.match) == wanted
        ]

    def find(
        self, path: str, query: str, method: str, headers: Mapping[str, str]
    ) -> Candidate | None:
        """The match that takes a request, or None.

        Args:
            path: normalized, without query.
            headers: names in lower case.
        """
        parameters: Query | None = None
        for order in self._orders(path):
            candidate = self.candidates[order]
            match = candidate.match
            if parameters is None and match.query:
                parameters = Query(query)
            if match.takes_rest(method, headers, parameters or {}):
                return candidate
        return None

    def _orders(self, path: str) -> list[int]:
        """The places of all candidates whose path demand is met, in order of precedence."""
        orders = list(self._exact.get(path, ()))
        if self._prefix:
            for prefix in _prefixes(path, self._longest):
                orders += self._prefix.get(prefix, ())
        for order in self._other:
            if self.candidates[order].match.takes_path(path):
                orders.append(order)
        orders.sort()
        return orders


def _prefixes(path: str, longest: int) -> Iterator[str]:
    """The prefixes of whole path elements up to a length, without a slash at the end.

    `/a/b` gives `/a/b`, `/a` and the empty one.
    """
    if not path.startswith("/"):
        return
    if len(path) <= longest:
        yield path
    at = path.rfind("/", 0, longest + 1)
    while at >= 0:
        yield path[:at]
        at = path.rfind("/", 0, at)


def _demand(match: Match) -> tuple[object, ...]:
    tests = frozenset(match.headers), frozenset(match.query)
    return match.path_type, match.path, match.method, *tests


def _precedence(candidate: Candidate) -> tuple[object, ...]:
    rank = tuple(-part for part in candidate.match.rank)
    return rank, candidate.route.age, candidate.rule.index, candidate.match.index
