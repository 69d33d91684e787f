"""Encode messages as proto3 JSON, byte for byte as Hubble's CLI and exporter do.

Proto field names, keys in the declaration order of the .proto, 64-bit integers as strings, zero
values omitted, and `<`, `>`, `&` escaped. `google.protobuf.json_format` writes the same data in the
order of field numbers, without the escapes.
"""

import base64
import math
import time
from collections.abc import Callable, Mapping
from functools import cache, lru_cache
from json.encoder import encode_basestring
from typing import Any, TypeAlias

from google.protobuf import any_pb2, struct_pb2
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass

Text: TypeAlias = Callable[[Any], str]
"""Encodes one value; its type depends on the field's descriptor."""

_ESCAPES = {ord(char): f"\\u{ord(char):04x}" for char in "<>&\u2028\u2029"}
_INTEGERS = {FieldDescriptor.CPPTYPE_INT32, FieldDescriptor.CPPTYPE_UINT32}
_FLOATS = {FieldDescriptor.CPPTYPE_DOUBLE, FieldDescriptor.CPPTYPE_FLOAT}


def flow_to_json(message: Message) -> str:
    """Encode any message on one line.

    An Any of an unknown type becomes `{"@type": ..., "value": base64}`.
    """
    return escape_html(_message(message))


def escape_html(text: str) -> str:
    """Escape `<`, `>`, `&` and the two Unicode line separators in JSON text."""
    if "&" in text or "<" in text or ">" in text or not text.isascii():
        return text.translate(_ESCAPES)
    return text


def timestamp(nanoseconds: int) -> str:
    """A Unix time (nanoseconds) in RFC 3339, UTC, with 0, 3, 6 or 9 digits of fraction."""
    seconds, nanos = divmod(nanoseconds, 1_000_000_000)
    return _second(seconds) + _fraction(nanos) + "Z"


@lru_cache(256)
def _second(seconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))


def _fraction(nanos: int) -> str:
    if not nanos:
        return ""
    if nanos % 1000:
        return f".{nanos:09d}"
    return f".{nanos // 1000:06d}" if nanos % 1_000_000 else f".{nanos // 1_000_000:03d}"


def _message(message: Message) -> str:
    known = _KNOWN.get(message.DESCRIPTOR.full_name)
    if known is not None:
        return known(message)
    plan = _plan(message.DESCRIPTOR)
    parts: list[tuple[int, str]] = []
    for field, value in message.ListFields():
        place, key, text = plan[field.number]
        parts.append((place, key + text(value)))
    parts.sort()
    return "{" + ",".join([part for _, part in parts]) + "}"


@cache
def _plan(descriptor: Descriptor) -> dict[int, tuple[int, str, Text]]:
    """Declaration index, `"name":` and encoder of each field, by field number."""
    return {
        field.number: (field.index, f'"{field.name}":', _field(field))
        for field in descriptor.fields
    }


def _field(field: FieldDescriptor) -> Text:
    entry = field.message_type
    if entry is not None and entry.GetOptions().map_entry:
        text = _value(entry.fields_by_name["value"])
        return lambda values: _object({str(key): text(value) for key, value in values.items()})
    text = _value(field)
    if field.is_repeated:
        return lambda values: "[" + ",".join([text(value) for value in values]) + "]"
    return text


def _value(field: FieldDescriptor) -> Text:
    kind = field.cpp_type
    if kind == FieldDescriptor.CPPTYPE_MESSAGE:
        return _message
    if field.enum_type is not None:
        names = {
            number: f'"{name.name}"' for number, name in field.enum_type.values_by_number.items()
        }
        return lambda value: names.get(value) or str(value)
    if kind == FieldDescriptor.CPPTYPE_BOOL:
        return _bool
    if kind in _FLOATS:
        return _number
    if kind in _INTEGERS:
        return str
    if kind == FieldDescriptor.CPPTYPE_STRING:
        return _base64 if field.type == FieldDescriptor.TYPE_BYTES else encode_basestring
    return _long


def _bool(value: bool) -> str:
    return "true" if value else "false"


def _long(value: int) -> str:
    return f'"{value}"'


def _base64(value: bytes) -> str:
    return f'"{base64.b64encode(value).decode()}"'


def _number(value: float) -> str:
    if not math.isfinite(value):
        return '"NaN"' if math.isnan(value) else '"Infinity"' if value > 0 else '"-Infinity"'
    return str(int(value)) if value.is_integer() and abs(value) < 1e21 else repr(value)


def _object(values: Mapping[str, str]) -> str:
    return "{" + ",".join([f"{encode_basestring(k)}:{values[k]}" for k in sorted(values)]) + "}"


def _timestamp(message: Any) -> str:
    return f'"{timestamp(message.seconds * 1_000_000_000 + message.nanos)}"'


def _wrapper(message: Any) -> str:
    return _value(message.DESCRIPTOR.fields_by_name["value"])(message.value)


def _paths(message: Any) -> str:
    return encode_basestring(",".join(message.paths))


def _any(message: any_pb2.Any) -> str:
    kind = f'"@type":{encode_basestring(message.type_url)}'
    try:
        descriptor = any_pb2.DESCRIPTOR.pool.FindMessageTypeByName(message.TypeName())
        inner = GetMessageClass(descriptor).FromString(message.value)
    except (KeyError, DecodeError):
        return "{" + kind + ',"value":' + _base64(message.value) + "}"
    text = _message(inner)
    if descriptor.full_name in _KNOWN:
        return "{" + kind + ',"value":' + text + "}"
    return "{" + kind + ("," if len(text) > 2 else "") + text[1:]


def _struct(message: struct_pb2.Struct) -> str:
    return _object({key: _struct_value(value) for key, value in message.fields.items()})


def _struct_list(message: struct_pb2.ListValue) -> str:
    return "[" + ",".join([_struct_value(value) for value in message.values]) + "]"


def _struct_value(message: struct_pb2.Value) -> str:
    match message.WhichOneof("kind"):
        case "string_value":
            return encode_basestring(message.string_value)
        case "number_value":
            return _number(message.number_value)
        case "bool_value":
            return _bool(message.bool_value)
        case "struct_value":
            return _struct(message.struct_value)
        case "list_value":
            return _struct_list(message.list_value)
        case _:
            return "null"


_KNOWN: dict[str, Text] = {
    "google.protobuf.Any": _any,
    "google.protobuf.Struct": _struct,
    "google.protobuf.ListValue": _struct_list,
    "google.protobuf.Value": _struct_value,
    "google.protobuf.Timestamp": _timestamp,
    "google.protobuf.FieldMask": _paths,
} | {
    f"google.protobuf.{name}Value": _wrapper
    for name in ("Bool", "Int32", "UInt32", "Int64", "UInt64", "Double", "Float", "String", "Bytes")
}
