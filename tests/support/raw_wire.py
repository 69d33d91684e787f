"""Encode and decode Protobuf's wire format by field number, without descriptors.

https://protobuf.dev/programming-guides/encoding/
"""

from typing import TypeAlias

Field: TypeAlias = "tuple[int, int | float | str | bytes | list[Field]]"
Raw: TypeAlias = dict[int, list[int | bytes]]


def varint(number: int) -> bytes:
    out = bytearray()
    number &= 0xFFFFFFFFFFFFFFFF
    while number >= 0x80:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def message(*fields: Field) -> bytes:
    """A message of (number, value): ints as varints, the rest length-delimited."""
    out = b""
    for number, value in fields:
        if isinstance(value, int):
            out += varint(number << 3) + varint(value)
        else:
            if isinstance(value, list):
                data = message(*value)
            else:
                data = value if isinstance(value, bytes) else str(value).encode()
            out += varint(number << 3 | 2) + varint(len(data)) + data
    return out


def parse(data: bytes) -> Raw:
    """Values by field number; 64-bit and 32-bit values stay bytes."""
    found: Raw = {}
    at = 0

    def number() -> int:
        nonlocal at
        value = shift = 0
        while True:
            byte = data[at]
            at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    while at < len(data):
        key = number()
        match key & 7:
            case 0:
                value: int | bytes = number()
            case 2:
                size = number()
                value = data[at : at + size]
                at += size
            case 1 | 5 as kind:
                size = 8 if kind == 1 else 4
                value = data[at : at + size]
                at += size
            case other:
                raise ValueError(f"wire type {other}")
        found.setdefault(key >> 3, []).append(value)
    return found


def one(raw: Raw, *path: int) -> int | bytes | None:
    """The last value at a path of field numbers."""
    for number in path[:-1]:
        inner = raw.get(number)
        if not inner or not isinstance(inner[-1], bytes):
            return None
        raw = parse(inner[-1])
    values = raw.get(path[-1])
    return values[-1] if values else None


def text(raw: Raw, *path: int) -> str:
    """The string at a path of field numbers, or ""."""
    value = one(raw, *path)
    return value.decode() if isinstance(value, bytes) else ""
