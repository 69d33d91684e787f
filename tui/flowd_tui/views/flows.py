"""Flows view: one row for each received flow, newest first."""

from collections import deque
from collections.abc import Callable, Hashable, Mapping, Sequence
from functools import lru_cache

from flowd.text import count, iec, millis
from flowd_tui.data.flow_line import FlowEndpoint, FlowLine
from flowd_tui.data.store import Snapshot
from flowd_tui.draw.cells import Cell, Column, Line, Span
from flowd_tui.draw.glyphs import Glyphs
from flowd_tui.views.base import RowDetail, ViewQuery, clock, empty_lines, label, timestamp
from flowd_tui.views.commands import flow_command_line
from flowd_tui.views.flow_fields import SCHEMA
from flowd_tui.views.query import Predicate, parse

COLUMNS = (
    Column("time", "TIME", 8, 2, max_width=12),
    Column("source", "SOURCE", 17, 1, grow=3, max_width=44),
    Column("src-ip", "SRC IP", 21, 6, min_table_width=190),
    Column("destination", "DESTINATION", 19, 1, grow=3, max_width=46),
    Column("dst-ip", "DST IP", 21, 6, min_table_width=190),
    Column("l7", "L7 / FLAGS", 13, 1, grow=2, max_width=40),
    Column("route", "ROUTE", 20, 3, grow=2, max_width=36),
    Column("latency", "ms", 5, 4, right=True),
    Column("bytes", "BYTES", 9, 5, right=True),
    Column("verdict", "VERDICT", 7, 1),
    Column("node", "NODE", 12, 7, min_table_width=150),
)
SHORT = {"forwarded": "fwd", "dropped": "drop", "redirected": "redir", "translated": "xlat"}
SORTS: dict[str, Callable[[FlowLine], str | float]] = {
    "time": lambda flow: flow.number,
    "source": lambda flow: flow.client.name,
    "src-ip": lambda flow: flow.client.ip,
    "destination": lambda flow: flow.server.name,
    "dst-ip": lambda flow: flow.server.ip,
    "l7": lambda flow: flow.status or flow.l7,
    "route": lambda flow: flow.route.route,
    "latency": lambda flow: flow.latency_ns,
    "bytes": lambda flow: flow.bytes,
    "verdict": lambda flow: flow.verdict,
    "node": lambda flow: flow.node,
}


@lru_cache(32)
def _parsed(text: str) -> Predicate[FlowLine] | None:
    return parse(text, SCHEMA)


