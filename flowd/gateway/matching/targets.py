"""What matches and rewrites look at in the path and query of a request."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from flowd.gateway.matching.dialect import EXACT, PREFIX
from flowd.gateway.matching.rules import Route


@dataclass(frozen=True, slots=True)
class Targets:
    """Paths and query parameters of one route or of many.

    Attributes:
        exact: whole paths.
        prefixes: without a slash at their end.
        parameters: names in the query.
        has_regex: a regular expression is among the matches of paths.
    """

    exact: Collection[str] = ()
    prefixes: Collection[str] = ()
    parameters: Collection[str] = ()
    has_regex: bool = False

    @classmethod
    def of(cls, route: Route) -> "Targets":
        """Those of a route."""
        exact: set[str] = set()
        prefixes: set[str] = set()
        parameters: set[str] = set()
        has_regex = False
        for rule in route.rules:
            for match in rule.matches:
                parameters.update(test.name for test in match.query)
                if match.path_type == EXACT:
                    exact.add(match.path)
                elif match.path_type == PREFIX:
                    prefixes.add(match.path)
                else:
                    has_regex = True
            for entry in rule.filters:
                if entry.url_rewrite and (change := entry.url_rewrite.path):
                    exact.add(change.replace_full_path or "/")
                    prefixes.add(change.replace_prefix_match.rstrip("/"))
        return cls(tuple(exact), tuple(prefixes), tuple(parameters), has_regex)

    @classmethod
    def union(cls, every: Iterable["Targets"]) -> "Targets":
        """Those of many routes, as sets; the empty prefix is always there."""
        found = list(every)
        return cls(
            frozenset[str]().union(*(entry.exact for entry in found if entry.exact)),
            frozenset[str]().union([""], *(entry.prefixes for entry in found if entry.prefixes)),
            frozenset[str]().union(*(entry.parameters for entry in found if entry.parameters)),
            any(entry.has_regex for entry in found),
        )
