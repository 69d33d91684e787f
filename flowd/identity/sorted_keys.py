"""Sorted hash index: u4 values by 16-byte key, with vectorized lookup."""

import secrets
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

U64 = NDArray[np.uint64]


class SortedKeys:
    """Keys (16 bytes) and values (u4), sorted by hash, updated incrementally.

    All hashes are distinct: on a collision new hash factors are drawn.
    """

    def __init__(self) -> None:
        self._factors = _draw()
        self._hashes: U64 = np.empty(0, np.uint64)
        self._words: U64 = np.empty((0, 2), np.uint64)
        self._values = np.empty(0, np.uint32)

    def update(self, values: Mapping[bytes, int]) -> None:
        """Set the value of each key; the value 0 removes the key."""
        if not values:
            return
        words = np.frombuffer(b"".join(values), np.uint64).reshape(-1, 2)
        fresh = np.fromiter(values.values(), np.uint32, len(values))
        order, hashes, at, known = self._locate(words)
        words, fresh = words[order], fresh[order]
        self._values[at[known]] = fresh[known]
        added = ~known & (fresh != 0)
        self._hashes = np.insert(self._hashes, at[added], hashes[added])
        self._words = np.insert(self._words, at[added], words[added], axis=0)
        self._values = np.insert(self._values, at[added], fresh[added])
        if not fresh.all():
            kept = self._values != 0
            self._hashes, self._words = self._hashes[kept], self._words[kept]
            self._values = self._values[kept]

    def find(self, rows: NDArray[np.uint8]) -> NDArray[np.uint32]:
        """Values, shape (N,), of keys as bytes, shape (N, 16); 0 for missing keys."""
        if not len(self._hashes):
            return np.zeros(len(rows), np.uint32)
        words = np.ascontiguousarray(rows).view(np.uint64)
        at = np.searchsorted(self._hashes, self._hash(words))
        at[at == len(self._hashes)] = 0
        same = (self._words[at, 0] == words[:, 0]) & (self._words[at, 1] == words[:, 1])
        return np.where(same, self._values[at], np.uint32(0))

    def _locate(
        self, words: U64
    ) -> tuple[NDArray[np.intp], U64, NDArray[np.intp], NDArray[np.bool_]]:
        """Order of keys by hash, their sorted hashes, insertion points, and mask of known keys."""
        while True:
            hashes = self._hash(words)
            order = np.argsort(hashes)
            hashes = hashes[order]
            at = np.searchsorted(self._hashes, hashes)
            met = np.zeros(len(hashes), np.bool_)
            inside = at < len(self._hashes)
            met[inside] = self._hashes[at[inside]] == hashes[inside]
            same = (self._words[at[met]] == words[order[met]]).all()
            if same and (hashes[1:] != hashes[:-1]).all():
                return order, hashes, at, met
            self._redraw()

    def _redraw(self) -> None:
        """Draw hash factors until all hashes are distinct."""
        while True:
            self._factors = _draw()
            hashes = self._hash(self._words)
            order = np.argsort(hashes)
            self._hashes, self._words = hashes[order], self._words[order]
            self._values = self._values[order]
            if (self._hashes[1:] != self._hashes[:-1]).all():
                return

    def _hash(self, words: U64) -> U64:
        value = words[:, 0] * self._factors[0]
        value ^= value >> np.uint64(32)
        value += words[:, 1]
        value *= self._factors[1]
        return value ^ (value >> np.uint64(32))


def _draw() -> U64:
    return np.array([secrets.randbits(64) | 1 for _ in range(2)], np.uint64)
