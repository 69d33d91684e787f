"""Where a request's time went: the client's network, the gateway, the pod's network, the pod.

docs/latency.md tells what is measured where, and what each part means.
"""

import numpy as np
from numpy.typing import NDArray

from flowd.model.records.request import RequestBatch

INITIAL_WINDOW = 10 * 1460
"""Bytes that a TCP sender may have in flight at first (RFC 6928, section 2)."""

_MOST_US = np.iinfo(np.uint32).max


def fill_split(rows: RequestBatch, opened: NDArray[np.bool_]) -> None:
    """Set the four parts of each row, whose sockets' columns are filled in.

    The parts add up to `duration_ns` in whole microseconds. All four are 0, which is "not known",
    where the backend answered and no socket of its connection is known, where no socket is known
    at all, and above 71 minutes, which the columns do not hold.

    Args:
        opened: shape (N,), requests that the upstream connection was opened for.
    """
    total = rows["duration_ns"].astype(np.int64) // 1000
    answered = rows["upstream_ns"] > 0
    down, up = rows["down_srtt_us"].astype(np.int64), rows["up_srtt_us"].astype(np.int64)
    known = np.where(answered, up > 0, (down > 0) | (up > 0)) & (total <= _MOST_US)
    upstream = np.minimum(rows["upstream_ns"].astype(np.int64) // 1000, total)
    travel = np.minimum(up, upstream)
    rest = total - upstream
    connect = np.minimum(rows["up_connect_us"] * opened, rest)
    trips = further_trips(rows["bytes_received"]) + further_trips(rows["bytes_sent"])
    client = np.minimum(down * trips, rest - connect)
    for name, part in (
        ("client_network_us", client),
        ("gateway_us", rest - connect - client),
        ("pod_network_us", travel + connect),
        ("pod_us", upstream - travel),
    ):
        rows[name] = np.where(known, part, 0)


def further_trips(size: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Round trips that a body of that many bytes takes beyond its first window.

    The window doubles each round trip (slow start: RFC 5681, section 3.1).
    """
    windows = np.ceil(np.log2(size / INITIAL_WINDOW + 1)).astype(np.int64)
    return np.maximum(windows - 1, 0)
