"""Scan selected fields of many protobuf messages: one numpy step reads a field of each message.

Encoding: protobuf.dev/programming-guides/encoding.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias, cast

import numpy as np
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from numpy.typing import NDArray

I64: TypeAlias = NDArray[np.int64]
U64: TypeAlias = NDArray[np.uint64]
Spans: TypeAlias = I64
"""Byte ranges of a buffer: start << 24 | length; 0 for an absent one."""

LENGTH_BITS = 24
_LONGEST = (1 << LENGTH_BITS) - 1
PADDING = 64
"""Zero bytes after the messages, which may be read."""
MAX_FIELDS = 1024
"""Most fields of a message; each costs a step, even if only one message has it."""
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_U = np.uint64
_STOP, _SEVEN = _U(0x8080808080808080), _U(0x7F7F7F7F7F7F7F7F)
_PAIRS = _U(0x007F007F007F007F), _U(0x00003FFF00003FFF), _U(0x000000000FFFFFFF)
_TWO, _LOW7, _HIGH7, _MORE = _U(0xFFFF), _U(127), _U(0x3F80), _U(0x8080)
_KNOWN = 512  # distinct tags, each with an entry for its encoding in one byte and one for two
_ALL_TAGS = 2 * _KNOWN
# Table entry of a tag: the column in the low byte, these flags, and the bits to skip from _SKIP on
_IS_BYTES, _REPEATED, _FIXED, _FIXED_LONG, _BAD = (1 << bit for bit in range(8, 13))
_SKIP = 32
_IS_BYTES_AT = 8
_NUMBERS = frozenset(
    (
        FieldDescriptor.TYPE_BOOL,
        FieldDescriptor.TYPE_ENUM,
        FieldDescriptor.TYPE_INT32,
        FieldDescriptor.TYPE_INT64,
        FieldDescriptor.TYPE_UINT32,
        FieldDescriptor.TYPE_UINT64,
    )
)


def starts(spans: Spans) -> I64:
    """Offset of the first byte of each span."""
    return spans >> LENGTH_BITS


def lengths(spans: Spans) -> I64:
    """Length of each span in bytes."""
    return spans & _LONGEST


class Buffer:
    """Concatenated messages, readable as 64-bit words from any byte on.

    Attributes:
        spans: of the messages, shape (messages,).
        octets: the bytes and padding, uint8.
        words: little-endian word that begins at each byte, uint64.
    """

    def __init__(self, messages: Sequence[bytes]) -> None:
        self.data = b"".join(messages)
        sizes: I64 = np.fromiter(map(len, messages), np.int64, len(messages))
        self.spans: Spans = (np.cumsum(sizes) - sizes) << LENGTH_BITS | sizes
        padded = self.data + bytes(PADDING + 8)
        self.octets: NDArray[np.uint8] = np.frombuffer(padded, np.uint8)
        self.words: U64 = np.ndarray((len(self.data) + PADDING,), "<u8", padded, strides=(1,))


@dataclass(frozen=True, slots=True)
class ScanResult:
    """Fields of the scanned messages, by name.

    Attributes:
        values: number of each message, or span of its bytes; 0 where the field is absent. The last
            occurrence of a field counts.
        repeated: for repeated fields, the index of the message and the span of each occurrence.
        malformed: whether each message is malformed, shape (messages,), kind after kind.
    """

    values: dict[str, I64]
    repeated: dict[str, tuple[I64, Spans]]
    malformed: NDArray[np.bool_]


class Scanner:
    """Scans selected fields of one or more message types in the same steps.

    Args:
        kinds: for each message type, the fields to read and the names of their columns. A varint
            field gives its number; a field of bytes, text or a message gives its span.
    """

    def __init__(self, kinds: Sequence[tuple[type[Message], Mapping[str, str]]]) -> None:
        self._table = np.tile(_BY_WIRE_TYPE, len(kinds))
        single: list[tuple[int, int, str]] = []
        repeated_fields: list[tuple[int, int, str]] = []
        for kind, (message, names) in enumerate(kinds):
            descriptor = cast("Descriptor", message.DESCRIPTOR)
            for name, column_name in names.items():
                field = descriptor.fields_by_name[name]
                wire = _VARINT if field.type in _NUMBERS else _BYTES
                location = kind, kind * _ALL_TAGS + (field.number << 3 | wire), column_name
                (repeated_fields if field.is_repeated else single).append(location)
        self._single, self._repeated = single, repeated_fields
        for column, (_, tag, _) in enumerate([*single, *repeated_fields], 1):
            self._table[[tag, tag + _KNOWN]] |= column | (_REPEATED if column > len(single) else 0)

    def scan(self, buffer: Buffer, kinds: Sequence[Spans]) -> ScanResult:
        """Scan the messages in these spans, one array a message type."""
        counts = [len(spans) for spans in kinds]
        total, first = sum(counts), np.cumsum([0, *counts])
        spans = np.concatenate(kinds)
        # Column 0 collects the values of fields that are not selected
        sizes = [total, *(counts[kind] for kind, _, _ in self._single)]
        begin = np.cumsum([0, *sizes])
        flat = np.zeros(int(begin[-1]), np.int64)
        shift = np.zeros(1 + len(self._single) + len(self._repeated), np.int64)
        for column, (kind, _, _) in enumerate(self._single, 1):
            shift[column] = begin[column] - first[kind]
        base = np.repeat(np.arange(len(kinds)) * _ALL_TAGS, counts)
        malformed = np.zeros(total, np.bool_)
        occurrences = self._steps(buffer, spans, base, shift, flat, malformed)
        values = {
            name: flat[begin[column] : begin[column + 1]]
            for column, (_, _, name) in enumerate(self._single, 1)
        }
        repeated = {
            name: (rows - first[kind], found)
            for (kind, _, name), (rows, found) in zip(self._repeated, occurrences, strict=True)
        }
        return ScanResult(values, repeated, malformed)

    def _steps(
        self,
        buffer: Buffer,
        spans: Spans,
        base: I64,
        shift: I64,
        flat: I64,
        malformed: NDArray[np.bool_],
    ) -> list[tuple[I64, Spans]]:
        """Fill `flat` and `malformed`; returns the messages and spans of each repeated field."""
        rows = np.flatnonzero(lengths(spans))
        at = starts(spans)[rows]
        end, base = at + lengths(spans)[rows], base[rows]
        occurrences: list[tuple[I64, I64, Spans]] = []
        for _ in range(MAX_FIELDS):
            if not len(rows):
                break
            entry, value, at, bad = _field(buffer, at, self._table, base)
            column = entry & 0xFF
            if np.any(over := at > end):
                bad = over if bad is None else bad | over
            if bad is not None:
                malformed[rows[bad]] = True
                value[bad] = 0
            flat[shift[column] + rows] = value
            if np.bitwise_or.reduce(entry) & _REPEATED:
                is_repeated = entry & _REPEATED != 0
                if bad is not None:
                    is_repeated &= ~bad
                occurrences.append((column[is_repeated], rows[is_repeated], value[is_repeated]))
            active = at < end
            if bad is not None:
                active &= ~bad
            if not active.all():
                rows, at, end, base = rows[active], at[active], end[active], base[active]
        malformed[rows] = True  # messages with more than MAX_FIELDS fields
        if not occurrences:
            return [(np.zeros(0, np.int64), np.zeros(0, np.int64))] * len(self._repeated)
        columns, messages, places = (
            np.concatenate(part) for part in zip(*occurrences, strict=True)
        )
        selections = [
            columns == 1 + len(self._single) + each for each in range(len(self._repeated))
        ]
        return [(messages[which], places[which]) for which in selections]


def _tags() -> I64:
    """Index into a type's table by the first two bytes of a field; entry 0 is for invalid tags."""
    first, second = np.arange(1 << 16) & 0xFF, np.arange(1 << 16) >> 8
    wide = first > 127
    tag = np.where(wide, first & 127 | second << 7, first)
    known = np.where(tag < _KNOWN, tag, _KNOWN - 8 | tag & 7) + _KNOWN * wide
    return np.where((tag < 8) | wide & (second > 127), 0, known)


