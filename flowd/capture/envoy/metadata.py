"""Read route metadata from an entry's custom tags, dynamic metadata and filter state."""

from functools import lru_cache
from typing import Any

from google.protobuf.message import DecodeError
from google.protobuf.struct_pb2 import ListValue, Struct, Value
from google.protobuf.wrappers_pb2 import StringValue

from flowd.accesslog.keys import known_field
from flowd.accesslog.metadata import NAMESPACES, read_metadata
from flowd.model.metadata import Metadata
from flowd.wire.als.als_pb2 import DynamicMetadata, StateObject

_NAMESPACE_BYTES = tuple(name.encode() for name in NAMESPACES)
_MAX_BYTES = 4096
_MAX_VALUES = 64
_MAX_DEPTH = 6
_TAG_KINDS = {"filter_chain": "filter_chain", "listener": "listener", "virtual_host": "vhost"}


def entry_metadata(
    tags: tuple[tuple[str, str], ...], metadata: bytes, states: tuple[bytes, ...]
) -> Metadata | None:
    """Metadata of the route from one entry, or None; results for small inputs are cached.

    Args:
        tags: custom tags by name.
        metadata: bytes of envoy.config.core.v3.Metadata.
        states: bytes of each filter state object (google.protobuf.Any).
    """
    size = len(metadata) + sum(map(len, states)) + sum(len(tag) + len(text) for tag, text in tags)
    return (_cached if size <= _MAX_BYTES else _read)(tags, metadata, states)


def _read(
    tags: tuple[tuple[str, str], ...], metadata: bytes, states: tuple[bytes, ...]
) -> Metadata | None:
    names: list[str] = []
    values: list[Any] = []
    for tag, value in tags:
        kind = _tag_kind(tag) if len(tag) <= 128 else ""
        if (kind or value[:1] in ("{", "[", "/")) and len(values) < _MAX_VALUES:
            names.append(kind)
            values.append(value)
    if _is_relevant(metadata):
        values += _namespaces(metadata)
    for raw in states[:_MAX_VALUES]:
        if _is_relevant(raw):
            values += _state(raw)
    names += [""] * (len(values) - len(names))
    return read_metadata(names, values) if values else None


_cached = lru_cache(1024)(_read)


@lru_cache(1024)
def _tag_kind(tag: str) -> str:
    """The kind of value in a tag, by its name without a prefix such as `flowd.`; "" if unknown."""
    key = tag.rpartition(".")[2]
    if known := _TAG_KINDS.get(key):
        return known
    field = known_field(key)
    return field.target.split(":", 2)[1] if field and field.target.startswith("metadata:") else ""


def _is_relevant(raw: bytes) -> bool:
    return bool(raw) and len(raw) <= _MAX_BYTES and any(mark in raw for mark in _NAMESPACE_BYTES)


@lru_cache(1024)
def _namespaces(raw: bytes) -> list[Any]:
    try:
        found = DynamicMetadata.FromString(raw).namespaces
    except DecodeError:
        return []
    return [_struct_to_dict(found[name], _MAX_DEPTH) for name in NAMESPACES if name in found]


@lru_cache(1024)
def _state(raw: bytes) -> list[Any]:
    try:
        state = StateObject.FromString(raw)
        if state.value.type_url.endswith("/google.protobuf.StringValue"):
            return [StringValue.FromString(state.value.value).value]
        if state.value.type_url.endswith("/google.protobuf.Struct"):
            return [_struct_to_dict(Struct.FromString(state.value.value), _MAX_DEPTH)]
    except DecodeError:
        pass
    return []


def _struct_to_dict(struct: Struct, depth: int) -> dict[str, Any]:
    return {key: _to_python(value, depth - 1) for key, value in struct.fields.items()}


def _to_python(value: Value, depth: int) -> Any:
    if depth > 0 and value.HasField("struct_value"):
        return _struct_to_dict(value.struct_value, depth)
    if depth > 0 and value.HasField("list_value"):
        return _list_to_python(value.list_value, depth)
    return value.string_value


def _list_to_python(values: ListValue, depth: int) -> list[Any]:
    return [_to_python(value, depth - 1) for value in values.values]
