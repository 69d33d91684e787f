"""FLOW rows: Hubble's flows as columns, read by the ring, the exporters and the filters.

A connection record gives one row, an HTTP request two (REQUEST, then RESPONSE with the sides
swapped), as in Hubble. `src` and `dst` are sender and receiver of the packet, so replies come from
the server. Object columns are None for rows without a value.

A new column is declared here, filled in flowd.pipeline.flows, and declared with its type in
flowd_exporters.hubble.encode.row, which checks at import that it is complete. The ring copies it
without further code; filters and encoders read it by name.
"""

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from flowd.model.records.connection import SHARED, side

FLOW = np.dtype(
    [
        *SHARED,  # as in CONNECTION
        *side("src"),  # sender of the packet
        *side("dst"),  # receiver of the packet
        ("seq", "u8"),  # sequence number on this agent, from 1, without gaps
        ("latency_ns", "u8"),  # RESPONSE rows
        ("bytes", "u8"),  # both directions since the previous row of the connection
        ("packets", "u8"),
        ("envoy_flags", "u8"),  # RESPONSE_FLAGS bit set
        ("src_identity", "u4"),  # Hubble's numeric identity
        ("dst_identity", "u4"),
        ("backend", "u4"),  # index into Directory.backends
        ("drop_reason", "u2"),  # index into Directory.drop_reasons; 0 unless EventType.DROP
        ("status", "u2"),  # HTTP status of RESPONSE rows
        ("type", "u1"),  # FlowType
        ("l7_type", "u1"),  # L7Type; 0 for L3/L4 rows
        ("event_type", "u1"),  # EventType
        ("sub_type", "u1"),  # ObservationPoint as Hubble numbers it; for drops flow.DropReason
        ("verdict", "u1"),  # Verdict
        ("observation", "u1"),  # ObservationPoint
        ("is_reply", "i1"),  # 1, 0, or -1 when not known
        ("http_version", "u1"),  # HttpVersion
        ("attribution", "u1"),  # Attribution
        ("outcome", "u1"),  # RequestOutcome of RESPONSE rows
        ("l7_protocol", "u1"),  # L7Protocol; 0 for L3/L4 rows
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
"""`time_ns` is unique on this node; `reason` is 0 for L7 rows."""

OBJECT_COLUMNS = tuple(name for name in FLOW.names or () if FLOW[name].hasobject)

FlowRows: TypeAlias = NDArray[np.void]
"""A one-dimensional array of FLOW."""


def empty_flows(rows: int = 0) -> FlowRows:
    """A zeroed FLOW array of shape (rows,); object columns are None."""
    batch = np.zeros(rows, FLOW)
    for column in OBJECT_COLUMNS:
        batch[column] = None
    return batch
