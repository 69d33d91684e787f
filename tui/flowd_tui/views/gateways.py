"""Gateways view: rate, errors and latency of every listener, route, rule and backend."""

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from flowd.text import count, millis
from flowd_tui.data.store import ConnectionState, Snapshot
from flowd_tui.data.traffic import Totals
from flowd_tui.draw.cells import Cell, Column, Line, Span
from flowd_tui.draw.glyphs import Glyphs
from flowd_tui.views.base import RowDetail, ViewQuery, empty_lines
from flowd_tui.views.commands import command_line
from flowd_tui.views.gateway_detail import detail, rate, short_flags
from flowd_tui.views.query import FieldKind, Predicate, QueryField, Schema, parse, quoted
from flowd_tui.views.split import split_data
from flowd_tui.views.tree import TreeNode, gateway_tree

COLUMNS = (
    Column("name", "GATEWAY / ROUTE / BACKEND", 29, 1, grow=5, max_width=60),
    Column("match", "MATCH", 20, 6, grow=4, max_width=48, sortable=False),
    Column("rate", "RATE/s", 6, 1, right=True),
    Column("4xx", "4xx%", 5, 3, right=True),
    Column("5xx", "5xx%", 5, 1, right=True),
    Column("p50", "p50ms", 5, 2, right=True),
    Column("p95", "p95ms", 5, 1, right=True),
    Column("p99", "p99ms", 5, 2, right=True),
    Column("retry", "RETRY/s", 7, 5, right=True),
    Column("flags", "FLAGS", 6, 3, grow=1, max_width=11),
    Column("trend", "TREND", 6, 4, grow=2, max_width=30, sortable=False),
)
SORTS: dict[str, Callable[[TreeNode], float]] = {
    "rate": lambda node: node.totals.requests,
    "4xx": lambda node: node.totals.errors(4),
    "5xx": lambda node: node.totals.errors(5),
    "p50": lambda node: node.totals.quantile(0.5),
    "p95": lambda node: node.totals.quantile(0.95),
    "p99": lambda node: node.totals.quantile(0.99),
    "retry": lambda node: node.totals.retries,
    "flags": lambda node: node.totals.flags.total(),
}


@dataclass(frozen=True, slots=True)
class GatewayRow:
    """A visible node of the tree.

    Attributes:
        open: whether its children are visible; None for a row without children.
        covered: seconds of the window with data.
        trend: requests a second by bin of the window, oldest first.
    """

    node: TreeNode
    depth: int
    open: bool | None
    covered: float
    trend: Sequence[float]


def _field(name: str, kind: FieldKind = FieldKind.NAME) -> QueryField[TreeNode]:
    return QueryField(kind, lambda node: [node.path.get(name, "")])


FIELDS: dict[str, QueryField[TreeNode]] = {
    "gateway": _field("gateway"),
    "listener": _field("listener", FieldKind.WORD),
    "route": _field("route"),
    "rule": _field("rule", FieldKind.WORD),
    "backend": _field("backend"),
    "ns": QueryField(FieldKind.WORD, lambda node: list(_namespaces(node))),
    "flag": QueryField(FieldKind.WORD, lambda node: list(node.totals.flags)),
    "http-status": QueryField(FieldKind.NUMBER, lambda node: list(node.totals.status)),
}
SCHEMA = Schema(FIELDS, lambda node: f"{node.name} {node.match} {node.type}".casefold())


@lru_cache(32)
def _parsed(text: str) -> Predicate[TreeNode] | None:
    return parse(text, SCHEMA)