def _by_wire_type() -> I64:
    """Table entries by wire type alone, shape (_ALL_TAGS,)."""
    tag = np.arange(_ALL_TAGS)
    kind = tag & 7
    entry = np.where(kind == _BYTES, _IS_BYTES, 0) | np.where(kind & 5, _FIXED, 0)
    entry |= np.where(kind == _FIXED64, _FIXED_LONG, 0)
    entry |= np.where(np.isin(kind, (_VARINT, _FIXED64, _BYTES, _FIXED32)), 0, _BAD)
    entry[0] = _BAD
    return entry | np.where(tag < _KNOWN, 8, 16) << _SKIP


_TAGS, _BY_WIRE_TYPE = _tags(), _by_wire_type()


def _field(
    buffer: Buffer, at: I64, table: I64, base: I64
) -> tuple[I64, I64, I64, NDArray[np.bool_] | None]:
    """Read the field at each offset.

    Returns:
        table entry, value or span, and offset of the end, shape (N,) each; whether the field is
        malformed, shape (N,), or None if none is.
    """
    word: U64 = buffer.words[at]
    entry: I64 = table[base + _TAGS[(word & _TWO).view(np.int64)]]
    skip = entry >> _SKIP
    word = word >> skip.view(np.uint64)
    at = at + (skip >> 3)
    more = word >> _U(7) & _U(1)
    value: I64 = (word & _LOW7 | (word >> _U(1) & _HIGH7) * more).view(np.int64)
    has_length = entry >> _IS_BYTES_AT & 1
    start = at + 1 + more.view(np.int64)
    end = start + value * has_length
    bad = None
    long = word & _MORE == _MORE
    combined = int(np.bitwise_or.reduce(entry))
    if np.any(long):
        which = np.flatnonzero(long)
        value[which], start[which], wrong = _long_varints(
            buffer, word[which], at[which], skip[which]
        )
        length = value[which] * has_length[which]
        end[which] = start[which] + length
        wrong |= (length < 0) | (length > _LONGEST)
        wrong &= entry[which] & _FIXED == 0
        if wrong.any():
            bad = np.zeros(len(at), np.bool_)
            bad[which] = wrong
    if combined & _BAD:
        wrong = entry & _BAD != 0
        bad = wrong if bad is None else bad | wrong
    if combined & _FIXED:
        fixed = np.where(entry & _FIXED_LONG != 0, 8, 4)
        end = np.where(entry & _FIXED != 0, at + fixed, end)
    return entry, value + (start << LENGTH_BITS) * has_length, end, bad


