"""Detail pane of the Gateways view: configuration, charts, last requests."""

from collections.abc import Sequence
from itertools import islice

from flowd.text import millis, short
from flowd.wire.flowd import agent_pb2
from flowd_tui.data.flow_line import FlowLine
from flowd_tui.data.store import BINS, Snapshot
from flowd_tui.data.traffic import Totals
from flowd_tui.draw.cells import Line, Span
from flowd_tui.draw.glyphs import Glyphs
from flowd_tui.draw.spark import spark
from flowd_tui.views.base import RowDetail, clock, label
from flowd_tui.views.split import split_forms, unknown_split
from flowd_tui.views.tree import TreeNode

CHART_WIDTH = 24
LAST_REQUESTS = 6
SEARCHED_FLOWS = 5000
FLAG_TEXTS = {
    "UH": "no healthy upstream",
    "UF": "upstream connection failure",
    "UO": "upstream overflow",
    "NR": "no route",
    "URX": "retry limit",
    "UT": "upstream timeout",
    "UC": "upstream connection ended",
    "UR": "upstream reset",
    "LR": "local reset",
    "DC": "downstream left",
    "NC": "no such cluster",
    "DT": "duration timeout",
    "RL": "rate limited",
    "UAEX": "denied by authorization",
    "DPE": "downstream protocol error",
    "UPE": "upstream protocol error",
    "LH": "health check failed",
    "SI": "stream idle timeout",
    "FI": "fault injected",
    "DI": "delay injected",
}


def short_flags(totals: Totals) -> str:
    """Response flags, most frequent first, comma-separated."""
    return ",".join(flag for flag, _ in totals.flags.most_common())


def rate(number: int, seconds: float) -> str:
    """Rate a second as text; a rate above 0 is never shown as 0, but as `<0.1`."""
    if not seconds:
        return "-"
    return "<0.1" if 0 < number / seconds < 0.05 else short(number / seconds)


def per_second(number: int, seconds: float) -> str:
    """`rate` with its unit."""
    return f"{rate(number, seconds)}/s"


def detail(node: TreeNode, snapshot: Snapshot, covered: float, glyphs: Glyphs) -> RowDetail:
    """Configuration on the left, traffic on the right. `covered` is seconds with data."""
    left = [*_configured(node, glyphs), *_statuses(node.totals), *_flags(node.totals, covered)]
    title = f"{node.type} {node.name}" if node.kind == "route" else node.name
    if node.kind in ("rule", "backend", "problem"):
        title = f"{node.path.get('route', '')}  {node.name}"
    return RowDetail(title, left, _charts(node, snapshot, glyphs), split_forms(node.totals))


def _configured(node: TreeNode, glyphs: Glyphs) -> list[Line]:
    subject = node.subject
    if isinstance(subject, agent_pb2.Gateway):
        return [
            label("class", subject.class_name or "-"),
            label("listeners", *_listeners(subject, node.path.get("listener", ""))),
        ]
    if isinstance(subject, agent_pb2.Route):
        hosts = " ".join(subject.hostnames) or "*"
        matches = "  ".join(match for rule in subject.rules for match in rule.matches)
        filters = "  ".join(text for rule in subject.rules for text in rule.filters)
        facts = [label("hosts", hosts), label("match", matches or "everything")]
        if filters:
            facts.append(label("filters", filters))
        return [*facts, *(_parent(parent, glyphs) for parent in subject.parents)]
    if isinstance(subject, agent_pb2.Rule):
        filters = "  ".join(subject.filters)
        facts = [label("match", " or ".join(subject.matches) or "everything")]
        return [*facts, label("filters", filters)] if filters else facts
    if isinstance(subject, agent_pb2.Backend):
        ready = f"{subject.ready_endpoints} of {subject.endpoints} ready"
        facts = [label(subject.kind, f"{subject.namespace}/{subject.name}:{subject.port}")]
        facts.append(label("endpoints", ready if subject.endpoints_known else "not known"))
        if subject.reason:
            facts.append(label("takes no traffic:", Span(subject.reason, "bad")))
        if node.weight is not None:
            seen = "" if node.seen is None else f"  seen {node.seen:.1f}%"
            facts.append(label("weight", f"{node.weight}{seen}"))
        return facts
    return []


def _listeners(gateway: agent_pb2.Gateway, current: str) -> list[Span]:
    return [
        Span(
            f"{listener.name} {listener.protocol}:{listener.port}  ",
            "accent" if listener.name == current else "",
        )
        for listener in gateway.listeners
    ]


