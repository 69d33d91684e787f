"""The table of metrics: name, type, help, labels and buckets of every metric that is exposed.

The collector (exporter.py), docs/metrics.md and the dashboards are made from METRICS.
"""

from flowd_exporters.label_values import BACKEND_LABELS, ROUTE_OBJECT_LABELS, ROUTE_RULE_LABELS
from flowd_exporters.prometheus.metric import Metric

HTTP_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
"""Bounds of `http.server.request.duration` (OpenTelemetry semantic conventions, HTTP metrics)."""

HUBBLE_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Default bounds of Prometheus clients, which Hubble's HTTP histogram has."""

NETWORK_SECONDS = (
    *(0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025),
    *(0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0),
)
"""Bounds for round trips, which within a node take far below a millisecond."""

_TRAFFIC = (
    "protocol",
    "traffic_direction",
    "source_namespace",
    "source_workload",
    "destination_namespace",
    "destination_workload",
)
_ROUTE = (*ROUTE_RULE_LABELS, *BACKEND_LABELS, "attribution")

CONNECTIONS = Metric("flowd_connections_total", "counter", "New connections.", (*_TRAFFIC, "nat"))
BYTES = Metric(
    "flowd_bytes_total",
    "counter",
    "Bytes of connections.",
    (*_TRAFFIC, "nat", "direction"),
    "bytes",
)
PACKETS = Metric(
    "flowd_packets_total", "counter", "Packets of connections.", (*_TRAFFIC, "nat", "direction")
)
TCP_FLAGS = Metric(
    "flowd_tcp_flags_total",
    "counter",
    "TCP flags of the packets that caused a connection record.",
    ("flag", "family"),
)
LIVE_CONNECTIONS = Metric("flowd_live_connections", "gauge", "Connections that are open now.")
KERNEL_PACKETS = Metric(
    "flowd_kernel_packets_total",
    "counter",
    "Packets that the kernel programs saw, at every interface, by what became of them: `counted`,"
    " `elsewhere` (at another interface), `non_ip`, `malformed`, `map_full`, and `filtered` or"
    " `unsampled` by the settings.",
    ("fate",),
)
SAMPLING = Metric(
    "flowd_sampling",
    "gauge",
    "One in so many connections is captured; multiply counts of connections, bytes and packets.",
)
CONNTRACK = Metric(
    "flowd_conntrack_entries",
    "gauge",
    "Entries of the node's conntrack; the translated ones as the agent knows them.",
    ("state",),
)
GATEWAY_CONNECTIONS = Metric(
    "flowd_gateway_connections_total",
    "counter",
    "Connections to a listener with an access log, over for 15 s, that carried data both ways.",
    ("logged",),
)
LOG_ENTRIES = Metric(
    "flowd_access_log_entries_total",
    "counter",
    "Access-log entries received, those of a request's start and middle too.",
    ("source",),
)
LOG_STREAMS_ENDED = Metric(
    "flowd_access_log_streams_ended_total",
    "counter",
    "Streams of the access-log service that ended; each can have lost what was under way.",
)
ENVOY_LOGS = Metric(
    "flowd_envoy_access_logs_total",
    "counter",
    "Access-log entries as Envoy itself counts them (setting `envoy_stats`): `written` to a"
    " stream, be it one that breaks, or `dropped` for want of room. It begins again with Envoy.",
    ("envoy", "source", "fate"),
)
KUBERNETES_AGE = Metric(
    "flowd_kubernetes_last_contact_seconds",
    "gauge",
    "Time since the Kubernetes API was last heard; 0 while all is well.",
)
ADDRESS_CONFLICTS = Metric(
    "flowd_address_conflicts",
    "gauge",
    "Addresses that several Pods, or several nodes, claim at the same time.",
)
DROPS = Metric(
    "flowd_drops_total",
    "counter",
    "Packets that the kernel dropped on this node, by its own reason (enum skb_drop_reason).",
    ("reason", *_TRAFFIC),
)
_WORKLOADS = (
    "source_namespace",
    "source_workload",
    "destination_namespace",
    "destination_workload",
)
TCP_CONNECT = Metric(
    "flowd_tcp_connect_duration_seconds",
    "histogram",
    "Time from connect() to an established TCP connection, of this node's sockets.",
    _WORKLOADS,
    "seconds",
    NETWORK_SECONDS,
)
TCP_RTT = Metric(
    "flowd_tcp_rtt_seconds",
    "histogram",
    "Smoothed round-trip time of TCP sockets, every few seconds of use and when they close.",
    _WORKLOADS,
    "seconds",
    NETWORK_SECONDS,
)
TCP_RETRANSMITS = Metric(
    "flowd_tcp_retransmits_total", "counter", "TCP segments that were sent again.", _WORKLOADS
)
TCP_FAILURES = Metric(
    "flowd_tcp_connect_failures_total",
    "counter",
    "Calls of connect() without success: refused, timed_out, unreachable, reset, aborted (closed"
    " before there was an answer), other.",
    ("reason", *_WORKLOADS),
)
TCP_RESETS = Metric(
    "flowd_tcp_resets_total",
    "counter",
    "Established TCP connections that were reset; direction is sent or received by the socket.",
    ("direction", *_WORKLOADS),
)
DNS_DURATION = Metric(
    "flowd_dns_duration_seconds",
    "histogram",
    "Time from a DNS query to its response, where both were seen.",
    ("rcode", "source_namespace", "source_workload"),
    "seconds",
    NETWORK_SECONDS,
)
DNS_TIMEOUTS = Metric(
    "flowd_dns_timeouts_total",
    "counter",
    "DNS queries without a response within five seconds; one sent again by its socket counts once.",
    _WORKLOADS,
)
ROUTE_REQUESTS = Metric(
    "flowd_route_requests_total",
    "counter",
    "HTTP requests that a gateway answered, by the route, rule and backend that took them.",
    (*_ROUTE, "code_class", "response_flag"),
)
ROUTE_CONNECTIONS = Metric(
    "flowd_route_connections_total",
    "counter",
    "TCP and TLS connections that a gateway proxied and that ended, by route and backend.",
    (*_ROUTE, "response_flag"),
)
ROUTE_DURATION = Metric(
    "flowd_route_duration_seconds",
    "histogram",
    "Time from the first byte of an HTTP request to the last byte of its response, downstream.",
    _ROUTE,
    "seconds",
    HTTP_SECONDS,
)
ROUTE_UPSTREAM = Metric(
    "flowd_route_upstream_duration_seconds",
    "histogram",
    "Time to the first byte from the backend, of HTTP requests that a backend answered.",
    _ROUTE,
    "seconds",
    HTTP_SECONDS,
)
ROUTE_BYTES = Metric(
    "flowd_route_connection_bytes_total",
    "counter",
    "Bytes of a gateway's connections, shared out by the requests that each route had on them.",
    (*ROUTE_OBJECT_LABELS, "connection", "direction"),
    "bytes",
)
ROUTE_PACKETS = Metric(
    "flowd_route_connection_packets_total",
    "counter",
    "Packets of a gateway's connections, shared out like their bytes.",
    (*ROUTE_OBJECT_LABELS, "connection", "direction"),
)
ROUTE_RETRANSMITS = Metric(
    "flowd_route_connection_retransmits_total",
    "counter",
    "TCP segments sent again by this node's sockets at either end, shared out like the bytes.",
    (*ROUTE_OBJECT_LABELS, "connection"),
)
ROUTE_SPLIT = Metric(
    "flowd_route_latency_split_seconds_total",
    "counter",
    "Where the time of HTTP requests went, of those whose sockets are known (docs/latency.md).",
    (*ROUTE_OBJECT_LABELS, "part"),
    "seconds",
)
ROUTE_SPLIT_REQUESTS = Metric(
    "flowd_route_latency_split_requests_total",
    "counter",
    "HTTP requests that flowd_route_latency_split_seconds_total is of.",
    ROUTE_OBJECT_LABELS,
)
ROUTE_OUTCOMES = Metric(
    "flowd_route_outcomes_total",
    "counter",
    "Requests and proxied connections by what became of them.",
    (*ROUTE_OBJECT_LABELS, "outcome"),
)
ROUTE_UNATTRIBUTED = Metric(
    "flowd_route_unattributed_total",
    "counter",
    "Requests and proxied connections that no route is known for.",
    ("reason",),
)
LOST = Metric(
    "flowd_lost_total",
    "counter",
    "Records, flows and spans that did not make it, by place and reason.",
    ("place", "reason"),
)
FLOW_LOG_UP = Metric(
    "flowd_flow_log_up",
    "gauge",
    "Whether the last attempt to write a flow log went well; logs that have ended are gone.",
    ("flow_log",),
)
FLOW_LOG_LAST_WRITE = Metric(
    "flowd_flow_log_last_write_seconds",
    "gauge",
    "Unix time of the last line in a flow log; 0 for none yet.",
    ("flow_log",),
    "seconds",
)
FLOW_LOG_BEHIND = Metric(
    "flowd_flow_log_behind_seconds",
    "gauge",
    "For how long a flow log has owed flows: it is stuck or its last attempt failed; 0 is well.",
    ("flow_log",),
    "seconds",
)
AGENT_INFO = Metric(
    "flowd_agent_info", "gauge", "Always 1; what runs here.", ("version", "node", "cluster")
)
HUBBLE_FLOWS = Metric(
    "hubble_flows_processed_total",
    "counter",
    "Flows, as Hubble counts them.",
    ("protocol", "type", "subtype", "verdict"),
)
HUBBLE_FLAGS = Metric(
    "hubble_tcp_flags_total",
    "counter",
    "SYN, SYN-ACK, FIN and RST flags of forwarded flows, as Hubble counts them.",
    ("flag", "family"),
)
HUBBLE_DROPS = Metric(
    "hubble_drop_total",
    "counter",
    "Packets that the kernel dropped, by the reason of Hubble's API that is nearest.",
    ("reason", "protocol"),
)
HUBBLE_DNS_QUERIES = Metric(
    "hubble_dns_queries_total",
    "counter",
    "DNS queries, as Hubble counts them.",
    ("rcode", "qtypes", "ips_returned"),
)
HUBBLE_DNS_RESPONSES = Metric(
    "hubble_dns_responses_total",
    "counter",
    "DNS responses, as Hubble counts them.",
    ("rcode", "qtypes", "ips_returned"),
)
HUBBLE_DNS_TYPES = Metric(
    "hubble_dns_response_types_total",
    "counter",
    "Records in DNS responses, by their type and that of the question.",
    ("type", "qtypes"),
)
HUBBLE_LOST = Metric(
    "hubble_lost_events_total",
    "counter",
    "Lost events, under Hubble's names of its buffers.",
    ("source",),
)
HUBBLE_HTTP = Metric(
    "hubble_http_requests_total",
    "counter",
    "HTTP requests, as Hubble's httpV2 counts them.",
    ("method", "protocol", "status", "reporter"),
)
HUBBLE_HTTP_DURATION = Metric(
    "hubble_http_request_duration_seconds",
    "histogram",
    "Duration of HTTP requests, as Hubble's httpV2 measures it.",
    ("method", "reporter"),
    "seconds",
    HUBBLE_SECONDS,
)

