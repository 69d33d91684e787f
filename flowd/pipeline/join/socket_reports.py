"""Match socket reports (RTT, retransmits, owner) to connections, and store them in the table."""

import numpy as np
from numpy.typing import NDArray

from flowd.model.enums import Protocol, SocketReason
from flowd.model.records.rows import concat_rows, select_rows
from flowd.model.records.socket import SocketBatch, empty_sockets
from flowd.pipeline.endpoint_tuples import EndpointPairs, hash_pairs, pack_endpoints
from flowd.pipeline.join.connection_table import KEEP_NS, ConnectionTable
from flowd.pipeline.sorted_index import U64, Slots

HOLD_NS = 3 * 10**9
HOLD_ROWS = 16_384

_LAST_VALUE = ("srtt_us", "min_rtt_us", "pid", "process", "cookie")
_MAX_US = np.iinfo(np.uint32).max


class SocketReportMatcher:
    """Finds the connection of each socket row by 5-tuple and time.

    A row that arrives before its connection's first record is held for at most `hold_ns`, and at
    most `hold_rows` rows are held. A row without a connection (loopback, for example) is then
    dropped here; exporters get the rows directly. A row that arrives after the connection's end
    matches by socket cookie.
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
        """Number of held rows."""
        return len(self._held)

    def step(self, rows: SocketBatch, fresh: U64, now_ns: int) -> None:
        """Store the reports of `rows`, and of held rows whose connection is now known.

        Args:
            rows: SOCKET rows.
            fresh: `hash_pairs` of connections that are new since the previous step, shape (K,).
            now_ns: Unix time, nanoseconds.
        """
        if len(self._held):
            woken = np.isin(self._hashes, fresh) if len(fresh) else np.zeros(len(self._held), bool)
            if woken.any():
                rows = concat_rows([select_rows(self._held, woken), rows])
            self._keep(~woken & (self._until > now_ns))
        if not len(rows):
            return
        times = rows["time_ns"]
        if (times[1:] < times[:-1]).any():
            rows = select_rows(rows, np.argsort(times, kind="stable"))
        near, far = _endpoint_tuples(rows)
        unmatched = ~self._store(rows, near, far)
        if unmatched.any():
            hashes = hash_pairs(near[unmatched], far[unmatched])
            self._hold(select_rows(rows, unmatched), hashes, now_ns)

    def _store(self, rows: SocketBatch, near: U64, far: U64) -> NDArray[np.bool_]:
        """Write the rows to the table; returns a mask of the rows with a connection."""
        times = rows["time_ns"].astype(np.int64)
        matched = np.zeros(len(rows), np.bool_)
        for slots in self._table.find_both_sides(EndpointPairs(near, far, times, times)):
            matched |= self._write(rows, near, slots)
        late = np.flatnonzero(~matched & (rows["cookie"] != 0))
        if len(late):
            pairs = EndpointPairs(near[late], far[late], times[late], times[late])
            for slots in self._table.find_both_sides(pairs, KEEP_NS):
                is_source = self._table.is_source(slots, near[late])
                known = self._table.socket_stats[slots]
                cookies = np.where(is_source, known["src_cookie"], known["dst_cookie"])
                own = np.where(cookies == rows["cookie"][late], slots, -1)
                matched[late] |= self._write(select_rows(rows, late), near[late], own)
        return matched

    def _write(self, rows: SocketBatch, near: U64, slots: Slots) -> NDArray[np.bool_]:
        found = slots >= 0
        if not found.all():
            rows, slots, near = select_rows(rows, found), slots[found], near[found]
        if not len(rows):
            return found
        is_source = self._table.is_source(slots, near)
        stats = self._table.socket_stats
        values = {name: rows[name] for name in _LAST_VALUE}
        totals = np.where(rows["reason"] == SocketReason.RETRANSMIT, 0, rows["retransmits"])
        for side, mask in (("src", is_source), ("dst", ~is_source)):
            for name, column in values.items():
                known = np.flatnonzero(mask & (column != 0))
                stats[f"{side}_{name}"][slots[known]] = column[known]
            known = np.flatnonzero(mask & (totals != 0))
            np.maximum.at(stats[f"{side}_retransmits"], slots[known], totals[known])
        connected = np.flatnonzero(rows["connect_ns"])
        took = np.clip(rows["connect_ns"][connected] // 1000, 1, _MAX_US)
        stats["connect_us"][slots[connected]] = took
        return found

    def _hold(self, rows: SocketBatch, hashes: U64, now_ns: int) -> None:
        self._held = concat_rows([self._held, rows])
        self._hashes = np.concatenate([self._hashes, hashes])
        until = np.full(len(rows), now_ns + self._hold_ns)
        self._until = np.concatenate([self._until, until])
        if len(self._held) > self._hold_rows:
            self._keep(np.arange(len(self._held)) >= len(self._held) - self._hold_rows)

    def _keep(self, keep: NDArray[np.bool_]) -> None:
        if not keep.all():
            self._held, self._hashes = select_rows(self._held, keep), self._hashes[keep]
            self._until = self._until[keep]


def _endpoint_tuples(rows: SocketBatch) -> tuple[U64, U64]:
    protocol = np.full(len(rows), Protocol.TCP, np.uint8)
    near, far = (
        pack_endpoints(rows[f"{end}_addr"], rows[f"{end}_port"], protocol)
        for end in ("local", "remote")
    )
    return near, far
