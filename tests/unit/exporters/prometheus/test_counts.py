"""PrometheusExporter against a reference that counts row by row."""

from bisect import bisect_left
from collections import Counter
from typing import Any

import numpy as np
import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import CollectorRegistry

from flowd.model.directory import Directory
from flowd.model.endpoint import EndpointKind
from flowd.model.enums import RESPONSE_FLAGS, TCP_FLAGS
from flowd.model.losses import Losses, Place
from flowd.model.records.batch import FlowBatch
from flowd.wire.names import TRACE_POINTS
from flowd_exporters.prometheus.exporter import PrometheusExporter
from flowd_exporters.prometheus.metric_definitions import HTTP_SECONDS, HUBBLE_SECONDS, METRICS
from tests.support.exporter_batches import TRACE, cluster, random_batch, web_requests

Counted = Counter[tuple[str, frozenset[tuple[str, str]]]]

PROTOCOLS = {6: "TCP", 17: "UDP", 1: "ICMPv4", 58: "ICMPv6", 132: "SCTP", 47: "47"}
ATTRIBUTIONS = {1: "name", 2: "metadata", 3: "resolver", 4: "cluster", 5: "listener"}
OUTCOMES = {1: "forwarded", 9: "refused"}
VERSIONS = {1: "HTTP/1.0", 2: "HTTP/1.1", 3: "HTTP/2", 4: "HTTP/3"}
VERDICTS = {1: "FORWARDED", 2: "DROPPED"}


def exposed(registry: CollectorRegistry) -> Counted:
    """Samples of a scrape that are not 0, by name and labels."""
    found: Counted = Counter()
    for family in text_string_to_metric_families(generate_latest(registry).decode()):
        for sample in family.samples:
            key = (sample.name, frozenset(sample.labels.items()))
            assert key not in found, f"{key} twice"
            found[key] = sample.value  # type: ignore[assignment]
    return +found