class GatewaysView:
    """Rows are GatewayRows; listeners, routes and rules can be folded."""

    id = "gateways"
    title = "Gateways"
    columns: Sequence[Column] = COLUMNS
    follows_newest = False
    fields: Sequence[str] = tuple(FIELDS)
    default_sort = "name"

    def check(self, text: str) -> None:
        _parsed(text)

    def rows(self, snapshot: Snapshot, query: ViewQuery) -> Sequence[GatewayRow]:
        """Visible rows of the tree, sorted among their siblings."""
        predicate = _parsed(query.filter)
        roots = gateway_tree(snapshot)
        if query.namespace:
            roots = _matching(roots, lambda node: query.namespace in _namespaces(node))
        if predicate:
            roots = _matching(roots, predicate)
        filtered = bool(query.filter or query.namespace)
        covered = snapshot.covered

        def visible(nodes: Sequence[TreeNode], depth: int) -> Iterator[GatewayRow]:
            for node in _sorted(nodes, query):
                problems = [child for child in node.children if child.kind == "problem"]
                inner = [child for child in node.children if child.kind != "problem"]
                opened = node.unfolded is not (node.key in query.toggled) or filtered
                trend = _trend(snapshot, node)
                yield GatewayRow(node, depth, opened if inner else None, covered, trend)
                for problem in problems:
                    yield GatewayRow(problem, depth + 1, None, covered, ())
                if opened:
                    yield from visible(inner, depth + 1)

        return list(visible(roots, 0))

    def key(self, row: GatewayRow) -> Hashable:
        return row.node.key

    def depth(self, row: GatewayRow) -> int | None:
        return row.depth

    def spanning_cell(self, row: GatewayRow) -> Cell | None:
        if row.node.kind != "problem":
            return None
        return Cell("  " * row.depth + "  " + row.node.name, "bad")

    def cells(self, row: GatewayRow, glyphs: Glyphs) -> Mapping[str, Cell]:
        node, totals = row.node, row.node.totals
        numbers = {
            "rate": Cell(rate(totals.requests, row.covered)),
            "retry": Cell(rate(totals.retries, row.covered) if totals.retries else ""),
            "flags": Cell(short_flags(totals), "bad"),
            "trend": Cell(series=row.trend, style="accent"),
        }
        if totals.requests:
            numbers["4xx"] = _error_cell(totals, 4)
            numbers["5xx"] = _error_cell(totals, 5)
            for q in (50, 95, 99):
                numbers[f"p{q}"] = Cell(millis(totals.quantile(q / 100)))
        else:
            numbers |= {name: Cell("-", "dim") for name in ("4xx", "5xx", "p50", "p95", "p99")}
        return numbers | {"name": _name(row, glyphs), "match": Cell(node.match, "dim")}

    def data(self, row: GatewayRow) -> dict[str, object]:
        node, totals = row.node, row.node.totals
        return {
            "kind": node.kind,
            "name": node.name,
            **{name: node.path.get(name, "") for name in ("gateway", "listener", "route")},
            "rule": node.path.get("rule", ""),
            "backend": node.path.get("backend", ""),
            "state": node.state,
            "match": node.match,
            "requests": totals.requests,
            "seconds": row.covered,
            "rate": totals.requests / row.covered if row.covered else 0.0,
            "status": {str(status): n for status, n in sorted(totals.status.items())},
            "flags": dict(sorted(totals.flags.items())),
            "retries": totals.retries,
            "p50_ns": round(totals.quantile(0.5)),
            "p95_ns": round(totals.quantile(0.95)),
            "p99_ns": round(totals.quantile(0.99)),
            "split": split_data(totals.split),
            "weight": node.weight,
            "seen_percent": node.seen,
        }

    def detail(self, row: GatewayRow, snapshot: Snapshot, glyphs: Glyphs) -> RowDetail:
        return detail(row.node, snapshot, row.covered, glyphs)

    def count(self, rows: Sequence[GatewayRow], snapshot: Snapshot, query: ViewQuery) -> str:
        known = snapshot.topology
        return f"{_plural(len(known.gateways), 'gateway')}  {_plural(len(known.routes), 'route')}"

    def empty(self, snapshot: Snapshot, query: ViewQuery) -> list[Line]:
        known = snapshot.topology
        if known.routes or known.gateways or snapshot.totals:
            asked = query.filter or f"ns={query.namespace}"
            return [
                [Span("No gateway or route matches  "), Span(asked, "key")],
                [Span("/ changes the filter, esc clears it", "dim")],
            ]
        if snapshot.connection is not ConnectionState.LIVE:
            return empty_lines(snapshot, "gateways")
        if snapshot.agent_error:
            return [
                [Span("This server tells no routes.", "warn")],
                [Span(snapshot.agent_error, "dim")],
                [Span("1 shows its flows", "dim")],
            ]
        return [
            *empty_lines(snapshot, "gateways"),
            [
                Span(
                    "The agent learns them from Gateway API objects, and traffic from Envoy:", "dim"
                )
            ],
            [Span("flowd run --manifests DIR --als-listen 127.0.0.1:9001", "key")],
        ]

    def flows_filter(self, row: GatewayRow) -> str:
        names = ("gateway", "listener", "route", "rule", "backend")
        path = row.node.path
        return " ".join(f"{name}={quoted(path[name])}" for name in names if path.get(name))

    def observe_command(self, row: GatewayRow) -> str:
        path = row.node.path
        names = ("gateway", "listener", "route", "backend")
        return command_line([(name, path.get(name, "")) for name in names], follow=True)


