"""Every setting of the agent, with its type, bounds, default and description.

Flags, environment variables, keys of the file and docs/configuration.md are derived from this struct:
`als_listen` is `--als-listen`, `FLOWD_ALS_LISTEN`, and `als_listen:` in the file.
"""

import os
import socket
from typing import Annotated, Literal, TypeAlias, get_args

import msgspec
from msgspec import Meta

Dialect: TypeAlias = Literal["spec", "eg", "cilium", "istio", "contour", "kgateway"]
DIALECTS: tuple[str, ...] = get_args(Dialect)
"""Implementations of the Gateway API that `flowd.gateway.matching.dialect` describes."""


def _in_cluster() -> bool:
    return "KUBERNETES_SERVICE_HOST" in os.environ


def _hubble_listen() -> str:
    return "0.0.0.0:4244" if _in_cluster() else "127.0.0.1:4245"


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The agent's configuration, merged from flags, environment, file and defaults."""

    manifests: Annotated[
        tuple[str, ...],
        Meta(description="File or folder of Kubernetes YAML to take identities and routes from."),
    ] = ()
    kubeconfig: Annotated[
        str,
        Meta(
            description="Kubeconfig of an API server to take them from; found by itself in a pod."
        ),
    ] = ""
    kube_context: Annotated[
        str, Meta(description="Context in the kubeconfig; its current one by default.")
    ] = ""
    capture: Annotated[
        Literal["auto", "on", "off"],
        Meta(description="Kernel capture: `auto` goes on without it where it cannot be had."),
    ] = "auto"
    interface: Annotated[
        tuple[str, ...],
        Meta(description="Interface to capture on, as a glob; `!glob` excludes."),
    ] = ("*", "!lo")
    max_connections: Annotated[
        int,
        Meta(ge=1024, le=4194304, description="Connections that the kernel's table is made for."),
    ] = 131072
    detail_records: Annotated[
        int,
        Meta(
            ge=0,
            le=1_000_000,
            description="Records a second between the first and the last of connections, of TCP flags"
            " that are new to one, and as many of sockets that are established; above it the next"
            " record of each tells them too.",
        ),
    ] = 2000
    tunnel_port: Annotated[
        tuple[str, ...],
        Meta(
            description="UDP port of a tunnel, `vxlan:4789`; what is inside is the connection."
            " Four at most."
        ),
    ] = ("vxlan:4789", "vxlan:8472", "geneve:6081")
    filter_cidr: Annotated[
        tuple[str, ...],
        Meta(
            description="Network whose connections are captured, `10.0.0.0/8`; `!10.1.0.0/16` leaves"
            " out. None is all."
        ),
    ] = ()
    filter_port: Annotated[
        tuple[str, ...],
        Meta(
            description="Port at either end of captured connections, `443` or `8000-8999`; `!53`"
            " leaves out. None is all."
        ),
    ] = ()
    filter_protocol: Annotated[
        tuple[str, ...],
        Meta(
            description="IP protocol of captured connections: tcp, udp, icmp, icmpv6, sctp or a"
            " number; `!icmp` leaves out. None is all."
        ),
    ] = ()
    sampling: Annotated[
        int,
        Meta(
            ge=1,
            le=65536,
            description="One in so many connections is captured, and that with all its packets.",
        ),
    ] = 1
    drops: Annotated[
        bool,
        Meta(
            description="Dropped packets with the kernel's reason, of all this node's namespaces."
        ),
    ] = True
    nat: Annotated[
        bool,
        Meta(
            description="Both addresses of translated connections (Services, NodePorts), from the"
            " conntrack of the agent's network namespace."
        ),
    ] = True
    sockets: Annotated[
        bool,
        Meta(
            description="TCP sockets of all this node's pods: round trips, retransmits, failed"
            " connects and the process that owns them."
        ),
    ] = True
    dns: Annotated[
        bool, Meta(description="DNS queries and responses, with latency, timeouts and names.")
    ] = True
    dns_ports: Annotated[
        tuple[Annotated[int, Meta(ge=1, le=65535)], ...],
        Meta(min_length=1, max_length=4, description="Port of DNS servers, UDP and TCP."),
    ] = (53,)
    dns_names: Annotated[
        int,
        Meta(ge=1, le=1048576, description="Addresses whose names are kept from DNS responses."),
    ] = 16384
    als_listen: Annotated[
        str,
        Meta(description="Address of the access-log service that Envoy sends to; empty is off."),
    ] = "127.0.0.1:9001"
    access_log: Annotated[
        tuple[str, ...],
        Meta(description="Access-log file of Envoy to follow, JSON or text; a glob names many."),
    ] = ()
    access_log_format: Annotated[
        str,
        Meta(
            description="File with the `json_format` or `text_format` of Envoy's configuration;"
            " the usual formats need none."
        ),
    ] = ""
    otlp_logs_listen: Annotated[
        str,
        Meta(
            description="Address for OTLP logs (gRPC) of Envoy's OpenTelemetry access logger;"
            " empty is off."
        ),
    ] = ""
    envoy_stats: Annotated[
        tuple[str, ...],
        Meta(
            description="Prometheus page of an Envoy that logs to this agent,"
            " `http://127.0.0.1:9901/stats/prometheus`: read every 10 s for the entries it wrote and"
            " dropped."
        ),
    ] = ()
    state_dir: Annotated[
        str,
        Meta(
            description="Folder in which positions in access logs are kept across restarts;"
            " empty keeps none."
        ),
    ] = ""
    dialect: Annotated[
        Dialect,
        Meta(description="Gateway implementation whose names and match order apply."),
    ] = "eg"
    trusted_hops: Annotated[
        int,
        Meta(
            ge=0,
            le=32,
            description="Proxies before Envoy whose X-Forwarded-For tells the client's address;"
            " 0 trusts what Envoy itself trusts.",
        ),
    ] = 0
    hubble_listen: Annotated[
        str,
        Meta(description="Address of the Hubble API; empty is off. In a cluster 0.0.0.0:4244."),
    ] = msgspec.field(default_factory=_hubble_listen)
    hubble_socket: Annotated[
        str, Meta(description="Unix socket of the Hubble API; empty is off.")
    ] = ""
    hubble_tls_cert_file: Annotated[
        str,
        Meta(
            description="PEM certificate of the Hubble API's address, read again when it changes;"
            " empty is plain text."
        ),
    ] = ""
    hubble_tls_key_file: Annotated[
        str, Meta(description="PEM key of that certificate, read again when it changes.")
    ] = ""
    hubble_tls_client_ca_files: Annotated[
        tuple[str, ...],
        Meta(description="PEM authority that clients' certificates must come from (mutual TLS)."),
    ] = ()
    flow_memory: Annotated[
        int, Meta(ge=1, le=65536, description="Memory for the history of flows, in MiB.")
    ] = 64
    metrics_listen: Annotated[
        str,
        Meta(description="Address of /metrics, /healthz and /readyz; empty is off."),
    ] = "127.0.0.1:9965"
    max_series: Annotated[
        int, Meta(ge=1, le=1000000, description="Series a metric may have before `other` is used.")
    ] = 10000
    otlp_endpoint: Annotated[
        str,
        Meta(description="Where spans go: http://host:4317 (gRPC) or http://host:4318 (HTTP)."),
    ] = ""
    trace_ratio: Annotated[
        float,
        Meta(ge=0, le=1, description="Share of requests without a traceparent that get a span."),
    ] = 1.0
    flow_log: Annotated[
        str, Meta(description="File that every flow is appended to as a JSON line; empty is off.")
    ] = ""
    flow_log_allowlist: Annotated[
        str,
        Meta(description="Flows to log: FlowFilters as JSON, one after the other; none is all."),
    ] = ""
    flow_log_denylist: Annotated[
        str, Meta(description="Flows not to log, as FlowFilters in JSON.")
    ] = ""
    flow_log_field_mask: Annotated[
        tuple[str, ...], Meta(description="Field of a flow to log, `source.pod_name`; none is all.")
    ] = ()
    flow_log_aggregate: Annotated[
        tuple[str, ...],
        Meta(description="Field by which flows are counted together; none logs each flow."),
    ] = ()
    flow_log_aggregation_interval: Annotated[
        float, Meta(ge=0.1, description="Seconds between lines of flows counted together.")
    ] = 30.0
    flow_log_max_size: Annotated[
        int, Meta(ge=1, description="Size at which the flow log is rotated, in MiB.")
    ] = 10
    flow_log_max_backups: Annotated[int, Meta(ge=0, description="Rotated flow logs kept.")] = 5
    flow_log_compress: Annotated[bool, Meta(description="Compress rotated flow logs.")] = False
    flow_log_config: Annotated[
        str, Meta(description="YAML file of more flow logs, read again when it changes.")
    ] = ""
    redact: Annotated[
        bool,
        Meta(description="Redact header values; passwords in URLs are always redacted."),
    ] = False
    redact_http_query: Annotated[
        bool, Meta(description="With `redact`, cut queries and fragments off URLs.")
    ] = False
    redact_http_headers_allow: Annotated[
        tuple[str, ...], Meta(description="With `redact`, the only headers whose values are kept.")
    ] = ()
    redact_http_headers_deny: Annotated[
        tuple[str, ...], Meta(description="With `redact`, the only headers whose values are not.")
    ] = ()
    node_name: Annotated[
        str, Meta(description="Name of this node, as in Kubernetes; the host's name by default.")
    ] = msgspec.field(default_factory=socket.gethostname)
    cluster_name: Annotated[str, Meta(description="Name of the cluster.")] = "default"
    queue_rows: Annotated[
        int, Meta(ge=1000, description="Rows a queue between two stages holds before it drops.")
    ] = 100000
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"], Meta(description="Least severe log line.")
    ] = "info"
    log_format: Annotated[
        Literal["logfmt", "json"], Meta(description="Form of log lines on stderr.")
    ] = "logfmt"
