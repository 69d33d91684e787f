"""Delay END records of gateway connections until their access-log entries have arrived."""

from collections import deque

import numpy as np
from numpy.typing import NDArray

from flowd.model.enums import Reason
from flowd.model.records.connection import ConnectionBatch
from flowd.model.records.rows import concat_rows, select_rows

HOLD_NS = 1_400_000_000
HOLD_ROWS = 65_536


class EndDelay:
    """Delays the END records of connections with a gateway's pod at one end.

    Envoy logs a request up to a second late. A delayed record carries the route of the
    connection's last request and the last report of its sockets. All other records pass at once.
    END is the last record of a connection, so the records of a connection stay in order. Above
    `rows` the oldest records are released early.

    Args:
        hold_ns: delay, nanoseconds.
        rows: maximum number of delayed records.
    """

    def __init__(self, hold_ns: int = HOLD_NS, rows: int = HOLD_ROWS) -> None:
        self.hold_ns = hold_ns
        self._rows = rows
        self._held: deque[tuple[int, ConnectionBatch]] = deque()
        self._waiting = 0

    @property
    def waiting(self) -> int:
        """Number of delayed records."""
        return self._waiting

    def step(
        self, records: ConnectionBatch, gateways: NDArray[np.bool_], now_ns: int
    ) -> ConnectionBatch:
        """The records that pass now: delayed records that are due, then new ones.

        Args:
            gateways: by endpoint index, whether the endpoint is a gateway's pod.
            now_ns: Unix time, nanoseconds.
        """
        delay = gateways[records["src_endpoint"]] | gateways[records["dst_endpoint"]]
        delay &= records["reason"] == Reason.END
        if delay.any():
            self._held.append((now_ns + self.hold_ns, select_rows(records, delay)))
            self._waiting += int(np.count_nonzero(delay))
            records = select_rows(records, ~delay)
        due: list[ConnectionBatch] = []
        while self._held and (self._held[0][0] <= now_ns or self._waiting > self._rows):
            due.append(self._held.popleft()[1])
            self._waiting -= len(due[-1])
        return concat_rows([*due, records])
