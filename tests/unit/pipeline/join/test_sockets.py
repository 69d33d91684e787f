"""Socket statistics, DNS rows and route shares on the records and requests of the join."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowd.model.address import column, pack
from flowd.model.directory import Directory
from flowd.model.enums import (
    DnsKind,
    FlowType,
    Hook,
    L7Protocol,
    L7Type,
    Nat,
    Protocol,
    SocketReason,
    Verdict,
)
from flowd.model.losses import Losses
from flowd.model.records.batch import FlowBatch
from flowd.model.records.connection import ConnectionBatch, empty_connections
from flowd.model.records.dns import Dns, DnsBatch, empty_dns
from flowd.model.records.drop import empty_drops
from flowd.model.records.request import RequestBatch, empty_requests
from flowd.model.records.share import OTHER_ROUTE
from flowd.model.records.socket import SocketBatch, empty_sockets
from flowd.model.route import RouteRef
from flowd.pipeline.dns_names import DnsNames
from flowd.pipeline.join.connection_table import ConnectionTable
from flowd.pipeline.join.join import Join
from flowd.pipeline.join.latency import extra_round_trips, fill_latency_split
from flowd.pipeline.join.socket_reports import SocketReportMatcher
from flowd_exporters.prometheus.exporter import PrometheusExporter
from tests.support.join_rows import SECOND, T0, KnownAddresses, connection, ended, request

CLIENT, GATEWAY, POD = "10.0.0.9:40000", "10.0.1.1:10080", "10.0.2.1:3000"
UP_LOCAL, VIP = "10.0.1.1:50000", "10.96.0.1:80"
TABLE = KnownAddresses(
    "10.0.0.9", "10.0.1.1", "10.0.2.1", local=("10.0.1.1", "10.0.2.1"), gateways=("10.0.1.1",)
)
NO_RECORDS, NO_ENTRIES = empty_connections(), empty_requests()


def now(seconds: float) -> int:
    return T0 + round(seconds * SECOND)


def report(local: str, remote: str, at: float = 0, **columns: Any) -> SocketBatch:
    row = empty_sockets(1)
    row["time_ns"], row["family"] = now(at), 4
    row["reason"] = SocketReason.ESTABLISHED
    for side, text in (("local", local), ("remote", remote)):
        address, _, port = text.rpartition(":")
        row[f"{side}_addr"], row[f"{side}_port"] = np.frombuffer(pack(address), np.uint8), port
    for name, value in columns.items():
        row[name] = value
    return row


class Source:
    """A join that polls socket and DNS rows set by the test."""

    def __init__(self, names: DnsNames | None = None) -> None:
        self.rows: list[SocketBatch] = []
        self.dns: list[DnsBatch] = []
        self.join = Join(TABLE, Losses(), sockets=self._sockets, dns=self._dns, names=names)

    def _sockets(self) -> SocketBatch:
        rows, self.rows = self.rows, []
        return np.concatenate([empty_sockets(), *rows])

    def _dns(self) -> DnsBatch:
        rows, self.dns = self.dns, []
        return np.concatenate([empty_dns(), *rows])

    def step(
        self,
        records: ConnectionBatch = NO_RECORDS,
        entries: RequestBatch = NO_ENTRIES,
        at: float = 1,
        *reports: SocketBatch,
    ) -> FlowBatch:
        self.rows += reports
        return self.join.step(records, entries, now(at))


def known(batch: FlowBatch, conn_id: int) -> dict[str, int]:
    row = batch.connections[batch.connections["conn_id"] == conn_id][-1]
    return {name: int(row[name]) for name in ("src_srtt_us", "dst_srtt_us", "src_pid", "dst_pid")}


def test_both_sockets_of_a_local_connection_are_on_its_records_and_endpoints_on_theirs() -> None:
    near = report(UP_LOCAL, POD, 0.1, srtt_us=100, pid=5, connect_ns=70_900)
    batch = Source().step(
        connection(8, UP_LOCAL, POD), NO_ENTRIES, 1, near, report(POD, UP_LOCAL, 0.1, srtt_us=200)
    )
    wanted = {"src_srtt_us": 100, "dst_srtt_us": 200, "src_pid": 5, "dst_pid": 0}
    assert known(batch, 8) == wanted
    assert batch.connections["connect_us"].tolist() == [70]
    assert batch.sockets[["local_endpoint", "remote_endpoint"]].tolist() == [(2, 3), (3, 2)]
    assert batch.flows[["src_srtt_us", "dst_srtt_us"]].tolist() == [(100, 200)]
    again = Source()
    again.rows += [near]
    reply = again.step(connection(8, UP_LOCAL, POD, is_reply=1))
    assert reply.flows[["src_pid", "dst_pid", "dst_srtt_us"]].tolist() == [(0, 5, 100)]


def test_drop_has_the_processes_of_its_connection() -> None:
    lost = empty_drops(3)
    pairs = (UP_LOCAL, POD), (POD, UP_LOCAL), (CLIENT, POD)
    for row, (src, dst) in zip(lost, pairs, strict=True):
        for side, text in (("src", src), ("dst", dst)):
            address, _, port = text.rpartition(":")
            row[f"{side}_addr"], row[f"{side}_port"] = np.frombuffer(pack(address), "u1"), port
    lost["time_ns"], lost["protocol"], lost["family"] = now(2), Protocol.TCP, 4
    ends = report(UP_LOCAL, POD, 0.1, pid=5), report(POD, UP_LOCAL, 0.1, pid=6)
    join = Join(TABLE, Losses(), drops=lambda: lost, sockets=lambda: np.concatenate(ends))
    join.step(connection(8, UP_LOCAL, POD), NO_ENTRIES, now(1))
    flows = join.step(NO_RECORDS, NO_ENTRIES, now(3)).flows
    told = sorted(flows[["src_port", "src_pid", "dst_pid"]].tolist())
    assert told == [(3000, 6, 5), (40000, 0, 0), (50000, 5, 6)]


def test_socket_before_its_connection_waits_and_one_after_the_end_is_known_by_its_cookie() -> None:
    source = Source()
    record = connection(7, "10.0.0.9:1", POD)
    source.step(NO_RECORDS, NO_ENTRIES, 0.1, report(POD, "10.0.0.9:1", 0.05, cookie=9, pid=4))
    assert known(source.step(record, at=0.5), 7)["dst_pid"] == 4
    source.step(ended(record, 1), at=1.1)
    late = report(POD, "10.0.0.9:1", 5, cookie=9, srtt_us=33, reason=SocketReason.CLOSED)
    other = report(POD, "10.0.0.9:1", 5, cookie=8, srtt_us=44, reason=SocketReason.CLOSED)
    source.step(NO_RECORDS, NO_ENTRIES, 5.1, late, other)
    entry = request("10.0.3.3:1", GATEWAY, "10.0.0.9:1", POD, 0.5)
    source.step(NO_RECORDS, entry, 5.2)
    assert source.step(at=9).requests["up_srtt_us"].tolist() == [33]


def test_rows_without_a_connection_are_bounded_and_forgotten() -> None:
    matcher = SocketReportMatcher(ConnectionTable(), hold_ns=SECOND, hold_rows=5)
    rows = np.concatenate([report(f"10.0.0.9:{port}", POD) for port in range(1, 9)])
    fresh = np.zeros(0, np.uint64)
    matcher.step(rows, fresh, now(0))
    assert matcher.waiting == 5
    matcher.step(empty_sockets(), fresh, now(2))
    assert matcher.waiting == 0


def test_request_has_both_sides_and_a_split_that_adds_up() -> None:
    records = [connection(7, CLIENT, GATEWAY), connection(8, UP_LOCAL, POD, 1.0005)]
    entry = request(CLIENT, GATEWAY, UP_LOCAL, POD, 1, upstream_ns=6_000_000)
    reports = [
        report(GATEWAY, CLIENT, 0.1, srtt_us=40_000, retransmits=2),
        report(UP_LOCAL, POD, 1.001, srtt_us=900, connect_ns=500_000, retransmits=1),
        report(POD, UP_LOCAL, 1.001, srtt_us=950, pid=77),
    ]
    batch = Source().step(np.concatenate(records), entry, 2, *reports)
    row = batch.requests[0]
    assert (row["down_srtt_us"], row["up_srtt_us"]) == (40_000, 900)
    assert (row["down_retransmits"], row["up_retransmits"], row["up_connect_us"]) == (2, 1, 500)
    parts = [int(row[f"{name}_us"]) for name in ("client_network", "gateway", "pod_network", "pod")]
    assert parts == [0, 3_500, 1_400, 5_100]
    shown = batch.flows[batch.flows["l7_type"] == L7Type.RESPONSE]
    assert shown[["src_pid", "src_srtt_us", "dst_srtt_us"]].tolist() == [(77, 900, 40_000)]


@pytest.mark.parametrize(
    ("sent", "client_network"), [(14_600, 0), (40_000, 1_000), (100_000, 2_000), (1 << 30, 3_500)]
)
def test_client_network_is_the_round_trips_of_a_body(sent: int, client_network: int) -> None:
    records = [connection(7, CLIENT, GATEWAY), connection(8, UP_LOCAL, POD, 0.5)]
    entry = request(CLIENT, GATEWAY, UP_LOCAL, POD, 1, upstream_ns=6_500_000)
    entry["bytes_sent"] = sent
    reports = [
        report(CLIENT, GATEWAY, 0.1, srtt_us=1_200),
        report(GATEWAY, CLIENT, 0.1, srtt_us=1_000),
        report(UP_LOCAL, POD, 0.5, srtt_us=900),
    ]
    row = Source().step(np.concatenate(records), entry, 2, *reports).requests[0]
    parts = [int(row[f"{name}_us"]) for name in ("client_network", "gateway", "pod_network", "pod")]
    assert parts == [client_network, 3_500 - client_network, 900, 5_600]


@pytest.mark.parametrize(
    ("local", "remote", "seen"),
    [(CLIENT, GATEWAY, False), (POD, UP_LOCAL, True), (UP_LOCAL, POD, True)],
    ids=["client's node", "pod's node", "gateway's node"],
)
@pytest.mark.parametrize("order", ["before", "after the end"])
def test_each_node_knows_its_own_socket(local: str, remote: str, seen: bool, order: str) -> None:
    source, record = Source(), connection(7, local, remote)
    entry = request(CLIENT, GATEWAY, UP_LOCAL, POD, 0.1, upstream_ns=6_000_000)
    near = report(local, remote, 0.05, srtt_us=70)
    if order == "before":
        source.step(NO_RECORDS, entry, 0.2, near)
        source.step(record, at=0.9)
        batch = source.step(at=1.8)
    else:
        source.step(np.concatenate([record, ended(record, 1)]), NO_ENTRIES, 1, near)
        source.step(NO_RECORDS, entry, 11)
        batch = source.step(at=12.6)
    row = batch.requests[0]
    assert max(row["down_srtt_us"], row["up_srtt_us"]) == 70
    assert (int(row["gateway_us"]) > 0) == seen


@given(st.lists(st.integers(0, 2**34), min_size=8, max_size=8), st.booleans())
def test_split_is_never_negative_and_exact_where_known(values: list[int], opened: bool) -> None:
    rows = empty_requests(1)
    names = ("duration_ns", "upstream_ns", "bytes_received", "bytes_sent")
    for name, value in zip(names, values, strict=False):
        rows[name] = value
    small = ("down_srtt_us", "up_srtt_us", "up_connect_us", "down_connect_us")
    for name, value in zip(small, values[4:], strict=True):
        rows[name] = value % 2**32
    fill_latency_split(rows, np.array([opened]))
    parts = [int(rows[f"{n}_us"][0]) for n in ("client_network", "gateway", "pod_network", "pod")]
    assert sum(parts) in (0, values[0] // 1000)
    if rows["up_srtt_us"][0]:
        assert sum(parts) == values[0] // 1000


def test_bodies_beyond_the_first_window_take_round_trips() -> None:
    sizes = np.array([0, 14_600, 14_601, 43_800, 43_801], np.uint64)
    assert extra_round_trips(sizes).tolist() == [0, 0, 1, 1, 2]


def test_end_of_a_gateways_connection_waits_for_the_route_and_others_do_not() -> None:
    source = Source()
    gateway = connection(7, CLIENT, GATEWAY, dst_endpoint=2)
    other = connection(9, CLIENT, POD, dst_endpoint=3)
    records = np.concatenate([gateway, ended(gateway, 0.2), other, ended(other, 0.2)])
    assert source.step(records, at=0.3).connections["conn_id"].tolist() == [7, 9, 9]
    late = source.step(NO_RECORDS, request(CLIENT, GATEWAY, at=0.1, route=3), 1.2)
    assert len(late.connections) == 0
    last = source.step(at=1.8)
    assert last.connections[["conn_id", "route"]].tolist() == [(7, 3)]
    assert last.flows["route"].tolist() == [3]


def translated(nat: Nat) -> ConnectionBatch:
    before, after = connection(5, CLIENT, VIP), connection(6, CLIENT, GATEWAY)
    own, beyond = (before, after) if nat == Nat.BEFORE else (after, before)
    for name in ("src_addr", "dst_addr", "src_port", "dst_port"):
        own[f"nat_{name}"] = beyond[name]
    own["nat"] = nat
    return own


@pytest.mark.parametrize("nat", [Nat.BEFORE, Nat.AFTER])
def test_translated_connection_is_found_and_shown_from_both_sides(nat: Nat) -> None:
    source, record = Source(), translated(nat)
    dialled = report(CLIENT, VIP, 0.01, cookie=99, srtt_us=5)
    entry = request(CLIENT, GATEWAY, at=0.1)
    batch = source.step(record, entry, 1, dialled)
    assert batch.requests[["down_conn", "down_srtt_us"]].tolist() == [
        (int(record["conn_id"][0]), 5)
    ]
    shown = batch.flows[batch.flows["type"] == FlowType.SOCK]
    assert shown[["sub_type", "dst_port", "nat_dst_port"]].tolist() == [
        (1, 80, 10080),
        (2, 10080, 80),
    ]
    assert set(shown["verdict"].tolist()) == {Verdict.TRANSLATED}
    assert set(shown["src_cookie"].tolist()) == {99}
    assert len(source.step(record, at=2).flows) == 1, "once a socket"


def test_dns_rows_are_flows_of_their_own_and_outside_peers_have_names() -> None:
    source = Source(DnsNames(Losses()))
    rows = empty_dns(3)
    rows["src_addr"], rows["dst_addr"] = column(["10.0.2.1"]), column(["198.51.100.7"])
    rows["src_port"], rows["dst_port"], rows["protocol"] = 5353, 53, Protocol.UDP
    rows["kind"] = [DnsKind.QUERY, DnsKind.RESPONSE, DnsKind.TIMEOUT]
    rows["hook"], rows["time_ns"], rows["latency_ns"] = Hook.EGRESS, now(0.5), 7
    rows["dns"] = [Dns("api.example.", "A", 0, ("198.51.100.7",), ttl=30)] * 3
    source.dns.append(rows)
    batch = source.step()
    assert batch.dns["src_endpoint"].tolist() == [3, 3, 3]
    names = ("src_port", "dst_port", "latency_ns", "l7_type", "is_reply", "src_name", "dst_name")
    assert batch.flows[[*names]].tolist() == [
        (5353, 53, 0, L7Type.REQUEST, 0, None, "api.example"),
        (53, 5353, 7, L7Type.RESPONSE, 1, "api.example", None),
    ]
    assert set(batch.flows["l7_protocol"].tolist()) == {L7Protocol.DNS}


events = st.lists(
    st.tuples(
        st.sampled_from(["record", "request", "socket"]),
        st.integers(1, 3),  # connection, by the client's port
        st.integers(1, 12),  # route
        st.integers(0, 2**40),  # bytes
    ),
    max_size=40,
)


@given(st.lists(events, max_size=5))
@settings(deadline=None)
def test_shares_add_up_and_every_row_leaves_once(
    turns: list[list[tuple[str, int, int, int]]],
) -> None:
    source, seen = Source(), list[FlowBatch]()
    carried, asked, records = dict[int, int](), 0, 0
    for turn, happened in enumerate(turns):
        made, entries, reports = [empty_connections()], [empty_requests()], list[SocketBatch]()
        for kind, port, route, size in happened:
            client = f"10.0.0.9:{port}"
            if kind == "record":
                made.append(connection(port, client, GATEWAY, bytes_fwd=size, packets_rev=port))
                carried[port] = carried.get(port, 0) + size
                records += 1
            elif kind == "request":
                entries.append(request(client, GATEWAY, at=0.1, route=route))
                asked += 1
            else:
                reports.append(report(GATEWAY, client, 0.1, retransmits=size % 99))
        seen.append(source.step(np.concatenate(made), np.concatenate(entries), 1 + turn, *reports))
    for port in carried:
        last = ended(connection(port, f"10.0.0.9:{port}", GATEWAY, dst_endpoint=2), 10)
        seen.append(source.step(last, at=10))
    seen.append(source.step(at=20))
    assert sum(len(batch.requests) for batch in seen) == asked
    assert sum(len(batch.connections) for batch in seen) == records + len(carried)
    shared = dict[int, int]()
    for batch in seen:
        for row in batch.shares:
            port = int(batch.connections["conn_id"][row["connection"]])
            shared[port] = shared.get(port, 0) + int(row["bytes_fwd"])
    routed = {int(row["down_conn"]) for batch in seen for row in batch.requests}
    assert shared == {port: size for port, size in carried.items() if port in routed}


def test_bytes_go_to_routes_by_requests_and_over_eight_to_other() -> None:
    source = Source()
    entries = [request(CLIENT, GATEWAY, at=0.1, route=route) for route in (1, 1, 1, 2)]
    record = connection(7, CLIENT, GATEWAY, bytes_fwd=101)
    batch = source.step(record, np.concatenate(entries))
    assert batch.shares[["route", "requests", "bytes_fwd"]].tolist() == [(1, 3, 75), (2, 1, 26)]
    more = [request(CLIENT, GATEWAY, at=0.2, route=route) for route in range(1, 13)]
    later = source.step(record, np.concatenate(more))
    assert sorted(later.shares["route"].tolist()) == [*range(1, 9), OTHER_ROUTE]
    assert later.shares["requests"][later.shares["route"] == OTHER_ROUTE].tolist() == [4]

    directory = Directory()
    for number in range(1, 13):
        directory.routes.index(RouteRef("infra", "edge", "http", "HTTPRoute", "shop", f"r{number}"))
    exporter = PrometheusExporter(directory, Losses())
    exporter.observe(batch)
    exporter.observe(later)
    sums = {
        sample.labels["route"]: sample.value
        for family in exporter.collect()
        if family.name == "flowd_route_connection_bytes"
        for sample in family.samples
        if sample.labels["direction"] == "request"
    }
    assert sum(sums.values()) == 202
    assert sums["other"] > 0


def test_split_is_summed_by_route_in_seconds() -> None:
    directory = Directory()
    route = directory.routes.index(RouteRef("infra", "edge", "http", "HTTPRoute", "shop", "web"))
    rows = np.concatenate([request("", "", route=route)] * 2)
    rows["gateway_us"], rows["pod_us"] = 1500, 250_000
    exporter = PrometheusExporter(directory, Losses())
    exporter.observe(FlowBatch(NO_RECORDS, rows, Source().step().flows))
    found = {
        sample.labels["part"]: sample.value
        for family in exporter.collect()
        if family.name == "flowd_route_latency_split_seconds"
        for sample in family.samples
    }
    assert found == {"client_network": 0, "gateway": 0.003, "pod_network": 0, "pod": 0.5}
