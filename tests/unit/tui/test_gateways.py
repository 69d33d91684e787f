"""Gateways view: tree, numbers, filter and detail pane."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from flowd.wire.flowd import agent_pb2
from flowd_tui.data.store import Snapshot, TopStore
from flowd_tui.draw.glyphs import UTF8
from flowd_tui.views.base import ViewQuery
from flowd_tui.views.gateways import GatewayRow, GatewaysView
from flowd_tui.views.query import QueryError
from tests.fakes import top_data
from tests.fakes.top_data import BASE_NS

VIEW = GatewaysView()


@pytest.fixture(scope="module")
def snapshot() -> Snapshot:
    store = TopStore("server", clock=lambda: BASE_NS)
    store.connected()
    store.set_topology(top_data.topology())
    for flow in top_data.flows(300):
        store.add_flow(flow)
    for index in range(-59, 1):
        store.add_second(top_data.snapshot(index, BASE_NS + index * 10**9))
    return store.snapshot()


def only(**traffic: object) -> Snapshot:
    """One second with one row of traffic, under the topology of top_data."""
    store = TopStore()
    store.connected()
    store.set_topology(top_data.topology())
    message = agent_pb2.Snapshot(interval_ns=10**9)
    message.time.FromNanoseconds(BASE_NS)
    row = message.routes.add(requests=10, rule=-1)
    for name, value in traffic.items():
        setattr(row, name, value)
    store.add_second(message)
    return store.snapshot()


def names(rows: Sequence[GatewayRow]) -> list[str]:
    return ["  " * row.depth + row.node.name for row in rows]


def find(rows: Sequence[GatewayRow], name: str) -> GatewayRow:
    return next(row for row in rows if row.node.name == name)


def text(row: GatewayRow, column: str) -> str:
    return VIEW.cells(row, UTF8)[column].text


def test_the_tree(snapshot: Snapshot) -> None:
    assert names(VIEW.rows(snapshot, ViewQuery())) == [
        "infra/public#http",
        "  demo/echo",
        "  demo/echo-match",
        "    rule 0",
        "    rule 1",
        "  demo/echo-split",
        "    echo-1:3000",
        "    echo-2:3000",
        "  demo/redirect",
        "  dev/ghost",
        "    RefNotPermitted: backend dev2/api needs a ReferenceGrant",
        "  shop/shop",
        "    rule 0",
        "    rule 1",
        "  (no route) route_not_found",
        "infra/public#https",
        "infra/public#tls",
        "  demo/db",
    ]


def test_sums_go_up_the_tree(snapshot: Snapshot) -> None:
    rows = VIEW.rows(snapshot, ViewQuery())
    top = rows[0].node
    assert top.totals.requests == sum(child.totals.requests for child in top.children)
    assert top.totals.requests == sum(cell.requests for cell in snapshot.totals.values())
    split = find(rows, "demo/echo-split").node
    assert split.totals.requests == sum(child.totals.requests for child in split.children) > 0


def test_the_split_as_wanted_and_as_seen(snapshot: Snapshot) -> None:
    rows = VIEW.rows(snapshot, ViewQuery())
    one, two = find(rows, "echo-1:3000").node, find(rows, "echo-2:3000").node
    assert (one.weight, two.weight) == (95, 5)
    assert one.seen is not None
    assert two.seen is not None
    assert one.seen + two.seen == pytest.approx(100)
    cell = VIEW.cells(find(rows, "echo-1:3000"), UTF8)["name"]
    assert cell.tails == (f"w 95  seen {one.seen:.1f}%", f"w95 {one.seen:.1f}%")


def test_numbers_of_a_row() -> None:
    shown = only(
        gateway_namespace="infra", gateway="public", listener="http", kind="HTTPRoute",
        namespace="shop", name="shop", rule=0, retries=3,
    )  # fmt: skip
    row = find(VIEW.rows(shown, ViewQuery()), "shop/shop")
    row.node.totals.status.update({200: 7, 404: 2, 503: 1})
    row.node.totals.latency.update({40: 10})
    assert [text(row, column) for column in ("rate", "4xx", "5xx", "retry")] == [
        "10", "20.0", "10.0", "3.0",
    ]  # fmt: skip
    low, high = 2 ** (39 / 4) / 1000, 2 ** (40 / 4) / 1000
    assert low <= float(text(row, "p50")) <= float(text(row, "p99")) <= high


def test_without_requests_there_are_no_figures(snapshot: Snapshot) -> None:
    row = find(VIEW.rows(snapshot, ViewQuery()), "dev/ghost")
    assert [text(row, column) for column in ("rate", "4xx", "p95")] == ["0", "-", "-"]
    assert VIEW.cells(row, UTF8)["name"].style == "bad"


def test_folding(snapshot: Snapshot) -> None:
    rows = VIEW.rows(snapshot, ViewQuery())
    split, echo = find(rows, "demo/echo-split"), find(rows, "demo/echo")
    assert (split.open, echo.open) == (True, False)
    toggled = frozenset([split.node.key, echo.node.key])
    rows = VIEW.rows(snapshot, ViewQuery(toggled=toggled))
    assert "    echo-2:3000" not in names(rows)
    assert names(rows)[1:3] == ["  demo/echo", "    echo-1:3000"]
    folded = VIEW.rows(snapshot, ViewQuery(toggled=frozenset([rows[0].node.key])))
    assert names(folded)[:2] == ["infra/public#http", "infra/public#https"]


def test_what_is_broken_shows_even_when_folded(snapshot: Snapshot) -> None:
    rows = VIEW.rows(snapshot, ViewQuery())
    ghost = rows.index(find(rows, "dev/ghost"))
    assert rows[ghost].open is False
    span = VIEW.spanning_cell(rows[ghost + 1])
    assert span
    assert "RefNotPermitted" in span.text


def test_sorting_keeps_the_tree(snapshot: Snapshot) -> None:
    rows = VIEW.rows(snapshot, ViewQuery(sort="rate"))
    routes = [row.node for row in rows if row.node.kind == "route" and row.depth == 1][:5]
    counts = [node.totals.requests for node in routes]
    assert counts == sorted(counts, reverse=True)
    assert routes[0].name == "demo/echo-split"
    upward = VIEW.rows(snapshot, ViewQuery(sort="rate", reverse=True))
    assert find(upward, "echo-2:3000").node.key in [row.node.key for row in upward]
    position = names(upward).index("    echo-2:3000")
    assert names(upward)[position - 1 : position + 2] == [
        "  demo/echo-split",
        "    echo-2:3000",
        "    echo-1:3000",
    ]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        (ViewQuery(filter="split"), ["infra/public#http", "  demo/echo-split"]),
        (ViewQuery(filter="route=demo/echo-split"), ["infra/public#http", "  demo/echo-split"]),
        (ViewQuery(filter="listener=tls"), ["infra/public#tls", "  demo/db"]),
        (ViewQuery(namespace="shop"), ["infra/public#http", "  shop/shop"]),
        (ViewQuery(filter="flag=NR route!=*"), []),
        (ViewQuery(filter="not_there"), []),
    ],
)
def test_filters_keep_the_way_down_to_what_matches(
    snapshot: Snapshot, query: ViewQuery, expected: list[str]
) -> None:
    shown = names(VIEW.rows(snapshot, query))
    assert [name for name in shown if name.count("  ") < 2][: len(expected)] == expected
    assert bool(shown) is bool(expected)


def test_a_filter_on_a_backend_unfolds_the_way(snapshot: Snapshot) -> None:
    shown = names(VIEW.rows(snapshot, ViewQuery(filter="backend=shop/cart")))
    assert shown == ["infra/public#http", "  shop/shop", "    rule 1", "      cart:8080"]


def test_unknown_fields_are_refused() -> None:
    with pytest.raises(QueryError, match="unknown field 'pod'"):
        VIEW.check("pod=x")


def test_traffic_of_what_is_not_configured_shows_too() -> None:
    rows = VIEW.rows(only(gateway_namespace="a", gateway="b", listener="c"), ViewQuery())
    assert names(rows)[:2] == ["a/b#c", "  (no route) reason not known"]
    rows = VIEW.rows(only(reason="route_not_found"), ViewQuery())
    assert names(rows)[-2:] == ["(gateway not known)", "  (no route) route_not_found"]
    known = {
        "gateway_namespace": "infra", "gateway": "public", "listener": "https",
        "kind": "HTTPRoute", "namespace": "demo", "name": "echo", "rule": 0,
    }  # fmt: skip
    rows = VIEW.rows(only(**known, backend="echo-9", backend_namespace="demo"), ViewQuery())
    at = names(rows).index("infra/public#https")
    assert names(rows)[at : at + 4] == [
        "infra/public#https",
        "  demo/echo",
        "    echo-1:3000",
        "    echo-9",
    ]


def test_a_backend_without_its_port_is_still_that_backend() -> None:
    shown = only(
        gateway_namespace="infra", gateway="public", listener="http", kind="HTTPRoute",
        namespace="demo", name="echo", rule=0, backend="echo-1", backend_namespace="demo",
    )  # fmt: skip
    route = find(VIEW.rows(shown, ViewQuery()), "demo/echo").node
    assert [child.name for child in route.children] == ["echo-1:3000"]
    assert route.children[0].totals.requests == 10


def test_requests_without_a_backend_are_told_apart() -> None:
    shown = only(
        gateway_namespace="infra", gateway="public", listener="http", kind="HTTPRoute",
        namespace="demo", name="echo", rule=0,
    )  # fmt: skip
    route = find(VIEW.rows(shown, ViewQuery()), "demo/echo").node
    assert [child.name for child in route.children] == ["echo-1:3000", "(no backend)"]
    assert [child.totals.requests for child in route.children] == [0, 10]


def test_what_is_broken_below_shows_above() -> None:
    store = TopStore()
    topology = top_data.topology()
    split = next(route for route in topology.routes if route.name == "echo-split")
    split.rules[0].backends[0].ready_endpoints = 0
    match = next(route for route in topology.routes if route.name == "echo-match")
    match.rules[1].backends[0].reason = "BackendNotFound"
    store.set_topology(topology)
    rows = VIEW.rows(store.snapshot(), ViewQuery())
    states = {row.node.name: row.node.state for row in rows if row.depth < 2}
    assert states["demo/echo-split"] == states["demo/echo-match"] == "warn"
    assert states["demo/echo"] == "ok"
    assert states["infra/public#http"] == "warn"
    one, two = find(rows, "echo-1:3000").node, find(rows, "echo-2:3000").node
    assert (one.state, one.match, two.state) == ("bad", "0/1 ready", "")
    rules = [row.node.state for row in rows if row.node.path.get("route", "").endswith("match")]
    assert rules == ["warn", "", "bad"]


def test_a_route_that_no_listener_takes_stands_apart() -> None:
    store = TopStore()
    topology = top_data.topology()
    refused = topology.routes.add(kind="HTTPRoute", namespace="team", name="refused")
    parent = refused.parents.add(gateway_namespace="infra", gateway="public")
    parent.conditions.add(type="Accepted", reason="NotAllowedByListeners")
    store.set_topology(topology)
    assert names(VIEW.rows(store.snapshot(), ViewQuery()))[-3:] == [
        "infra/public (no listener)",
        "  team/refused",
        "    NotAllowedByListeners",
    ]


def test_detail_tells_configuration_status_and_requests(snapshot: Snapshot) -> None:
    row = find(VIEW.rows(snapshot, ViewQuery()), "shop/shop")
    detail = VIEW.detail(row, snapshot, UTF8)
    left = ["".join(span.text for span in line) for line in detail.left]
    right = ["".join(span.text for span in line) for line in detail.right]
    assert detail.title == "HTTPRoute shop/shop"
    assert left[0] == "hosts shop.example.com"
    assert "parent infra/public#http  Accepted ✓  ResolvedRefs ✓" in left
    assert any("503" in line and "%" in line for line in left)
    assert any(line.startswith("UH ") and "no healthy upstream" in line for line in left)
    assert [line.split()[0] for line in right[:4]] == ["rate", "p95", "5xx", "attributed"]
    last = right[4:]
    assert 0 < len(last) <= 6
    assert all("GET /api/cart" in line or "GET /checkout" in line for line in last)


def test_detail_of_every_row_and_of_none(snapshot: Snapshot) -> None:
    nothing = replace(snapshot, seconds=(), totals={}, trend={}, flows=())
    for shown in (snapshot, nothing):
        for row in VIEW.rows(shown, ViewQuery()):
            detail = VIEW.detail(row, shown, UTF8)
            assert detail.title
            assert VIEW.cells(row, UTF8)["name"].text
            assert VIEW.data(row)["name"] == row.node.name


def test_the_way_to_the_flows_and_to_observe(snapshot: Snapshot) -> None:
    row = find(VIEW.rows(snapshot, ViewQuery()), "echo-2:3000")
    assert VIEW.flows_filter(row) == (
        "gateway=infra/public listener=http route=HTTPRoute/demo/echo-split"
        " rule=0 backend=demo/echo-2:3000"
    )
    assert VIEW.observe_command(row) == (
        "flowd observe --follow --gateway infra/public --listener http"
        " --route HTTPRoute/demo/echo-split --backend demo/echo-2:3000"
    )


@pytest.mark.parametrize("window", [10, 900])
def test_trends_add_up(window: int) -> None:
    store = TopStore()
    store.set_topology(top_data.topology())
    for index in range(-59, 1):
        store.add_second(top_data.snapshot(index, BASE_NS + index * 10**9))
    store.set_window(window)
    rows = VIEW.rows(store.snapshot(), ViewQuery())
    children = [row for row in rows if row.depth == 1 and row.trend]
    for index, value in enumerate(rows[0].trend):
        assert value == pytest.approx(sum(row.trend[index] for row in children))


def test_empty_says_what_to_do() -> None:
    store = TopStore("host:1")
    assert "Connecting" in VIEW.empty(store.snapshot(), ViewQuery())[0][0].text
    store.connected()
    lines = VIEW.empty(store.snapshot(), ViewQuery())
    assert any("--manifests" in span.text for line in lines for span in line)
    store.set_agent_error("host:1 does not offer flowd.v1.Agent/Watch")
    assert "tells no routes" in VIEW.empty(store.snapshot(), ViewQuery())[0][0].text
    store.disconnected("cannot reach host:1")
    lines = VIEW.empty(store.snapshot(), ViewQuery())
    assert any("flowd run" in span.text for line in lines for span in line)
