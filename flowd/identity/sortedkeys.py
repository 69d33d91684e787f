"""Numbers by 16-byte key, found for whole columns at a time."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray


class SortedKeys:
    """A sorted array of keys (S16) beside their values (u4), changed in place of built anew."""

    def __init__(self) -> None:
        self._keys = np.empty(0, "S16")
        self._values = np.empty(0, np.uint32)

    def change(self, values: Mapping[bytes, int]) -> None:
        """Set the value of each key; 0 takes the key out."""
        if not values:
            return
        ordered = sorted(values)
        keys = np.array(ordered, "S16")
        fresh = np.array([values[key] for key in ordered], np.uint32)
        at = np.searchsorted(self._keys, keys)
        known = np.zeros(len(keys), np.bool_)
        inside = at < len(self._keys)
        known[inside] = self._keys[at[inside]] == keys[inside]
        self._values[at[known]] = fresh[known]
        added = ~known & (fresh != 0)
        self._keys = np.insert(self._keys, at[added], keys[added])
        self._values = np.insert(self._values, at[added], fresh[added])
        if not fresh.all():
            kept = self._values != 0
            self._keys, self._values = self._keys[kept], self._values[kept]

    def find(self, rows: NDArray[np.uint8]) -> NDArray[np.uint32]:
        """The values, shape (N,), of keys as bytes, shape (N, 16); 0 for one that is not there."""
        if not len(self._keys):
            return np.zeros(len(rows), np.uint32)
        keys = np.ascontiguousarray(rows).view("S16").reshape(-1)
        at = np.minimum(np.searchsorted(self._keys, keys), len(self._keys) - 1)
        return np.where(self._keys[at] == keys, self._values[at], 0).astype(np.uint32)
