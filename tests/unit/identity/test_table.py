"""Endpoints of addresses: Pods, Services, nodes, this host, the world."""

from pathlib import Path

import numpy as np
import pytest

from flowd.identity.table import IdentityTable
from flowd.kubernetes.manifests import load_manifests
from flowd.kubernetes.objects.snapshot import Objects
from flowd.model.address import column, pack
from flowd.model.directory import Directory
from flowd.model.endpoint import Endpoint, EndpointKind, ReservedIdentity
from flowd.model.losses import Losses

DATA = Path(__file__).parents[2] / "data" / "manifests"
FIB = """Main:
  +-- 0.0.0.0/0 3 0 5
     |-- 192.168.7.1
        /32 host LOCAL
     |-- 192.168.7.255
        /32 link BROADCAST
"""
IF_INET6 = "fe800000000000000000000000000001 02 40 20 80 eth0\n"


@pytest.fixture(scope="module")
def objects() -> Objects:
    return load_manifests([DATA], Losses())


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    (tmp_path / "net").mkdir()
    (tmp_path / "net" / "fib_trie").write_text(FIB)
    (tmp_path / "net" / "if_inet6").write_text(IF_INET6)
    return tmp_path


@pytest.fixture
def directory() -> Directory:
    return Directory("node-a", "prod")


@pytest.fixture
def table(directory: Directory, proc: Path) -> IdentityTable:
    return IdentityTable(directory, node_name="node-a", cluster_name="prod", proc=proc)


def at(directory: Directory, table: IdentityTable, address: str) -> Endpoint:
    return directory.endpoints[int(table.resolve(column([address]))[0])]


def test_a_pod_is_told_in_full(
    directory: Directory, table: IdentityTable, objects: Objects
) -> None:
    table.update(objects)
    pod = at(directory, table, "10.0.0.11")
    assert (pod.kind, pod.namespace, pod.name) == ("pod", "store", "shop-6d4cf56db6-x2x9p")
    assert (pod.workload_kind, pod.workload) == ("Deployment", "shop")
    assert (pod.service_namespace, pod.service, pod.node) == ("store", "shop", "node-a")
    assert pod.labels == (
        "k8s:app=shop",
        "k8s:io.cilium.k8s.policy.cluster=prod",
        "k8s:io.cilium.k8s.policy.serviceaccount=shopkeeper",
        "k8s:io.kubernetes.pod.namespace=store",
        "k8s:pod-template-hash=6d4cf56db6",
    )
    assert pod.address == "10.0.0.11"
    assert at(directory, table, "fd00:1::11").name == pod.name
    other = at(directory, table, "10.0.1.12")
    assert other.identity == pod.identity
    assert 256 <= pod.identity <= 65535
    stateful = at(directory, table, "10.0.0.21")
    assert (stateful.workload_kind, stateful.workload) == ("StatefulSet", "shop-next")
    assert stateful.identity != pod.identity


def test_an_endpoint_of_a_slice_stands_in_for_its_pod(
    directory: Directory, table: IdentityTable, objects: Objects
) -> None:
    table.update(objects)
    pod = at(directory, table, "10.0.0.31")
    assert (pod.kind, pod.name, pod.service) == (EndpointKind.POD, "auth-0", "auth")
    assert "k8s:app=auth" in pod.labels


def test_gateways_services_and_nodes(
    directory: Directory, table: IdentityTable, objects: Objects
) -> None:
    table.update(objects)
    assert at(directory, table, "10.0.0.5").gateway == "store/front"
    assert at(directory, table, "10.0.0.6").gateway == "store/back"
    assert at(directory, table, "10.0.0.5").identity >= 256
    service = at(directory, table, "10.96.0.10")
    assert (service.kind, service.service, service.namespace) == ("service", "shop", "store")
    here, there = at(directory, table, "192.168.7.1"), at(directory, table, "192.168.7.2")
    assert (here.kind, here.name, here.identity) == ("host", "node-a", ReservedIdentity.HOST)
    assert (there.kind, there.name, there.identity) == ("node", "node-b", 6)
    assert at(directory, table, "fd00::2").name == "node-b"
    assert there.labels == ("reserved:remote-node",)


def test_without_objects_the_host_has_its_name(directory: Directory, table: IdentityTable) -> None:
    for address in ("127.0.0.1", "127.9.9.9", "::1", "192.168.7.1", "fe80::1"):
        host = at(directory, table, address)
        assert (host.kind, host.name, host.identity) == ("host", "node-a", 1)
    world = at(directory, table, "203.0.113.9")
    assert (world.kind, world.identity, world.labels) == ("world", 2, ("reserved:world",))
    assert at(directory, table, "192.168.7.255") == world
    assert table.resolve(np.zeros((2, 16), np.uint8)).tolist() == [0, 0]
    assert table.resolve(np.zeros((0, 16), np.uint8)).tolist() == []


def test_columns_by_index(directory: Directory, table: IdentityTable, objects: Objects) -> None:
    table.update(objects)
    texts = ["10.0.0.11", "10.0.1.12", "10.0.0.21", "192.168.7.1", "192.168.7.2", "8.8.8.8"]
    found = table.resolve(column(texts))
    assert table.is_local[found].tolist() == [True, False, True, True, False, False]
    wanted = [directory.endpoints[index].identity for index in found.tolist()]
    assert table.identity_of[found].tolist() == wanted
    assert (table.identity_of[0], bool(table.is_local[0])) == (0, False)
    assert len(table.identity_of) == len(directory.endpoints)