def _parent(parent: agent_pb2.Parent, glyphs: Glyphs) -> Line:
    listener = f"#{parent.listener}" if parent.listener else ""
    line = label("parent", f"{parent.gateway_namespace}/{parent.gateway}{listener}")
    for condition in parent.conditions:
        if condition.status:
            line.append(Span(f"  {condition.type} {glyphs.ok}", "ok"))
        else:
            line.append(Span(f"  {condition.type} {glyphs.bad} {condition.reason}", "bad"))
    return line


def _statuses(totals: Totals) -> list[Line]:
    """Percentage of each status code, in one line."""
    if not totals.requests:
        return []
    line: Line = []
    for status, n in sorted(totals.status.items()):
        style = "bad" if status >= 500 else "warn" if status >= 400 else ""
        line.append(Span(f"{status or 'no status'} ", style))
        line.append(Span(f"{100 * n / totals.requests:.1f}%  "))
    return [line]


def _flags(totals: Totals, covered: float) -> list[Line]:
    lines: list[Line] = []
    if totals.retries and covered:
        lines.append(label("retries", per_second(totals.retries, covered)))
    for flag, n in totals.flags.most_common():
        text = FLAG_TEXTS.get(flag, "")
        lines.append(
            [Span(f"{flag} ", "bad"), Span(per_second(n, covered)), Span(f" {text}", "dim")]
        )
    return lines


def _charts(node: TreeNode, snapshot: Snapshot, glyphs: Glyphs) -> list[Line]:
    """Sparklines of rate, p95 and 5xx over the window, evidence for the route, last requests."""
    if not node.totals.requests:
        return [[Span(f"no requests in the last {window_text(snapshot.window)}", "dim")]]
    unknown = unknown_split(node.totals, snapshot.agent)
    bins, lengths = _bins(node, snapshot)
    rates = [
        b.requests / length if length else 0.0 for b, length in zip(bins, lengths, strict=True)
    ]
    errors = [b.errors(5) for b in bins]
    p95 = [b.quantile(0.95) for b in bins]
    charts = [
        _chart("rate", rates, f"max {short(max(rates))}/s", glyphs),
        _chart("p95 ", p95, f"max {millis(max(p95))} ms", glyphs),
        _chart("5xx ", errors, f"max {max(errors):.1f}%", glyphs),
    ]
    evidence = "  ".join(
        f"{name} {100 * n / node.totals.requests:.0f}%"
        for name, n in node.totals.attribution.most_common()
    )
    return [*charts, label("attributed by", evidence), *unknown, *_last_requests(node, snapshot)]


def _last_requests(node: TreeNode, snapshot: Snapshot) -> list[Line]:
    """The newest LAST_REQUESTS answered requests of this row, among SEARCHED_FLOWS flows."""
    found: list[Line] = []
    for flow in islice(reversed(snapshot.flows), SEARCHED_FLOWS):
        if flow.status and _belongs(flow, node):
            style = "bad" if flow.status >= 500 else "warn" if flow.status >= 400 else ""
            client, spent = flow.client.name, millis(flow.latency_ns)
            found.append(
                [
                    Span(f"{clock(flow.time_ns)} ", "dim"),
                    Span(f"{flow.status} ", style),
                    Span(f"{spent:>5} ms {flow.method} {flow.path}  "),
                    Span(client, "dim"),
                ]
            )
            if len(found) == LAST_REQUESTS:
                break
    return found


def _belongs(flow: FlowLine, node: TreeNode) -> bool:
    route, path = flow.route, node.path
    if node.kind == "route" and "route" not in path and route.route:
        return False
    pairs = (
        ("gateway", route.gateway),
        ("listener", route.listener),
        ("route", route.route),
        ("rule", route.rule),
        ("backend", route.backend),
    )
    return all(path.get(name, value) == value for name, value in pairs)


def _chart(name: str, values: Sequence[float], maximum: str, glyphs: Glyphs) -> Line:
    return [
        Span(f"{name} ", "dim"),
        Span(spark(values, CHART_WIDTH, glyphs), "accent"),
        Span(f" {maximum}"),
    ]


def _bins(node: TreeNode, snapshot: Snapshot) -> tuple[list[Totals], list[float]]:
    """Totals of the row and seconds with data, by bin of the window, oldest first."""
    width = max(snapshot.window / BINS, 1.0)
    size = round(snapshot.window / width)
    bins, lengths = [Totals() for _ in range(size)], [0.0] * size
    last = int(snapshot.seconds[-1].time_ns / 1e9 / width)
    for second in snapshot.seconds:
        index = size - 1 - last + int(second.time_ns / 1e9 / width)
        if index >= 0:
            lengths[index] += second.interval_ns / 1e9
            for key in node.keys:
                if key in second.cells:
                    bins[index].add(second.cells[key])
    return bins, lengths


def window_text(seconds: int) -> str:
    """`10s`, `1m`, `15m`."""
    return f"{seconds}s" if seconds < 60 else f"{seconds // 60}m"
