"""DnsMetrics: Hubble's counts, durations, timeouts, and a bounded number of labels."""

import numpy as np
from prometheus_client.registry import CollectorRegistry

from flowd.model.directory import Directory
from flowd.model.endpoint import Endpoint, EndpointKind
from flowd.model.enums import DnsKind
from flowd.model.losses import Losses
from flowd.model.records.batch import FlowBatch
from flowd.model.records.connection import empty_connections
from flowd.model.records.dns import Dns, DnsBatch, empty_dns
from flowd.model.records.flow import empty_flows
from flowd.model.records.request import empty_requests
from flowd_exporters.prometheus.exporter import PrometheusExporter

WEB = {"source_namespace": "shop", "source_workload": "web"}


def counted(dns: DnsBatch) -> CollectorRegistry:
    directory = Directory()
    endpoint = Endpoint(EndpointKind.POD, 300, "shop", "web-1", workload="web")
    dns["src_endpoint"] = directory.endpoints.index(endpoint)
    exporter = PrometheusExporter(directory, Losses())
    batch = FlowBatch(empty_connections(), empty_requests(), empty_flows(), dns=dns)
    exporter.observe(batch)
    exporter.observe(batch)
    return exporter.registry


def rows(kind: DnsKind, *messages: Dns, latency: int = 0) -> DnsBatch:
    batch = empty_dns(len(messages))
    batch["kind"], batch["latency_ns"] = kind, latency
    batch["dns"], batch["rcode"] = messages, [dns.rcode for dns in messages]
    return batch


def test_queries_and_responses_as_hubble_counts_them() -> None:
    registry = counted(
        np.concatenate(
            [
                rows(DnsKind.QUERY, Dns("a.", "A"), Dns("b.", "A"), Dns("c.", "TYPE4000")),
                rows(
                    DnsKind.RESPONSE,
                    Dns("a.", "A", 0, ("1.1.1.1", "1.1.1.2"), ("x.",), 5, ("CNAME", "A", "A")),
                    Dns("b.", "A", 3),
                ),
            ]
        )
    )

    def value(name: str, **labels: str) -> float | None:
        return registry.get_sample_value(f"hubble_dns_{name}_total", labels)

    assert value("queries", rcode="", qtypes="A", ips_returned="0") == 4
    assert value("queries", rcode="", qtypes="other", ips_returned="0") == 2
    assert value("responses", rcode="No Error", qtypes="A", ips_returned="2") == 2
    assert value("responses", rcode="Non-Existent Domain", qtypes="A", ips_returned="0") == 2
    assert value("response_types", type="A", qtypes="A") == 4
    assert value("response_types", type="CNAME", qtypes="A") == 2


def test_latency_and_timeouts_by_workload() -> None:
    registry = counted(
        np.concatenate(
            [
                rows(DnsKind.RESPONSE, Dns("a.", "A"), latency=3_000_000),
                rows(DnsKind.RESPONSE, Dns("b.", "A")),  # a response whose query was not seen
                rows(DnsKind.TIMEOUT, Dns("c.", "A")),
            ]
        )
    )
    duration = "flowd_dns_duration_seconds"
    labels = {"rcode": "No Error", **WEB}
    assert registry.get_sample_value(f"{duration}_count", labels) == 2
    assert registry.get_sample_value(f"{duration}_sum", labels) == 0.006
    assert registry.get_sample_value(f"{duration}_bucket", {**labels, "le": "0.0025"}) == 0
    assert registry.get_sample_value(f"{duration}_bucket", {**labels, "le": "0.005"}) == 2
    found = [s for f in registry.collect() for s in f.samples if s.name.endswith("timeouts_total")]
    assert [s.value for s in found] == [2]
    assert WEB.items() <= found[0].labels.items()


def test_what_strangers_ask_makes_no_series() -> None:
    messages = [
        Dns(f"n{number}.", f"TYPE{number}", number % 256, ("1.1.1.1",) * (number % 64))
        for number in range(2000)
    ]
    registry = counted(
        np.concatenate([rows(DnsKind.QUERY, *messages), rows(DnsKind.RESPONSE, *messages)])
    )
    found = [s for f in registry.collect() for s in f.samples if s.name.startswith("hubble_dns")]
    assert sum(s.value for s in found) == 8000
    assert len(found) < 250
