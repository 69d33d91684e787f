"""End records that wait for the access log: it tells of a request up to a second after it."""

from collections import deque

import numpy as np
from numpy.typing import NDArray

from flowd.model.enums import Reason
from flowd.model.records.connection import ConnectionBatch
from flowd.model.records.rows import chosen, joined

HOLD_NS = 1_400_000_000
HOLD_ROWS = 65_536


class Ending:
    """Holds back the END records of connections with a gateway's pod at one end.

    So that they carry the route of their last request and what their sockets reported last. All
    other records go on at once. A connection's END is its last record, so its records stay in
    order. Over `rows` the oldest go on early.
    """

    def __init__(self, hold_ns: int = HOLD_NS, rows: int = HOLD_ROWS) -> None:
        self.hold_ns = hold_ns
        self._rows = rows
        self._held: deque[tuple[int, ConnectionBatch]] = deque()
        self._waiting = 0

    @property
    def waiting(self) -> int:
        """Records that are held back."""
        return self._waiting

    def step(
        self, records: ConnectionBatch, gateways: NDArray[np.bool_], now_ns: int
    ) -> ConnectionBatch:
        """The records that go on now: of the held ones first, then of the new ones.

        Args:
            gateways: by endpoint index, whether it is the pod of a gateway.
        """
        held = gateways[records["src_endpoint"]] | gateways[records["dst_endpoint"]]
        held &= records["reason"] == Reason.END
        if held.any():
            self._held.append((now_ns + self.hold_ns, chosen(records, held)))
            self._waiting += int(np.count_nonzero(held))
            records = chosen(records, ~held)
        due: list[ConnectionBatch] = []
        while self._held and (self._held[0][0] <= now_ns or self._waiting > self._rows):
            due.append(self._held.popleft()[1])
            self._waiting -= len(due[-1])
        return joined([*due, records])