def test_entries_and_resolve_agree(table: IdentityTable, objects: Objects) -> None:
    table.update(objects)
    entries = table.entries()
    assert pack("10.0.0.11") in entries
    assert pack("127.0.0.1") in entries
    addresses = np.frombuffer(b"".join(entries), np.uint8).reshape(-1, 16)
    assert table.resolve(addresses).tolist() == list(entries.values())


def test_an_address_that_ends_in_zeros_is_itself(
    directory: Directory, table: IdentityTable, tmp_path: Path
) -> None:
    path = tmp_path / "p.yaml"
    pod = "apiVersion: v1\nkind: Pod\nmetadata: {name: %s}\nstatus: {podIP: '%s'}\n"
    path.write_text(pod % ("a", "10.0.0.0") + "---\n" + pod % ("b", "fd00::"))
    table.update(load_manifests([path], Losses()))
    assert at(directory, table, "10.0.0.0").name == "a"
    assert at(directory, table, "fd00::").name == "b"


def test_an_unchanged_pod_keeps_its_index_and_a_new_one_gets_its_own(
    directory: Directory, table: IdentityTable, tmp_path: Path
) -> None:
    path = tmp_path / "p.yaml"
    pod = "apiVersion: v1\nkind: Pod\nmetadata: {name: %s}\nstatus: {podIP: %s}\n---\n"
    path.write_text(pod % ("a", "10.0.0.1") + pod % ("b", "10.0.0.2"))
    table.update(load_manifests([path], Losses()))
    before = table.resolve(column(["10.0.0.1", "10.0.0.2"])).tolist()
    path.write_text(pod % ("a", "10.0.0.1") + pod % ("c", "10.0.0.2"))
    table.update(load_manifests([path], Losses()))
    after = table.resolve(column(["10.0.0.1", "10.0.0.2"])).tolist()
    assert after[0] == before[0]
    assert after[1] != before[1]
    names = [directory.endpoints[index].name for index in (before[1], after[1])]
    assert names == ["b", "c"]


SLICES = """
apiVersion: v1
kind: Service
metadata: {name: kubernetes}
spec: {ports: [{port: 443}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: kubernetes, labels: {kubernetes.io/service-name: kubernetes}}
ports: [{port: 6443}]
endpoints: [{addresses: [192.168.7.1]}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: two, labels: {kubernetes.io/service-name: two}}
ports: [{port: 1}]
endpoints:
- {addresses: [10.1.1.1], targetRef: {kind: Pod, name: p}}
- {addresses: [10.1.1.1], targetRef: {kind: Pod, name: q}}
- {addresses: [10.1.1.1], targetRef: {kind: Pod, name: p}}
- {addresses: [10.1.1.2]}
"""


def test_slices_claim_neither_the_host_nor_what_two_pods_share(
    directory: Directory, table: IdentityTable, tmp_path: Path
) -> None:
    path = tmp_path / "s.yaml"
    path.write_text(SLICES)
    table.update(load_manifests([path], Losses()))
    assert at(directory, table, "192.168.7.1").kind == EndpointKind.HOST
    assert at(directory, table, "10.1.1.1").kind == EndpointKind.WORLD
    assert at(directory, table, "10.1.1.2").service == "two"


def test_the_younger_of_two_pods_has_the_address(
    directory: Directory, table: IdentityTable, tmp_path: Path
) -> None:
    path = tmp_path / "p.yaml"
    pod = (
        "apiVersion: v1\nkind: Pod\nmetadata: {name: %s, creationTimestamp: '2026-0%d-01T00:00:00Z'}"
        "\nstatus: {podIP: 10.0.0.1}\n---\n"
    )
    path.write_text(pod % ("young", 9) + pod % ("old", 3))
    table.update(load_manifests([path], Losses()))
    assert at(directory, table, "10.0.0.1").name == "young"


def test_a_terminating_pod_has_its_address_until_another_or_nobody_has(
    directory: Directory, table: IdentityTable, tmp_path: Path
) -> None:
    path = tmp_path / "p.yaml"
    pod = (
        "apiVersion: v1\nkind: Pod\nmetadata: {name: %s, creationTimestamp: '2026-0%d-01T00:00:00Z'%s}"
        "\nstatus: {podIP: 10.0.0.1, phase: Running}\n---\n"
    )
    leaving = pod % ("leaving", 9, ", deletionTimestamp: '2026-09-02T00:00:00Z'")
    path.write_text(leaving)
    table.update(load_manifests([path], Losses()))
    assert at(directory, table, "10.0.0.1").name == "leaving"
    path.write_text(leaving + pod % ("next", 3, ""))
    table.update(load_manifests([path], Losses()))
    assert at(directory, table, "10.0.0.1").name == "next"
    assert table.conflicts == 0
    path.write_text(leaving + pod % ("next", 3, "") + pod % ("third", 2, ""))
    table.update(load_manifests([path], Losses()))
    assert at(directory, table, "10.0.0.1").name == "next"
    assert table.conflicts == 1
    path.write_text(leaving.replace("Running", "Succeeded"))
    table.update(load_manifests([path], Losses()))
    assert at(directory, table, "10.0.0.1").kind == EndpointKind.WORLD
