"""SocketMetrics: TCP socket reports by the workloads at both ends."""

import pytest

from flowd.model.enums import SocketAlso, SocketReason, SocketRole
from flowd.model.losses import Losses
from flowd.model.records.batch import FlowBatch
from flowd.model.records.connection import empty_connections
from flowd.model.records.flow import empty_flows
from flowd.model.records.request import empty_requests
from flowd.model.records.socket import SocketBatch, empty_sockets
from flowd_exporters.prometheus.exporter import PrometheusExporter
from tests.support.exporter_batches import CLIENT, WEB, cluster

ENDS = {
    "source_namespace": "users",
    "source_workload": "shopper",
    "destination_namespace": "shop",
    "destination_workload": "web",
}


def reports(*reasons: SocketReason) -> SocketBatch:
    """Reports of a socket that the client connected to the web workload."""
    directory = cluster()
    rows = empty_sockets(len(reasons))
    rows["reason"] = reasons
    rows["role"] = SocketRole.CONNECTED
    rows["local_endpoint"] = directory.endpoints.index(CLIENT)
    rows["remote_endpoint"] = directory.endpoints.index(WEB)
    return rows


class Scrape:
    """The samples of an exporter after some rows."""

    def __init__(self, rows: SocketBatch) -> None:
        exporter = PrometheusExporter(cluster(), Losses())
        batch = FlowBatch(empty_connections(), empty_requests(), empty_flows(), sockets=rows)
        exporter.observe(batch)
        self._registry = exporter.registry

    def value(self, name: str, **labels: str) -> float | None:
        return self._registry.get_sample_value(name, {**ENDS, **labels})


def test_time_to_connect_is_of_the_end_that_connects() -> None:
    rows = reports(*[SocketReason.ESTABLISHED] * 3, SocketReason.CLOSED)
    rows["connect_ns"] = [200_000, 3_000_000, 0, 200_000]
    scrape = Scrape(rows)
    name = "flowd_tcp_connect_duration_seconds"
    assert scrape.value(f"{name}_count") == 2
    assert scrape.value(f"{name}_sum") == pytest.approx(0.0032)
    assert scrape.value(f"{name}_bucket", le="0.00025") == 1


def test_short_connection_of_one_report() -> None:
    rows = reports(SocketReason.CLOSED, SocketReason.CLOSED)
    rows["also"] = [SocketAlso.ESTABLISHED | SocketAlso.RESET_RECEIVED, SocketAlso.ESTABLISHED]
    rows["connect_ns"], rows["srtt_us"] = [200_000, 0], 100
    scrape = Scrape(rows)
    assert scrape.value("flowd_tcp_connect_duration_seconds_count") == 1
    assert scrape.value("flowd_tcp_rtt_seconds_count") == 2
    assert scrape.value("flowd_tcp_resets_total", direction="received") == 1


def test_round_trips_of_both_ends_have_the_same_labels() -> None:
    rows = reports(SocketReason.UPDATE, SocketReason.CLOSED, SocketReason.ESTABLISHED)
    rows["srtt_us"] = [400, 900, 100]
    rows["role"][1] = SocketRole.ACCEPTED
    ends = rows[["local_endpoint", "remote_endpoint"]][1].tolist()
    rows["local_endpoint"][1], rows["remote_endpoint"][1] = ends[1], ends[0]
    scrape = Scrape(rows)
    assert scrape.value("flowd_tcp_rtt_seconds_count") == 2
    assert scrape.value("flowd_tcp_rtt_seconds_sum") == pytest.approx(0.0013)


def test_retransmissions_are_segments() -> None:
    rows = reports(SocketReason.RETRANSMIT, SocketReason.RETRANSMIT, SocketReason.CLOSED)
    rows["retransmits"] = [3, 4, 7]
    assert Scrape(rows).value("flowd_tcp_retransmits_total") == 7


def test_failures_by_reason() -> None:
    rows = reports(*[SocketReason.FAILED] * 7)
    rows["error"] = [111, 111, 110, 113, 101, 0, 1]
    scrape = Scrape(rows)
    expected = {"refused": 2, "timed_out": 1, "unreachable": 2, "aborted": 1, "other": 1}
    name = "flowd_tcp_connect_failures_total"
    assert {why: scrape.value(name, reason=why) for why in expected} == expected


def test_resets_by_direction() -> None:
    rows = reports(SocketReason.RESET_SENT, *[SocketReason.RESET_RECEIVED] * 2)
    scrape = Scrape(rows)
    assert scrape.value("flowd_tcp_resets_total", direction="sent") == 1
    assert scrape.value("flowd_tcp_resets_total", direction="received") == 2