class SlowCount:
    """The expected samples, counted row by row."""

    def __init__(self, directory: Directory) -> None:
        self.directory = directory
        self.found: Counted = Counter()

    def add(self, name: str, amount: float = 1, /, **labels: str) -> None:
        self.found[name, frozenset(labels.items())] += amount  # type: ignore[assignment]

    def observe(
        self, name: str, bounds: tuple[float, ...], ns: int, labels: dict[str, str]
    ) -> None:
        for bound in (*bounds[bisect_left(bounds, ns / 1e9) :], "+Inf"):
            self.add(f"{name}_bucket", le=str(bound), **labels)
        self.add(f"{name}_count", **labels)
        self.add(f"{name}_sum", ns / 1e9, **labels)

    def workload(self, side: str, index: int) -> dict[str, str]:
        endpoint = self.directory.endpoints[index]
        is_pod = endpoint.kind is EndpointKind.POD
        return {
            f"{side}_namespace": endpoint.namespace if is_pod else "",
            f"{side}_workload": endpoint.workload if is_pod else str(endpoint.kind),
        }

    def batch(self, batch: FlowBatch) -> None:
        for row in batch.connections:
            self.connection(row)
        for row in batch.requests:
            if row["log_type"] in (0, 3, 6):
                self.request(row)
        for row in batch.flows:
            self.flow(row)

    def connection(self, row: Any) -> None:
        labels = {
            "protocol": PROTOCOLS[int(row["protocol"])],
            "traffic_direction": {1: "ingress", 2: "egress"}.get(int(row["direction"]), "unknown"),
            **self.workload("source", row["src_endpoint"]),
            **self.workload("destination", row["dst_endpoint"]),
            "nat": {1: "before", 2: "after"}.get(int(row["nat"]), "none"),
        }
        self.add("flowd_connections_total", row["reason"] == 1, **labels)
        for unit in ("bytes", "packets"):
            for way, direction in (("fwd", "request"), ("rev", "response")):
                amount = int(row[f"{unit}_{way}"])
                self.add(f"flowd_{unit}_total", amount, direction=direction, **labels)
        if row["protocol"] == 6:
            for bit, flag in enumerate(TCP_FLAGS):
                if row["flags"] >> bit & 1:
                    self.add("flowd_tcp_flags_total", flag=flag, family=f"IPv{row['family']}")

    def request(self, row: Any) -> None:
        route = self.directory.routes[row["route"]]
        backend = self.directory.backends[row["backend"]]
        labels = {
            "gateway_namespace": route.gateway_namespace,
            "gateway": route.gateway,
            "listener": route.listener,
            "route_kind": route.kind,
            "route_namespace": route.namespace,
            "route": route.name,
            "rule": str(route.rule) if route.rule >= 0 else "",
            "rule_name": route.rule_name,
            "backend_namespace": backend.namespace,
            "backend": backend.name,
            "backend_port": str(backend.port) if backend.port else "",
            "attribution": ATTRIBUTIONS.get(int(row["attribution"]), "none"),
        }
        flags = [name for bit, name in enumerate(RESPONSE_FLAGS) if int(row["flags"]) >> bit & 1]
        flag = ",".join(flags) or "-"
        route_object = dict(list(labels.items())[:6])
        outcome = OUTCOMES.get(int(row["outcome"]), "unknown")
        self.add("flowd_route_outcomes_total", outcome=outcome, **route_object)
        if not route.kind:
            self.add("flowd_route_unattributed_total", reason=route.reason or "unknown")
        if row["kind"] == 2:
            self.add("flowd_route_connections_total", response_flag=flag, **labels)
            return
        code = int(row["status"]) // 100
        code_class = f"{code}xx" if 1 <= code <= 5 else "none"
        self.add("flowd_route_requests_total", code_class=code_class, response_flag=flag, **labels)
        duration, upstream = int(row["duration_ns"]), int(row["upstream_ns"])
        self.observe("flowd_route_duration_seconds", HTTP_SECONDS, duration, labels)
        if upstream:
            name = "flowd_route_upstream_duration_seconds"
            self.observe(name, HTTP_SECONDS, upstream, labels)

    def flow(self, row: Any) -> None:
        event, sub_type, protocol = (
            int(row[name]) for name in ("event_type", "sub_type", "protocol")
        )
        point = TRACE_POINTS[sub_type] if sub_type < 14 else str(sub_type)
        kind, detail, name = {
            1: ("Drop", "", PROTOCOLS[protocol]),
            4: ("Trace", point, PROTOCOLS[protocol]),
            129: ("L7", "HTTP", "HTTP"),
        }.get(event, ("Unknown", str(event), "Unknown flow"))
        verdict = VERDICTS.get(int(row["verdict"]), "VERDICT_UNKNOWN")
        self.add(
            "hubble_flows_processed_total",
            protocol=name, type=kind, subtype=detail, verdict=verdict,
        )  # fmt: skip
        if event == 4 and protocol == 6 and row["verdict"] == 1:
            flags = int(row["flags"])
            syn = "SYN-ACK" if flags & 16 else "SYN"
            for flag in [n for n, bit in (("FIN", 1), (syn, 2), ("RST", 4)) if flags & bit]:
                self.add("hubble_tcp_flags_total", flag=flag, family=f"IPv{row['family']}")
        if row["l7_type"] == 2:
            labels = {
                "method": row["method"] if row["method"] != "BREW" else "_OTHER",
                "reporter": {1: "server", 2: "client"}.get(int(row["direction"]), "unknown"),
            }
            self.add(
                "hubble_http_requests_total",
                protocol=VERSIONS.get(int(row["http_version"]), ""),
                status=str(row["status"]),
                **labels,
            )
            name = "hubble_http_request_duration_seconds"
            self.observe(name, HUBBLE_SECONDS, int(row["latency_ns"]), labels)


@pytest.mark.parametrize("seed", range(6))
def test_same_as_a_slow_count(seed: int) -> None:
    rng = np.random.default_rng(seed)
    directory = cluster()
    losses = Losses()
    exporter = PrometheusExporter(directory, losses)
    slow = SlowCount(directory)
    for rows in (1, 400, 0, 37):
        batch = random_batch(rng, directory, rows)
        exporter.observe(batch)
        slow.batch(batch)
    found = exposed(exporter.registry)
    ours = {metric.name for metric in METRICS} - {"flowd_agent_info", "flowd_lost_total"}
    seen = {
        key: value
        for key, value in found.items()
        if key[0] in ours or key[0].endswith(("_bucket", "_count", "_sum"))
    }
    assert set(seen) == set(+slow.found)
    for key, value in seen.items():
        assert value == pytest.approx(slow.found[key], rel=1e-12), key
    assert sum(losses.snapshot().values()) == 0


