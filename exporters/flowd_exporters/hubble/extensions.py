"""What flowd knows of a flow beyond Hubble's fields, as `google.protobuf.Struct`.

Only a type that every client can resolve may go into Flow.extensions: the hubble CLI gives up on
others. Keys: `bytes`, `packets`; for routed flows `gateway` (`namespace/name`), `listener`, `route`
(`Kind/namespace/name`), `rule`, `match`, `rule_name`, `reason`, `backend` (`namespace/name:port`),
`attribution`, and `response_flags` (a list); for drops `drop_reason`, the kernel's word. What is
not known is left out.
"""

import struct
from collections.abc import Mapping
from typing import Any

from google.protobuf import any_pb2, struct_pb2

from flowd.model.directory import Directory
from flowd.model.enums import RESPONSE_FLAGS, Attribution
from flowd_exporters.hubble.row import Row

TYPE_URL = "type.googleapis.com/google.protobuf.Struct"
_MOST_CACHED = 65536


def _number_entry(key: str) -> bytes:
    """Wire form of Struct.fields[key] with a number, up to its 8 bytes."""
    name = key.encode()
    inner = b"\x0a" + bytes([len(name)]) + name + b"\x12\x09\x11"
    return b"\x0a" + bytes([len(inner) + 8]) + inner


BYTES = _number_entry("bytes")
PACKETS = _number_entry("packets")
_double = struct.Struct("<d").pack


class Extensions:
    """Makes the extension of a row; what does not change from row to row is made once."""

    def __init__(self, directory: Directory) -> None:
        self._directory = directory
        self._routed: dict[tuple[int, ...], bytes] = {}

    def of(self, row: Row) -> any_pb2.Any | None:
        """The packed Struct, or None when there is nothing to say."""
        value = self.routed(row)
        if row.packets:
            counts = BYTES + _double(row.bytes) + PACKETS + _double(row.packets)
            value += counts
        return any_pb2.Any(type_url=TYPE_URL, value=value) if value else None

    def routed(self, row: Row) -> bytes:
        """Wire form of the Struct's part about the route."""
        key = (row.route, row.backend, row.attribution, row.envoy_flags, row.drop_reason)
        known = self._routed.get(key)
        if known is None:
            if len(self._routed) >= _MOST_CACHED:
                self._routed.clear()
            known = self._routed[key] = _serialize(self.routed_fields(row))
        return known

    def routed_fields(self, row: Row) -> dict[str, str | int | list[str]]:
        """The same as plain values."""
        route = self._directory.routes[row.route]
        backend = self._directory.backends[row.backend]
        flags = [name for bit, name in enumerate(RESPONSE_FLAGS) if row.envoy_flags >> bit & 1]
        found: dict[str, str | int | list[str] | None] = {
            "gateway": route.gateway_id,
            "listener": route.listener,
            "route": route.route_id,
            "rule": route.rule if route.rule >= 0 else None,
            "match": route.match if route.match >= 0 else None,
            "rule_name": route.rule_name,
            "backend": backend.backend_id,
            "attribution": _attribution(row.attribution) if row.attribution else "",
            "response_flags": flags,
            "reason": route.reason,
            "drop_reason": self._directory.drop_reasons[row.drop_reason],
        }
        return {k: v for k, v in found.items() if v is not None and v != "" and v != []}


def _attribution(number: int) -> str:
    try:
        return Attribution(number).name.lower()
    except ValueError:
        return str(number)


def _serialize(fields: Mapping[str, Any]) -> bytes:
    message = struct_pb2.Struct()
    message.update(fields)
    return message.SerializeToString(deterministic=True)
