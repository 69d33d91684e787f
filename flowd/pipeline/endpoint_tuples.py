"""Sockets as numbers that are compared and hashed at once, and pairs of them."""

import secrets
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from flowd.pipeline.sorted_index import U64, Slots

_FACTORS = np.array([secrets.randbits(64) | 1 for _ in range(3)], np.uint64)


def sockets(
    addresses: NDArray[np.uint8], ports: NDArray[np.uint16], protocols: NDArray[np.uint8]
) -> U64:
    """Addresses (N, 16), ports and protocols (N,) as comparable numbers, shape (N, 3)."""
    words = np.empty((len(ports), 3), np.uint64)
    words[:, :2] = np.ascontiguousarray(addresses).view(np.uint64)
    words[:, 2] = ports.astype(np.uint64) << np.uint64(8) | protocols
    return words


def pair_hash(near: U64, far: U64) -> U64:
    """A number for each pair of sockets, the same for (near, far) and (far, near)."""
    return mix(near) + mix(far)


def same_sockets(these: U64, those: U64) -> NDArray[np.bool_]:
    """Which of N sockets, shape (N, 3) each, are the same."""
    same = these[:, 0] == those[:, 0]
    same &= these[:, 1] == those[:, 1]
    same &= these[:, 2] == those[:, 2]
    return same


def mix(words: U64) -> U64:
    """A number for each of N sockets, shape (N, 3)."""
    value = words[:, 0] * _FACTORS[0]
    value += words[:, 1] * _FACTORS[1]
    value += words[:, 2] * _FACTORS[2]
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return value ^ (value >> np.uint64(31))


@dataclass(frozen=True, slots=True)
class Pairs:
    """N pairs of sockets, shape (N, 3) each, and when they were in use, Unix ns, shape (N,).

    `near` is the initiator's.
    """

    near: U64
    far: U64
    start_ns: NDArray[np.int64]
    end_ns: NDArray[np.int64]

    def __getitem__(self, rows: Slots) -> "Pairs":
        return Pairs(self.near[rows], self.far[rows], self.start_ns[rows], self.end_ns[rows])
