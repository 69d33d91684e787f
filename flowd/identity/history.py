"""History of address reuse: the endpoints that addresses had before."""

from collections import deque

import numpy as np
from numpy.typing import NDArray

KEEP_NS = 10 * 60 * 10**9
MAX_CHANGES = 65_536


class AddressHistory:
    """Earlier endpoints of addresses with the time of change.

    Bounded by age (KEEP_NS) and number (MAX_CHANGES) of changes.
    """

    def __init__(self) -> None:
        self._changes: deque[tuple[int, bytes, int]] = deque()
        self._by_address: dict[bytes, list[tuple[int, int]]] = {}
        self._newest = 0

    def add(self, address: bytes, index: int, until_ns: int) -> None:
        """Record that an endpoint had an address (16 bytes) until `until_ns` (Unix nanoseconds)."""
        self._changes.append((until_ns, address, index))
        self._by_address.setdefault(address, []).append((until_ns, index))
        self._newest = max(self._newest, until_ns)

    def expire(self, now_ns: int) -> None:
        """Remove the changes over the bounds of age and number."""
        changes = self._changes
        while changes and (changes[0][0] < now_ns - KEEP_NS or len(changes) > MAX_CHANGES):
            _, address, _ = changes.popleft()
            left = self._by_address[address][1:]
            if left:
                self._by_address[address] = left
            else:
                del self._by_address[address]

    def restore(
        self,
        found: NDArray[np.uint32],
        rows: NDArray[np.uint8],
        times: NDArray[np.uint64],
    ) -> None:
        """Replace endpoint indices in place by those valid at the given times.

        Args:
            found: current endpoint indices, shape (N,).
            rows: addresses, shape (N, 16).
            times: Unix nanoseconds, shape (N,); 0 when unknown.
        """
        for row in np.flatnonzero((times < np.uint64(self._newest)) & (times > 0)).tolist():
            before = self._by_address.get(rows[row].tobytes())
            if before:
                when = int(times[row])
                found[row] = next((index for until, index in before if when < until), found[row])
