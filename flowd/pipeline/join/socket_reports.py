"""What sockets report, noted on the connections they are the ends of."""

import numpy as np
from numpy.typing import NDArray

from flowd.model.enums import Protocol, SocketReason
from flowd.model.records.rows import chosen, joined
from flowd.model.records.socket import SocketBatch, empty_sockets
from flowd.pipeline.endpoint_tuples import Pairs, pair_hash, sockets
from flowd.pipeline.join.connection_table import KEEP_NS, ConnectionTable
from flowd.pipeline.sorted_index import U64, Slots

HOLD_NS = 3 * 10**9
HOLD_ROWS = 16_384

_LAST = ("srtt_us", "min_rtt_us", "pid", "process", "cookie")
_MOST_US = np.iinfo(np.uint32).max


class SocketMeeting:
    """Finds the connection of each socket row by tuple and time.

    A row that comes before its connection's first record waits for it, `hold_ns` at most and
    `hold_rows` rows at most; one that has none (loopback, say) is then forgotten, for the rows
    themselves go on to exporters at once. One that comes after the end is taken for its own
    connection by the socket's cookie.
    """

    def __init__(
        self, table: ConnectionTable, hold_ns: int = HOLD_NS, hold_rows: int = HOLD_ROWS
    ) -> None:
        self._table = table
        self._hold_ns = hold_ns
        self._hold_rows = hold_rows
        self._held = empty_sockets()
        self._hashes: U64 = np.zeros(0, np.uint64)
        self._until = np.zeros(0, np.int64)

    @property
    def waiting(self) -> int:
        """Rows that wait for a connection."""
        return len(self._held)

    def step(self, rows: SocketBatch, fresh: U64, now_ns: int) -> None:
        """Note what rows say on their connections.

        Args:
            fresh: pair hashes of the connections that are new since the previous step.
        """
        if len(self._held):
            woken = np.isin(self._hashes, fresh) if len(fresh) else np.zeros(len(self._held), bool)
            if woken.any():
                rows = joined([chosen(self._held, woken), rows])
            self._keep(~woken & (self._until > now_ns))
        if not len(rows):
            return
        times = rows["time_ns"]
        if (times[1:] < times[:-1]).any():
            rows = chosen(rows, np.argsort(times, kind="stable"))
        near, far = _ends(rows)
        unmet = ~self._note(rows, near, far)
        if unmet.any():
            self._hold(chosen(rows, unmet), pair_hash(near[unmet], far[unmet]), now_ns)

    def _note(self, rows: SocketBatch, near: U64, far: U64) -> NDArray[np.bool_]:
        """Write the rows to the table; tells which met a connection."""
        times = rows["time_ns"].astype(np.int64)
        met = np.zeros(len(rows), np.bool_)
        for slots in self._table.lives(Pairs(near, far, times, times)):
            met |= self._write(rows, near, slots)
        late = np.flatnonzero(~met & (rows["cookie"] != 0))
        if len(late):
            pairs = Pairs(near[late], far[late], times[late], times[late])
            for slots in self._table.lives(pairs, KEEP_NS):
                forward = self._table.forward(slots, near[late])
                known = self._table.measured[slots]
                cookies = np.where(forward, known["src_cookie"], known["dst_cookie"])
                own = np.where(cookies == rows["cookie"][late], slots, -1)
                met[late] |= self._write(chosen(rows, late), near[late], own)
        return met

    def _write(self, rows: SocketBatch, near: U64, slots: Slots) -> NDArray[np.bool_]:
        there = slots >= 0
        if not there.all():
            rows, slots, near = chosen(rows, there), slots[there], near[there]
        if not len(rows):
            return there
        forward = self._table.forward(slots, near)
        measured = self._table.measured
        values = {name: rows[name] for name in _LAST}
        totals = np.where(rows["reason"] == SocketReason.RETRANSMIT, 0, rows["retransmits"])
        for side, mask in (("src", forward), ("dst", ~forward)):
            for name, column in values.items():
                known = np.flatnonzero(mask & (column != 0))
                measured[f"{side}_{name}"][slots[known]] = column[known]
            known = np.flatnonzero(mask & (totals != 0))
            np.maximum.at(measured[f"{side}_retransmits"], slots[known], totals[known])
        made = np.flatnonzero(rows["connect_ns"])
        took = np.clip(rows["connect_ns"][made] // 1000, 1, _MOST_US)
        measured["connect_us"][slots[made]] = took
        return there

    def _hold(self, rows: SocketBatch, hashes: U64, now_ns: int) -> None:
        self._held = joined([self._held, rows])
        self._hashes = np.concatenate([self._hashes, hashes])
        until = np.full(len(rows), now_ns + self._hold_ns)
        self._until = np.concatenate([self._until, until])
        if len(self._held) > self._hold_rows:
            self._keep(np.arange(len(self._held)) >= len(self._held) - self._hold_rows)

    def _keep(self, keep: NDArray[np.bool_]) -> None:
        if not keep.all():
            self._held, self._hashes = chosen(self._held, keep), self._hashes[keep]
            self._until = self._until[keep]


def _ends(rows: SocketBatch) -> tuple[U64, U64]:
    protocol = np.full(len(rows), Protocol.TCP, np.uint8)
    near, far = (
        sockets(rows[f"{end}_addr"], rows[f"{end}_port"], protocol) for end in ("local", "remote")
    )
    return near, far
