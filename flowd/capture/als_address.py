"""Addresses and response flags of access-log entries, by their bytes."""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from google.protobuf.message import DecodeError
from numpy.typing import NDArray

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
