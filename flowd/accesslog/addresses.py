"""Addresses of access-log entries that came lately, each read once."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

Scalar = TypeVar("Scalar", bound=np.generic)
Read = tuple[bytes, int, bool]
MAX_KNOWN = 65_536
LONGEST = 256
"""Most characters or bytes of an address that is remembered."""


class Addresses:
    """Addresses by number.

    Args:
        read: 16 bytes and port of what stands in an entry, and whether it was malformed.
        none: what stands there for no address.
        odd: what is read in place of what is too long or no text.

    Attributes:
        packed: 16 bytes, shape (N, 16); all zero where there is none, and for pipes.
        ports: shape (N,).
        bad: whether it was no address, shape (N,).
    """

    def __init__(self, read: Callable[[Any], Read], none: Any, odd: Any) -> None:
        self._read, self._none, self._odd = read, none, odd
        self._known: dict[Any, int] = {}
        self._clear()

    def _clear(self) -> None:
        self._known.clear()
        self.packed = np.zeros((1024, 16), np.uint8)
        self.ports = np.zeros(1024, np.uint16)
        self.bad = np.zeros(1024, np.bool_)
        self._add([self._none, self._odd])

    def make_room(self, count: int) -> None:
        """Let so many new ones be numbered without an older number losing its meaning."""
        if len(self._known) + count > MAX_KNOWN:
            self._clear()

    def numbers(self, every: Sequence[Any]) -> NDArray[np.int64]:
        """A number for each, which tells its place in the other attributes; 0 for none."""
        try:
            found = list(map(self._known.get, every))
        except TypeError:  # objects and lists among them
            return self.numbers([self._sound(value) for value in every])
        if None in found:
            every = [self._sound(value) for value in every]
            self._add([value for value in dict.fromkeys(every) if value not in self._known])
            found = list(map(self._known.get, every))
        return np.array(found, np.int64)

    def _sound(self, value: Any) -> Any:
        if value is None or value.__class__ is int:
            return value
        if value.__class__ in (str, bytes) and len(value) <= LONGEST:
            return value
        return self._odd

    def _add(self, every: Sequence[Any]) -> None:
        if not every:
            return
        first = len(self._known)
        end = first + len(every)
        if end > len(self.ports):
            size = max(end, 2 * len(self.ports))
            self.packed = _grown(self.packed, (size, 16))
            self.ports, self.bad = _grown(self.ports, (size,)), _grown(self.bad, (size,))
        packed, self.ports[first:end], self.bad[first:end] = zip(
            *map(self._read, every), strict=True
        )
        self.packed[first:end] = np.frombuffer(b"".join(packed), np.uint8).reshape(-1, 16)
        self._known.update(zip(every, range(first, end), strict=True))


def _grown(column: NDArray[Scalar], shape: tuple[int, ...]) -> NDArray[Scalar]:
    grown = np.zeros(shape, column.dtype)
    grown[: len(column)] = column
    return grown
