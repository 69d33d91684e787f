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
PADDING = 64
"""Bytes behind the messages that may be looked at."""
MAX_FIELDS = 1024
"""Most fields of a message: each costs a step, whoever else takes part in it."""
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_U = np.uint64
_STOP, _SEVEN = _U(0x8080808080808080), _U(0x7F7F7F7F7F7F7F7F)
_PAIRS = _U(0x007F007F007F007F), _U(0x00003FFF00003FFF), _U(0x000000000FFFFFFF)
_TWO, _LOW7, _HIGH7, _MORE = _U(0xFFFF), _U(127), _U(0x3F80), _U(0x8080)
_KNOWN = 512  # tags that are told apart, each once of one byte and once of two
_ALL_TAGS = 2 * _KNOWN
# What is known of a field by its tag: the column in the low byte, these, and above them bits to skip
_IS_BYTES, _SEVERAL, _FIXED, _FIXED_LONG, _BAD = (1 << bit for bit in range(8, 13))
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
        padded = self.data + bytes(PADDING + 8)
        self.octets: NDArray[np.uint8] = np.frombuffer(padded, np.uint8)
        self.words: U64 = np.ndarray((len(self.data) + PADDING,), "<u8", padded, strides=(1,))


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
        self._table = np.tile(_WIRE, len(kinds))
        single: list[tuple[int, int, str]] = []
        several: list[tuple[int, int, str]] = []
        for kind, (message, names) in enumerate(kinds):
            descriptor = cast("Descriptor", message.DESCRIPTOR)
            for name, called in names.items():
                field = descriptor.fields_by_name[name]
                wire = _VARINT if field.type in _NUMBERS else _BYTES
                place = kind, kind * _ALL_TAGS + (field.number << 3 | wire), called
                (several if field.is_repeated else single).append(place)
        self._single, self._several = single, several
        for column, (_, tag, _) in enumerate([*single, *several], 1):
            self._table[[tag, tag + _KNOWN]] |= column | (_SEVERAL if column > len(single) else 0)

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
        base = np.repeat(np.arange(len(kinds)) * _ALL_TAGS, counts)
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
            told, value, at, bad = _field(buffer, at, self._table, base)
            column = told & 0xFF
            if np.any(over := at > end):
                bad = over if bad is None else bad | over
            if bad is not None:
                malformed[rows[bad]] = True
                value[bad] = 0
            flat[shift[column] + rows] = value
            if np.bitwise_or.reduce(told) & _SEVERAL:
                many = told & _SEVERAL != 0
                if bad is not None:
                    many &= ~bad
                met.append((column[many], rows[many], value[many]))
            going = at < end
            if bad is not None:
                going &= ~bad
            if not going.all():
                rows, at, end, base = rows[going], at[going], end[going], base[going]
        malformed[rows] = True  # whose fields have no end
        if not met:
            return [(np.zeros(0, np.int64), np.zeros(0, np.int64))] * len(self._several)
        columns, messages, places = (np.concatenate(part) for part in zip(*met, strict=True))
        chosen = [columns == 1 + len(self._single) + each for each in range(len(self._several))]
        return [(messages[which], places[which]) for which in chosen]


def _tags() -> I64:
    """Place in a kind's table, by the first two bytes of a field; the last one is for no tag."""
    first, second = np.arange(1 << 16) & 0xFF, np.arange(1 << 16) >> 8
    wide = first > 127
    tag = np.where(wide, first & 127 | second << 7, first)
    known = np.where(tag < _KNOWN, tag, _KNOWN - 8 | tag & 7) + _KNOWN * wide
    return np.where((tag < 8) | wide & (second > 127), 0, known)


def _wire() -> I64:
    """What the tags alone tell, shape (_ALL_TAGS,)."""
    tag = np.arange(_ALL_TAGS)
    kind = tag & 7
    told = np.where(kind == _BYTES, _IS_BYTES, 0) | np.where(kind & 5, _FIXED, 0)
    told |= np.where(kind == _FIXED64, _FIXED_LONG, 0)
    told |= np.where(np.isin(kind, (_VARINT, _FIXED64, _BYTES, _FIXED32)), 0, _BAD)
    told[0] = _BAD
    return told | np.where(tag < _KNOWN, 8, 16) << _SKIP


_TAGS, _WIRE = _tags(), _wire()


def _field(
    buffer: Buffer, at: I64, table: I64, base: I64
) -> tuple[I64, I64, I64, NDArray[np.bool_] | None]:
    """What the table tells of the field at each place, its value or span, its end.

    The last is which cannot be a field, or None where all can.
    """
    word: U64 = buffer.words[at]
    told: I64 = table[base + _TAGS[(word & _TWO).view(np.int64)]]
    skip = told >> _SKIP
    word = word >> skip.view(np.uint64)
    at = at + (skip >> 3)
    more = word >> _U(7) & _U(1)
    value: I64 = (word & _LOW7 | (word >> _U(1) & _HIGH7) * more).view(np.int64)
    rest = told >> _IS_BYTES_AT & 1
    start = at + 1 + more.view(np.int64)
    end = start + value * rest
    bad = None
    long = word & _MORE == _MORE
    every = int(np.bitwise_or.reduce(told))
    if np.any(long):
        which = np.flatnonzero(long)
        value[which], start[which], wrong = _long(buffer, word[which], at[which], skip[which])
        length = value[which] * rest[which]
        end[which] = start[which] + length
        wrong |= (length < 0) | (length > _LONGEST)
        wrong &= told[which] & _FIXED == 0
        if wrong.any():
            bad = np.zeros(len(at), np.bool_)
            bad[which] = wrong
    if every & _BAD:
        wrong = told & _BAD != 0
        bad = wrong if bad is None else bad | wrong
    if every & _FIXED:
        fixed = np.where(told & _FIXED_LONG != 0, 8, 4)
        end = np.where(told & _FIXED != 0, at + fixed, end)
    return told, value + (start << LENGTH_BITS) * rest, end, bad


def _packed(groups: U64) -> U64:
    """Numbers from bytes of seven bits each, the lowest first."""
    for step, low in enumerate(_PAIRS):
        groups = groups & low | (groups & ~low) >> _U(1 << step)
    return groups


def _long(buffer: Buffer, word: U64, at: I64, skip: I64) -> tuple[I64, I64, NDArray[np.bool_]]:
    """Varints of any size at these places: values modulo 2**64, ends, which are malformed.

    Args:
        word: eight bytes, of which `skip` bits before the number are gone.
    """
    last = ~word & _STOP
    below = (last & (~last + _U(1))) - _U(1)
    size = (np.bitwise_count(below).astype(np.int64) + 1) >> 3
    value = _packed(word & below & _SEVEN).view(np.int64)
    end, wrong = at + size, np.zeros(len(at), np.bool_)
    # Of what was shifted in nothing is known; of eight bytes seven are packed
    if (longest := size > np.minimum(7, 8 - (skip >> 3))).any():
        value[longest], end[longest], wrong[longest] = _longest(buffer, at[longest])
    return value, end, wrong


def _longest(buffer: Buffer, at: I64) -> tuple[I64, I64, NDArray[np.bool_]]:
    """Varints of any size at these places: values modulo 2**64, ends, which are malformed."""
    value, end = np.zeros(len(at), np.uint64), at.copy()
    going = np.ones(len(at), np.bool_)
    for group in range(10):
        octet = buffer.octets[np.minimum(at + group, len(buffer.octets) - 1)].astype(np.uint64)
        value |= ((octet & _U(127)) << _U(7 * group)) * going
        end += going
        going &= octet > 127
    return value.view(np.int64), end, going
