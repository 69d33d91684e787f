"""Intern the addresses of access-log entries, so that each distinct one is parsed once."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

Scalar = TypeVar("Scalar", bound=np.generic)
Parsed = tuple[bytes, int, bool]
MAX_INTERNED = 65_536
MAX_LENGTH = 256
"""Most characters or bytes of an interned value."""


class AddressInterner:
    """Assigns an id to each distinct raw address; ids index the columns of parsed addresses.

    Args:
        parse: gives 16 bytes, port, and whether the raw value is malformed.
        none: raw value of an absent address; its id is 0.
        invalid: raw value that stands for every value that is too long or of another type.

    Attributes:
        packed: addresses, shape (N, 16), uint8; zero for an absent address and a pipe.
        ports: shape (N,), uint16.
        malformed: shape (N,).
    """

    def __init__(self, parse: Callable[[Any], Parsed], none: Any, invalid: Any) -> None:
        self._parse, self._none, self._invalid = parse, none, invalid
        self._ids: dict[Any, int] = {}
        self._clear()

    def _clear(self) -> None:
        self._ids.clear()
        self.packed = np.zeros((1024, 16), np.uint8)
        self.ports = np.zeros(1024, np.uint16)
        self.malformed = np.zeros(1024, np.bool_)
        self._add([self._none, self._invalid])

    def reserve(self, count: int) -> None:
        """Make room for `count` new values; this can invalidate all ids given so far."""
        if len(self._ids) + count > MAX_INTERNED:
            self._clear()

    def intern(self, values: Sequence[Any]) -> NDArray[np.int64]:
        """Ids of raw values, shape (N,); 0 for an absent address."""
        try:
            ids = list(map(self._ids.get, values))
        except TypeError:  # unhashable objects and lists among the values
            return self.intern([self._valid(value) for value in values])
        if None in ids:
            values = [self._valid(value) for value in values]
            self._add([value for value in dict.fromkeys(values) if value not in self._ids])
            ids = list(map(self._ids.get, values))
        return np.array(ids, np.int64)

    def _valid(self, value: Any) -> Any:
        if value is None or value.__class__ is int:
            return value
        if value.__class__ in (str, bytes) and len(value) <= MAX_LENGTH:
            return value
        return self._invalid

    def _add(self, values: Sequence[Any]) -> None:
        if not values:
            return
        first = len(self._ids)
        end = first + len(values)
        if end > len(self.ports):
            size = max(end, 2 * len(self.ports))
            self.packed = _grown(self.packed, (size, 16))
            self.ports = _grown(self.ports, (size,))
            self.malformed = _grown(self.malformed, (size,))
        packed, self.ports[first:end], self.malformed[first:end] = zip(
            *map(self._parse, values), strict=True
        )
        self.packed[first:end] = np.frombuffer(b"".join(packed), np.uint8).reshape(-1, 16)
        self._ids.update(zip(values, range(first, end), strict=True))


def _grown(column: NDArray[Scalar], shape: tuple[int, ...]) -> NDArray[Scalar]:
    grown = np.zeros(shape, column.dtype)
    grown[: len(column)] = column
    return grown
