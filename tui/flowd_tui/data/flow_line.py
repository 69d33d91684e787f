"""Decode Hubble Flow messages into FlowLines, the rows of the Flows view; strings are printable."""

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from google.protobuf import struct_pb2

from flowd.model.enums import TCP_FLAGS
from flowd.text import printable
from flowd.wire.flow import flow_pb2
from flowd_tui.data.traffic import clean

VERDICTS = {
    flow_pb2.FORWARDED: "forwarded",
    flow_pb2.DROPPED: "dropped",
    flow_pb2.ERROR: "error",
    flow_pb2.AUDIT: "audit",
    flow_pb2.REDIRECTED: "redirected",
    flow_pb2.TRACED: "traced",
    flow_pb2.TRANSLATED: "translated",
}
_RESERVED = ("world", "host", "kube-apiserver", "remote-node", "ingress")
URL_LIMIT = 512


@dataclass(frozen=True, slots=True)
class FlowEndpoint:
    """Source or destination of a flow; port 0 means none."""

    namespace: str = ""
    pod: str = ""
    service: str = ""
    workload: str = ""
    labels: tuple[str, ...] = ()
    reserved: str = ""
    ip: str = ""
    port: int = 0

    @property
    def name(self) -> str:
        """`namespace/pod`, else the Service, else the reserved identity's name and the address."""
        if self.pod:
            return f"{self.namespace}/{self.pod}" if self.namespace else self.pod
        return self.service or " ".join(filter(None, (self.reserved, self.ip))) or "?"

    @property
    def suffix(self) -> str:
        """`:port`, or ""."""
        return f":{self.port}" if self.port else ""

    @property
    def socket(self) -> str:
        """`address:port`, IPv6 in brackets."""
        ip = f"[{self.ip}]" if ":" in self.ip and self.port else self.ip
        return ip + self.suffix


@dataclass(frozen=True, slots=True)
class RouteId:
    """Route of a request from the flow's extensions; "" for every part that is not known."""

    gateway: str = ""
    listener: str = ""
    route: str = ""
    rule: str = ""
    backend: str = ""
    attribution: str = ""
    flags: str = ""  # Envoy's response flags, comma-separated
    reason: str = ""  # why the request has no route


@dataclass(frozen=True, slots=True)
class FlowLine:
    """A flow with all fields that views show and filters read.

    Attributes:
        number: sequence number of reception, from 1, without gaps.
        source, destination: endpoints of the packet, so the source of a reply is the server.
        latency_ns, status: of HTTP responses; 0 for all others.
        text: case-folded source, destination, L7 summary and drop reason, for word filters.
    """

    number: int
    time_ns: int
    source: FlowEndpoint
    destination: FlowEndpoint
    reply: bool
    protocol: str
    verdict: str
    drop_reason: str
    tcp_flags: str
    method: str
    url: str
    path: str
    status: int
    latency_ns: int
    bytes: int
    node: str
    interface: str
    trace_id: str
    route: RouteId
    summary: str
    text: str

    @property
    def client(self) -> FlowEndpoint:
        """The endpoint that opened the connection."""
        return self.destination if self.reply else self.source

    @property
    def server(self) -> FlowEndpoint:
        """The endpoint that accepted the connection."""
        return self.source if self.reply else self.destination

    @property
    def l7(self) -> str:
        """Short description of the event: `GET 200`, `SYN ACK`, `UDP`."""
        if self.method:
            return f"{self.method} {self.status}" if self.status else self.method
        return self.tcp_flags or self.protocol


def flow_line(flow: flow_pb2.Flow, number: int) -> FlowLine:
    """Decode a Flow; `number` is its sequence number."""
    protocol, source_port, destination_port = _layer4(flow.l4)
    extra = _extensions(flow)
    source = _endpoint(flow.source, flow.source_service, flow.IP.source, source_port)
    destination = _endpoint(
        flow.destination, flow.destination_service, flow.IP.destination, destination_port
    )
    http = flow.l7.http
    method, url = clean(http.method), printable(http.url, URL_LIMIT)
    drop = flow.verdict == flow_pb2.DROPPED
    reason = flow_pb2.DropReason.Name(flow.drop_reason_desc) if drop else ""
    path = _path(url)
    route = _route(extra)
    words = (source.name, destination.name, route.route, method, path, reason, flow.Summary)
    return FlowLine(
        number=number,
        time_ns=flow.time.ToNanoseconds(),
        source=source,
        destination=destination,
        reply=flow.is_reply.value,
        protocol="HTTP" if method else protocol,
        verdict=VERDICTS.get(flow.verdict, "unknown"),
        drop_reason=reason,
        tcp_flags=" ".join(n for n in TCP_FLAGS if getattr(flow.l4.TCP.flags, n)),
        method=method,
        url=url,
        path=path,
        status=http.code,
        latency_ns=flow.l7.latency_ns,
        bytes=_integer(extra, "bytes"),
        node=clean(flow.node_name),
        interface=clean(flow.interface.name),
        trace_id=clean(flow.trace_context.parent.trace_id),
        route=route,
        summary=printable(flow.Summary, URL_LIMIT),
        text=printable(" ".join(words), 2 * URL_LIMIT).casefold(),
    )


def _layer4(l4: flow_pb2.Layer4) -> tuple[str, int, int]:
    kind = l4.WhichOneof("protocol")
    if kind == "TCP":
        return "TCP", l4.TCP.source_port, l4.TCP.destination_port
    if kind == "UDP":
        return "UDP", l4.UDP.source_port, l4.UDP.destination_port
    if kind == "SCTP":
        return "SCTP", l4.SCTP.source_port, l4.SCTP.destination_port
    return kind or "", 0, 0


def _endpoint(
    endpoint: flow_pb2.Endpoint, service: flow_pb2.Service, ip: str, port: int
) -> FlowEndpoint:
    labels = tuple(map(clean, endpoint.labels))
    reserved = next((name for name in _RESERVED if f"reserved:{name}" in labels), "")
    return FlowEndpoint(
        namespace=clean(endpoint.namespace or service.namespace),
        pod=clean(endpoint.pod_name),
        service=clean(f"{service.namespace}/{service.name}") if service.name else "",
        workload=clean(endpoint.workloads[0].name) if endpoint.workloads else "",
        labels=labels,
        reserved=reserved,
        ip=clean(ip),
        port=port,
    )


def _path(url: str) -> str:
    try:
        parts = urlsplit(url)
    except ValueError:
        return url
    return (parts.path or "/") + (f"?{parts.query}" if parts.query else "") if url else ""


def _extensions(flow: flow_pb2.Flow) -> Mapping[str, str | float]:
    fields = struct_pb2.Struct()
    if not flow.HasField("extensions") or not flow.extensions.Unpack(fields):
        return {}
    return {
        name: ",".join(item.string_value for item in value.list_value.values)
        or value.string_value
        or value.number_value
        for name, value in fields.fields.items()
    }


def _integer(fields: Mapping[str, str | float], name: str) -> int:
    value = fields.get(name, 0)
    return int(value) if isinstance(value, float) and 0 <= value < 2**63 else 0


def _route(fields: Mapping[str, str | float]) -> RouteId:
    def text(name: str) -> str:
        value = fields.get(name, "")
        return clean(value) if isinstance(value, str) else f"{value:.0f}"

    return RouteId(
        gateway=text("gateway"),
        listener=text("listener"),
        route=text("route"),
        rule=text("rule"),
        backend=text("backend"),
        attribution=text("attribution"),
        flags=text("response_flags"),
        reason=text("reason"),
    )
