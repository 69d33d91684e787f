"""Metric and Label: the types of the metric table, and the help text of every label."""

from dataclasses import dataclass
from typing import Literal

Cardinality = Literal["fine", "careful"]
MetricType = Literal["counter", "gauge", "histogram"]


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric family (OpenMetrics 1.0, section "MetricFamily").

    Attributes:
        name: as it is exposed, with `_total` for counters.
        unit: base unit that the name carries, or "".
        buckets: upper bounds of a histogram in `unit`.
    """

    name: str
    type: MetricType
    help: str
    labels: tuple[str, ...] = ()
    unit: str = ""
    buckets: tuple[float, ...] = ()

    @property
    def family(self) -> str:
        """Name of the family in OpenMetrics, which has no `_total`."""
        return self.name.removesuffix("_total")


@dataclass(frozen=True, slots=True)
class Label:
    """A label, and its expected number of values on one node.

    Attributes:
        cardinality: `fine` is a handful of values, or one a workload, route or backend; `careful`
            can grow with what clients send or with names this node never saw before.
    """

    name: str
    cardinality: Cardinality
    help: str


LABELS = {
    label.name: label
    for label in (
        Label("attribution", "fine", "evidence for the route: name, metadata, resolver, ... none"),
        Label("backend", "fine", "name of the backendRef, empty when no backend was chosen"),
        Label("backend_namespace", "fine", "namespace of the backendRef"),
        Label("backend_port", "fine", "port of the backendRef"),
        Label("cluster", "fine", "name of the cluster, as the agent was told"),
        Label("connection", "fine", "downstream: client to gateway; upstream: gateway to backend"),
        Label("code_class", "fine", "1xx to 5xx; none when the client got no response"),
        Label("destination_namespace", "fine", "namespace of the responder, empty outside"),
        Label("destination_workload", "fine", "workload of the responder; host, node, world"),
        Label(
            "direction", "fine", "request to the responder, response back; resets: sent, received"
        ),
        Label("envoy", "fine", "host and port of a page that the setting `envoy_stats` names"),
        Label("family", "fine", "IPv4 or IPv6"),
        Label(
            "fate", "fine", "what became of a packet in the kernel programs, of an entry in Envoy"
        ),
        Label("flag", "fine", "TCP flag"),
        Label("flow_log", "fine", "name of the flow log; static is the one of the settings"),
        Label("gateway", "fine", "name of the Gateway"),
        Label("gateway_namespace", "fine", "namespace of the Gateway"),
        Label("ips_returned", "fine", "addresses in a DNS response, 16 for more"),
        Label("logged", "fine", "true when an access-log entry told of the connection"),
        Label("listener", "fine", "name of the Gateway's listener"),
        Label("method", "fine", "HTTP method of RFC 9110 or 5789; _OTHER for all others"),
        Label("nat", "fine", "before or after: the side of a translation (DNAT, SNAT); or none"),
        Label("node", "fine", "name of the node"),
        Label("outcome", "fine", "what became of it: forwarded, retried, redirected, refused, ..."),
        Label("part", "fine", "client_network, gateway, pod_network or pod"),
        Label("place", "fine", "where it was lost"),
        Label("protocol", "fine", "TCP, UDP, ICMPv4, ...; the HTTP version for hubble_http_*"),
        Label("qtypes", "fine", "record type of a DNS question; other for rare ones"),
        Label("rcode", "fine", "response code in words, empty for queries; other for rare ones"),
        Label("reason", "fine", "why"),
        Label("reporter", "fine", "client, server or unknown: the side of this node"),
        Label("response_flag", "careful", "Envoy's response flags, `UF,URX`; - for none"),
        Label("route", "fine", "name of the route, empty when none took the request"),
        Label("route_kind", "fine", "HTTPRoute, GRPCRoute, TLSRoute, ..."),
        Label("route_namespace", "fine", "namespace of the route"),
        Label("rule", "fine", "index of the rule in the route"),
        Label("rule_name", "fine", "the rule's own name"),
        Label(
            "source", "fine", "Hubble's name of the buffer that lost events; the access log's part"
        ),
        Label("source_namespace", "fine", "namespace of the initiator, empty outside"),
        Label("source_workload", "fine", "workload of the initiator; host, node, world, unknown"),
        Label("status", "fine", "HTTP status code"),
        Label("state", "fine", "tracked is all, translated is those with another tuple"),
        Label("subtype", "fine", "Hubble's observation point, HTTP or DNS"),
        Label("traffic_direction", "fine", "ingress or egress, seen from this node's endpoint"),
        Label("type", "fine", "Hubble's event type; the record type of a DNS answer"),
        Label("verdict", "fine", "Hubble's verdict"),
        Label("version", "fine", "version of flowd"),
    )
}
