"""A hash table of short byte spans, looked up for a whole array of spans at once."""

import secrets
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from flowd.capture.envoy.protoscan import I64, PADDING, U64, Buffer, Spans, lengths, starts

_U = np.uint64
_MASKS: U64 = np.array([(1 << 8 * octets) - 1 for octets in range(9)], np.uint64)
_MULTIPLIERS: U64 = np.array([secrets.randbits(64) | 1 for _ in range(PADDING // 8)], np.uint64)


@dataclass(frozen=True, slots=True)
class Lookup:
    """The slot of each span, and whether the slot holds the span's bytes.

    Attributes:
        slots, hits, lengths: shape (N,).
        words: the spans' bytes as columns of 64-bit words, shape (N,) each.
    """

    slots: I64
    hits: NDArray[np.bool_]
    words: list[U64]
    lengths: I64


class SpanCache:
    """A direct-mapped cache: each span has one slot, and a newer span replaces the older one.

    The hash multipliers are random, so a sender cannot construct collisions.

    Args:
        octets: longest span that is cached, in bytes, a multiple of 8, at most PADDING.
        bits: the cache has 2**bits slots.
    """

    def __init__(self, octets: int, bits: int) -> None:
        self.size = 1 << bits
        self._octets = octets
        self._shift = _U(64 - bits)
        self._words = [np.zeros(self.size, np.uint64) for _ in range(octets // 8)]
        self._lengths = np.full(self.size, -1, np.int64)

    def lookup(self, buffer: Buffer, spans: Spans) -> Lookup:
        """Look up spans, shape (N,)."""
        at, size = starts(spans), lengths(spans)
        shortest, longest = int(size.min(initial=0)), int(size.max(initial=0))
        hashed, words = size.view(np.uint64) * _MULTIPLIERS[0], list[U64]()
        for place in range(-(-min(longest, self._octets) // 8)):
            word = buffer.words[at + 8 * place if place else at]
            if shortest < 8 * place + 8:
                word &= _MASKS[np.minimum(np.maximum(size - 8 * place, 0), 8)]
            words.append(word)
            hashed = (hashed ^ word) * _MULTIPLIERS[place]
            hashed ^= hashed >> _U(32)
        slots = (hashed * _MULTIPLIERS[0] >> self._shift).view(np.int64)
        hits = self._lengths[slots] == size
        for word, stored in zip(words, self._words, strict=False):
            hits &= stored[slots] == word
        return Lookup(slots, hits, words, size)

    def store(self, lookup: Lookup, rows: I64) -> tuple[I64, I64]:
        """Store these rows of a lookup, one a slot; returns the stored rows and their slots."""
        rows = rows[lookup.lengths[rows] <= self._octets]
        slots, first = np.unique(lookup.slots[rows], return_index=True)
        rows = rows[first]
        self._lengths[slots] = lookup.lengths[rows]
        for word, stored in zip(lookup.words, self._words, strict=False):
            stored[slots] = word[rows]
        for stored in self._words[len(lookup.words) :]:
            stored[slots] = 0
        return rows, slots
