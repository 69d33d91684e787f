"""What of a connection's traffic was each route's: one row a connection and route.

An exporter that adds the amounts up by route has counted no byte twice: the rows of a connection
are whole numbers that add up to what its records had since it was last shared out.
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
        ("retransmits", "u8"),  # of the sockets of both sides that are on this node
        ("connection", "u4"),  # row of the batch's connections
        ("route", "u4"),  # index into Directory.routes, or OTHER_ROUTE
        ("requests", "u4"),  # since it was last shared out; 0: shared as in all its life so far
        ("side", "u1"),  # ShareSide
    ],
    align=True,
)

OTHER_ROUTE = np.iinfo(np.uint32).max
"""Takes the requests of a connection over its first eight routes."""

ShareBatch: TypeAlias = NDArray[np.void]
"""A one-dimensional array of SHARE."""


def empty_shares(rows: int = 0) -> ShareBatch:
    """A zeroed SHARE array of shape (rows,)."""
    return np.zeros(rows, SHARE)
