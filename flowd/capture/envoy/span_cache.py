"""What short spans of bytes mean, looked up for a whole array of them at once."""

import secrets
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from flowd.capture.envoy.protoscan import I64, PADDING, U64, Buffer, Spans, lengths, starts

_U = np.uint64
_MASKS: U64 = np.array([(1 << 8 * octets) - 1 for octets in range(9)], np.uint64)
_FACTORS: U64 = np.array([secrets.randbits(64) | 1 for _ in range(PADDING // 8)], np.uint64)


@dataclass(frozen=True, slots=True)
class Looked:
    """Spans by their words: places in the cache, and whether it is their bytes that stand there."""

    slots: I64
    known: NDArray[np.bool_]
    words: list[U64]
    lengths: I64


class SpanCache:
    """Places for the bytes of spans, each found by all of its bytes; a newer one takes the place.

    The factors of the places are random, so nobody can send bytes that meet on purpose.

    Args:
        octets: longest span that has a place, a multiple of 8, at most PADDING.
        bits: there are 2**bits places.
    """

    def __init__(self, octets: int, bits: int) -> None:
        self.size = 1 << bits
        self._octets = octets
        self._shift = _U(64 - bits)
        self._words = [np.zeros(self.size, np.uint64) for _ in range(octets // 8)]
        self._lengths = np.full(self.size, -1, np.int64)

    def look(self, buffer: Buffer, spans: Spans) -> Looked:
        """Where each span is, or would be."""
        at, size = starts(spans), lengths(spans)
        shortest, longest = int(size.min(initial=0)), int(size.max(initial=0))
        mixed, words = size.view(np.uint64) * _FACTORS[0], list[U64]()
        for place in range(-(-min(longest, self._octets) // 8)):
            word = buffer.words[at + 8 * place if place else at]
            if shortest < 8 * place + 8:
                word &= _MASKS[np.minimum(np.maximum(size - 8 * place, 0), 8)]
            words.append(word)
            mixed = (mixed ^ word) * _FACTORS[place]
            mixed ^= mixed >> _U(32)
        slots = (mixed * _FACTORS[0] >> self._shift).view(np.int64)
        known = self._lengths[slots] == size
        for word, held in zip(words, self._words, strict=False):
            known &= held[slots] == word
        return Looked(slots, known, words, size)

    def put(self, looked: Looked, rows: I64) -> tuple[I64, I64]:
        """Give these rows of what was looked up their places, one each; those rows and places."""
        rows = rows[looked.lengths[rows] <= self._octets]
        slots, first = np.unique(looked.slots[rows], return_index=True)
        rows = rows[first]
        self._lengths[slots] = looked.lengths[rows]
        for word, held in zip(looked.words, self._words, strict=False):
            held[slots] = word[rows]
        for held in self._words[len(looked.words) :]:
            held[slots] = 0
        return rows, slots
