"""Pack address, port and protocol into three uint64 words, and compare or hash N of them at once.

Such a triple is an endpoint tuple: one end of a connection. Two of them are the connection's
5-tuple.
"""

import secrets
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from flowd.pipeline.sorted_index import U64, Slots

_FACTORS = np.array([secrets.randbits(64) | 1 for _ in range(3)], np.uint64)


def pack_endpoints(
    addresses: NDArray[np.uint8], ports: NDArray[np.uint16], protocols: NDArray[np.uint8]
) -> U64:
    """Pack N endpoint tuples into words.

    Args:
        addresses: shape (N, 16); IPv4 as ::ffff:a.b.c.d.
        ports, protocols: shape (N,).

    Returns:
        Shape (N, 3): two words of address, then `port << 8 | protocol`.
    """
    words = np.empty((len(ports), 3), np.uint64)
    words[:, :2] = np.ascontiguousarray(addresses).view(np.uint64)
    words[:, 2] = ports.astype(np.uint64) << np.uint64(8) | protocols
    return words


def hash_pairs(near: U64, far: U64) -> U64:
    """Hash N 5-tuples, shape (N,); (near, far) and (far, near) have the same hash."""
    return hash_endpoints(near) + hash_endpoints(far)


def same_endpoints(left: U64, right: U64) -> NDArray[np.bool_]:
    """Compare N packed endpoint tuples with N others, shape (N, 3) each; a mask of shape (N,)."""
    same = left[:, 0] == right[:, 0]
    same &= left[:, 1] == right[:, 1]
    same &= left[:, 2] == right[:, 2]
    return same


def hash_endpoints(words: U64) -> U64:
    """Hash N packed endpoint tuples, shape (N, 3), to shape (N,).

    The factors are random for each process, so that a peer cannot choose colliding ports. The
    finalizer is that of SplitMix64.
    """
    value = words[:, 0] * _FACTORS[0]
    value += words[:, 1] * _FACTORS[1]
    value += words[:, 2] * _FACTORS[2]
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return value ^ (value >> np.uint64(31))


@dataclass(frozen=True, slots=True)
class EndpointPairs:
    """N 5-tuples and the time span in which each was in use: the keys of a table lookup.

    Attributes:
        near, far: packed endpoint tuples, shape (N, 3); `near` is the initiator.
        start_ns, end_ns: Unix time, nanoseconds, shape (N,).
    """

    near: U64
    far: U64
    start_ns: NDArray[np.int64]
    end_ns: NDArray[np.int64]

    def __getitem__(self, rows: Slots) -> "EndpointPairs":
        return EndpointPairs(
            self.near[rows], self.far[rows], self.start_ns[rows], self.end_ns[rows]
        )
