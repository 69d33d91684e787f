"""Addresses and response flags of access-log entries, by their bytes."""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from google.protobuf.message import DecodeError
from numpy.typing import NDArray

from flowd.accesslog.addresses import Addresses
from flowd.capture.envoy.entry import Entries
from flowd.capture.envoy.protoscan import Spans
from flowd.capture.envoy.span_cache import SpanCache
from flowd.model.address import NONE, pack
from flowd.wire.als.als_pb2 import Addr, Flags

LONGEST = 256
"""Most bytes of ResponseFlags: caches keep what they are asked for."""


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


class Peers:
    """Addresses and ports of Address messages, of those that came lately without reading again."""

    def __init__(self) -> None:
        self._known = Addresses(address, b"", b"\xff")
        self._cache = SpanCache(48, 13)
        self._packed = np.zeros((self._cache.size, 2), np.uint64)
        self._ports = np.zeros(self._cache.size, np.uint16)
        self._bad = np.zeros(self._cache.size, np.bool_)

    def read(
        self, entries: Entries, spans: Spans
    ) -> tuple[NDArray[np.uint8], NDArray[np.uint16], NDArray[np.bool_]]:
        """16 bytes each, shape (N, 16), ports, and which were none; zero for no span and pipes."""
        if not spans.any():
            return (
                np.zeros((len(spans), 16), np.uint8),
                np.zeros(len(spans), np.uint16),
                np.zeros(len(spans), np.bool_),
            )
        looked = self._cache.look(entries.buffer, spans)
        slots = looked.slots
        packed, ports, bad = self._packed[slots], self._ports[slots], self._bad[slots]
        if not looked.known.all():
            missed = np.flatnonzero(~looked.known)
            self._known.make_room(len(missed))
            numbers = self._known.numbers(entries.octets_of(spans[missed]))
            packed[missed] = self._known.packed[numbers].view(np.uint64)
            ports[missed], bad[missed] = self._known.ports[numbers], self._known.bad[numbers]
            put, places = self._cache.put(looked, missed)
            self._packed[places], self._ports[places] = packed[put], ports[put]
            self._bad[places] = bad[put]
        return packed.view(np.uint8), ports, bad
