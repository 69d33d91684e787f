"""Decode Address and ResponseFlags messages of access-log entries, with caches by their bytes."""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from google.protobuf.message import DecodeError
from numpy.typing import NDArray

from flowd.accesslog.addresses import AddressInterner
from flowd.capture.envoy.entry import EntryColumns
from flowd.capture.envoy.protoscan import Spans
from flowd.capture.envoy.span_cache import SpanCache
from flowd.model.address import NONE, pack
from flowd.wire.als.als_pb2 import Addr, Flags

MAX_FLAGS_BYTES = 256
"""Longest ResponseFlags message; the cache keeps its keys, so they must be short."""


def decode_address(raw: bytes) -> tuple[bytes, int, bool]:
    """Decode an envoy.config.core.v3.Address: 16 bytes, port, and whether it is malformed.

    A pipe gives a zero address.
    """
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


def response_flags(messages: Sequence[bytes]) -> NDArray[np.int64]:
    """Bits of ResponseFlags messages, in RESPONSE_FLAGS' order, shape (N,); -1 if malformed."""
    return np.array(
        [_flags(raw) if len(raw) <= MAX_FLAGS_BYTES else -1 for raw in messages], np.int64
    )


class AddressCache:
    """Decodes Address messages; recently decoded ones are found by their bytes."""

    def __init__(self) -> None:
        self._interner = AddressInterner(decode_address, b"", b"\xff")
        self._cache = SpanCache(48, 13)
        self._packed = np.zeros((self._cache.size, 2), np.uint64)
        self._ports = np.zeros(self._cache.size, np.uint16)
        self._malformed = np.zeros(self._cache.size, np.bool_)

    def read(
        self, entries: EntryColumns, spans: Spans
    ) -> tuple[NDArray[np.uint8], NDArray[np.uint16], NDArray[np.bool_]]:
        """Decode the Address message in each span.

        Returns:
            addresses, shape (N, 16), uint8; ports and whether each is malformed, shape (N,).
            An empty span and a pipe give a zero address.
        """
        if not spans.any():
            return (
                np.zeros((len(spans), 16), np.uint8),
                np.zeros(len(spans), np.uint16),
                np.zeros(len(spans), np.bool_),
            )
        lookup = self._cache.lookup(entries.buffer, spans)
        slots = lookup.slots
        packed, ports, malformed = self._packed[slots], self._ports[slots], self._malformed[slots]
        if not lookup.hits.all():
            missed, interner = np.flatnonzero(~lookup.hits), self._interner
            interner.reserve(len(missed))
            ids = interner.intern(entries.bytes_at(spans[missed]))
            packed[missed] = interner.packed[ids].view(np.uint64)
            ports[missed], malformed[missed] = interner.ports[ids], interner.malformed[ids]
            stored, slots = self._cache.store(lookup, missed)
            self._packed[slots], self._ports[slots] = packed[stored], ports[stored]
            self._malformed[slots] = malformed[stored]
        return packed.view(np.uint8), ports, malformed
