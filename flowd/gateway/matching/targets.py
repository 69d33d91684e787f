"""Paths and query parameters that the matches and rewrites of routes compare."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from flowd.gateway.matching.dialect import EXACT, PREFIX
from flowd.gateway.matching.rules import Route


@dataclass(frozen=True, slots=True)
class MatchTargets:
    """Paths and query parameters in the matches and rewrites of one or many routes.

    Attributes:
        exact: whole paths.
        prefixes: path prefixes without a slash at the end.
        parameters: names of query parameters.
        has_regex: a path match is a regular expression.
    """

    exact: Collection[str] = ()
    prefixes: Collection[str] = ()
    parameters: Collection[str] = ()
    has_regex: bool = False

    @classmethod
    def of(cls, route: Route) -> "MatchTargets":
        """Collect the targets of one route."""
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
    def union(cls, every: Iterable["MatchTargets"]) -> "MatchTargets":
        """Merge the targets of many routes into sets; the empty prefix is always included."""
        found = list(every)
        return cls(
            frozenset[str]().union(*(entry.exact for entry in found if entry.exact)),
            frozenset[str]().union([""], *(entry.prefixes for entry in found if entry.prefixes)),
            frozenset[str]().union(*(entry.parameters for entry in found if entry.parameters)),
            any(entry.has_regex for entry in found),
        )
