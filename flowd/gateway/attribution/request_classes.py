"""Equivalence classes of request targets: equal class, same result for every match."""

from flowd.gateway.matching.dialect import split_path
from flowd.gateway.matching.virtual_host import QueryParams
from flowd.gateway.table.route_table import RouteTable


class RequestClasses:
    """Reduce paths and queries to the parts that the matches and rewrites of one table compare."""

    def __init__(self, table: RouteTable) -> None:
        targets = table.targets
        self._exact = targets.exact
        self._prefixes = targets.prefixes
        self._has_regex = targets.has_regex
        self._longest = max(map(len, self._prefixes))
        self._parameters = tuple(sorted(targets.parameters))
        self._nothing = (None,) * len(self._parameters)

    def class_of(self, target: str) -> tuple[str | None, ...]:
        """Equivalence class of a target: every match accepts all targets of a class or none."""
        path, query = split_path(target)
        if not self._parameters:
            return (self._path(path),)
        if not query:
            return self._path(path), *self._nothing
        found = QueryParams(query)
        return self._path(path), *(found.get(name) for name in self._parameters)

    def _path(self, path: str) -> str:
        if self._has_regex or path in self._exact or path[:1] != "/":
            return path
        longest = self._longest
        if len(path) <= longest and path in self._prefixes:
            return path
        at = path.rfind("/", 0, longest + 1)
        while at > 0:
            if (prefix := path[:at]) in self._prefixes:
                # The suffix separates the class from an exact path of the same text
                return f"{prefix}/*"
            at = path.rfind("/", 0, at)
        return "/*"
