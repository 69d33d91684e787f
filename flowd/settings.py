"""Every setting of the agent, with its default and one sentence.

Flags, environment variables, file keys and docs/configuration.md are all made from this struct:
`als_listen` is `--als-listen`, `FLOWD_ALS_LISTEN`, and `als_listen:` in the file.
"""

import os
import socket
from typing import Annotated, Literal

import msgspec
from msgspec import Meta


def _in_cluster() -> bool:
    return "KUBERNETES_SERVICE_HOST" in os.environ


def _hubble_listen() -> str:
    return "0.0.0.0:4244" if _in_cluster() else "127.0.0.1:4245"


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The agent's configuration after flag, environment, file and default were laid over it."""

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
        int, Meta(ge=1024, le=4194304, description="Connections tracked at a time in the kernel.")
    ] = 131072
    als_listen: Annotated[
        str,
        Meta(description="Address of the access-log service that Envoy sends to; empty is off."),
    ] = "127.0.0.1:9001"
    dialect: Annotated[
        Literal["spec", "eg"],
        Meta(description="Gateway implementation whose names and match order apply."),
    ] = "eg"
    hubble_listen: Annotated[
        str,
        Meta(description="Address of the Hubble API; empty is off. In a cluster 0.0.0.0:4244."),
    ] = msgspec.field(default_factory=_hubble_listen)
    hubble_socket: Annotated[
        str, Meta(description="Unix socket of the Hubble API; empty is off.")
    ] = ""
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
    flow_log_max_size: Annotated[
        int, Meta(ge=1, description="Size at which the flow log is rotated, in MiB.")
    ] = 10
    flow_log_max_backups: Annotated[int, Meta(ge=0, description="Rotated flow logs kept.")] = 5
    flow_log_compress: Annotated[bool, Meta(description="Compress rotated flow logs.")] = False
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
