"""Store of `flowd top`: rings of flows and seconds, windows, snapshots, printable texts."""

import random
from collections import Counter

import numpy as np
import pytest

from flowd.wire.flow import flow_pb2
from flowd.wire.flowd import agent_pb2
from flowd_tui.data.flow_line import flow_line
from flowd_tui.data.store import BINS, WINDOWS, ConnectionState, TopStore
from flowd_tui.data.traffic import Totals, TrafficKey, total
from tests.fakes import top_data
from tests.fakes.top_data import BASE_NS

HOSTILE = "a\x1b[31mb\u202ec\nd"
SAFE = "a^[[31mb\\u202ec^Jd"


def filled(seconds: int, **options: int) -> TopStore:
    store = TopStore("127.0.0.1:4245", clock=lambda: BASE_NS, **options)
    for index in range(1 - seconds, 1):
        store.add_second(top_data.snapshot(index, BASE_NS + index * 10**9))
    return store


@pytest.mark.parametrize("window", WINDOWS)
def test_a_window_sums_what_is_inside_it(window: int) -> None:
    store = filled(200)
    store.set_window(window)
    for index in range(1, 20):
        store.add_second(top_data.snapshot(index, BASE_NS + index * 10**9))
    snapshot = store.snapshot()

    wanted: Counter[str] = Counter()
    inside = min(window, 219)
    for index in range(20 - inside, 20):
        for row in top_data.snapshot(index, BASE_NS).routes:
            wanted[f"{row.namespace}/{row.name}/{row.rule}/{row.backend}"] += row.requests
    seen = {
        f"{key.namespace}/{key.name}/{key.rule}/{key.backend}": cell.requests
        for key, cell in snapshot.totals.items()
    }
    assert seen == wanted
    assert snapshot.covered == inside
    for cell in snapshot.totals.values():
        assert cell.requests == cell.status.total() == cell.latency.total()
        assert min(cell.status.values()) > 0


def test_a_snapshot_does_not_change_any_more() -> None:
    store = filled(30)
    before = store.snapshot()
    requests = sum(cell.requests for cell in before.totals.values())
    store.add_second(top_data.snapshot(1, BASE_NS + 10**9))
    store.add_flow(flow_pb2.Flow())
    assert sum(cell.requests for cell in before.totals.values()) == requests
    assert not before.flows
    assert store.snapshot().totals != before.totals


def test_the_past_sent_again_after_a_break_counts_once() -> None:
    store = filled(40)
    before = store.snapshot()
    for index in range(-39, 1):
        store.add_second(top_data.snapshot(index, BASE_NS + index * 10**9))
    assert store.snapshot().totals == before.totals


def test_seconds_older_than_15_minutes_are_let_go() -> None:
    store = filled(1000)
    store.set_window(900)
    assert len(store.snapshot().seconds) == 900


def test_the_trend_is_a_rate_in_bins() -> None:
    store = filled(60)
    snapshot = store.snapshot()
    key = next(key for key in snapshot.totals if key.name == "shop")
    values = snapshot.trend[key]
    assert len(values) == BINS
    last = [second.cells[key].requests for second in snapshot.seconds if key in second.cells]
    assert max(values) <= max(last)
    store.set_window(10)
    assert len(store.snapshot().trend[key]) == 10


def test_flows_are_a_ring() -> None:
    store = TopStore(flows=50)
    for flow in top_data.flows(120):
        store.add_flow(flow)
    snapshot = store.snapshot()
    assert [flow.number for flow in snapshot.flows] == list(range(71, 121))
    assert snapshot.received == 120
    assert store.newest_flow_ns == BASE_NS


def test_losses_count_where_something_is_lost() -> None:
    store = TopStore()
    message = agent_pb2.Snapshot(interval_ns=1)
    for place, count in (("kernel", 3), ("queue", 4), ("series", 100), ("manifest", 7)):
        message.losses.add(place=place, reason="x", count=count)
    store.add_second(message)
    store.add_lost(5)
    assert store.snapshot().lost == 12


def test_links() -> None:
    store = TopStore()
    assert store.snapshot().connection is ConnectionState.CONNECTING
    store.connected()
    assert store.snapshot().connection is ConnectionState.LIVE
    store.disconnected(HOSTILE)
    snapshot = store.snapshot()
    assert (snapshot.connection, snapshot.problem) == (ConnectionState.DISCONNECTED, SAFE)


