"""CONNECTION rows: one row for each report of the kernel on a connection.

`src` is the initiator and `dst` the responder, whichever side sent the packet that caused the
record; `is_reply` names that side. Counters come twice: `total_*` since the connection began, and
without prefix since its previous record, so that sums over rows need no state.
"""

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

SHARED = [
    ("conn_id", "u8"),  # unique for this run of the agent, the same in every record
    ("total_bytes_fwd", "u8"),  # initiator to responder, since the connection began
    ("total_bytes_rev", "u8"),
    ("total_packets_fwd", "u8"),
    ("total_packets_rev", "u8"),
    ("time_ns", "u8"),  # Unix time of the record
    ("route", "u4"),  # index into Directory.routes; 0 is none
    ("ifindex", "u4"),  # interface that counts the direction of this record's packet
    ("tunnel", "u4"),  # index into Directory.tunnels; 0 is none
    # From the initiator's connect() to established, microseconds; 0 if its socket is not on this
    # node. Set by the join, as are the columns of SOCKET_SIDE.
    ("connect_us", "u4"),
    # TCP flags of the packet that caused the record; for SCTP the equivalent of its first chunk
    ("flags", "u1"),
    ("protocol", "u1"),  # Protocol
    ("family", "u1"),  # 4 or 6
    ("reason", "u1"),  # Reason
    ("icmp_type", "u1"),
    ("icmp_code", "u1"),
    ("direction", "u1"),  # Direction, set by the identify stage
    ("nat", "u1"),  # Nat, set by the identify stage with the columns nat_*
]
"""Columns with which both CONNECTION and FLOW begin."""

SOCKET_SIDE = [
    ("cookie", "u8"),  # socket cookie; 0 is not known
    ("srtt_us", "u4"),  # smoothed round-trip time in the last report
    ("retransmits", "u4"),  # segments retransmitted since the connection began
    ("pid", "u4"),
    ("process", "u4"),  # index into Directory.processes; 0 is not known
]
"""Columns of the TCP socket at one end; each stands twice, prefixed `src_` and `dst_`."""


def side(name: str) -> list[tuple[str, str] | tuple[str, str, tuple[int]]]:
    """Columns of one end, `src` or `dst`: the second part of CONNECTION and FLOW.

    The columns of an end are contiguous and have the same layout for both ends, so that one copy
    swaps the ends of a row.
    """
    return [
        (f"{name}_addr", "u1", (16,)),  # IPv4 as ::ffff:a.b.c.d
        (f"nat_{name}_addr", "u1", (16,)),  # on the other side of the translation
        (f"{name}_endpoint", "u4"),  # index into Directory.endpoints; 0 is not known
        (f"{name}_port", "u2"),
        (f"nat_{name}_port", "u2"),
        *((f"{name}_{column}", kind) for column, kind in SOCKET_SIDE),
    ]


SHARED_BYTES = np.dtype(SHARED).itemsize
SIDE_BYTES = np.dtype(side("src")).itemsize
SOCKET_BYTES = np.dtype(SOCKET_SIDE).itemsize

CONNECTION = np.dtype(
    [
        *SHARED,
        *side("src"),
        *side("dst"),
        ("first_ns", "u8"),  # Unix time of the first packet
        ("bytes_fwd", "u8"),  # initiator to responder, since the previous record
        ("bytes_rev", "u8"),
        ("packets_fwd", "u8"),
        ("packets_rev", "u8"),
        ("src_min_rtt_us", "u4"),
        ("dst_min_rtt_us", "u4"),
        ("hook", "u1"),  # Hook
        ("is_reply", "u1"),  # 1 if the responder sent the packet that caused the record
        ("initiator", "u1"),  # Initiator
        ("flags_fwd", "u1"),  # TCP flags seen so far, by direction
        ("flags_rev", "u1"),
    ],
    align=True,
)

ConnectionBatch: TypeAlias = NDArray[np.void]
"""A one-dimensional array of CONNECTION."""


def empty_connections(rows: int = 0) -> ConnectionBatch:
    """A zeroed CONNECTION array of shape (rows,)."""
    return np.zeros(rows, CONNECTION)
