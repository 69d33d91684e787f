"""Span attributes by OpenTelemetry's semantic conventions, and flowd's own attributes."""

from typing import Any, NamedTuple

from flowd.model.address import unpack
from flowd.model.endpoint import Endpoint, EndpointKind
from flowd.model.enums import RESPONSE_FLAGS, HttpVersion
from flowd.model.route import BackendRef, RouteRef
from flowd.text import printable
from flowd_exporters.label_values import ATTRIBUTIONS, LATENCY_PARTS, METHODS, OUTCOMES

Attributes = dict[str, Any]

PROTOCOL_VERSIONS: dict[int, str] = {
    HttpVersion.HTTP10: "1.0",
    HttpVersion.HTTP11: "1.1",
    HttpVersion.HTTP2: "2",
    HttpVersion.HTTP3: "3",
}
WORKLOAD_KEYS = {
    "Deployment": "k8s.deployment.name",
    "StatefulSet": "k8s.statefulset.name",
    "DaemonSet": "k8s.daemonset.name",
    "ReplicaSet": "k8s.replicaset.name",
    "Job": "k8s.job.name",
    "CronJob": "k8s.cronjob.name",
}

_METHODS = frozenset(METHODS[1:])
_PORTS = {"http": 80, "https": 443}


class SpanRow(NamedTuple):
    """The columns of REQUEST that a span is made of."""

    time_ns: int
    duration_ns: int
    upstream_ns: int
    flags: int
    bytes_received: int
    bytes_sent: int
    http_version: int
    status: int
    attempts: int
    client_addr: bytes
    local_addr: bytes
    up_remote_addr: bytes
    client_port: int
    local_port: int
    up_remote_port: int
    method: str
    scheme: str
    host: str
    path: str
    original_path: str
    user_agent: str
    request_id: str
    traceparent: str
    sni: str
    cluster: str
    details: str
    route: int
    backend: int
    attribution: int
    outcome: int
    client_endpoint: int
    gateway_endpoint: int
    backend_endpoint: int
    down_srtt_us: int
    up_srtt_us: int
    down_retransmits: int
    up_retransmits: int
    down_connect_us: int
    up_connect_us: int
    client_network_us: int
    gateway_us: int
    pod_network_us: int
    pod_us: int


def request_attributes(row: SpanRow) -> Attributes:
    """Attributes of the HTTP request and response (HTTP conventions); the query is left out."""
    scheme = row.scheme or ("https" if row.sni else "http")
    path = (row.original_path or row.path).partition("?")[0]
    is_known = row.method in _METHODS
    attributes: Attributes = {
        "http.request.method": row.method if is_known else "_OTHER",
        "url.scheme": printable(scheme, 16),
        "url.path": printable(path),
        "http.request.body.size": row.bytes_received,
        "http.response.body.size": row.bytes_sent,
        "network.protocol.name": "http",
        "network.transport": "udp" if row.http_version == HttpVersion.HTTP3 else "tcp",
    }
    if not is_known and row.method:
        attributes["http.request.method_original"] = printable(row.method, 64)
    if row.http_version in PROTOCOL_VERSIONS:
        attributes["network.protocol.version"] = PROTOCOL_VERSIONS[row.http_version]
    if row.user_agent:
        attributes["user_agent.original"] = printable(row.user_agent)
    if row.request_id:
        attributes["http.request.header.x-request-id"] = [printable(row.request_id, 256)]
    host, port = split_authority(row.host)
    if host := host or row.sni:
        attributes["server.address"] = printable(host, 256)
        if port := port or _PORTS.get(scheme, 0):
            attributes["server.port"] = port
    _add_sockets(attributes, row)
    _add_outcome(attributes, row)
    _add_measures(attributes, row)
    return attributes


def _add_sockets(attributes: Attributes, row: SpanRow) -> None:
    if client := unpack(row.client_addr):
        attributes["client.address"] = attributes["network.peer.address"] = client
        attributes["client.port"] = attributes["network.peer.port"] = row.client_port
    if local := unpack(row.local_addr):
        attributes["network.local.address"] = local
        attributes["network.local.port"] = row.local_port
    if upstream := unpack(row.up_remote_addr):
        attributes["destination.address"] = upstream
        attributes["destination.port"] = row.up_remote_port


