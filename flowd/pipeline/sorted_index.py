"""Numbers to slots of a table, as two sorted columns: lookups and inserts are whole-array steps."""

import numpy as np
from numpy.typing import NDArray

U64 = NDArray[np.uint64]
Slots = NDArray[np.int64]


class SortedIndex:
    """Keys, each with any number of slots in the order they were inserted.

    An insert moves the columns once, 16 bytes an entry: for 100,000 entries a fraction of a
    millisecond, whatever the number of new ones.
    """

    def __init__(self) -> None:
        self.keys: U64 = np.zeros(0, np.uint64)
        self.slots: Slots = np.zeros(0, np.int64)

    def __len__(self) -> int:
        return len(self.keys)

    def insert(self, keys: U64, slots: Slots) -> None:
        """Add entries, behind those that have the same key."""
        order = np.argsort(keys, kind="stable")
        keys, slots = keys[order], slots[order]
        places = np.searchsorted(self.keys, keys, side="right")
        self.keys = np.insert(self.keys, places, keys)
        self.slots = np.insert(self.slots, places, slots)

    def spans(self, keys: U64) -> tuple[Slots, Slots]:
        """For each key the positions [low, high) of its entries."""
        return np.searchsorted(self.keys, keys), np.searchsorted(self.keys, keys, side="right")

    def last(self, keys: U64) -> Slots:
        """For each key the slot inserted last, or -1."""
        if not len(self.keys):
            return np.full(len(keys), -1, np.int64)
        high = np.searchsorted(self.keys, keys, side="right")
        place = np.maximum(high - 1, 0)
        return np.where((high > 0) & (self.keys[place] == keys), self.slots[place], -1)

    def newest(self, keys: U64) -> tuple[Slots, NDArray[np.bool_]]:
        """For each key the position of its last entry, or -1, and whether it has others."""
        if not len(self.keys):
            return np.full(len(keys), -1, np.int64), np.zeros(len(keys), np.bool_)
        place = np.searchsorted(self.keys, keys, side="right") - 1
        place[self.keys[place] != keys] = -1
        return place, (place > 0) & (self.keys[np.maximum(place - 1, 0)] == keys)

    def remap(self, moved: Slots) -> None:
        """Put `moved[slot]` in place of each slot; entries that get -1 are removed."""
        slots = moved[self.slots]
        kept = slots >= 0
        self.keys, self.slots = self.keys[kept], slots[kept]

    def order_by(self, values: NDArray[np.int64]) -> None:
        """Order the entries of each key by `values[slot]`."""
        rank = values[self.slots]
        if np.any((self.keys[1:] == self.keys[:-1]) & (rank[1:] < rank[:-1])):
            order = np.lexsort((rank, self.keys))
            self.keys, self.slots = self.keys[order], self.slots[order]
