"""What requests have in common that no match of a table can tell apart."""

from flowd.gateway.matching.dialect import split_path
from flowd.gateway.matching.virtual_host import Query
from flowd.gateway.table.route_table import RouteTable


class Likeness:
    """Paths and queries, reduced to what the matches and rewrites of one table look at."""

    def __init__(self, table: RouteTable) -> None:
        targets = table.targets
        self._exact = targets.exact
        self._prefixes = targets.prefixes
        self._has_regex = targets.has_regex
        self._longest = max(map(len, self._prefixes))
        self._parameters = tuple(sorted(targets.parameters))
        self._nothing = (None,) * len(self._parameters)

    def of(self, target: str) -> tuple[str | None, ...]:
        """The same for two request targets only when every match takes both or neither."""
        path, query = split_path(target)
        if not self._parameters:
            return (self._path(path),)
        if not query:
            return self._path(path), *self._nothing
        found = Query(query)
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
                # Not the prefix alone, which may be an exact path as well
                return f"{prefix}/*"
            at = path.rfind("/", 0, at)
        return "/*"
