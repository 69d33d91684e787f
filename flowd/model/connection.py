"""Connection records: one row each time the kernel reports on a connection.

`src` is the initiator and `dst` the responder, whatever packet caused the record; `is_reply` says
which side sent that packet. Counters come twice: `total_*` since the connection began, and the
plain ones since its previous record, so that sums over rows are right without any state.
"""

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

CONNECTION = np.dtype(
    [
        ("time_ns", "u8"),  # Unix time of the record
        ("first_ns", "u8"),  # Unix time of the first packet
        ("conn_id", "u8"),  # unique for this run of the agent, the same in every record
        ("src_addr", "u1", (16,)),  # IPv4 as ::ffff:a.b.c.d
        ("dst_addr", "u1", (16,)),
        ("bytes_fwd", "u8"),  # initiator to responder, since the previous record
        ("bytes_rev", "u8"),
        ("packets_fwd", "u8"),
        ("packets_rev", "u8"),
        ("total_bytes_fwd", "u8"),
        ("total_bytes_rev", "u8"),
        ("total_packets_fwd", "u8"),
        ("total_packets_rev", "u8"),
        ("src_endpoint", "u4"),  # index into Directory.endpoints; 0 is not known
        ("dst_endpoint", "u4"),
        ("ifindex", "u4"),  # interface that counts the direction of this record's packet
        ("route", "u4"),  # index into Directory.routes; 0 is none
        ("src_port", "u2"),
        ("dst_port", "u2"),
        ("protocol", "u1"),  # Protocol
        ("family", "u1"),  # 4 or 6
        ("reason", "u1"),  # Reason
        ("hook", "u1"),  # Hook
        ("is_reply", "u1"),  # 1: the responder sent the packet that caused the record
        ("initiator", "u1"),  # Initiator
        # TCP flags of the packet that caused the record; for SCTP those its first chunk amounts to
        ("flags", "u1"),
        ("flags_fwd", "u1"),  # TCP flags seen so far, by direction
        ("flags_rev", "u1"),
        ("icmp_type", "u1"),
        ("icmp_code", "u1"),
        ("direction", "u1"),  # Direction, set by the identify stage
        ("nat", "u1"),  # Nat, set by the identify stage with the four columns below
        ("nat_src_port", "u2"),  # the same connection on the other side of the translation
        ("nat_dst_port", "u2"),
        ("nat_src_addr", "u1", (16,)),
        ("nat_dst_addr", "u1", (16,)),
        ("tunnel", "u4"),  # index into Directory.tunnels; 0 is none
        # Of the TCP sockets at both ends, 0 where the socket is not on this node; set by the join.
        ("connect_us", "u4"),  # from the initiator's connect() to established, microseconds
        ("src_srtt_us", "u4"),  # smoothed round-trip time, as the last report had it
        ("dst_srtt_us", "u4"),
        ("src_min_rtt_us", "u4"),
        ("dst_min_rtt_us", "u4"),
        ("src_retransmits", "u4"),  # segments sent again since the connection began
        ("dst_retransmits", "u4"),
        ("src_pid", "u4"),
        ("dst_pid", "u4"),
        ("src_process", "u4"),  # index into Directory.processes; 0 is not known
        ("dst_process", "u4"),
        ("src_cookie", "u8"),  # socket cookie; 0 is not known
        ("dst_cookie", "u8"),
    ],
    align=True,
)

ConnectionBatch: TypeAlias = NDArray[np.void]
"""A one-dimensional array of CONNECTION."""


def empty_connections(rows: int = 0) -> ConnectionBatch:
    """A zeroed CONNECTION array of shape (rows,)."""
    return np.zeros(rows, CONNECTION)
