"""REQUEST rows: one row for each Envoy access-log entry, HTTP or TCP.

Text columns hold Python strings ("" when absent), bounded in length and untrusted; pass them
through `flowd.text.printable` before a person reads them. The columns after `headers` are empty in
new rows; the attribute and join stages fill them.
"""

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

REQUEST = np.dtype(
    [
        ("time_ns", "u8"),  # Unix time at which the request or connection began
        ("duration_ns", "u8"),  # until the last byte downstream
        ("upstream_ns", "u8"),  # upstream time to first byte; 0 without a response from upstream
        ("flags", "u8"),  # RESPONSE_FLAGS bit set
        ("bytes_received", "u8"),  # from downstream: body bytes (HTTP), connection bytes (TCP)
        ("bytes_sent", "u8"),
        ("kind", "u1"),  # EntryKind
        ("log_type", "u1"),  # AccessLogType
        ("http_version", "u1"),  # HttpVersion
        ("status", "u2"),  # HTTP status; 0 for none
        ("attempts", "u2"),  # upstream attempts; 0 is not known
        ("client_addr", "u1", (16,)),  # direct downstream peer, or a forwarded one with port 0
        ("local_addr", "u1", (16,)),  # the proxy's side of the downstream connection
        ("up_local_addr", "u1", (16,)),  # the proxy's side of the upstream connection
        ("up_remote_addr", "u1", (16,)),
        ("client_port", "u2"),
        ("local_port", "u2"),
        ("up_local_port", "u2"),
        ("up_remote_port", "u2"),
        ("method", "O"),
        ("scheme", "O"),
        ("host", "O"),  # authority as logged, after any rewrite
        ("path", "O"),  # path and query as logged, after any rewrite
        ("original_path", "O"),  # before the rewrite, if Envoy logs it
        ("user_agent", "O"),
        ("request_id", "O"),  # x-request-id; for TCP the connection's stream id
        ("traceparent", "O"),  # W3C trace context of the request
        ("sni", "O"),
        ("cluster", "O"),
        ("route_name", "O"),
        ("details", "O"),  # response code details or termination details
        ("transport_failure", "O"),
        ("log_name", "O"),
        ("node_id", "O"),  # Envoy's node id: the pod's name with Envoy Gateway
        ("node_cluster", "O"),  # Envoy's node cluster: <namespace>/<gateway> with Envoy Gateway
        ("headers", "O"),  # dict[str, str], request headers in lower case
        ("route", "u4"),  # index into Directory.routes; 0 is none
        ("backend", "u4"),  # index into Directory.backends; 0 is none
        ("attribution", "u1"),  # Attribution
        ("outcome", "u1"),  # RequestOutcome
        ("client_endpoint", "u4"),  # index into Directory.endpoints; 0 is not known
        ("gateway_endpoint", "u4"),
        ("backend_endpoint", "u4"),
        ("down_conn", "u8"),  # conn_id of the downstream connection; 0 is not known
        ("up_conn", "u8"),
        ("metadata", "O"),  # Metadata of Envoy's configuration, or None
        ("forwarded_addr", "u1", (16,)),  # client address given by trusted hops; zero for none
        # Microseconds, from sockets on this node; 0 is not known. `down` is the connection of the
        # client, `up` the one to the backend.
        ("down_srtt_us", "u4"),
        ("up_srtt_us", "u4"),
        ("down_retransmits", "u4"),
        ("up_retransmits", "u4"),
        ("down_connect_us", "u4"),
        ("up_connect_us", "u4"),
        # The latency split, microseconds; the four parts add up to duration_ns unless all are 0.
        ("client_network_us", "u4"),
        ("gateway_us", "u4"),
        ("pod_network_us", "u4"),
        ("pod_us", "u4"),
    ],
    align=True,
)

TEXT_COLUMNS = [
    name
    for name in REQUEST.names or ()
    if REQUEST[name].hasobject and name not in ("headers", "metadata")
]
"""Columns of str."""

RequestBatch: TypeAlias = NDArray[np.void]
"""A one-dimensional array of REQUEST."""


def empty_requests(rows: int = 0) -> RequestBatch:
    """A REQUEST array of shape (rows,): numbers 0, texts "", `headers` {}, `metadata` None."""
    batch = np.zeros(rows, REQUEST)
    for column in TEXT_COLUMNS:
        batch[column] = ""
    batch["headers"] = [{} for _ in range(rows)]
    batch["metadata"] = None
    return batch
