"""SHARE rows: the traffic of a connection split by route, one row for each connection and route.

The rows of a connection are whole numbers that add up to the traffic of its records since the last
split, so that sums by route count no byte twice.
"""

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

SHARE = np.dtype(
    [
        ("bytes_fwd", "u8"),  # initiator to responder
        ("bytes_rev", "u8"),
        ("packets_fwd", "u8"),
        ("packets_rev", "u8"),
        ("retransmits", "u8"),  # by the sockets of both ends that are on this node
        ("connection", "u4"),  # row of the batch's connections
        ("route", "u4"),  # index into Directory.routes, or OTHER_ROUTE
        (
            "requests",
            "u4",
        ),  # since the last split; 0: split by all requests of the connection so far
        ("side", "u1"),  # ShareSide
    ],
    align=True,
)

OTHER_ROUTE = np.iinfo(np.uint32).max
"""Route of requests beyond a connection's first eight routes."""

ShareBatch: TypeAlias = NDArray[np.void]
"""A one-dimensional array of SHARE."""


def empty_shares(rows: int = 0) -> ShareBatch:
    """A zeroed SHARE array of shape (rows,)."""
    return np.zeros(rows, SHARE)
