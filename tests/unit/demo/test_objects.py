"""The demo's manifests agree with each other and with its addresses."""

import ipaddress
import re
from pathlib import Path

import pytest
import yaml

from demo.cluster.objects import Object, generated, of_kind, static_objects, write
from demo.cluster.topology import INSTANCES, PODS, Topology, envoy_name
from demo.envoy.attachment import attached, hostnames
from demo.traffic import CYCLE, KINDS, kind_of

TOPOLOGIES = [Topology(), Topology(3), Topology(loopback=True)]


@pytest.fixture(params=TOPOLOGIES, ids=str)
def topology(request: pytest.FixtureRequest) -> Topology:
    return request.param


def all_objects(topology: Topology) -> list[Object]:
    return [*static_objects(), *generated(topology, static_objects())]


def test_every_selected_pod_is_an_endpoint(topology: Topology):
    objects = all_objects(topology)
    addresses = {
        pod["metadata"]["name"]: {each["ip"] for each in pod["status"]["podIPs"]}
        for pod in of_kind(objects, "Pod")
    }
    counts: dict[str, int] = {}
    for each in of_kind(objects, "EndpointSlice"):
        for endpoint in each["endpoints"]:
            address = endpoint["addresses"][0]
            assert address in addresses[endpoint["targetRef"]["name"]]
            assert each["addressType"] == f"IPv{ipaddress.ip_address(address).version}"
        service = each["metadata"]["labels"]["kubernetes.io/service-name"]
        counts[service] = len(each["endpoints"])
    assert counts == {
        envoy_name(): 1,
        "echo-1": 2,
        "echo-2": 1,
        "slow": 1,
        "flaky": 1,
        "down": 1,
        "nobody": 0,
        "tls-echo": 1,
        "orders": 1,
    }


def test_every_backend_ref_has_a_service_with_that_port(topology: Topology):
    objects = all_objects(topology)
    ports = {
        (each["metadata"]["namespace"], each["metadata"]["name"], port["port"])
        for each in of_kind(objects, "Service")
        for port in each["spec"]["ports"]
    }
    refs = {
        (ref.get("namespace", route["metadata"]["namespace"]), ref["name"], ref["port"])
        for kind in ("HTTPRoute", "TLSRoute")
        for route in of_kind(objects, kind)
        for rule in route["spec"]["rules"]
        for ref in rule.get("backendRefs", [])
    }
    assert refs <= ports


def test_addresses_and_names_are_unique_and_valid():
    every = [Topology(n, loopback) for n in range(INSTANCES) for loopback in (False, True)]
    addresses = [address for each in every for pod in PODS for address in each.addresses(pod)]
    assert len(addresses) == len(set(addresses))
    for address in addresses:
        ipaddress.ip_address(address)
    links = [each.link(pod) for each in every[::2] for pod in PODS]
    assert len(links) == len(set(links))
    assert {link for link in links if len(link) > 15} == set(), "IFNAMSIZ"
    assert all(re.fullmatch(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", pod.name) for pod in PODS)


def test_one_backend_and_one_client_speak_ipv6():
    topology = Topology()
    assert [pod.role for pod in PODS if topology.uses_ipv6(pod)] == ["echo", "client"]
    assert not any(Topology(loopback=True).uses_ipv6(pod) for pod in PODS)


def test_proxy_is_named_as_envoy_gateway_names_it():
    # `printf infra/echo | sha256sum` begins with these digits
    assert envoy_name() == "envoy-infra-echo-c83b56c6"


def test_written_files_can_be_read_back(tmp_path: Path):
    write(Topology(), tmp_path / "manifests")
    found = [
        document
        for path in (tmp_path / "manifests").glob("*.yaml")
        for document in yaml.safe_load_all(path.read_text())
    ]
    assert len(found) == len(all_objects(Topology()))
    assert {"Namespace", "Node", "Pod", "Gateway", "TLSRoute"} <= {each["kind"] for each in found}


def test_selector_decides_which_namespaces_attach():
    objects = static_objects()
    gateway = of_kind(objects, "Gateway")[0]
    http, https, tls = gateway["spec"]["listeners"]
    names = [
        [route["metadata"]["name"] for route in attached(kind, objects, gateway, listener)]
        for kind, listener in (("HTTPRoute", http), ("HTTPRoute", https), ("TLSRoute", tls))
    ]
    assert names == [
        ["echo", "faults", "headers", "redirect", "split", "orders"],
        ["echo", "faults", "headers", "secure", "split", "orders"],
        ["passthrough"],
    ]


@pytest.mark.parametrize(
    ("route", "listener", "expected"),
    [
        ("a.example", "*.example", ["a.example"]),
        ("*.a.example", "*.example", ["*.a.example"]),
        ("*.example", "a.example", ["a.example"]),
        ("a.b.example", "*.example", ["a.b.example"]),
        ("example", "*.example", []),
        ("a.other", "*.example", []),
    ],
)
def test_hostnames_intersect(route: str, listener: str, expected: list[str]):
    assert hostnames({"spec": {"hostnames": [route]}}, {"hostname": listener}) == expected


def test_a_deck_has_every_kind_in_its_share():
    assert CYCLE == 100
    names = [kind_of(seq).name for seq in range(CYCLE, 2 * CYCLE)]
    assert {kind.name: names.count(kind.name) for kind in KINDS} == {
        kind.name: kind.share for kind in KINDS
    }
