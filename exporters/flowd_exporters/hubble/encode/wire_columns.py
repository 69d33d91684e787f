"""Protobuf fields that are as wide in every row, as arrays of bytes of shape (rows, width).

A varint here may carry empty groups at its end to fill its width, which the format allows
(https://protobuf.dev/programming-guides/encoding/#varints).
"""

from functools import lru_cache
from typing import Any

import numpy as np
from google.protobuf.message import Message
from numpy.typing import NDArray

from flowd.model.enums import Protocol
from flowd.model.records.flow import FlowRows

Bytes2d = NDArray[np.uint8]

PORTS = {Protocol.TCP: "TCP", Protocol.UDP: "UDP", Protocol.SCTP: "SCTP"}
"""Protocols with ports, and their names in Layer4."""

_HEX = np.frombuffer(bytes(range(256)).hex().encode(), np.uint8).reshape(256, 2)
_SHORT = [bytes([number]) for number in range(128)]
_DIGITS = [place for place in range(36) if place not in (8, 13, 18, 23)]
_SEQ_BITS = 46


def field_numbers(message: type[Message]) -> dict[str, int]:
    """The fields of a message."""
    return {name: field.number for name, field in message.DESCRIPTOR.fields_by_name.items()}


def varint(number: int) -> bytes:
    """A number as protobuf writes it."""
    if number <= 0x7F:
        return _SHORT[number]
    groups = bytearray()
    while number > 0x7F:
        groups.append(number & 0x7F | 0x80)
        number >>= 7
    groups.append(number)
    return bytes(groups)


@lru_cache(256)
def tag(field: int) -> bytes:
    """What stands before a field of bytes, apart from its length."""
    return varint(field << 3 | 2)


def tagged(field: int, value: bytes, more: int = 0) -> bytes:
    """A field of bytes of which `more` follow after value."""
    return tag(field) + varint(len(value) + more) + value


def _columns(rows: NDArray[Any], *pieces: bytes | Bytes2d) -> Bytes2d:
    """Pieces side by side, of shape (rows, bytes); bytes are the same in every row."""
    widths = [len(piece) if isinstance(piece, bytes) else piece.shape[1] for piece in pieces]
    whole = np.empty((len(rows), sum(widths)), np.uint8)
    at = 0
    for piece, width in zip(pieces, widths, strict=True):
        fixed = np.frombuffer(piece, np.uint8) if isinstance(piece, bytes) else piece
        whole[:, at : at + width] = fixed
        at += width
    return whole


def _padded(numbers: NDArray[np.integer], width: int) -> Bytes2d:
    """Varints of `width` bytes each, of shape (rows, width)."""
    shifts = np.arange(width, dtype=np.uint64) * np.uint64(7)
    groups = (numbers.astype(np.uint64)[:, None] >> shifts & np.uint64(0x7F)).astype(np.uint8)
    groups[:, :-1] |= 0x80
    return groups


def times(rows: FlowRows, field: int, before: bytes = b"") -> Bytes2d:
    """A field of type Timestamp."""
    seconds, nanos = np.divmod(rows["time_ns"], np.uint64(10**9))
    start = before + tag(field) + b"\x0c\x08"
    return _columns(rows, start, _padded(seconds, 5), b"\x10", _padded(nanos, 5))


def ports(rows: FlowRows) -> list[bytes]:
    """The ports of a TCP, UDP or SCTP message; nothing in other rows."""
    columns = _columns(
        rows, b"\x08", _padded(rows["src_port"], 3), b"\x10", _padded(rows["dst_port"], 3)
    )
    return only(columns, np.isin(rows["protocol"], list(PORTS)))


def counts(rows: FlowRows, bytes_: bytes, packets: bytes) -> Bytes2d:
    """Bytes and packets as doubles, each after its entry's head."""
    return _columns(rows, bytes_, _doubles(rows["bytes"]), packets, _doubles(rows["packets"]))


def doubles(values: NDArray[np.integer], before: bytes) -> Bytes2d:
    """Numbers as doubles after the same bytes."""
    return _columns(values, before, _doubles(values))


def _doubles(values: NDArray[np.integer]) -> Bytes2d:
    return values.astype("<f8").view(np.uint8).reshape(-1, 8)


def numbers64(values: NDArray[np.uint64], field: int) -> Bytes2d:
    """A field of type uint64."""
    return _columns(values, varint(field << 3), _padded(values, 10))


def heads(sizes: NDArray[np.int64], ends: NDArray[np.int64], flow: int) -> list[bytes]:
    """gRPC's prefix, then tag and length of `flow`."""
    whole = (sizes + 5 + ends).astype(">u4").view(np.uint8).reshape(-1, 4)
    found = np.empty((len(sizes), 10), np.uint8)
    found[:, 0] = 0
    found[:, 1:5] = whole
    found[:, 5] = flow << 3 | 2
    found[:, 6:] = _padded(sizes, 4)
    return as_bytes(found)


def as_bytes(columns: Bytes2d) -> list[bytes]:
    return columns.view(f"V{columns.shape[1]}").ravel().tolist()


def only(columns: Bytes2d, chosen: NDArray[np.bool_]) -> list[bytes]:
    """Chosen rows as bytes; nothing for the others."""
    parts = as_bytes(columns)
    if chosen.all():
        return parts
    return [part if keep else b"" for part, keep in zip(parts, chosen.tolist(), strict=True)]


def lengths(rows: int, parts: list[list[bytes]]) -> NDArray[np.int64]:
    """How long every row is that lies in parts, of shape (rows,)."""
    whole = np.zeros(rows, np.int64)
    for part in parts:
        whole += np.fromiter(map(len, part), np.int64, rows)
    return whole


def uuids(rows: FlowRows, node: int, field: int) -> Bytes2d:
    """A field with the text of `flow_uuid`, row by row."""
    millis, nanos = np.divmod(rows["time_ns"], np.uint64(10**6))
    numbers = np.empty((len(rows), 2), ">u8")
    fraction = (nanos << np.uint64(12)) // np.uint64(10**6)
    numbers[:, 0] = millis << np.uint64(16) | np.uint64(0x7000) | fraction
    sequence = rows["seq"] & np.uint64((1 << _SEQ_BITS) - 1)
    numbers[:, 1] = sequence | np.uint64(2 << 62 | node << _SEQ_BITS)
    text = np.full((len(rows), 36), ord("-"), np.uint8)
    text[:, _DIGITS] = _HEX[numbers.view(np.uint8).reshape(-1, 16)].reshape(-1, 32)
    return _columns(rows, tag(field) + b"\x24", text)
