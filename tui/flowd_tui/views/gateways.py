"""The Gateways view: rate, errors and latency of every listener, route, rule and backend."""

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from flowd.text import count, millis
from flowd_tui.data.store import Link, Snapshot
from flowd_tui.data.traffic import Totals
from flowd_tui.draw.cells import Cell, Column, Line, Span
from flowd_tui.draw.glyphs import Glyphs
from flowd_tui.views.base import Detail, Query, waiting
from flowd_tui.views.commands import observe
from flowd_tui.views.gateway_detail import detail, rate, short_flags
from flowd_tui.views.query import Field, Kind, Predicate, Schema, parse, quoted
from flowd_tui.views.split import split_data
from flowd_tui.views.tree import Node, gateways

COLUMNS = (
    Column("name", "GATEWAY / ROUTE / BACKEND", 29, 1, grow=5, most=60),
    Column("match", "MATCH", 20, 6, grow=4, most=48, sortable=False),
    Column("rate", "RATE/s", 6, 1, right=True),
    Column("4xx", "4xx%", 5, 3, right=True),
    Column("5xx", "5xx%", 5, 1, right=True),
    Column("p50", "p50ms", 5, 2, right=True),
    Column("p95", "p95ms", 5, 1, right=True),
    Column("p99", "p99ms", 5, 2, right=True),
    Column("retry", "RETRY/s", 7, 5, right=True),
    Column("flags", "FLAGS", 6, 3, grow=1, most=11),
    Column("trend", "TREND", 6, 4, grow=2, most=30, sortable=False),
)
SORTS: dict[str, Callable[[Node], float]] = {
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
    """A node as it stands on the screen; `open` is None for a row without children."""

    node: Node
    depth: int
    open: bool | None
    covered: float
    trend: Sequence[float]


def _field(name: str, kind: Kind = Kind.NAME) -> Field[Node]:
    return Field(kind, lambda node: [node.path.get(name, "")])


FIELDS: dict[str, Field[Node]] = {
    "gateway": _field("gateway"),
    "listener": _field("listener", Kind.WORD),
    "route": _field("route"),
    "rule": _field("rule", Kind.WORD),
    "backend": _field("backend"),
    "ns": Field(Kind.WORD, lambda node: list(_namespaces(node))),
    "flag": Field(Kind.WORD, lambda node: list(node.totals.flags)),
    "http-status": Field(Kind.NUMBER, lambda node: list(node.totals.status)),
}
SCHEMA = Schema(FIELDS, lambda node: f"{node.name} {node.match} {node.type}".casefold())


@lru_cache(32)
def _parsed(text: str) -> Predicate[Node] | None:
    return parse(text, SCHEMA)


class GatewaysView:
    """Rows are GatewayRows; a listener, route or rule can be folded."""

    id = "gateways"
    title = "Gateways"
    columns: Sequence[Column] = COLUMNS
    follows = False
    fields: Sequence[str] = tuple(FIELDS)
    order = "name"

    def check(self, text: str) -> None:
        _parsed(text)

    def rows(self, snapshot: Snapshot, query: Query) -> Sequence[GatewayRow]:
        """The visible rows of the tree, sorted among their siblings."""
        predicate = _parsed(query.filter)
        wanted = gateways(snapshot)
        if query.namespace:
            wanted = _matching(wanted, lambda node: query.namespace in _namespaces(node))
        if predicate:
            wanted = _matching(wanted, predicate)
        narrowed = bool(query.filter or query.namespace)
        covered = snapshot.covered

        def visible(nodes: Sequence[Node], depth: int) -> Iterator[GatewayRow]:
            for node in _sorted(nodes, query):
                problems = [child for child in node.children if child.kind == "problem"]
                inner = [child for child in node.children if child.kind != "problem"]
                opened = node.unfolded is not (node.key in query.toggled) or narrowed
                trend = _trend(snapshot, node)
                yield GatewayRow(node, depth, opened if inner else None, covered, trend)
                for problem in problems:
                    yield GatewayRow(problem, depth + 1, None, covered, ())
                if opened:
                    yield from visible(inner, depth + 1)

        return list(visible(wanted, 0))

    def key(self, row: GatewayRow) -> Hashable:
        return row.node.key

    def depth(self, row: GatewayRow) -> int | None:
        return row.depth

    def span(self, row: GatewayRow) -> Cell | None:
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
            numbers["4xx"] = _share(totals, 4)
            numbers["5xx"] = _share(totals, 5)
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

    def detail(self, row: GatewayRow, snapshot: Snapshot, glyphs: Glyphs) -> Detail:
        return detail(row.node, snapshot, row.covered, glyphs)

    def count(self, rows: Sequence[GatewayRow], snapshot: Snapshot, query: Query) -> str:
        known = snapshot.topology
        return f"{_many(len(known.gateways), 'gateway')}  {_many(len(known.routes), 'route')}"

    def empty(self, snapshot: Snapshot, query: Query) -> list[Line]:
        known = snapshot.topology
        if known.routes or known.gateways or snapshot.totals:
            asked = query.filter or f"ns={query.namespace}"
            return [
                [Span("No gateway or route matches  "), Span(asked, "key")],
                [Span("/ changes the filter, esc clears it", "dim")],
            ]
        if snapshot.link is not Link.LIVE:
            return waiting(snapshot, "gateways")
        if snapshot.no_agent:
            return [
                [Span("This server tells no routes.", "warn")],
                [Span(snapshot.no_agent, "dim")],
                [Span("1 shows its flows", "dim")],
            ]
        return [
            *waiting(snapshot, "gateways"),
            [
                Span(
                    "The agent learns them from Gateway API objects, and traffic from Envoy:", "dim"
                )
            ],
            [Span("flowd run --manifests DIR --als-listen 127.0.0.1:9001", "key")],
        ]

    def within(self, row: GatewayRow) -> str:
        names = ("gateway", "listener", "route", "rule", "backend")
        path = row.node.path
        return " ".join(f"{name}={quoted(path[name])}" for name in names if path.get(name))

    def observe(self, row: GatewayRow) -> str:
        path = row.node.path
        names = ("gateway", "listener", "route", "backend")
        return observe([(name, path.get(name, "")) for name in names], follow=True)


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


def _many(number: int, what: str) -> str:
    return f"{count(number)} {what}{'' if number == 1 else 's'}"


def _share(totals: Totals, hundreds: int) -> Cell:
    share = totals.errors(hundreds)
    style = ("bad" if hundreds == 5 else "warn") if share else "dim"
    return Cell(f"{share:.1f}" if share < 99.95 else "100", style)


def _sorted(nodes: Sequence[Node], query: Query) -> Sequence[Node]:
    value = SORTS.get(query.sort)
    if value:
        return sorted(nodes, key=value, reverse=not query.reverse)
    return nodes[::-1] if query.reverse else nodes


def _matching(nodes: Sequence[Node], wanted: Callable[[Node], bool]) -> list[Node]:
    """Nodes that match or hold one that does; below a match everything stays."""
    found: list[Node] = []
    for node in nodes:
        if wanted(node):
            found.append(node)
        elif inner := _matching(node.children, wanted):
            found.append(replace(node, children=tuple(inner)))
    return found


def _namespaces(node: Node) -> set[str]:
    """Namespaces of the object itself, not of what it hangs under."""
    own = {"gateway": "gateway", "route": "route", "backend": "backend"}.get(node.kind, "")
    parts = node.path.get(own, "").split("/")
    return set(parts[-2:-1])


def _trend(snapshot: Snapshot, node: Node) -> list[float]:
    rows = [snapshot.trend[key] for key in node.keys if key in snapshot.trend]
    return [sum(values) for values in zip(*rows, strict=True)]
