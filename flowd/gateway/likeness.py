"""What requests have in common that no match of a table can tell apart."""

from flowd.gateway.dialect import EXACT, PREFIX, split_path
from flowd.gateway.table import RouteTable
from flowd.gateway.vhost import Query


class Likeness:
    """Paths and queries, reduced to what the matches and rewrites of one table look at."""

    def __init__(self, table: RouteTable) -> None:
        self._exact: set[str] = set()
        self._prefixes: set[str] = {""}
        self._names: set[str] = set()
        self._has_regex = False
        for route in table.routes.values():
            for rule in route.rules:
                for match in rule.matches:
                    self._names.update(test.name for test in match.query)
                    if match.path_type == EXACT:
                        self._exact.add(match.path)
                    elif match.path_type == PREFIX:
                        self._prefixes.add(match.path)
                    else:
                        self._has_regex = True
                for entry in rule.filters:
                    if entry.url_rewrite and (change := entry.url_rewrite.path):
                        self._exact.add(change.replace_full_path or "/")
                        self._prefixes.add(change.replace_prefix_match.rstrip("/"))
        self._longest = max(map(len, self._prefixes))
        self._parameters = tuple(sorted(self._names))
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