def test_bytes_are_exact_beyond_the_precision_of_floats() -> None:
    directory = cluster()
    exporter = PrometheusExporter(directory, Losses())
    batch = random_batch(np.random.default_rng(1), directory, 2)
    batch.connections[:] = batch.connections[0]
    batch.connections["bytes_fwd"] = [1 << 60, 1]
    exporter.observe(batch)
    families = {family.name: family for family in exporter.collect()}
    values = [s.value for s in families["flowd_bytes"].samples if s.value > 1 << 59]
    assert values == [(1 << 60) + 1]


def test_what_the_agent_says_of_itself() -> None:
    directory = cluster()
    losses = Losses()
    losses.add(Place.KERNEL, "ring_full", 7)
    losses.add(Place.QUEUE, "hubble\n", 5)
    directory.sampling = 10
    exporter = PrometheusExporter(
        directory,
        losses,
        live_connections=lambda: 42,
        packets=lambda: {"counted": 30, "filtered": 12},
    )
    found = exposed(exporter.registry)

    def value(name: str, **labels: str) -> float:
        return found[name, frozenset(labels.items())]

    assert value("flowd_live_connections") == 42
    assert value("flowd_kernel_packets_total", fate="counted") == 30
    assert value("flowd_kernel_packets_total", fate="filtered") == 12
    assert value("flowd_sampling") == 10
    assert value("flowd_lost_total", place="kernel", reason="ring_full") == 7
    assert value("flowd_lost_total", place="queue", reason="hubble^J") == 5
    assert value("hubble_lost_events_total", source="perf_event_ring_buffer") == 7
    assert value("hubble_lost_events_total", source="observer_events_queue") == 5
    assert value("process_resident_memory_bytes") > 1_000_000
    [info] = [key[1] for key in found if key[0] == "flowd_agent_info"]
    assert dict(info)["node"] == "n1"
    assert dict(info)["cluster"] == "test"


def test_a_sampled_trace_is_the_exemplar_of_its_bucket() -> None:
    exporter = PrometheusExporter(cluster(), Losses())
    batch = web_requests(4)
    batch.requests["traceparent"] = [
        f"00-{TRACE}-00f067aa0ba902b7-01",
        "",
        f"00-{'1' * 32}-00f067aa0ba902b7-00",
        "garbage",
    ]
    batch.requests["duration_ns"] = [20_000_000, 20_000_000, 300_000_000, 2_000_000]
    exporter.observe(batch)
    [family] = [f for f in exporter.collect() if f.name == "flowd_route_duration_seconds"]
    exemplars = {s.labels["le"]: s.exemplar for s in family.samples if s.exemplar}
    assert list(exemplars) == ["0.025"]
    exemplar = exemplars["0.025"]
    assert exemplar
    assert exemplar.labels == {"trace_id": TRACE}
    assert exemplar.value == 0.02
    assert exemplar.timestamp == pytest.approx(1_790_000_000)


def test_every_metric_of_the_table_is_exported() -> None:
    exporter = PrometheusExporter(
        cluster(),
        Losses(),
        live_connections=lambda: 0,
        packets=dict,
        conntrack_entries=lambda: {"tracked": 3, "translated": 2},
        gateway_connections=lambda: (1, 2),
        access_log=lambda: ({"envoy-als": 7}, 3),
        envoy_logs=lambda: {("127.0.0.1:9901", "envoy-als", "dropped"): 2},
        kubernetes_age=lambda: 0.0,
        address_conflicts=lambda: 0,
    )
    assert [family.name for family in exporter.collect()] == [metric.family for metric in METRICS]
    text = generate_latest(exporter.registry).decode()
    assert 'flowd_gateway_connections_total{logged="false"} 1.0' in text
    assert 'flowd_access_log_entries_total{source="envoy-als"} 7.0' in text
    assert "flowd_access_log_streams_ended_total 3.0" in text
