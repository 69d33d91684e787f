"""Services of flows to NodePorts."""

from pathlib import Path

import numpy as np
import pytest

from flowd.identity.table import IdentityTable
from flowd.kubernetes.manifests import load_manifests
from flowd.model.directory import Directory
from flowd.model.endpoint import Endpoint, EndpointKind
from flowd.model.enums import Nat, Protocol
from flowd.model.losses import Losses
from flowd.model.records.connection import ConnectionBatch
from flowd.model.records.drop import empty_drops
from flowd.model.records.flow import FlowRows
from flowd.model.records.request import empty_requests
from flowd.pipeline.flows import FlowBuilder
from flowd.pipeline.identify import identify, identify_drops
from flowd_exporters.hubble.encode.flow_to_protobuf import FlowEncoder
from tests.support.join_rows import T0, connection

CLUSTER = """
apiVersion: v1
kind: Node
metadata: {name: here}
status: {addresses: [{type: InternalIP, address: 192.0.2.1}]}
---
apiVersion: v1
kind: Node
metadata: {name: there}
status: {addresses: [{type: InternalIP, address: 192.0.2.2}]}
---
apiVersion: v1
kind: Pod
metadata: {name: web-0, namespace: shop}
status: {podIP: 10.0.0.1}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec:
  type: NodePort
  ports: [{name: http, port: 80, nodePort: PORT}, {name: dns, port: 53, protocol: UDP, nodePort: 30053}]
"""
CLIENT = "203.0.113.9:40000"


class NodePortCluster:
    def __init__(self, folder: Path) -> None:
        self.path = folder / "c.yaml"
        self.directory = Directory("here", "prod")
        self.table = IdentityTable(
            self.directory, node_name="here", cluster_name="prod", proc=folder
        )
        self.load(30080)

    def load(self, port: int) -> None:
        self.path.write_text(CLUSTER.replace("PORT", str(port)))
        self.table.update(load_manifests([self.path], Losses()))

    def asked(self, rows: ConnectionBatch) -> Endpoint:
        return self.directory.endpoints[int(identify(rows, self.table)["dst_endpoint"][0])]

    def flows(self, rows: ConnectionBatch) -> FlowRows:
        return FlowBuilder(self.table).build(identify(rows, self.table), empty_requests(), T0)


@pytest.fixture
def cluster(tmp_path: Path) -> NodePortCluster:
    (tmp_path / "net").mkdir()
    (tmp_path / "net" / "fib_trie").write_text("")
    (tmp_path / "net" / "if_inet6").write_text("")
    return NodePortCluster(tmp_path)


@pytest.mark.parametrize(
    ("address", "kind", "identity"), [("192.0.2.1", "host", 1), ("192.0.2.2", "node", 6)]
)
def test_a_node_port_tells_the_service_and_stays_the_node(
    cluster: NodePortCluster, address: str, kind: str, identity: int
) -> None:
    found = cluster.asked(connection(1, CLIENT, f"{address}:30080"))
    assert (found.kind, found.identity, found.node) == (kind, identity, found.name)
    assert (found.service_namespace, found.service) == ("shop", "web")
    assert cluster.asked(connection(1, CLIENT, f"{address}:30081")).service == ""
    assert cluster.asked(connection(1, CLIENT, f"{address}:30053")).service == ""
    udp = connection(1, CLIENT, f"{address}:30053", protocol=Protocol.UDP)
    assert cluster.asked(udp).service == "web"


def test_only_nodes_have_node_ports(cluster: NodePortCluster) -> None:
    pod = cluster.asked(connection(1, CLIENT, "10.0.0.1:30080"))
    assert (pod.kind, pod.service) == (EndpointKind.POD, "")
    assert cluster.asked(connection(1, CLIENT, "198.51.100.1:30080")).kind == EndpointKind.WORLD


def test_a_node_port_that_moves_is_followed(cluster: NodePortCluster) -> None:
    before = connection(1, CLIENT, "192.0.2.2:30080")
    assert cluster.asked(before).service == "web"
    cluster.load(30090)
    assert cluster.asked(before).service == ""
    assert cluster.asked(connection(1, CLIENT, "192.0.2.2:30090")).service == "web"


def test_hubble_flows_carry_the_service_in_both_directions(cluster: NodePortCluster) -> None:
    encoder = FlowEncoder(cluster.directory)
    rows = connection(1, CLIENT, "192.0.2.1:30080")
    (flow,) = encoder.encode(cluster.flows(rows))
    assert (flow.destination_service.namespace, flow.destination_service.name) == ("shop", "web")
    assert flow.destination.identity == 1
    assert not flow.HasField("source_service")
    rows["is_reply"] = 1
    (reply,) = encoder.encode(cluster.flows(rows))
    assert (reply.source_service.name, reply.source.identity) == ("web", 1)


def test_a_socket_translated_to_a_pod_dialled_the_service(cluster: NodePortCluster) -> None:
    dialled = connection(1, CLIENT, "192.0.2.2:30080")
    rows = connection(1, CLIENT, "10.0.0.1:8080", nat=Nat.AFTER, src_cookie=7)
    for end in ("src", "dst"):
        for name in ("addr", "port"):
            rows[f"nat_{end}_{name}"] = dialled[f"{end}_{name}"]
    flows = list(FlowEncoder(cluster.directory).encode(cluster.flows(rows)))
    before = [flow for flow in flows if flow.sock_xlate_point == 1]
    assert [flow.destination_service.name for flow in before] == ["web"]


def test_drops_at_a_node_port_carry_the_service(cluster: NodePortCluster) -> None:
    rows = connection(1, CLIENT, "192.0.2.1:30080")
    drops = empty_drops(1)
    for name in ("src_addr", "dst_addr", "src_port", "dst_port", "protocol"):
        drops[name] = rows[name]
    index = int(identify_drops(drops, cluster.table)["dst_endpoint"][0])
    assert cluster.directory.endpoints[index].service == "web"
    assert bool(np.any(cluster.table.is_local[index]))
