"""Protobuf fields of a fixed width for many rows at once: byte arrays of shape (rows, width).

Varints are padded to a fixed width with empty continuation groups, which decoders accept
(https://protobuf.dev/programming-guides/encoding/#varints).
"""

from functools import lru_cache
from typing import Any

import numpy as np
from google.protobuf.message import Message
from numpy.typing import NDArray

from flowd.model.enums import Protocol
from flowd.model.records.flow import FlowRows

ByteColumns = NDArray[np.uint8]
"""Shape (rows, width)."""

PORTS = {Protocol.TCP: "TCP", Protocol.UDP: "UDP", Protocol.SCTP: "SCTP"}
"""Field names in flow.Layer4 of the protocols with ports."""

_HEX = np.frombuffer(bytes(range(256)).hex().encode(), np.uint8).reshape(256, 2)
_SHORT = [bytes([number]) for number in range(128)]
_DIGITS = [place for place in range(36) if place not in (8, 13, 18, 23)]
_SEQ_BITS = 46


def field_numbers(message: type[Message]) -> dict[str, int]:
    """Field numbers of a message by name."""
    return {name: field.number for name, field in message.DESCRIPTOR.fields_by_name.items()}


def varint(number: int) -> bytes:
    """A non-negative number as varint."""
    if number <= 0x7F:
        return _SHORT[number]
    groups = bytearray()
    while number > 0x7F:
        groups.append(number & 0x7F | 0x80)
        number >>= 7
    groups.append(number)
    return bytes(groups)


@lru_cache(256)
def tag_bytes(field: int) -> bytes:
    """Tag of a field of wire type LEN."""
    return varint(field << 3 | 2)


def length_delimited(field: int, value: bytes, more: int = 0) -> bytes:
    """A field of wire type LEN: tag, length, value.

    Args:
        more: number of bytes of the field that follow after value.
    """
    return tag_bytes(field) + varint(len(value) + more) + value


def _join_columns(rows: NDArray[Any], *pieces: bytes | ByteColumns) -> ByteColumns:
    """Pieces side by side, shape (rows, bytes); a piece of type bytes is equal in every row."""
    widths = [len(piece) if isinstance(piece, bytes) else piece.shape[1] for piece in pieces]
    whole = np.empty((len(rows), sum(widths)), np.uint8)
    at = 0
    for piece, width in zip(pieces, widths, strict=True):
        fixed = np.frombuffer(piece, np.uint8) if isinstance(piece, bytes) else piece
        whole[:, at : at + width] = fixed
        at += width
    return whole


def _padded_varints(numbers: NDArray[np.integer], width: int) -> ByteColumns:
    """Varints of `width` bytes each, shape (rows, width)."""
    shifts = np.arange(width, dtype=np.uint64) * np.uint64(7)
    groups = (numbers.astype(np.uint64)[:, None] >> shifts & np.uint64(0x7F)).astype(np.uint8)
    groups[:, :-1] |= 0x80
    return groups


def timestamp_fields(rows: FlowRows, field: int, before: bytes = b"") -> ByteColumns:
    """Fields of type Timestamp from the column time_ns, after the bytes `before`."""
    seconds, nanos = np.divmod(rows["time_ns"], np.uint64(10**9))
    start = before + tag_bytes(field) + b"\x0c\x08"
    return _join_columns(
        rows, start, _padded_varints(seconds, 5), b"\x10", _padded_varints(nanos, 5)
    )


def port_fields(rows: FlowRows) -> list[bytes]:
    """source_port and destination_port of TCP, UDP and SCTP rows; empty for other rows."""
    columns = _join_columns(
        rows,
        b"\x08",
        _padded_varints(rows["src_port"], 3),
        b"\x10",
        _padded_varints(rows["dst_port"], 3),
    )
    return masked_rows(columns, np.isin(rows["protocol"], list(PORTS)))


def count_entries(rows: FlowRows, bytes_: bytes, packets: bytes) -> ByteColumns:
    """Struct entries of the columns bytes and packets.

    Args:
        bytes_, packets: heads of the two entries, from `number_entry`.
    """
    return _join_columns(rows, bytes_, _doubles(rows["bytes"]), packets, _doubles(rows["packets"]))


def double_entries(values: NDArray[np.integer], head: bytes) -> ByteColumns:
    """Struct entries of numbers, each after the head from `number_entry`."""
    return _join_columns(values, head, _doubles(values))


def _doubles(values: NDArray[np.integer]) -> ByteColumns:
    return values.astype("<f8").view(np.uint8).reshape(-1, 8)


def uint64_fields(values: NDArray[np.uint64], field: int) -> ByteColumns:
    """Fields of type uint64."""
    return _join_columns(values, varint(field << 3), _padded_varints(values, 10))


def frame_heads(sizes: NDArray[np.int64], ends: NDArray[np.int64], flow: int) -> list[bytes]:
    """gRPC's length prefix, then tag and length of the field `flow`.

    Args:
        sizes, ends: bytes of each flow and bytes after it, shape (rows,).
        flow: field number.
    """
    whole = (sizes + 5 + ends).astype(">u4").view(np.uint8).reshape(-1, 4)
    heads = np.empty((len(sizes), 10), np.uint8)
    heads[:, 0] = 0
    heads[:, 1:5] = whole
    heads[:, 5] = flow << 3 | 2
    heads[:, 6:] = _padded_varints(sizes, 4)
    return rows_as_bytes(heads)


def rows_as_bytes(columns: ByteColumns) -> list[bytes]:
    """Each row of an array as bytes."""
    return columns.view(f"V{columns.shape[1]}").ravel().tolist()


def masked_rows(columns: ByteColumns, mask: NDArray[np.bool_]) -> list[bytes]:
    """Each row as bytes; empty where the mask of shape (rows,) is false."""
    parts = rows_as_bytes(columns)
    if mask.all():
        return parts
    return [part if keep else b"" for part, keep in zip(parts, mask.tolist(), strict=True)]


def row_lengths(rows: int, parts: list[list[bytes]]) -> NDArray[np.int64]:
    """Length of each row over all parts in bytes, shape (rows,)."""
    whole = np.zeros(rows, np.int64)
    for part in parts:
        whole += np.fromiter(map(len, part), np.int64, rows)
    return whole


def uuid_fields(rows: FlowRows, node: int, field: int) -> ByteColumns:
    """Fields with the text of `flowd.filter.uuid7.flow_uuid`."""
    millis, nanos = np.divmod(rows["time_ns"], np.uint64(10**6))
    numbers = np.empty((len(rows), 2), ">u8")
    fraction = (nanos << np.uint64(12)) // np.uint64(10**6)
    numbers[:, 0] = millis << np.uint64(16) | np.uint64(0x7000) | fraction
    sequence = rows["seq"] & np.uint64((1 << _SEQ_BITS) - 1)
    numbers[:, 1] = sequence | np.uint64(2 << 62 | node << _SEQ_BITS)
    text = np.full((len(rows), 36), ord("-"), np.uint8)
    text[:, _DIGITS] = _HEX[numbers.view(np.uint8).reshape(-1, 16)].reshape(-1, 32)
    return _join_columns(rows, tag_bytes(field) + b"\x24", text)
