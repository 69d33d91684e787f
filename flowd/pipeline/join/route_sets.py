"""Count the requests of each route on each connection, and split the traffic by these counts."""

import numpy as np
from numpy.typing import NDArray

from flowd.model.records.connection import ConnectionBatch
from flowd.model.records.share import OTHER_ROUTE, ShareBatch, empty_shares
from flowd.pipeline.sorted_index import U64, Slots

MAX_ROUTES = 8
COUNTERS = ("bytes_fwd", "bytes_rev", "packets_fwd", "packets_rev")

_PENDING = np.dtype([*((name, "u8") for name in COUNTERS), ("retransmits", "u4")])
_SLOT, _SIDE = np.uint64(33), np.uint64(32)
_ROUTE_BITS = np.uint64(OTHER_ROUTE)


class RouteSets:
    """Request counts by connection (slot of the table), side and route.

    A connection has up to eight routes; further routes are counted as `other`. The traffic of
    records that precede the connection's first request is kept, and split at the next record.
    """

    def __init__(self) -> None:
        self._keys: U64 = np.zeros(0, np.uint64)  # slot << 33 | side << 32 | route, sorted
        self._fresh: U64 = np.zeros(0, np.uint64)  # requests since the last split
        self._total: U64 = np.zeros(0, np.uint64)  # all requests
        self._pending = np.zeros(1024, _PENDING)  # by slot; `retransmits` are those already split

    def __len__(self) -> int:
        return len(self._keys)

    def count_requests(self, slots: Slots, routes: NDArray[np.uint32], side: int) -> None:
        """Count one request for each pair of slot and route, shape (N,) each."""
        keys, counts = np.unique(_key(slots, routes, side), return_counts=True)
        keys = self._bounded(keys)
        places = np.searchsorted(self._keys, keys)
        known = np.zeros(len(keys), np.bool_)
        if len(self._keys):
            known = self._keys[np.minimum(places, len(self._keys) - 1)] == keys
        new, back = np.unique(keys[~known], return_inverse=True)
        amounts = np.zeros(len(new), np.uint64)
        np.add.at(amounts, back, counts[~known].astype(np.uint64))
        for column in (self._fresh, self._total):
            np.add.at(column, places[known], counts[known].astype(np.uint64))
        if len(new):
            places = np.searchsorted(self._keys, new)
            self._keys = np.insert(self._keys, places, new)
            self._fresh = np.insert(self._fresh, places, amounts)
            self._total = np.insert(self._total, places, amounts)

    def _bounded(self, keys: U64) -> U64:
        """Replace new routes above MAX_ROUTES by OTHER_ROUTE; `keys` are sorted and distinct."""
        slots = keys >> _SLOT
        low, high = self._span(slots)
        known = np.zeros(len(keys), np.bool_)
        if len(self._keys):
            places = np.minimum(np.searchsorted(self._keys, keys), len(self._keys) - 1)
            known = self._keys[places] == keys
        fresh = np.cumsum(~known)
        first = np.searchsorted(slots, slots)
        rank = fresh - fresh[first] + ~known[first]  # among the new keys of its slot, from 1
        over = ~known & (high - low + rank > MAX_ROUTES)
        return np.where(over, keys | _ROUTE_BITS, keys)

    def split_traffic(
        self, records: ConnectionBatch, slots: Slots, retransmits: NDArray[np.uint32]
    ) -> ShareBatch:
        """Split the traffic of the records, and of earlier ones still pending, by route.

        Args:
            records: connection rows, shape (N,).
            slots: the connection of each record, -1 for none; shape (N,).
            retransmits: total retransmits of each record's connection; shape (N,).

        Returns:
            One row for each connection, side and route; `connection` is a row of `records`.
        """
        found = np.flatnonzero(slots >= 0)
        if not len(found):
            return empty_shares()
        self._reserve(int(slots.max()) + 1)
        for name in COUNTERS:
            np.add.at(self._pending[name], slots[found], records[name][found])
        if not len(self._keys):
            return empty_shares()
        distinct, back = np.unique(slots[found][::-1], return_index=True)
        last = found[len(found) - 1 - back]
        low, high = self._span(distinct.astype(np.uint64))
        routed = high > low
        return self._split(distinct[routed], last[routed], low[routed], high[routed], retransmits)

    def _split(
        self, slots: Slots, rows: Slots, low: Slots, high: Slots, retransmits: NDArray[np.uint32]
    ) -> ShareBatch:
        """Split the pending traffic of each slot over its entries [low, high), by request counts.

        `rows` is the newest record of each slot. Cumulative rounding keeps the sum exact.
        """
        size = high - low
        which = np.repeat(np.arange(len(slots)), size)
        begin = np.cumsum(size) - size
        entries = np.arange(len(which)) - begin[which] + low[which]
        fresh, total = self._fresh[entries], self._total[entries]
        quiet = (np.add.reduceat(fresh, begin) == 0) if len(slots) else np.zeros(0, np.bool_)
        weights = np.where(quiet[which], total, fresh)
        upto = np.cumsum(weights, dtype=np.uint64)
        upto -= (upto[begin] - weights[begin])[which]
        whole = upto[begin + size - 1] if len(slots) else upto
        shares = empty_shares(len(entries))
        shares["connection"] = rows[which]
        shares["route"] = self._keys[entries] & _ROUTE_BITS
        shares["side"] = self._keys[entries] >> _SIDE & np.uint64(1)
        shares["requests"] = fresh
        pending = self._pending[slots]
        before = pending["retransmits"].astype(np.uint64)
        now = retransmits[rows].astype(np.uint64)
        amounts = {name: pending[name] for name in COUNTERS}
        amounts["retransmits"] = np.maximum(now, before) - before
        for name, amount in amounts.items():
            each, left = np.divmod(amount[which], whole[which])
            end = left * upto // whole[which]
            start = left * (upto - weights) // whole[which]
            shares[name] = each * weights + end - start
        self._pending[slots] = np.zeros(1, _PENDING)
        self._pending["retransmits"][slots] = np.maximum(now, before)
        self._fresh[entries] = 0
        return shares

    def remap(self, new_slots: Slots) -> None:
        """Replace each slot by `new_slots[slot]` (rising with the slot); -1 removes its entries."""
        kept_slots = new_slots[new_slots >= 0]
        old = np.flatnonzero(new_slots >= 0)
        self._reserve(len(new_slots))
        self._pending[kept_slots] = self._pending[old]
        self._pending[len(kept_slots) : len(new_slots)] = np.zeros(1, _PENDING)
        slots = new_slots[(self._keys >> _SLOT).astype(np.int64)]
        kept = slots >= 0
        low = self._keys[kept] & np.uint64((1 << 33) - 1)
        self._keys = slots[kept].astype(np.uint64) << _SLOT | low
        self._fresh, self._total = self._fresh[kept], self._total[kept]

    def _span(self, slots: U64) -> tuple[Slots, Slots]:
        """Positions [low, high) of the entries of each slot."""
        low = np.searchsorted(self._keys, slots << _SLOT)
        return low, np.searchsorted(self._keys, (slots + np.uint64(1)) << _SLOT)

    def _reserve(self, slots: int) -> None:
        if slots > len(self._pending):
            grown = np.zeros(max(slots, 2 * len(self._pending)), _PENDING)
            grown[: len(self._pending)] = self._pending
            self._pending = grown


def _key(slots: Slots, routes: NDArray[np.uint32], side: int) -> U64:
    high = slots.astype(np.uint64) << _SLOT | np.uint64(side) << _SIDE
    return high | routes.astype(np.uint64)