class FlowsView:
    """Rows are FlowLines. Matches are cached, so a refresh filters only flows that are new."""

    id = "flows"
    title = "Flows"
    columns: Sequence[Column] = COLUMNS
    follows_newest = True
    fields: Sequence[str] = tuple(SCHEMA.fields)
    default_sort = "time"

    def __init__(self) -> None:
        self._cached_query: tuple[str, str] = ("", "")
        self._filtered_to = 0
        self._matches: deque[FlowLine] = deque()

    def check(self, text: str) -> None:
        _parsed(text)

    def rows(self, snapshot: Snapshot, query: ViewQuery) -> Sequence[FlowLine]:
        """Matching flows, newest first or by the query's column."""
        self._match(snapshot, query)
        rows = list(self._matches)
        if query.sort and query.sort != "time":
            value = SORTS[query.sort]
            rows.sort(key=lambda flow: _rank(value(flow)), reverse=not query.reverse)
        elif query.reverse:
            rows.reverse()
        return rows

    def _match(self, snapshot: Snapshot, query: ViewQuery) -> None:
        wanted = (query.filter, query.namespace)
        if wanted != self._cached_query or snapshot.received < self._filtered_to:
            self._cached_query, self._filtered_to = wanted, 0
            self._matches.clear()
        predicate = _parsed(query.filter)
        fresh = min(snapshot.received - self._filtered_to, len(snapshot.flows))
        for flow in snapshot.flows[len(snapshot.flows) - fresh :]:
            in_namespace = not query.namespace or query.namespace in (
                flow.source.namespace,
                flow.destination.namespace,
            )
            if in_namespace and (predicate is None or predicate(flow)):
                self._matches.appendleft(flow)
        self._filtered_to = snapshot.received
        dropped = snapshot.received - len(snapshot.flows)
        while self._matches and self._matches[-1].number <= dropped:
            self._matches.pop()

    def key(self, row: FlowLine) -> Hashable:
        return row.number

    def depth(self, row: FlowLine) -> int | None:
        return None

    def spanning_cell(self, row: FlowLine) -> Cell | None:
        return None

    def cells(self, row: FlowLine, glyphs: Glyphs) -> Mapping[str, Cell]:
        arrow = glyphs.reply if row.reply else glyphs.to
        route = row.route.route.partition("/")[2] or (row.route.reason and f"({row.route.reason})")
        return {
            "time": Cell(moment := clock(row.time_ns), "dim", short=moment[:8]),
            "source": Cell(row.client.name),
            "src-ip": Cell(row.client.socket, "dim"),
            "destination": Cell(f"{arrow} {row.server.name}", suffix=row.server.suffix),
            "dst-ip": Cell(row.server.socket, "dim"),
            "l7": Cell(_l7_text(row), _status_style(row)),
            "route": Cell(route, "accent"),
            "latency": Cell(millis(row.latency_ns) if row.latency_ns else ""),
            "bytes": Cell(iec(row.bytes) if row.bytes else "", "dim"),
            "verdict": verdict(row, glyphs),
            "node": Cell(row.node, "dim"),
        }

    def data(self, row: FlowLine) -> dict[str, object]:
        return {
            "time": timestamp(row.time_ns),
            "source": _endpoint_data(row.source),
            "destination": _endpoint_data(row.destination),
            "reply": row.reply,
            "protocol": row.protocol,
            "verdict": row.verdict,
            "drop_reason": row.drop_reason,
            "tcp_flags": row.tcp_flags,
            "method": row.method,
            "url": row.url,
            "status": row.status,
            "latency_ns": row.latency_ns,
            "bytes": row.bytes,
            "gateway": row.route.gateway,
            "listener": row.route.listener,
            "route": row.route.route,
            "rule": row.route.rule,
            "backend": row.route.backend,
            "attribution": row.route.attribution,
            "flags": row.route.flags,
            "node": row.node,
            "trace_id": row.trace_id,
        }

    def detail(self, row: FlowLine, snapshot: Snapshot, glyphs: Glyphs) -> RowDetail:
        shown, arrow = verdict(row, glyphs), glyphs.reply if row.reply else glyphs.to
        state = [Span(shown.text, shown.style), Span(f" {row.drop_reason}", "bad")]
        protocol = f"{row.protocol} {row.tcp_flags}".strip()
        left: list[Line] = [
            [*state[: 2 if row.drop_reason else 1], Span(f"  {protocol}")],
            [Span(f"{row.client.socket} {arrow} {row.server.socket}")],
        ]
        if row.method:
            code = Span(f" {row.status}" if row.status else "", _status_style(row))
            spent = f"  {millis(row.latency_ns)} ms" if row.latency_ns else ""
            left.append([Span(row.method, "title"), code, Span(f" {row.url}{spent}")])
        if row.route.route or row.route.gateway:
            left.extend(_route_facts(row))
        if row.bytes:
            left.append(label("bytes", iec(row.bytes)))
        right = [
            label("time", timestamp(row.time_ns)),
            label("node", row.node, f"  {row.interface}" if row.interface else ""),
            label("source", *_endpoint_facts(row.source)),
            label("destination", *_endpoint_facts(row.destination)),
        ]
        if row.trace_id:
            right.insert(2, label("trace", row.trace_id))
        title = f"{row.client.name} {arrow} {row.server.name}{row.server.suffix}"
        return RowDetail(title, left, right)

    def count(self, rows: Sequence[FlowLine], snapshot: Snapshot, query: ViewQuery) -> str:
        stored = count(len(snapshot.flows))
        filtered = query.filter or query.namespace
        return f"{count(len(rows))} of {stored} match" if filtered else f"{stored} flows"

    def empty(self, snapshot: Snapshot, query: ViewQuery) -> list[Line]:
        if snapshot.flows:
            asked = query.filter or f"ns={query.namespace}"
            return [
                [Span(f"None of {count(len(snapshot.flows))} flows matches  "), Span(asked, "key")],
                [Span("/ changes the filter, esc clears it", "dim")],
            ]
        lines = empty_lines(snapshot, "flows")
        if snapshot.connection != "live":
            return lines
        return [
            *lines,
            [Span("They show here as soon as something talks, for instance:", "dim")],
            [Span("curl http://example.com/", "key")],
        ]

    def flows_filter(self, row: FlowLine) -> str:
        return ""

    def observe_command(self, row: FlowLine) -> str:
        return flow_command_line(row)


def verdict(row: FlowLine, glyphs: Glyphs) -> Cell:
    """Cell of the verdict: a sign, a word and a style."""
    word = SHORT.get(row.verdict, row.verdict)
    if row.verdict in ("dropped", "error"):
        return Cell(f"{glyphs.bad} {word}", "bad")
    if row.verdict in ("forwarded", "redirected"):
        return Cell(f"{glyphs.ok} {word}", "ok")
    return Cell(f"{glyphs.warn} {word}", "warn")


def _l7_text(row: FlowLine) -> str:
    flags = f" {row.route.flags}" if row.route.flags else ""
    return f"{row.l7}{flags} {row.path}".rstrip() if row.method else row.l7


def _status_style(row: FlowLine) -> str:
    if row.status >= 500:
        return "bad"
    return "warn" if row.status >= 400 else ""


def _route_facts(row: FlowLine) -> list[Line]:
    route = row.route
    gateway = route.gateway + (f"#{route.listener}" if route.listener else "")
    facts = [label("route", Span(route.route or f"(no route) {route.reason}", "accent"))]
    if route.rule:
        facts[0].append(Span(f" rule {route.rule}"))
    if route.attribution:
        facts[0].append(Span(f"  by {route.attribution}", "dim"))
    facts.append(label("gateway", gateway))
    if route.backend:
        facts.append(label("backend", route.backend))
    return facts


def _endpoint_facts(endpoint: FlowEndpoint) -> list[str]:
    facts = [endpoint.name]
    if endpoint.workload:
        facts.append(f"workload {endpoint.workload}")
    if endpoint.service and endpoint.service != endpoint.name:
        facts.append(f"service {endpoint.service}")
    facts += [text.removeprefix("k8s:") for text in endpoint.labels]
    return ["  ".join(facts)]


def _endpoint_data(endpoint: FlowEndpoint) -> dict[str, object]:
    return {
        "namespace": endpoint.namespace,
        "pod": endpoint.pod,
        "service": endpoint.service,
        "workload": endpoint.workload,
        "ip": endpoint.ip,
        "port": endpoint.port,
    }


def _rank(value: str | float) -> tuple[bool, str | float]:
    return isinstance(value, str), value