def _name(row: GatewayRow, glyphs: Glyphs) -> Cell:
    node = row.node
    fold = " " if row.open is None else glyphs.unfolded if row.open else glyphs.folded
    signs = {"ok": glyphs.ok, "bad": glyphs.bad, "warn": glyphs.warn}
    state = f"{signs[node.state]} " if node.state else ""
    tails = (node.type,) if node.type else ()
    if node.weight is not None:
        weight, seen = node.weight, "" if node.seen is None else f"{node.seen:.1f}%"
        tails = (f"w {weight}  seen {seen}", f"w{weight} {seen}") if seen else (f"w {weight}",)
    unknown = node.name.startswith("(")
    style = {"gateway": "title", "rule": "dim"}.get(node.kind, "warn" if unknown else "")
    if node.state == "bad":
        style = "bad"
    return Cell(f"{'  ' * row.depth}{fold} {state}{node.name}", style, tails=tails)


def _plural(number: int, noun: str) -> str:
    return f"{count(number)} {noun}{'' if number == 1 else 's'}"


def _error_cell(totals: Totals, hundreds: int) -> Cell:
    share = totals.errors(hundreds)
    style = ("bad" if hundreds == 5 else "warn") if share else "dim"
    return Cell(f"{share:.1f}" if share < 99.95 else "100", style)


def _sorted(nodes: Sequence[TreeNode], query: ViewQuery) -> Sequence[TreeNode]:
    value = SORTS.get(query.sort)
    if value:
        return sorted(nodes, key=value, reverse=not query.reverse)
    return nodes[::-1] if query.reverse else nodes


def _matching(nodes: Sequence[TreeNode], matches: Callable[[TreeNode], bool]) -> list[TreeNode]:
    """Nodes that match or have a matching descendant; all descendants of a match are kept."""
    found: list[TreeNode] = []
    for node in nodes:
        if matches(node):
            found.append(node)
        elif inner := _matching(node.children, matches):
            found.append(replace(node, children=tuple(inner)))
    return found


def _namespaces(node: TreeNode) -> set[str]:
    """Namespace of the node's own object, without those of its ancestors."""
    own = {"gateway": "gateway", "route": "route", "backend": "backend"}.get(node.kind, "")
    parts = node.path.get(own, "").split("/")
    return set(parts[-2:-1])


def _trend(snapshot: Snapshot, node: TreeNode) -> list[float]:
    rows = [snapshot.trend[key] for key in node.keys if key in snapshot.trend]
    return [sum(values) for values in zip(*rows, strict=True)]