def _packed(groups: U64) -> U64:
    """Join the seven-bit groups of a word's bytes, lowest first, to one number."""
    for step, low in enumerate(_PAIRS):
        groups = groups & low | (groups & ~low) >> _U(1 << step)
    return groups


def _long_varints(
    buffer: Buffer, word: U64, at: I64, skip: I64
) -> tuple[I64, I64, NDArray[np.bool_]]:
    """Read varints of any size: values modulo 2**64, end offsets, whether each is malformed.

    Args:
        word: eight bytes, shifted right by `skip` bits to the varint.
    """
    last = ~word & _STOP
    below = (last & (~last + _U(1))) - _U(1)
    size = (np.bitwise_count(below).astype(np.int64) + 1) >> 3
    value = _packed(word & below & _SEVEN).view(np.int64)
    end, wrong = at + size, np.zeros(len(at), np.bool_)
    # The shifted-in bytes are unknown, and _packed joins at most seven groups
    if (longest := size > np.minimum(7, 8 - (skip >> 3))).any():
        value[longest], end[longest], wrong[longest] = _varints_by_byte(buffer, at[longest])
    return value, end, wrong


def _varints_by_byte(buffer: Buffer, at: I64) -> tuple[I64, I64, NDArray[np.bool_]]:
    """Read varints byte by byte: values modulo 2**64, end offsets, whether each is malformed."""
    value, end = np.zeros(len(at), np.uint64), at.copy()
    active = np.ones(len(at), np.bool_)
    for group in range(10):
        octet = buffer.octets[np.minimum(at + group, len(buffer.octets) - 1)].astype(np.uint64)
        value |= ((octet & _U(127)) << _U(7 * group)) * active
        end += active
        active &= octet > 127
    return value.view(np.int64), end, active
