"""Split a request's duration: client's network, gateway, pod's network, pod.

docs/latency.md defines the parts and the measurements behind them.
"""

import numpy as np
from numpy.typing import NDArray

from flowd.model.records.request import RequestBatch

INITIAL_WINDOW = 10 * 1460
"""Initial congestion window of a TCP sender, bytes (RFC 6928, section 2)."""

_MAX_US = np.iinfo(np.uint32).max


def fill_latency_split(rows: RequestBatch, opened: NDArray[np.bool_]) -> None:
    """Set the four split columns of each row; its socket columns must already be filled.

    The parts add up to `duration_ns` in whole microseconds. All four are 0 ("not known") in three
    cases: the backend answered and no socket of its connection is known; no socket is known at
    all; the duration exceeds 71 minutes, the range of the columns.

    Args:
        opened: shape (N,), whether the upstream connection was opened for this request.
    """
    total = rows["duration_ns"].astype(np.int64) // 1000
    answered = rows["upstream_ns"] > 0
    down, up = rows["down_srtt_us"].astype(np.int64), rows["up_srtt_us"].astype(np.int64)
    known = np.where(answered, up > 0, (down > 0) | (up > 0)) & (total <= _MAX_US)
    upstream = np.minimum(rows["upstream_ns"].astype(np.int64) // 1000, total)
    travel = np.minimum(up, upstream)
    rest = total - upstream
    connect = np.minimum(rows["up_connect_us"] * opened, rest)
    trips = extra_round_trips(rows["bytes_received"]) + extra_round_trips(rows["bytes_sent"])
    client = np.minimum(down * trips, rest - connect)
    for name, part in (
        ("client_network_us", client),
        ("gateway_us", rest - connect - client),
        ("pod_network_us", travel + connect),
        ("pod_us", upstream - travel),
    ):
        rows[name] = np.where(known, part, 0)


def extra_round_trips(size: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Round trips that bodies of `size` bytes take beyond the initial window, shape (N,).

    The window doubles each round trip (slow start: RFC 5681, section 3.1).
    """
    windows = np.ceil(np.log2(size / INITIAL_WINDOW + 1)).astype(np.int64)
    return np.maximum(windows - 1, 0)
