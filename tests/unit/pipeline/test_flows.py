"""FlowBuilder: flow rows of connection records and requests."""

from typing import Any

import numpy as np
import pytest

from flowd.model.address import unpack
from flowd.model.enums import (
    Direction,
    EntryKind,
    EventType,
    FlowType,
    Hook,
    HttpVersion,
    Initiator,
    L7Type,
    ObservationPoint,
    Protocol,
    Verdict,
)
from flowd.model.records.connection import empty_connections
from flowd.model.records.flow import FlowRows
from flowd.model.records.request import empty_requests
from flowd.pipeline.flows import FlowBuilder, trace_id
from tests.support.join_rows import SECOND, T0, KnownAddresses, connection, request

CLIENT, GATEWAY, POD = "10.9.0.1", "10.0.0.1", "10.0.0.2"
TABLE = KnownAddresses(CLIENT, GATEWAY, POD, local=(GATEWAY, POD))
LATER = T0 + 1000 * SECOND
NO_RECORDS, NO_ENTRIES = empty_connections(), empty_requests()


def sides(rows: FlowRows) -> list[tuple[Any, ...]]:
    """Address, port, endpoint and identity of src and dst."""
    return [
        tuple(
            value
            for side in ("src", "dst")
            for value in (
                unpack(row[f"{side}_addr"].tobytes()),
                *(int(row[f"{side}_{name}"]) for name in ("port", "endpoint", "identity")),
            )
        )
        for row in rows
    ]


def test_connection_record_is_one_trace_row() -> None:
    record = connection(
        7,
        f"{CLIENT}:40000",
        f"{GATEWAY}:80",
        1,
        src_endpoint=1,
        dst_endpoint=2,
        bytes_fwd=10,
        bytes_rev=20,
        packets_fwd=1,
        packets_rev=2,
        total_bytes_fwd=100,
        total_packets_rev=9,
        flags=2,
        ifindex=4,
        route=3,
        direction=Direction.INGRESS,
        hook=Hook.EGRESS,
    )
    (row,) = FlowBuilder(TABLE).build(record, NO_ENTRIES, LATER)
    assert sides(row[None]) == [(CLIENT, 40000, 1, 256, GATEWAY, 80, 2, 257)]
    wanted = {
        "seq": 1,
        "time_ns": T0 + SECOND,
        "conn_id": 7,
        "bytes": 30,
        "packets": 3,
        "total_bytes_fwd": 100,
        "total_packets_rev": 9,
        "flags": 2,
        "ifindex": 4,
        "route": 3,
        "type": FlowType.L3_L4,
        "event_type": EventType.TRACE,
        "verdict": Verdict.FORWARDED,
        "l7_type": 0,
        "is_reply": 0,
        "direction": Direction.INGRESS,
        "family": 4,
        "protocol": Protocol.TCP,
        "reason": 1,
        "url": None,
        "method": None,
        "status": 0,
    }
    assert {name: row[name] for name in wanted} == wanted


def test_reply_row_comes_from_the_responder() -> None:
    record = connection(7, f"{CLIENT}:40000", f"{GATEWAY}:80", src_endpoint=1, is_reply=1)
    (row,) = FlowBuilder(TABLE).build(record, NO_ENTRIES, LATER)
    assert sides(row[None]) == [(GATEWAY, 80, 0, 0, CLIENT, 40000, 1, 256)]
    assert row["is_reply"] == 1


def test_reply_is_not_known_when_a_tcp_connection_was_seen_midway() -> None:
    midway = {"initiator": Initiator.FIRST_PACKET}
    records = [
        connection(1, f"{CLIENT}:1", f"{GATEWAY}:80", **midway),
        connection(2, f"{CLIENT}:1", f"{GATEWAY}:53", 1, protocol=Protocol.UDP, **midway),
    ]
    rows = FlowBuilder(TABLE).build(np.concatenate(records), NO_ENTRIES, LATER)
    assert rows["is_reply"].tolist() == [-1, 0]


@pytest.mark.parametrize(
    ("src", "dst", "hook", "is_reply", "point", "sub_type"),
    [
        (GATEWAY, CLIENT, Hook.INGRESS, 0, ObservationPoint.TO_STACK, 3),
        (CLIENT, GATEWAY, Hook.EGRESS, 0, ObservationPoint.TO_ENDPOINT, 0),
        (CLIENT, GATEWAY, Hook.INGRESS, 0, ObservationPoint.FROM_NETWORK, 10),
        (GATEWAY, CLIENT, Hook.EGRESS, 0, ObservationPoint.TO_NETWORK, 11),
        (CLIENT, GATEWAY, Hook.INGRESS, 1, ObservationPoint.TO_STACK, 3),
        (GATEWAY, CLIENT, Hook.EGRESS, 1, ObservationPoint.TO_ENDPOINT, 0),
    ],
)
def test_observation_point(
    src: str, dst: str, hook: Hook, is_reply: int, point: ObservationPoint, sub_type: int
) -> None:
    ends = {CLIENT: 1, GATEWAY: 2}
    columns = {"src_endpoint": ends[src], "dst_endpoint": ends[dst], "is_reply": is_reply}
    record = connection(1, f"{src}:1", f"{dst}:2", hook=hook, **columns)
    (row,) = FlowBuilder(TABLE).build(record, NO_ENTRIES, LATER)
    assert (row["observation"], row["sub_type"]) == (point, sub_type)


