"""Flow rows: what exporters of flows, the store and the filters read.

A connection record gives one row, an HTTP request two (REQUEST, then RESPONSE with the sides
swapped), as Hubble does. `src` and `dst` are those of the packet, so replies come from the server.
Text columns are None where a row has no such text.
"""

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

FLOW = np.dtype(
    [
        ("conn_id", "u8"),
        ("total_bytes_fwd", "u8"),  # initiator to responder, since the connection began
        ("total_bytes_rev", "u8"),
        ("total_packets_fwd", "u8"),
        ("total_packets_rev", "u8"),
        ("seq", "u8"),  # position in this agent's history, from 1, without gaps
        ("time_ns", "u8"),  # Unix time, unique on this node
        ("latency_ns", "u8"),  # RESPONSE rows
        ("bytes", "u8"),  # both directions since the previous row of the connection
        ("packets", "u8"),
        ("envoy_flags", "u8"),  # RESPONSE_FLAGS bit set
        ("src_addr", "u1", (16,)),
        ("dst_addr", "u1", (16,)),
        ("src_endpoint", "u4"),  # index into Directory.endpoints
        ("dst_endpoint", "u4"),
        ("src_identity", "u4"),  # Hubble's numeric identity
        ("dst_identity", "u4"),
        ("route", "u4"),  # index into Directory.routes
        ("backend", "u4"),  # index into Directory.backends
        ("ifindex", "u4"),
        ("drop_reason", "u2"),  # index into Directory.drop_reasons; rows with EventType.DROP
        ("src_port", "u2"),
        ("dst_port", "u2"),
        ("status", "u2"),  # HTTP status of RESPONSE rows
        ("type", "u1"),  # FlowType
        ("l7_type", "u1"),  # L7Type; 0 for L3/L4 rows
        ("event_type", "u1"),  # EventType
        ("sub_type", "u1"),  # ObservationPoint as Hubble numbers it; for drops flow.DropReason
        ("verdict", "u1"),  # Verdict
        ("direction", "u1"),  # Direction
        ("observation", "u1"),  # ObservationPoint
        ("is_reply", "i1"),  # 1, 0, or -1 when not known
        ("family", "u1"),  # 4 or 6
        ("protocol", "u1"),  # Protocol
        ("flags", "u1"),  # TCP flags of the packet
        ("icmp_type", "u1"),
        ("icmp_code", "u1"),
        ("reason", "u1"),  # Reason; 0 for L7 rows
        ("http_version", "u1"),  # HttpVersion
        ("attribution", "u1"),  # Attribution
        ("outcome", "u1"),  # RequestOutcome of RESPONSE rows
        ("l7_protocol", "u1"),  # L7Protocol; 0 for L3/L4 rows
        ("nat", "u1"),  # Nat
        ("nat_src_port", "u2"),  # this row's ends on the other side of the translation
        ("nat_dst_port", "u2"),
        ("nat_src_addr", "u1", (16,)),
        ("nat_dst_addr", "u1", (16,)),
        ("tunnel", "u4"),  # index into Directory.tunnels; 0 is none
        ("connect_us", "u4"),  # as in CONNECTION; `src` and `dst` are this row's
        ("src_srtt_us", "u4"),
        ("dst_srtt_us", "u4"),
        ("src_retransmits", "u4"),
        ("dst_retransmits", "u4"),
        ("src_pid", "u4"),
        ("dst_pid", "u4"),
        ("src_process", "u4"),  # index into Directory.processes; 0 is not known
        ("dst_process", "u4"),
        ("src_cookie", "u8"),
        ("dst_cookie", "u8"),
        ("src_name", "O"),  # DNS name of an outside peer
        ("dst_name", "O"),
        ("dns", "O"),  # Dns of rows with L7Protocol.DNS
        ("method", "O"),
        ("url", "O"),  # scheme://host/path?query
        ("request_id", "O"),
        ("trace_id", "O"),  # 32 hex digits
        ("headers", "O"),  # dict[str, str]
    ],
    align=True,
)

TEXT_COLUMNS = (
    *("src_name", "dst_name", "dns"),
    *("method", "url", "request_id", "trace_id", "headers"),
)

FlowRows: TypeAlias = NDArray[np.void]
"""A one-dimensional array of FLOW."""


def empty_flows(rows: int = 0) -> FlowRows:
    """A zeroed FLOW array of shape (rows,); text columns are None."""
    batch = np.zeros(rows, FLOW)
    for column in TEXT_COLUMNS:
        batch[column] = None
    return batch
