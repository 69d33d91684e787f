"""The routes that used each connection, and what of its traffic was whose."""

import numpy as np
from numpy.typing import NDArray

from flowd.model.records.connection import ConnectionBatch
from flowd.model.records.share import OTHER_ROUTE, ShareBatch, empty_shares
from flowd.pipeline.sorted_index import U64, Slots

ROUTES = 8
COUNTED = ("bytes_fwd", "bytes_rev", "packets_fwd", "packets_rev")

_OWED = np.dtype([*((name, "u8") for name in COUNTED), ("retransmits", "u4")])
_SLOT, _SIDE = np.uint64(33), np.uint64(32)
_ROUTE_BITS = np.uint64(OTHER_ROUTE)


class RouteSets:
    """Requests by connection (a slot of the table), side and route; eight routes, then `other`.

    A record that comes before any request of its connection is kept in mind: its bytes go to the
    routes that the connection has when it is next shared out.
    """

    def __init__(self) -> None:
        self._keys: U64 = np.zeros(0, np.uint64)  # slot, side and route in one number, sorted
        self._fresh: U64 = np.zeros(0, np.uint64)  # requests since it was last shared out
        self._total: U64 = np.zeros(0, np.uint64)
        self._owed = np.zeros(1024, _OWED)  # by slot; of retransmits those shared out already

    def __len__(self) -> int:
        return len(self._keys)

    def count(self, slots: Slots, routes: NDArray[np.uint32], side: int) -> None:
        """Count a request for each slot and route, shape (N,) each."""
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
        """The keys, sorted and distinct, with new routes over the bound turned to `other`."""
        slots = keys >> _SLOT
        low, high = self._span(slots)
        known = np.zeros(len(keys), np.bool_)
        if len(self._keys):
            places = np.minimum(np.searchsorted(self._keys, keys), len(self._keys) - 1)
            known = self._keys[places] == keys
        fresh = np.cumsum(~known)
        first = np.searchsorted(slots, slots)
        rank = fresh - fresh[first] + ~known[first]  # of the new ones of its slot, from 1
        over = ~known & (high - low + rank > ROUTES)
        return np.where(over, keys | _ROUTE_BITS, keys)

    def share(
        self, records: ConnectionBatch, slots: Slots, retransmits: NDArray[np.uint32]
    ) -> ShareBatch:
        """What the records, and those before without a route, were of each connection's routes.

        Args:
            slots: of each record's connection, -1 for none; shape (N,).
            retransmits: of each record's connection so far, shape (N,).
        """
        there = np.flatnonzero(slots >= 0)
        if not len(there):
            return empty_shares()
        self._reserve(int(slots.max()) + 1)
        for name in COUNTED:
            np.add.at(self._owed[name], slots[there], records[name][there])
        if not len(self._keys):
            return empty_shares()
        distinct, back = np.unique(slots[there][::-1], return_index=True)
        last = there[len(there) - 1 - back]
        low, high = self._span(distinct.astype(np.uint64))
        routed = high > low
        return self._split(distinct[routed], last[routed], low[routed], high[routed], retransmits)

    def _split(
        self, slots: Slots, rows: Slots, low: Slots, high: Slots, retransmits: NDArray[np.uint32]
    ) -> ShareBatch:
        """Entries [low, high) of each slot; the newest record of each is `rows`."""
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
        owed = self._owed[slots]
        given, now = owed["retransmits"].astype(np.uint64), retransmits[rows].astype(np.uint64)
        amounts = {name: owed[name] for name in COUNTED}
        amounts["retransmits"] = np.maximum(now, given) - given
        for name, amount in amounts.items():
            each, left = np.divmod(amount[which], whole[which])
            end = left * upto // whole[which]
            start = left * (upto - weights) // whole[which]
            shares[name] = each * weights + end - start
        self._owed[slots] = np.zeros(1, _OWED)
        self._owed["retransmits"][slots] = np.maximum(now, given)
        self._fresh[entries] = 0
        return shares

    def remap(self, moved: Slots) -> None:
        """Put `moved[slot]`, which rises with the slot, in place of each; -1 forgets it."""
        held = moved[moved >= 0]
        old = np.flatnonzero(moved >= 0)
        self._reserve(len(moved))
        self._owed[held] = self._owed[old]
        self._owed[len(held) : len(moved)] = np.zeros(1, _OWED)
        slots = moved[(self._keys >> _SLOT).astype(np.int64)]
        kept = slots >= 0
        low = self._keys[kept] & np.uint64((1 << 33) - 1)
        self._keys = slots[kept].astype(np.uint64) << _SLOT | low
        self._fresh, self._total = self._fresh[kept], self._total[kept]

    def _span(self, slots: U64) -> tuple[Slots, Slots]:
        """The entries [low, high) of each slot."""
        low = np.searchsorted(self._keys, slots << _SLOT)
        return low, np.searchsorted(self._keys, (slots + np.uint64(1)) << _SLOT)

    def _reserve(self, slots: int) -> None:
        if slots > len(self._owed):
            grown = np.zeros(max(slots, 2 * len(self._owed)), _OWED)
            grown[: len(self._owed)] = self._owed
            self._owed = grown


def _key(slots: Slots, routes: NDArray[np.uint32], side: int) -> U64:
    high = slots.astype(np.uint64) << _SLOT | np.uint64(side) << _SIDE
    return high | routes.astype(np.uint64)