TRACE = "0af7651916cd43dd8448eb211c80319c"
ENTRY = request(
    f"{CLIENT}:40000",
    f"{GATEWAY}:10080",
    f"{GATEWAY}:50000",
    f"{POD}:3000",
    1,
    client_endpoint=1,
    gateway_endpoint=2,
    backend_endpoint=3,
    route=5,
    backend=6,
    attribution=1,
    down_conn=7,
    up_conn=8,
    status=503,
    flags=32,
    path="/rewritten",
    original_path="/asked?x=1",
    request_id="r-1",
    traceparent=f"00-{TRACE}-b7ad6b7169203331-01",
    http_version=HttpVersion.HTTP2,
)
ENTRY["headers"] = [{"x-a": "b"}]


def test_request_is_two_rows_from_the_client_to_the_backend_and_back() -> None:
    asked, answered = FlowBuilder(TABLE).build(NO_RECORDS, ENTRY, LATER)
    assert sides(asked[None]) == [(CLIENT, 40000, 1, 256, POD, 3000, 3, 258)]
    assert sides(answered[None]) == [(POD, 3000, 3, 258, CLIENT, 40000, 1, 256)]
    both = {
        "type": FlowType.L7,
        "event_type": EventType.L7,
        "sub_type": 0,
        "conn_id": 7,
        "verdict": Verdict.FORWARDED,
        "route": 5,
        "backend": 6,
        "attribution": 1,
        "url": "http://shop.example/asked?x=1",
        "method": "GET",
        "request_id": "r-1",
        "trace_id": TRACE,
        "http_version": HttpVersion.HTTP2,
        "direction": Direction.INGRESS,
        "protocol": Protocol.TCP,
        "family": 4,
        "bytes": 0,
        "reason": 0,
        "observation": 0,
    }
    for row in (asked, answered):
        assert {name: row[name] for name in both} == both
    own = ("l7_type", "is_reply", "status", "latency_ns", "envoy_flags", "headers", "time_ns")
    begun = T0 + SECOND
    assert [asked[name] for name in own] == [L7Type.REQUEST, 0, 0, 0, 0, {"x-a": "b"}, begun]
    took = SECOND // 100
    end = [L7Type.RESPONSE, 1, 503, took, 32, None, begun + took]
    assert [answered[name] for name in own] == end


def test_request_without_a_backend_goes_to_the_gateway() -> None:
    entry = request(f"{CLIENT}:40000", f"{GATEWAY}:10080", client_endpoint=1, gateway_endpoint=2)
    asked, _ = FlowBuilder(TABLE).build(NO_RECORDS, entry, LATER)
    assert sides(asked[None]) == [(CLIENT, 40000, 1, 256, GATEWAY, 10080, 2, 257)]
    assert [asked[n] for n in ("trace_id", "request_id", "headers")] == [None, None, None]


def test_direction_is_egress_when_only_the_client_is_here() -> None:
    entry = request(f"{POD}:1", f"{CLIENT}:80", client_endpoint=3, gateway_endpoint=1)
    rows = FlowBuilder(TABLE).build(NO_RECORDS, entry, LATER)
    assert rows["direction"].tolist() == [Direction.EGRESS] * 2


def test_tcp_entry_makes_no_flow() -> None:
    entry = request(f"{CLIENT}:1", f"{GATEWAY}:9000", kind=EntryKind.TCP)
    assert len(FlowBuilder(TABLE).build(NO_RECORDS, entry, LATER)) == 0


def test_sequence_has_no_gaps_and_time_always_rises() -> None:
    builder = FlowBuilder(TABLE)
    records = np.concatenate([connection(n, "10.0.0.1:1", "10.0.0.2:2", 1) for n in range(5)])
    late = np.concatenate([ENTRY, request("10.0.0.1:1", "10.0.0.2:2", at=0.5)])
    first = builder.build(records, ENTRY, LATER)
    rows = np.concatenate([first, builder.build(records, late, LATER)])
    assert rows["seq"].tolist() == list(range(1, len(rows) + 1))
    assert (np.diff(rows["time_ns"].astype(np.int64)) > 0).all()
    assert first["time_ns"][0] == T0 + SECOND
    for name in set(rows["url"]) - {None}:
        kinds = rows[(rows["url"] == name) & (rows["l7_type"] != 0)]["l7_type"].tolist()
        assert kinds[0] == L7Type.REQUEST


def test_clock_of_another_machine_does_not_carry_ours_away() -> None:
    builder = FlowBuilder(TABLE)
    ahead = request("10.0.0.1:1", "10.0.0.2:2", at=900)
    builder.build(NO_RECORDS, ahead, T0 + 2 * SECOND)
    (row,) = builder.build(connection(1, "10.0.0.1:1", "10.0.0.2:2", 3), NO_ENTRIES, LATER)
    assert row["time_ns"] == T0 + 3 * SECOND


@pytest.mark.parametrize(
    ("header", "trace"),
    [
        (f"00-{TRACE}-b7ad6b7169203331-01", TRACE),
        (f"01-{TRACE}-b7ad6b7169203331-01-more", TRACE),
        (f"ff-{TRACE}-b7ad6b7169203331-01", None),
        (f"00-{'0' * 32}-b7ad6b7169203331-01", None),
        (f"00-{TRACE.upper()}-b7ad6b7169203331-01", None),
        (f"00-{TRACE}", None),
        ("", None),
    ],
)
def test_trace_id_of_a_traceparent(header: str, trace: str | None) -> None:
    assert trace_id(header) == trace
