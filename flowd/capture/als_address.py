"""Addresses and response flags of access-log entries, by their bytes."""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from google.protobuf.message import DecodeError
from numpy.typing import NDArray

from flowd.capture.protoscan import I64
from flowd.model.address import NONE, pack
from flowd.wire.als.als_pb2 import Addr, Flags

MAX_KNOWN = 65_536
LONGEST = 256
"""Most bytes of an Address or ResponseFlags: caches keep what they are asked for."""


class Addresses:
    """Addresses that came lately, by number.

    Attributes:
        packed: 16 bytes, shape (N, 16); all zero where there is none, and for pipes.
        ports: shape (N,).
        bad: whether it was no address, shape (N,).
    """

    def __init__(self) -> None:
        self._known: dict[bytes, int] = {}
        self._clear()

    def _clear(self) -> None:
        self._known.clear()
        self.packed = np.zeros((1024, 16), np.uint8)
        self.ports = np.zeros(1024, np.uint16)
        self.bad = np.zeros(1024, np.bool_)
        self._put(0, b"")

    def make_room(self, count: int) -> None:
        """Let so many new ones be numbered without an older number losing its meaning."""
        if len(self._known) + count > MAX_KNOWN:
            self._clear()

    def numbers(self, every: Sequence[bytes]) -> I64:
        """A number for each Address message, which tells its place in the other attributes."""
        found = list(map(self._known.get, every))
        if None in found:
            for place, raw in enumerate(every):
                if found[place] is None:
                    found[place] = self._add(raw if len(raw) <= LONGEST else b"\xff")
        return np.array(found, np.int64)

    def _add(self, raw: bytes) -> int:
        if raw in self._known:
            return self._known[raw]
        number = len(self._known)
        if number == len(self.ports):
            self.packed = np.concatenate([self.packed, np.zeros_like(self.packed)])
            self.ports = np.concatenate([self.ports, np.zeros_like(self.ports)])
            self.bad = np.concatenate([self.bad, np.zeros_like(self.bad)])
        self._put(number, raw)
        return number

    def _put(self, number: int, raw: bytes) -> None:
        packed, self.ports[number], self.bad[number] = address(raw)
        self.packed[number] = np.frombuffer(packed, np.uint8)
        self._known[raw] = number


def address(raw: bytes) -> tuple[bytes, int, bool]:
    """16 bytes and port of an Address message, and whether it was none; pipes are all zero."""
    try:
        socket = Addr.FromString(raw).socket
        packed = pack(socket.address) if socket.address else NONE
    except (DecodeError, ValueError):
        return NONE, 0, True
    return (packed, socket.port, False) if socket.port < 1 << 16 else (packed, 0, True)


@lru_cache(4096)
def _flags(raw: bytes) -> int:
    try:
        fields = Flags.FromString(raw).ListFields()
    except DecodeError:
        return -1
    return sum(1 << field.number - 1 for field, _ in fields)


def response_flags(every: Sequence[bytes]) -> NDArray[np.int64]:
    """Bit sets of ResponseFlags messages, as in RESPONSE_FLAGS; -1 for those that are none."""
    return np.array([_flags(raw) if len(raw) <= LONGEST else -1 for raw in every], np.int64)
