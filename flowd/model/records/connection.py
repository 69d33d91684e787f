"""Connection records: one row each time the kernel reports on a connection.

`src` is the initiator and `dst` the responder, whatever packet caused the record; `is_reply` says
which side sent that packet. Counters come twice: `total_*` since the connection began, and the
plain ones since its previous record, so that sums over rows are right without any state.
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
    # Of the TCP sockets at both ends, 0 where the socket is not on this node; set by the join, as
    # those of SOCKET_SIDE are: from the initiator's connect() to established, microseconds.
    ("connect_us", "u4"),
    # TCP flags of the packet that caused the record; for SCTP those its first chunk amounts to
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
    ("srtt_us", "u4"),  # smoothed round-trip time, as the last report had it
    ("retransmits", "u4"),  # segments sent again since the connection began
    ("pid", "u4"),
    ("process", "u4"),  # index into Directory.processes; 0 is not known
]
"""Columns of the TCP socket at one end, of which each has one for `src` and one for `dst`."""


def side(name: str) -> list[tuple[str, str] | tuple[str, str, tuple[int]]]:
    """Columns of one end, `src` or `dst`: the second part of CONNECTION and FLOW.

    All of an end lie together, and alike for both ends, so that a row is turned round in one step.
    """
    return [
        (f"{name}_addr", "u1", (16,)),  # IPv4 as ::ffff:a.b.c.d
        (f"nat_{name}_addr", "u1", (16,)),  # of the other side of the translation
        (f"{name}_endpoint", "u4"),  # index into Directory.endpoints; 0 is not known
        (f"{name}_port", "u2"),
        (f"nat_{name}_port", "u2"),
        *((f"{name}_{column}", kind) for column, kind in SOCKET_SIDE),
    ]


SHARED_BYTES = 72
SIDE_BYTES = 64
SOCKET_BYTES = 24

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
        ("is_reply", "u1"),  # 1: the responder sent the packet that caused the record
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
