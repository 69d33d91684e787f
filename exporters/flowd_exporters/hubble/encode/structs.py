"""google.protobuf.Struct on the wire, without its classes
(https://protobuf.dev/reference/protobuf/google.protobuf/#struct).
"""

import struct
from collections.abc import Mapping
from typing import TypeAlias

from flowd_exporters.hubble.encode.wire_columns import tagged

Value: TypeAlias = int | str | list[str] | dict[str, str]

double = struct.Struct("<d").pack
"""A number as it stands in a Value."""


def serialize(fields: Mapping[str, Value]) -> bytes:
    """A Struct, its keys in order."""
    return b"".join([entry(key, fields[key]) for key in sorted(fields)])


def entry(key: str, value: Value) -> bytes:
    """Struct.fields[key]."""
    return tagged(1, tagged(1, key.encode()) + tagged(2, _value(value)))


def number_entry(key: str) -> bytes:
    """Struct.fields[key] with a number, up to its 8 bytes."""
    name = key.encode()
    inner = b"\x0a" + bytes([len(name)]) + name + b"\x12\x09\x11"
    return b"\x0a" + bytes([len(inner) + 8]) + inner


def _value(value: Value) -> bytes:
    if isinstance(value, str):
        return tagged(3, value.encode(errors="replace"))
    if isinstance(value, int):
        return b"\x11" + double(value)
    if isinstance(value, dict):
        return tagged(5, serialize(value))
    return tagged(6, b"".join([tagged(1, _value(one)) for one in value]))
