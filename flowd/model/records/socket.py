"""SOCKET rows: one row for each report of the kernel on a TCP socket of this node.

`local` is the socket's own end. A connection between two pods of this node has two sockets, and
rows of both.
"""

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

SOCKET = np.dtype(
    [
        ("time_ns", "u8"),  # Unix time of the report
        ("cookie", "u8"),  # bpf_get_socket_cookie: unique on this machine
        ("cgroup", "u8"),  # cgroup id of its owner; 0 is not known
        ("bytes_acked", "u8"),  # since it was established
        ("bytes_received", "u8"),
        ("connect_ns", "u8"),  # from connect() to established; 0 for accepted sockets
        ("local_addr", "u1", (16,)),  # IPv4 as ::ffff:a.b.c.d
        ("remote_addr", "u1", (16,)),
        ("srtt_us", "u4"),  # smoothed round-trip time, microseconds
        ("min_rtt_us", "u4"),
        ("retransmits", "u4"),  # segments retransmitted since it was established
        ("pid", "u4"),  # of the creating process, in the agent's pid namespace; 0 is not known
        ("process", "u4"),  # index into Directory.processes; 0 is not known
        ("local_endpoint", "u4"),  # index into Directory.endpoints, set by the join
        ("remote_endpoint", "u4"),
        ("local_port", "u2"),
        ("remote_port", "u2"),
        ("family", "u1"),  # 4 or 6
        ("role", "u1"),  # SocketRole
        ("reason", "u1"),  # SocketReason
        ("also", "u1"),  # SocketAlso
        ("error", "u1"),  # errno of a failed connect: 111 refused, 110 timed out; 0 for none
    ],
    align=True,
)

SocketBatch: TypeAlias = NDArray[np.void]
"""A one-dimensional array of SOCKET."""


def empty_sockets(rows: int = 0) -> SocketBatch:
    """A zeroed SOCKET array of shape (rows,)."""
    return np.zeros(rows, SOCKET)
