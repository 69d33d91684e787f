"""Serialize google.protobuf.Struct without its message classes
(https://protobuf.dev/reference/protobuf/google.protobuf/#struct).
"""

import struct
from collections.abc import Mapping
from typing import TypeAlias

from flowd_exporters.hubble.encode.wire_columns import length_delimited

StructValue: TypeAlias = int | str | list[str] | dict[str, str]

double = struct.Struct("<d").pack
"""number_value of google.protobuf.Value, without its tag."""


def serialize(fields: Mapping[str, StructValue]) -> bytes:
    """Wire form of a Struct, sorted by key."""
    return b"".join([entry(key, fields[key]) for key in sorted(fields)])


def entry(key: str, value: StructValue) -> bytes:
    """Wire form of one entry of Struct.fields."""
    return length_delimited(
        1, length_delimited(1, key.encode()) + length_delimited(2, _value(value))
    )


def number_entry(key: str) -> bytes:
    """Wire form of an entry with a number, up to the number's 8 bytes, which come last."""
    name = key.encode()
    inner = b"\x0a" + bytes([len(name)]) + name + b"\x12\x09\x11"
    return b"\x0a" + bytes([len(inner) + 8]) + inner


def _value(value: StructValue) -> bytes:
    if isinstance(value, str):
        return length_delimited(3, value.encode(errors="replace"))
    if isinstance(value, int):
        return b"\x11" + double(value)
    if isinstance(value, dict):
        return length_delimited(5, serialize(value))
    return length_delimited(6, b"".join([length_delimited(1, _value(one)) for one in value]))
