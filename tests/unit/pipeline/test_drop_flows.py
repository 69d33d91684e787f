"""Drops through the pipeline: endpoints, flow rows and metrics."""

from typing import Any

import numpy as np
import pytest
from prometheus_client import generate_latest

from flowd.model.address import NONE, pack
from flowd.model.directory import Directory
from flowd.model.endpoint import Endpoint, EndpointKind
from flowd.model.enums import Direction, EventType, Protocol, Verdict
from flowd.model.losses import Losses
from flowd.model.records.batch import FlowBatch
from flowd.model.records.connection import empty_connections
from flowd.model.records.drop import HUBBLE_NAMES, DropBatch, empty_drops, hubble_reason
from flowd.model.records.flow import empty_flows
from flowd.model.records.request import empty_requests
from flowd.pipeline.identify import identify_drops
from flowd.pipeline.join.join import Join
from flowd.wire.flow import flow_pb2
from flowd_exporters.prometheus.exporter import PrometheusExporter
from tests.support.join_rows import SECOND, T0, KnownAddresses, connection

LOCAL, OTHER, AWAY = "10.0.0.1", "10.0.0.2", "198.51.100.7"
TABLE = KnownAddresses(LOCAL, OTHER, local=(LOCAL, OTHER))
NOW = T0 + 100 * SECOND


def drop(src: str = "", dst: str = "", **columns: Any) -> DropBatch:
    row = empty_drops(1)
    for side, text in (("src", src), ("dst", dst)):
        row[f"{side}_addr"] = np.frombuffer(pack(text) if text else NONE, np.uint8)
    row["time_ns"], row["family"], row["protocol"], row["packets"] = T0, 4, Protocol.TCP, 1
    for name, value in columns.items():
        row[name] = value
    return row


@pytest.mark.parametrize(
    ("src", "dst", "endpoints", "direction"),
    [
        (LOCAL, AWAY, (1, 0), Direction.EGRESS),
        (AWAY, OTHER, (0, 2), Direction.INGRESS),
        (LOCAL, OTHER, (1, 2), Direction.EGRESS),
        (AWAY, AWAY, (0, 0), Direction.UNKNOWN),
        ("", "", (0, 0), Direction.UNKNOWN),
    ],
)
def test_ends_and_direction(
    src: str, dst: str, endpoints: tuple[int, int], direction: Direction
) -> None:
    made = drop(src, dst)
    (row,) = identify_drops(made, TABLE)
    assert (row["src_endpoint"], row["dst_endpoint"]) == endpoints
    assert row["direction"] == direction
    assert made["direction"][0] == Direction.UNKNOWN


def test_flow_row_of_a_drop_stands_among_the_others_in_time() -> None:
    pending = [drop(LOCAL, AWAY, reason=3, src_port=1000, dst_port=80, packets=5, bytes=300,
                    ifindex=7, flags=2, hubble_reason=133, time_ns=T0 + SECOND)]  # fmt: skip
    join = Join(TABLE, Losses(), drops=lambda: pending.pop() if pending else empty_drops())
    records = np.concatenate(
        [connection(n, f"{LOCAL}:{n}", f"{OTHER}:80", at) for n, at in ((1, 0), (2, 2))]
    )
    batch = join.step(records, empty_requests(), NOW)
    assert list(batch.flows["conn_id"]) == [1, 0, 2]
    assert list(batch.flows["seq"]) == [1, 2, 3]
    row = batch.flows[1]
    assert (row["verdict"], row["event_type"]) == (Verdict.DROPPED, EventType.DROP)
    assert (row["drop_reason"], row["sub_type"]) == (3, 133)
    assert (row["packets"], row["bytes"]) == (5, 300)
    assert (row["src_port"], row["dst_port"], row["ifindex"], row["flags"]) == (1000, 80, 7, 2)
    assert (row["src_endpoint"], row["src_identity"], row["is_reply"]) == (1, 256, -1)
    assert row["direction"] == Direction.EGRESS
    assert len(batch.drops) == 1
    assert len(join.step(empty_connections(), empty_requests(), NOW)) == 0


def test_names_are_those_of_hubbles_api() -> None:
    known = {value: name for name, value in flow_pb2.DropReason.items()}
    assert known | HUBBLE_NAMES == known
    assert HUBBLE_NAMES[hubble_reason("NETFILTER_DROP")] == "POLICY_DENIED"
    assert hubble_reason("A_REASON_OF_NEXT_YEAR") == 0


def test_metrics_count_packets_by_reason_and_workload() -> None:
    directory = Directory()
    web = directory.endpoints.index(
        Endpoint(EndpointKind.POD, 300, "shop", "web-1", workload="web")
    )
    firewall = directory.drop_reasons.index("NETFILTER_DROP")
    new = directory.drop_reasons.index("NEVER_SEEN")
    drops = np.concatenate(
        [
            drop(reason=firewall, packets=5, src_endpoint=web, direction=Direction.EGRESS),
            drop(reason=firewall, packets=2, src_endpoint=web, direction=Direction.EGRESS),
            drop(reason=new, packets=1, protocol=Protocol.UDP),
        ]
    )
    exporter = PrometheusExporter(directory, Losses())
    exporter.observe(FlowBatch(empty_connections(), empty_requests(), empty_flows(), drops))
    text = generate_latest(exporter.registry).decode()
    assert 'hubble_drop_total{protocol="TCP",reason="POLICY_DENIED"} 7.0' in text
    assert 'hubble_drop_total{protocol="UDP",reason="DROP_REASON_UNKNOWN"} 1.0' in text
    lines = [line for line in text.splitlines() if line.startswith("flowd_drops_total{")]
    (mine,) = [line for line in lines if 'reason="NETFILTER_DROP"' in line]
    assert 'source_namespace="shop"' in mine
    assert 'source_workload="web"' in mine
    assert 'traffic_direction="egress"' in mine
    assert mine.endswith(" 7.0")
