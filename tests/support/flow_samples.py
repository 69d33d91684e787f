"""A small cluster, a dozen named flows of it, and random flows."""

from typing import Any

import numpy as np

from flowd.model.address import pack
from flowd.model.directory import Directory
from flowd.model.endpoint import HOST, WORLD, Endpoint, EndpointKind
from flowd.model.process import Process, Tunnel
from flowd.model.records.batch import FlowBatch
from flowd.model.records.connection import empty_connections
from flowd.model.records.dns import Dns
from flowd.model.records.flow import FlowRows, empty_flows
from flowd.model.records.request import empty_requests
from flowd.model.route import BackendRef, RouteRef

START = 1_795_252_500_000_000_000  # 2026-11-21T09:15:00Z


def pod(namespace: str, name: str, identity: int, **more: Any) -> Endpoint:
    labels = (f"k8s:app={name.partition('-')[0]}", f"k8s:io.kubernetes.pod.namespace={namespace}")
    return Endpoint(EndpointKind.POD, identity, namespace, name, labels, node="node-a", **more)


WEB = pod("shop", "web-7f", 400, workload="web", workload_kind="Deployment")
CART = pod(
    "shop",
    "cart-0",
    401,
    workload="cart",
    workload_kind="StatefulSet",
    service="cart",
    service_namespace="shop",
)
DNS = pod("kube-system", "coredns-1", 402)
SERVICE = Endpoint(
    EndpointKind.SERVICE, 0, "shop", "cart", service="cart", service_namespace="shop"
)
ENDPOINTS = (WEB, CART, DNS, SERVICE, HOST, WORLD)
ROUTE = RouteRef("infra", "edge", "http", "HTTPRoute", "shop", "web", 1, 0, "items")
BACKEND = BackendRef("Service", "shop", "cart", 8080)
NGINX = Process("nginx", "c0ffee", "pod-1", 77)
CURL = Process("curl", cgroup=78)
VXLAN = Tunnel("vxlan", "192.0.2.1", "192.0.2.2", 5)
GENEVE = Tunnel("geneve", "2001:db8::a", "2001:db8::b", 6)
IPIP = Tunnel("ipip", "192.0.2.1", "192.0.2.3")


def cluster(name: str = "default") -> Directory:
    """A directory with all of the above, and interfaces 2 and 3."""
    directory = Directory(node_name="node-a", cluster_name=name, interfaces={2: "eth0", 3: "veth1"})
    for endpoint in ENDPOINTS:
        directory.endpoints.index(endpoint)
    directory.routes.index(ROUTE)
    directory.backends.index(BACKEND)
    for process in (NGINX, CURL):
        directory.processes.index(process)
    for tunnel in (VXLAN, GENEVE, IPIP):
        directory.tunnels.index(tunnel)
    return directory