def test_nothing_received_can_reach_a_terminal_as_it_is() -> None:
    store = TopStore(HOSTILE)
    routes = agent_pb2.RoutesResponse()
    gateway = routes.gateways.add(namespace=HOSTILE, name=HOSTILE)
    gateway.listeners.add(name=HOSTILE, hostname=HOSTILE)
    route = routes.routes.add(kind=HOSTILE, name=HOSTILE, hostnames=[HOSTILE, HOSTILE])
    route.parents.add(gateway=HOSTILE).conditions.add(message=HOSTILE)
    route.rules.add(matches=[HOSTILE]).backends.add(name=HOSTILE, reason=HOSTILE)
    store.set_topology(routes)
    status = agent_pb2.StatusResponse(node_name=HOSTILE, cluster_name=HOSTILE)
    status.parts.add(part=HOSTILE, detail=HOSTILE, state="failed")
    store.set_agent(status)
    message = agent_pb2.Snapshot(interval_ns=1)
    row = message.routes.add(gateway=HOSTILE, name=HOSTILE, reason=HOSTILE, attribution=HOSTILE)
    row.response_flags[HOSTILE] = 1
    row.requests = 1
    message.losses.add(place=HOSTILE, reason=HOSTILE)
    store.add_second(message)
    shown = repr(store.snapshot()).replace("\\n", "").replace("\n", "")
    assert SAFE.replace("\\", "\\\\") in shown
    for bad in ("\x1b", "\\x1b", "\\033", "\u202e"):
        assert bad not in shown


def test_quantiles_are_within_half_a_bucket() -> None:
    rng = np.random.default_rng(4)
    micros = rng.lognormal(8, 1.2, 20_000)
    buckets = np.searchsorted(2.0 ** (np.arange(128) / 4), micros, side="right")
    totals = Totals(latency=Counter(buckets.tolist()))
    for q in (0.5, 0.95, 0.99):
        wanted = float(np.quantile(micros, q)) * 1000
        assert totals.quantile(q) == pytest.approx(wanted, rel=0.09)
    assert Totals().quantile(0.5) == 0.0


def test_adding_and_removing_is_nothing() -> None:
    chance = random.Random(1)
    parts = [
        Totals(
            n := chance.randrange(1, 9), 1, Counter({200: n}), Counter({"UH": n}), Counter({7: n})
        )
        for _ in range(20)
    ]
    whole = total(parts)
    for part in parts[:-1]:
        whole.remove(part)
    assert whole == parts[-1]


class TestFlowLine:
    def test_http_response(self) -> None:
        flow = next(f for f in top_data.flows(60, 3) if f.l7.http.code == 200)
        line = flow_line(flow, 1)
        assert (line.method, line.status, line.protocol) == ("GET", 200, "HTTP")
        assert line.url == flow.l7.http.url
        assert line.path.startswith("/")
        assert line.latency_ns == flow.l7.latency_ns
        assert line.reply
        assert line.client.name.startswith("world ")
        assert line.server.name == "infra/envoy-public-0"
        assert line.route.gateway == "infra/public"
        assert line.route.route.startswith("HTTPRoute/")
        assert line.route.rule in ("0", "1")
        assert line.route.attribution == "name"

    def test_drop(self) -> None:
        flow = next(f for f in top_data.flows(60) if f.verdict == flow_pb2.DROPPED)
        line = flow_line(flow, 1)
        assert (line.verdict, line.drop_reason) == ("dropped", "POLICY_DENIED")
        assert line.source.labels == ("k8s:app=curl",)

    def test_flags_of_a_failed_request(self) -> None:
        flow = next(f for f in top_data.flows(2000) if f.l7.http.code == 503)
        assert flow_line(flow, 1).route.flags == "UH"

    def test_hostile_strings_are_made_printable_and_bounded(self) -> None:
        flow = flow_pb2.Flow(node_name=HOSTILE, verdict=flow_pb2.FORWARDED, Summary=HOSTILE * 900)
        flow.source.namespace, flow.source.pod_name = HOSTILE, HOSTILE
        flow.source.labels.append(HOSTILE)
        flow.destination_service.name = HOSTILE
        flow.IP.source = HOSTILE
        flow.l7.http.method, flow.l7.http.url = HOSTILE, "http://h/" + HOSTILE * 500
        flow.trace_context.parent.trace_id = HOSTILE
        flow.interface.name = HOSTILE
        top_data.extensions(flow, route=HOSTILE, gateway=HOSTILE, response_flags=[HOSTILE])
        line = flow_line(flow, 1)
        shown = repr(line)
        for bad in ("\\x1b", "\u202e", "\\n"):
            assert bad not in shown
        assert len(line.url) <= 6 * 512
        assert len(line.text) <= 6 * 1024

    @pytest.mark.parametrize("url", ["http://[bad/x", "", "/only/path", "http://h"])
    def test_odd_urls(self, url: str) -> None:
        flow = flow_pb2.Flow()
        flow.l7.http.method, flow.l7.http.url = "GET", url
        assert flow_line(flow, 1).path in ("http://[bad/x", "", "/only/path", "/")

    def test_an_empty_flow(self) -> None:
        line = flow_line(flow_pb2.Flow(), 1)
        assert line.source.name == "?"
        assert line.verdict == "unknown"

    def test_ipv6_sockets_have_brackets(self) -> None:
        flow = flow_pb2.Flow()
        flow.IP.source, flow.l4.TCP.source_port = "2001:db8::1", 443
        assert flow_line(flow, 1).source.socket == "[2001:db8::1]:443"


def test_keys_tell_rows_apart() -> None:
    store = filled(60)
    keys = [key for key in store.snapshot().totals if key.name == "echo-split"]
    assert {key.backend for key in keys} == {"echo-1", "echo-2"}
    assert isinstance(keys[0], TrafficKey)