def _add_outcome(attributes: Attributes, row: SpanRow) -> None:
    flags = [name for bit, name in enumerate(RESPONSE_FLAGS) if row.flags >> bit & 1]
    if row.status:
        attributes["http.response.status_code"] = row.status
    if row.status >= 500:
        attributes["error.type"] = str(row.status)
    elif not row.status:
        attributes["error.type"] = flags[0] if flags else "_OTHER"
    if flags:
        attributes["envoy.response_flags"] = flags
    if row.details:
        attributes["envoy.response_code_details"] = printable(row.details, 256)
    if row.cluster:
        attributes["envoy.upstream_cluster"] = printable(row.cluster, 256)
    if row.attempts:
        attributes["envoy.upstream_request_attempt_count"] = row.attempts
    if row.upstream_ns:
        attributes["flowd.upstream.duration"] = row.upstream_ns / 1e9
    attributes["flowd.outcome"] = OUTCOMES.get(row.outcome, "unknown")
    attributes["flowd.attribution"] = ATTRIBUTIONS.get(row.attribution, "none")


def _add_measures(attributes: Attributes, row: SpanRow) -> None:
    """Latency split and socket statistics, in seconds; unknown values are left out."""
    split = row.client_network_us, row.gateway_us, row.pod_network_us, row.pod_us
    if any(split):
        for part, microseconds in zip(LATENCY_PARTS, split, strict=True):
            attributes[f"flowd.latency.{part}"] = microseconds / 1e6
    for side, rtt, connect, retransmits in (
        ("downstream", row.down_srtt_us, row.down_connect_us, row.down_retransmits),
        ("upstream", row.up_srtt_us, row.up_connect_us, row.up_retransmits),
    ):
        if rtt:
            attributes[f"flowd.{side}.rtt"] = rtt / 1e6
            attributes[f"flowd.{side}.retransmits"] = retransmits
        if connect:
            attributes[f"flowd.{side}.connect"] = connect / 1e6


def split_authority(authority: str) -> tuple[str, int]:
    """Host (without brackets) and port of an authority; the port is 0 when absent or invalid."""
    if authority.startswith("["):
        host, _, port = authority[1:].partition("]")
        port = port.removeprefix(":")
    elif authority.count(":") == 1:
        host, _, port = authority.partition(":")
    else:
        host, port = authority, ""
    is_port = port.isascii() and port.isdecimal() and len(port) <= 5 and int(port) <= 65535
    return host, int(port) if is_port else 0


def route_attributes(route: RouteRef, template: str) -> Attributes:
    """Gateway, listener, route, rule and match; unknown ones are left out.

    Args:
        template: value of `http.route`, or "".
    """
    attributes: Attributes = {
        "flowd.gateway.namespace": route.gateway_namespace,
        "flowd.gateway.name": route.gateway,
        "flowd.gateway.listener": route.listener,
        "flowd.route.kind": route.kind,
        "flowd.route.namespace": route.namespace,
        "flowd.route.name": route.name,
        "flowd.route.rule_name": route.rule_name,
        "flowd.route.reason": route.reason,
        "http.route": template,
    }
    attributes = {key: printable(value) for key, value in attributes.items() if value}
    if route.rule >= 0:
        attributes["flowd.route.rule"] = route.rule
    if route.match >= 0:
        attributes["flowd.route.match"] = route.match
    return attributes


def backend_attributes(backend: BackendRef) -> Attributes:
    """The request's backendRef; empty for a request without one."""
    if not backend.name:
        return {}
    return {
        "flowd.backend.kind": printable(backend.kind),
        "flowd.backend.namespace": printable(backend.namespace),
        "flowd.backend.name": printable(backend.name),
        "flowd.backend.port": backend.port,
    }


def endpoint_attributes(prefix: str, endpoint: Endpoint) -> Attributes:
    """Kubernetes attributes of an endpoint; empty for one that is no Pod or Service.

    Args:
        prefix: `source.` or `destination.`, or "" for the resource.
    """
    if endpoint.kind not in (EndpointKind.POD, EndpointKind.SERVICE):
        return {}
    is_pod = endpoint.kind is EndpointKind.POD
    names = {
        "k8s.namespace.name": endpoint.namespace,
        "k8s.pod.name": endpoint.name if is_pod else "",
        "k8s.service.name": endpoint.service,
        "k8s.node.name": endpoint.node,
    }
    if endpoint.workload_kind in WORKLOAD_KEYS:
        names[WORKLOAD_KEYS[endpoint.workload_kind]] = endpoint.workload
    return {prefix + key: printable(name) for key, name in names.items() if name}