METRICS = (
    CONNECTIONS,
    BYTES,
    PACKETS,
    TCP_FLAGS,
    LIVE_CONNECTIONS,
    KERNEL_PACKETS,
    SAMPLING,
    CONNTRACK,
    GATEWAY_CONNECTIONS,
    LOG_ENTRIES,
    LOG_STREAMS_ENDED,
    ENVOY_LOGS,
    KUBERNETES_AGE,
    ADDRESS_CONFLICTS,
    DROPS,
    TCP_CONNECT,
    TCP_RTT,
    TCP_RETRANSMITS,
    TCP_FAILURES,
    TCP_RESETS,
    DNS_DURATION,
    DNS_TIMEOUTS,
    ROUTE_REQUESTS,
    ROUTE_CONNECTIONS,
    ROUTE_OUTCOMES,
    ROUTE_DURATION,
    ROUTE_UPSTREAM,
    ROUTE_BYTES,
    ROUTE_PACKETS,
    ROUTE_RETRANSMITS,
    ROUTE_SPLIT,
    ROUTE_SPLIT_REQUESTS,
    ROUTE_UNATTRIBUTED,
    LOST,
    FLOW_LOG_UP,
    FLOW_LOG_LAST_WRITE,
    FLOW_LOG_BEHIND,
    AGENT_INFO,
    HUBBLE_FLOWS,
    HUBBLE_FLAGS,
    HUBBLE_DROPS,
    HUBBLE_DNS_QUERIES,
    HUBBLE_DNS_RESPONSES,
    HUBBLE_DNS_TYPES,
    HUBBLE_LOST,
    HUBBLE_HTTP,
    HUBBLE_HTTP_DURATION,
)

PROCESS_METRICS = (
    "process_cpu_seconds_total",
    "process_max_fds",
    "process_open_fds",
    "process_resident_memory_bytes",
    "process_start_time_seconds",
    "process_virtual_memory_bytes",
)
"""Metrics of the agent's process under the names every Prometheus client has."""
