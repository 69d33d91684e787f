"""Metadata of an access-log entry: custom tags, dynamic metadata, filter state."""

from functools import lru_cache
from typing import Any

from google.protobuf.message import DecodeError
from google.protobuf.struct_pb2 import ListValue, Struct, Value
from google.protobuf.wrappers_pb2 import StringValue

from flowd.accesslog.keys import known_field
from flowd.accesslog.metadata import NAMESPACES, read_metadata
from flowd.model.metadata import Metadata
from flowd.wire.als.als_pb2 import DynamicMetadata, StateObject

_MARKS = tuple(name.encode() for name in NAMESPACES)
_LONGEST = 4096
_MOST = 64
_DEPTH = 6
_WORDS = {"filter_chain": "filter_chain", "listener": "listener", "virtual_host": "vhost"}


def entry_metadata(
    tags: tuple[tuple[str, str], ...], metadata: bytes, states: tuple[bytes, ...]
) -> Metadata | None:
    """What an entry's custom tags, dynamic metadata and filter state say of its route, or None."""
    size = len(metadata) + sum(map(len, states)) + sum(len(tag) + len(text) for tag, text in tags)
    return (_cached if size <= _LONGEST else _read)(tags, metadata, states)


def _read(
    tags: tuple[tuple[str, str], ...], metadata: bytes, states: tuple[bytes, ...]
) -> Metadata | None:
    names: list[str] = []
    values: list[Any] = []
    for tag, value in tags:
        what = _what(tag) if len(tag) <= 128 else ""
        if (what or value[:1] in ("{", "[", "/")) and len(values) < _MOST:
            names.append(what)
            values.append(value)
    if _is_told(metadata):
        values += _namespaces(metadata)
    for raw in states[:_MOST]:
        if _is_told(raw):
            values += _state(raw)
    names += [""] * (len(values) - len(names))
    return read_metadata(names, values) if values else None


_cached = lru_cache(1024)(_read)


@lru_cache(1024)
def _what(tag: str) -> str:
    """What a tag holds, by its name without a prefix such as `flowd.`."""
    key = tag.rpartition(".")[2]
    if word := _WORDS.get(key):
        return word
    field = known_field(key)
    return field.target.split(":", 2)[1] if field and field.target.startswith("metadata:") else ""


def _is_told(raw: bytes) -> bool:
    return bool(raw) and len(raw) <= _LONGEST and any(mark in raw for mark in _MARKS)


@lru_cache(1024)
def _namespaces(raw: bytes) -> list[Any]:
    try:
        found = DynamicMetadata.FromString(raw).namespaces
    except DecodeError:
        return []
    return [_plain_struct(found[name], _DEPTH) for name in NAMESPACES if name in found]


@lru_cache(1024)
def _state(raw: bytes) -> list[Any]:
    try:
        state = StateObject.FromString(raw)
        if state.value.type_url.endswith("/google.protobuf.StringValue"):
            return [StringValue.FromString(state.value.value).value]
        if state.value.type_url.endswith("/google.protobuf.Struct"):
            return [_plain_struct(Struct.FromString(state.value.value), _DEPTH)]
    except DecodeError:
        pass
    return []


def _plain_struct(struct: Struct, depth: int) -> dict[str, Any]:
    return {key: _plain(value, depth - 1) for key, value in struct.fields.items()}


def _plain(value: Value, depth: int) -> Any:
    if depth > 0 and value.HasField("struct_value"):
        return _plain_struct(value.struct_value, depth)
    if depth > 0 and value.HasField("list_value"):
        return _plain_list(value.list_value, depth)
    return value.string_value


def _plain_list(values: ListValue, depth: int) -> list[Any]:
    return [_plain(value, depth - 1) for value in values.values]