_TCP = {"family": 4, "protocol": 6, "type": 1, "event_type": 4, "verdict": 1}
_FORWARD = {"src": (WEB, "10.1.0.1", 40000), "dst": (CART, "10.1.0.2", 8080), "direction": 2}
_BACKWARD = {"src": (CART, "10.1.0.2", 8080), "dst": (WEB, "10.1.0.1", 40000), "direction": 1}
_HTTP = {
    "family": 4,
    "protocol": 6,
    "type": 2,
    "event_type": 129,
    "verdict": 1,
    "method": "GET",
    "url": "http://shop.example/cart/items?x=1&y=<b>",
    "http_version": 2,
    "l7_protocol": 1,
    "request_id": "r-1",
    "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736",
    "route": 1,
    "backend": 1,
    "attribution": 1,
    "headers": {"x-team": "blue"},
}
_DNS = {"family": 4, "protocol": 17, "type": 2, "event_type": 129, "verdict": 1, "l7_protocol": 2}
_ASK: dict[str, Any] = {"src": (WEB, "10.1.0.1", 53311), "dst": (DNS, "10.1.0.53", 53)}
ANSWER = Dns(
    "api.example.net.", "A", 0, ("198.51.100.9",), ("edge.example.net.",), 30, ("CNAME", "A")
)
SAMPLES: dict[str, dict[str, Any]] = {
    "syn": _TCP
    | _FORWARD
    | {"flags": 0x02, "sub_type": 3, "observation": 3, "ifindex": 2, "packets": 1, "bytes": 74},
    "synack": _TCP | _BACKWARD | {"flags": 0x12, "observation": 101, "is_reply": 1, "ifindex": 3},
    "request": _HTTP
    | {"l7_type": 1, "direction": 1}
    | {"src": (WORLD, "198.51.100.7", 61000), "dst": (CART, "10.1.0.2", 8080)},
    "response": _HTTP
    | {"l7_type": 2, "direction": 2, "is_reply": 1, "status": 503, "latency_ns": 18_700_000}
    | {"src": (CART, "10.1.0.2", 8080), "dst": (WORLD, "198.51.100.7", 61000), "envoy_flags": 2},
    "dns": {"family": 4, "protocol": 17, "type": 1, "event_type": 4, "verdict": 1, "direction": 2}
    | {"src": (WEB, "10.1.0.1", 53311), "dst": (DNS, "10.1.0.53", 53), "sub_type": 11}
    | {"observation": 11},
    "drop": {"family": 6, "protocol": 6, "type": 1, "event_type": 1, "sub_type": 133, "verdict": 2}
    | {"src": (WORLD, "2001:db8::7", 61001), "dst": (CART, "fd00::2", 8443), "direction": 1}
    | {"flags": 0x02, "is_reply": -1},
    "ping": {"family": 4, "protocol": 1, "type": 1, "event_type": 4, "verdict": 1, "icmp_type": 8}
    | {"src": (HOST, "10.1.0.254", 0), "dst": (CART, "10.1.0.2", 0), "observation": 101},
    "service": _TCP
    | {"src": (WEB, "10.1.0.1", 40001), "dst": (SERVICE, "10.96.0.9", 80), "direction": 2}
    | {"flags": 0x18, "sub_type": 3, "observation": 3, "verdict": 7},
    "query": _DNS | _ASK | {"l7_type": 1, "dns": Dns("api.example.net.", "A"), "direction": 2},
    "answer": _DNS
    | {"src": _ASK["dst"], "dst": _ASK["src"], "l7_type": 2, "direction": 1, "is_reply": 1}
    | {"dns": ANSWER, "latency_ns": 2_000_000},
    "socket": {"family": 4, "protocol": 6, "type": 3, "event_type": 7, "sub_type": 2, "verdict": 7}
    | {"src": (WEB, "10.1.0.1", 40001), "dst": (SERVICE, "10.96.0.9", 80), "direction": 2}
    | {"src_process": 2, "src_pid": 4242, "src_cookie": 99, "nat": 1}
    | {"nat_src": ("10.1.0.1", 40001), "nat_dst": ("10.1.0.2", 8080)},
    "outside": _TCP
    | {"src": (WEB, "10.1.0.1", 40002), "dst": (WORLD, "198.51.100.9", 443), "direction": 2}
    | {"flags": 0x10, "sub_type": 11, "observation": 11, "dst_name": "api.example.net"}
    | {"nat": 1, "nat_src": ("192.0.2.1", 61234), "nat_dst": ("198.51.100.9", 443), "tunnel": 1}
    | {"connect_us": 900, "src_srtt_us": 400, "src_retransmits": 2, "src_process": 1}
    | {"src_pid": 4243, "src_cookie": 2**60, "bytes": 1500, "packets": 9},
}


def sample_rows(*names: str) -> FlowRows:
    """The named samples as rows, all of them by default; a millisecond apart."""
    chosen = names or tuple(SAMPLES)
    rows = empty_flows(len(chosen))
    for place, name in enumerate(chosen):
        rows[place]["seq"] = place + 1
        rows[place]["time_ns"] = START + place * 1_000_000
        for column, value in SAMPLES[name].items():
            if column in ("src", "dst"):
                endpoint, address, port = value
                rows[place][f"{column}_endpoint"] = ENDPOINTS.index(endpoint) + 1
                rows[place][f"{column}_identity"] = endpoint.identity
                rows[place][f"{column}_addr"] = np.frombuffer(pack(address), np.uint8)
                rows[place][f"{column}_port"] = port
            elif column in ("nat_src", "nat_dst"):
                rows[place][f"{column}_addr"] = np.frombuffer(pack(value[0]), np.uint8)
                rows[place][f"{column}_port"] = value[1]
            else:
                rows[place][column] = value
    return rows


def random_rows(count: int, seed: int) -> FlowRows:
    """Samples in random order with some columns replaced by random values."""
    rng = np.random.default_rng(seed)
    rows = sample_rows()[rng.integers(0, len(SAMPLES), count)]
    rows["seq"] = np.arange(1, count + 1)
    rows["time_ns"] = START + np.arange(count) * 1000
    rows["flags"] = rng.integers(0, 256, count)
    rows["verdict"] = rng.integers(0, 8, count)
    rows["is_reply"] = rng.integers(-1, 2, count)
    rows["direction"] = rng.integers(0, 3, count)
    http = rows["method"].astype(np.bool_)
    rows["status"][http] = rng.integers(99, 600, count)[http]
    rows["src_name"][rng.random(count) < 0.2] = "db.example"
    rows["nat"] = rng.integers(0, 3, count)
    for side in ("src", "dst"):
        rows[f"{side}_endpoint"] = rng.integers(0, len(ENDPOINTS) + 1, count)
        identities = np.array([0, *(int(one.identity) for one in ENDPOINTS)])
        rows[f"{side}_identity"] = identities[rows[f"{side}_endpoint"]]
    return rows


def batch(rows: FlowRows) -> FlowBatch:
    """A FlowBatch of flow rows only."""
    return FlowBatch(empty_connections(), empty_requests(), rows)
