"""A small cluster, and random FlowBatches of it, for tests of exporters."""

import numpy as np
from numpy.random import Generator

from flowd.model.directory import Directory
from flowd.model.endpoint import HOST, WORLD, Endpoint, EndpointKind
from flowd.model.enums import AccessLogType
from flowd.model.records.batch import FlowBatch
from flowd.model.records.connection import empty_connections
from flowd.model.records.flow import empty_flows
from flowd.model.records.request import empty_requests
from flowd.model.route import BackendRef, RouteRef

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
SPAN = "00f067aa0ba902b7"
SECOND = 1_000_000_000
NOW = 1_790_000_000 * SECOND

PROXY = Endpoint(
    EndpointKind.POD, 300, "infra", "edge-5f7c-x1", workload="edge", workload_kind="Deployment",
    node="n1", gateway="infra/edge",
)  # fmt: skip
CLIENT = Endpoint(
    EndpointKind.POD, 301, "users", "shopper-1", workload="shopper", workload_kind="StatefulSet"
)
WEB = Endpoint(
    EndpointKind.POD, 302, "shop", "web-7d9f-abc", workload="web", workload_kind="Deployment",
    service_namespace="shop", service="web", node="n2",
)  # fmt: skip
WEB_TWIN = Endpoint(
    EndpointKind.POD, 302, "shop", "web-7d9f-def", workload="web", workload_kind="Deployment"
)
LOGIN = RouteRef("infra", "edge", "https", "HTTPRoute", "shop", "web", 0, 0, "login")
LOGIN_TWIN = RouteRef("infra", "edge", "https", "HTTPRoute", "shop", "web", 0, 1, "login")
CART = RouteRef("infra", "edge", "https", "HTTPRoute", "shop", "web", 1, 0)
LOST = RouteRef("infra", "edge", "https", reason="route_not_found")
WEB_80 = BackendRef("Service", "shop", "web", 80, 9)
CANARY_80 = BackendRef("Service", "shop", "canary", 80, 1)
_LOG_TYPES = [
    *(AccessLogType.NOT_SET, AccessLogType.TCP_CONNECTION_END, AccessLogType.DOWNSTREAM_END),
    *(AccessLogType.TCP_PERIODIC, AccessLogType.DOWNSTREAM_PERIODIC, AccessLogType.UPSTREAM_END),
]


def cluster() -> Directory:
    """A directory with the endpoints, routes and backends above, in that order from index 1."""
    directory = Directory("n1", "test")
    for endpoint in (PROXY, CLIENT, WEB, WEB_TWIN, WORLD, HOST):
        directory.endpoints.index(endpoint)
    for route in (LOGIN, LOGIN_TWIN, CART, LOST):
        directory.routes.index(route)
    for backend in (WEB_80, CANARY_80):
        directory.backends.index(backend)
    return directory


def random_batch(rng: Generator, directory: Directory, rows: int) -> FlowBatch:
    """Rows with all kinds of values in every counted column."""
    connections = empty_connections(rows)
    connections["protocol"] = rng.choice([6, 6, 17, 1, 58, 132, 47], rows)
    connections["family"] = rng.choice([4, 6], rows)
    connections["reason"] = rng.integers(1, 5, rows)
    connections["direction"] = rng.integers(0, 4, rows)
    connections["nat"] = rng.integers(0, 3, rows)
    connections["flags"] = rng.integers(0, 256, rows)
    for name in ("bytes_fwd", "bytes_rev", "packets_fwd", "packets_rev"):
        connections[name] = rng.integers(0, 1 << 40, rows)
    for name in ("src_endpoint", "dst_endpoint"):
        connections[name] = rng.integers(0, len(directory.endpoints), rows)

    requests = empty_requests(rows)
    requests["kind"] = rng.choice([1, 1, 1, 2], rows)
    requests["log_type"] = rng.choice(_LOG_TYPES, rows)
    requests["time_ns"] = NOW
    requests["status"] = rng.choice([0, 101, 200, 204, 301, 404, 499, 500, 503, 999], rows)
    requests["duration_ns"] = rng.choice(
        [0, 1, 5_000_000, 5_000_001, 75_000_000, 10 * SECOND, 10 * SECOND + 1, 3 * SECOND], rows
    )
    requests["upstream_ns"] = rng.choice([0, 4_999_999, 250_000_000, SECOND], rows)
    requests["flags"] = rng.choice([0, 0, 0, 1 << 5, 1 << 15, 1 << 5 | 1 << 15, 1 << 40], rows)
    requests["attribution"] = rng.integers(0, 8, rows)
    requests["outcome"] = np.resize([0, 1, 9], rows)
    requests["route"] = rng.integers(0, len(directory.routes), rows)
    requests["backend"] = rng.integers(0, len(directory.backends), rows)
    requests["traceparent"] = rng.choice(["", f"00-{TRACE}-{SPAN}-01"], rows).astype(object)

    flows = empty_flows(rows)
    flows["protocol"] = rng.choice([6, 17, 1], rows)
    flows["event_type"] = rng.choice([1, 4, 4, 129, 77], rows)
    flows["sub_type"] = rng.choice([0, 3, 11, 200], rows)
    flows["verdict"] = rng.choice([0, 1, 1, 2, 99], rows)
    flows["family"] = rng.choice([4, 6], rows)
    flows["flags"] = rng.integers(0, 256, rows)
    is_http = flows["event_type"] == 129
    flows["l7_type"] = np.where(is_http, rng.choice([1, 2], rows), 0)
    flows["direction"] = rng.integers(0, 3, rows)
    flows["http_version"] = rng.integers(0, 5, rows)
    flows["status"] = rng.choice([0, 200, 503], rows)
    flows["latency_ns"] = rng.choice([1, 5_000_000, 20 * SECOND], rows)
    flows["method"] = rng.choice(["GET", "POST", "BREW"], rows).astype(object)
    return FlowBatch(connections, requests, flows)


def web_requests(rows: int) -> FlowBatch:
    """Plain GETs of shop/web over the edge gateway, without a traceparent."""
    requests = empty_requests(rows)
    requests["kind"] = 1
    requests["log_type"] = AccessLogType.DOWNSTREAM_END
    requests["time_ns"] = NOW
    requests["duration_ns"] = 20_000_000
    requests["upstream_ns"] = 15_000_000
    requests["status"] = 200
    requests["http_version"] = 3
    requests["method"] = "GET"
    requests["scheme"] = "https"
    requests["host"] = "shop.example.com"
    requests["path"] = "/login?user=7"
    requests["user_agent"] = "curl/8"
    requests["request_id"] = "9e1f"
    requests["client_addr"] = np.frombuffer(bytes(10) + b"\xff\xff\x0a\x00\x00\x09", np.uint8)
    requests["client_port"] = 40000
    requests["up_remote_addr"] = np.frombuffer(bytes(10) + b"\xff\xff\x0a\x00\x01\x07", np.uint8)
    requests["up_remote_port"] = 8080
    requests["attribution"] = 1
    requests["route"] = 1
    requests["backend"] = 1
    requests["gateway_endpoint"] = 1
    requests["client_endpoint"] = 2
    requests["backend_endpoint"] = 3
    return FlowBatch(empty_connections(), requests, empty_flows(rows))
