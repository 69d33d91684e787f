"""Fields of many protobuf messages, read by whole-array steps: one step a field, not a message.

Source of the encoding: protobuf.dev/programming-guides/encoding.
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
"""Where bytes are: start << 24 | length; 0 for none."""

LENGTH_BITS = 24
_LONGEST = (1 << LENGTH_BITS) - 1
_TAGS = 512
MAX_FIELDS = 1024
"""Most fields of a message: each costs a step, whoever else takes part in it."""
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_U = np.uint64
_STOP, _SEVEN = _U(0x8080808080808080), _U(0x7F7F7F7F7F7F7F7F)
_PAIRS = _U(0x007F007F007F007F), _U(0x00003FFF00003FFF), _U(0x000000000FFFFFFF)
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
    """First byte of each span."""
    return spans >> LENGTH_BITS


def lengths(spans: Spans) -> I64:
    """Bytes of each span."""
    return spans & _LONGEST


class Buffer:
    """Messages one after the other, to be looked at from any byte on."""

    def __init__(self, messages: Sequence[bytes]) -> None:
        self.data = b"".join(messages)
        sizes: I64 = np.fromiter(map(len, messages), np.int64, len(messages))
        self.spans: Spans = (np.cumsum(sizes) - sizes) << LENGTH_BITS | sizes
        padded = self.data + bytes(16)
        self.octets: NDArray[np.uint8] = np.frombuffer(padded, np.uint8)
        self.words: U64 = np.ndarray((len(self.data) + 8,), "<u8", padded, strides=(1,))


@dataclass(frozen=True, slots=True)
class Found:
    """What a scan found, by name of the field.

    Attributes:
        values: of each message the number, or the span of the bytes; 0 where the field is absent.
            Of a field that is there several times the last counts.
        every: of fields that are repeated: the messages, by index, and the spans.
        malformed: which messages are none, shape (messages,), kind after kind.
    """

    values: dict[str, I64]
    every: dict[str, tuple[I64, Spans]]
    malformed: NDArray[np.bool_]


class Scanner:
    """Reads chosen fields of one or more kinds of messages in the same steps.

    Args:
        kinds: for each kind its type and the fields to read, by name: a number (varint), or
            bytes, text or a message, of which the span is told.
    """

    def __init__(self, kinds: Sequence[tuple[type[Message], Mapping[str, str]]]) -> None:
        self._table = np.zeros(len(kinds) * _TAGS, np.int64)
        single: list[tuple[int, int, str]] = []
        several: list[tuple[int, int, str]] = []
        for kind, (message, names) in enumerate(kinds):
            descriptor = cast("Descriptor", message.DESCRIPTOR)
            for name, called in names.items():
                field = descriptor.fields_by_name[name]
                wire = _VARINT if field.type in _NUMBERS else _BYTES
                place = kind, kind * _TAGS + (field.number << 3 | wire), called
                (several if field.is_repeated else single).append(place)
        self._single, self._several = single, several
        for column, (_, tag, _) in enumerate([*single, *several], 1):
            self._table[tag] = column

    def scan(self, buffer: Buffer, kinds: Sequence[Spans]) -> Found:
        """Read the messages at these places, an array of spans a kind."""
        counts = [len(spans) for spans in kinds]
        total, first = sum(counts), np.cumsum([0, *counts])
        spans = np.concatenate(kinds)
        # Column 0 takes what nobody reads; each other one is as long as its kind has messages
        sizes = [total, *(counts[kind] for kind, _, _ in self._single)]
        begin = np.cumsum([0, *sizes])
        flat = np.zeros(int(begin[-1]), np.int64)
        shift = np.zeros(1 + len(self._single) + len(self._several), np.int64)
        for column, (kind, _, _) in enumerate(self._single, 1):
            shift[column] = begin[column] - first[kind]
        base = np.repeat(np.arange(len(kinds)) * _TAGS, counts)
        malformed = np.zeros(total, np.bool_)
        repeated = self._steps(buffer, spans, base, shift, flat, malformed)
        values = {
            name: flat[begin[column] : begin[column + 1]]
            for column, (_, _, name) in enumerate(self._single, 1)
        }
        every = {
            name: (rows - first[kind], found)
            for (kind, _, name), (rows, found) in zip(self._several, repeated, strict=True)
        }
        return Found(values, every, malformed)

    def _steps(
        self,
        buffer: Buffer,
        spans: Spans,
        base: I64,
        shift: I64,
        flat: I64,
        malformed: NDArray[np.bool_],
    ) -> list[tuple[I64, Spans]]:
        """Fill `flat` and `malformed`; returns messages and spans of each repeated field."""
        rows = np.flatnonzero(lengths(spans))
        at = starts(spans)[rows]
        end, base = at + lengths(spans)[rows], base[rows]
        met: list[tuple[I64, I64, Spans]] = []
        for _ in range(MAX_FIELDS):
            if not len(rows):
                break
            tag, value, at, bad = _field(buffer, at)
            bad |= at > end
            column = self._table[base + np.minimum(tag, _TAGS - 1)]
            many = column > len(self._single)
            if bad.any():
                malformed[rows[bad]] = True
                value[bad] = 0
                many &= ~bad
            flat[shift[column] + rows] = value
            if many.any():
                met.append((column[many], rows[many], value[many]))
            going = (at < end) & ~bad
            if not going.all():
                rows, at, end, base = rows[going], at[going], end[going], base[going]
        malformed[rows] = True  # whose fields have no end
        if not met:
            return [(np.zeros(0, np.int64), np.zeros(0, np.int64))] * len(self._several)
        columns, messages, places = (np.concatenate(part) for part in zip(*met, strict=True))
        chosen = [columns == 1 + len(self._single) + each for each in range(len(self._several))]
        return [(messages[which], places[which]) for which in chosen]


def _field(buffer: Buffer, at: I64) -> tuple[I64, I64, I64, NDArray[np.bool_]]:
    """Tag, value or span, and end of the field at each place, and whether it cannot be one."""
    word: U64 = buffer.words[at]
    wide = word >> _U(7) & _U(1)
    tag: I64 = (word & _U(127) | (word >> _U(1) & _U(0x3F80)) * wide).view(np.int64)
    bad = (wide & word >> _U(15)).astype(np.bool_)
    word = word >> (_U(8) * wide + _U(8))
    wide = wide.view(np.int64)
    last = ~word & _STOP
    below = (last & (~last + _U(1))) - _U(1)
    size = (np.bitwise_count(below).astype(np.int64) + 1) >> 3
    value = _packed(word & below & _SEVEN).view(np.int64)
    at = at + 1 + wide
    kind = tag & 7
    rest = kind == _BYTES
    start = at + size
    long = size + wide > 7
    if long.any():
        bad |= long & rest
        long &= kind == _VARINT
        value[long], start[long], wrong = _long(buffer, at[long])
        bad[np.flatnonzero(long)[wrong]] = True
    length = value * rest
    end = start + length
    bad |= (length > _LONGEST) | (tag < 8)
    if (odd := kind & 5 != 0).any():
        fixed = np.where(kind == _FIXED64, 8, 4)
        end = np.where(odd, at + fixed, end)
        bad |= odd & (kind != _FIXED64) & (kind != _FIXED32)
    return tag, np.where(rest, start << LENGTH_BITS | length, value), end, bad


def _packed(groups: U64) -> U64:
    """Numbers from bytes of seven bits each, the lowest first."""
    for step, low in enumerate(_PAIRS):
        groups = groups & low | (groups & ~low) >> _U(1 << step)
    return groups


def _long(buffer: Buffer, at: I64) -> tuple[I64, I64, NDArray[np.bool_]]:
    """Varints of any size at these places: values modulo 2**64, ends, which are malformed."""
    value, end = np.zeros(len(at), np.uint64), at.copy()
    going = np.ones(len(at), np.bool_)
    for group in range(10):
        octet = buffer.octets[np.minimum(at + group, len(buffer.octets) - 1)].astype(np.uint64)
        value |= ((octet & _U(127)) << _U(7 * group)) * going
        end += going
        going &= octet > 127
    return value.view(np.int64), end, going
