"""Load balancers with DNS names: endpoints of addresses that DNS answers give for the names."""

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from flowd.identity.table import IdentityTable
from flowd.kubernetes.manifests import load_manifests
from flowd.kubernetes.objects.snapshot import Objects
from flowd.model.directory import Directory
from flowd.model.endpoint import Endpoint
from flowd.model.enums import DnsKind
from flowd.model.losses import Losses
from flowd.model.records.dns import Dns, empty_dns
from flowd.model.records.flow import FlowRows
from flowd.model.records.request import empty_requests
from flowd.pipeline.dns_names import DnsNames
from flowd.pipeline.flows import FlowBuilder
from flowd.pipeline.identify import identify
from flowd.pipeline.join.join import Join
from flowd.runtime.queue import Queue
from flowd_exporters.prometheus.exporter import PrometheusExporter
from tests.support.join_rows import SECOND, T0, connection, request

if TYPE_CHECKING:
    from flowd.model.records.batch import FlowBatch

CLUSTER = """
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge, namespace: infra}
spec: {gatewayClassName: eg, listeners: [{name: http, port: 80, protocol: HTTP}]}
status: {addresses: [{type: Hostname, value: GATEWAY}, {type: example.com/zone, value: zone.example}]}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec: {type: LoadBalancer, selector: {app: web}, ports: [{port: 80}]}
status: {loadBalancer: {ingress: [{hostname: WEB}]}}
"""
CLIENT, BALANCER = "10.0.0.1:40000", "198.51.100.7"


class HostnameCluster:
    def __init__(self, folder: Path) -> None:
        self.path = folder / "c.yaml"
        self.directory = Directory("here", "prod")
        self.names = DnsNames(Losses())
        self.table = IdentityTable(
            self.directory, node_name="here", cluster_name="prod", proc=folder
        )
        self.flows = FlowBuilder(self.table, self.names)

    def load(self, gateway: str = "Edge.LB.example.", web: str = "web.lb.example") -> Objects:
        self.path.write_text(CLUSTER.replace("GATEWAY", gateway).replace("WEB", web))
        losses = Losses()
        objects = load_manifests([self.path], losses)
        self.table.update(objects)
        return objects

    def answer(self, query: str, address: str, *aliases: str) -> None:
        rows = empty_dns(1)
        rows["kind"], rows["latency_ns"] = DnsKind.RESPONSE, 5
        rows["dns"] = [Dns(query, "A", 0, (address,), aliases, 300)]
        self.names.learn(rows, T0)

    def flow(self, *, reply: bool = False) -> FlowRows:
        rows = connection(1, CLIENT, f"{BALANCER}:80", is_reply=reply)
        return self.flows.build(identify(rows, self.table), empty_requests(), T0)

    def peer(self, side: str = "dst") -> Endpoint:
        rows = self.flow(reply=side == "src")
        endpoint = self.directory.endpoints[int(rows[f"{side}_endpoint"][0])]
        assert endpoint.identity == int(rows[f"{side}_identity"][0])
        return endpoint


@pytest.fixture
def cluster(tmp_path: Path) -> HostnameCluster:
    (tmp_path / "net").mkdir()
    (tmp_path / "net" / "fib_trie").write_text("")
    (tmp_path / "net" / "if_inet6").write_text("")
    return HostnameCluster(tmp_path)


@pytest.mark.parametrize("side", ["dst", "src"])
def test_a_gateway_is_told_by_the_name_of_its_status(cluster: HostnameCluster, side: str) -> None:
    cluster.load()
    assert cluster.peer(side).kind == "world"
    cluster.answer("edge.lb.example.", BALANCER)
    found = cluster.peer(side)
    assert (found.kind, found.gateway, found.name) == ("service", "infra/edge", "edge")
    assert found.identity >= 256
    assert "k8s:io.kubernetes.pod.namespace=infra" in found.labels
    row = cluster.flow()
    assert row["dst_name"].tolist() == ["edge.lb.example"]


async def test_metrics_and_requests_tell_it_too(cluster: HostnameCluster) -> None:
    cluster.load()
    join = Join(cluster.table, Losses(), wait_ns=0, names=cluster.names)
    exporter = PrometheusExporter(cluster.directory, Losses())
    seen: list[list[str]] = []
    for answers in ((), ("web.lb.example.",)):
        for name in answers:
            cluster.answer(name, BALANCER)
        records = identify(connection(1, CLIENT, f"{BALANCER}:80"), cluster.table)
        entry = request(CLIENT, "10.0.1.1:80", "10.0.1.1:5000", f"{BALANCER}:80")
        batch = join.step(records, entry, T0)
        late = join.step(records[:0], entry[:0], T0 + 10 * SECOND)
        (index,) = late.requests["backend_endpoint"].tolist()
        assert batch.connections["dst_endpoint"].tolist() == [index]
        assert batch.flows["dst_name"].tolist()[0] == (answers[0][:-1] if answers else None)
        queue: Queue[FlowBatch] = Queue("metrics", 100, Losses())
        queue.put(batch)
        queue.close()
        await exporter.run(queue)
        seen.append([cluster.directory.endpoints[index].kind, *destinations(exporter)])
    assert seen == [["world", "/world"], ["service", "/world", "shop/web"]]


def destinations(exporter: PrometheusExporter) -> list[str]:
    """`namespace/workload` of every destination with counted connections."""
    text = generate_latest(exporter.registry).decode()
    return sorted(
        f"{sample.labels['destination_namespace']}/{sample.labels['destination_workload']}"
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == "flowd_connections_total"
    )


def test_an_alias_that_leads_to_the_name_counts(cluster: HostnameCluster) -> None:
    cluster.load()
    cluster.answer("www.example.", BALANCER, "cdn.example.", "Edge.LB.example.")
    assert cluster.peer().gateway == "infra/edge"
    assert cluster.flow()["dst_name"].tolist() == ["www.example"]


def test_a_service_is_told_by_the_name_of_its_load_balancer(cluster: HostnameCluster) -> None:
    cluster.load()
    cluster.answer("web.lb.example.", BALANCER)
    found = cluster.peer()
    assert (found.service_namespace, found.service, found.gateway) == ("shop", "web", "")
    assert "k8s:app=web" in found.labels


def test_a_service_comes_before_a_gateway_of_the_same_name(cluster: HostnameCluster) -> None:
    cluster.load("one.lb.example", "one.lb.example")
    cluster.answer("one.lb.example.", BALANCER)
    assert cluster.peer().service == "web"


@pytest.mark.parametrize("name", ["other.lb.example.", "zone.example.", "lb.example."])
def test_other_names_stay_outside(cluster: HostnameCluster, name: str) -> None:
    cluster.load()
    cluster.answer(name, BALANCER)
    assert cluster.peer().kind == "world"


def test_a_name_that_leaves_the_status_is_nobodys(cluster: HostnameCluster) -> None:
    cluster.load()
    cluster.answer("edge.lb.example.", BALANCER)
    held = cluster.peer()
    cluster.load("moved.lb.example")
    assert cluster.peer().kind == "world"
    cluster.load()
    assert cluster.peer() == held
    cluster.table.update(Objects())
    assert cluster.table.hostnames == {}
