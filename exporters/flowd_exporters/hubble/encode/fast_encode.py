"""FastFlowEncoder: flow rows to the bytes of GetFlowsResponse messages, a batch at a time.

Most parts of a flow's message repeat from row to row: `FlowEncoder` makes them once, and their
masked wire form is cached by key. The fields that differ in every row (times, id, ports, counts)
have a fixed width here, so that numpy writes them for all rows at once. Only DNS rows need a
message each.
"""

from collections.abc import Callable, Iterator
from functools import lru_cache
from itertools import chain, compress
from typing import cast

import numpy as np
from numpy.typing import NDArray

from flowd.filter.columns import is_http
from flowd.filter.endpoints import utf8
from flowd.filter.uuid7 import node_bits
from flowd.model.directory import Directory
from flowd.model.enums import Nat, Protocol
from flowd.model.records.flow import FlowRows
from flowd.wire.flow.flow_pb2 import IP, TCP, Flow, Layer4
from flowd.wire.observer.observer_pb2 import GetFlowsResponse
from flowd_exporters.h2grpc.service import frame
from flowd_exporters.hubble.encode import http_bytes
from flowd_exporters.hubble.encode.extensions import (
    BYTES,
    ENTRIES,
    PACKETS,
    SOCKET_NUMBERS,
    TYPE_URL,
    sampling_entry,
)
from flowd_exporters.hubble.encode.field_mask import MaskTree, apply_mask
from flowd_exporters.hubble.encode.flow_to_protobuf import (
    IP_VERSION,
    FlowEncoder,
    has_flags,
    source_xlated,
    tcp_flags,
)
from flowd_exporters.hubble.encode.part_keys import key_dtype, packed, static_keys
from flowd_exporters.hubble.encode.row import FlowRow, unpack_columns, unpack_rows
from flowd_exporters.hubble.encode.translation import TRANSLATED, entry_from_columns
from flowd_exporters.hubble.encode.wire_columns import (
    PORTS,
    count_entries,
    double_entries,
    field_numbers,
    frame_heads,
    length_delimited,
    masked_rows,
    port_fields,
    row_lengths,
    rows_as_bytes,
    timestamp_fields,
    uint64_fields,
    uuid_fields,
    varint,
)

_MAX_CACHED = 16384  # parts of a kind, some hundred bytes each
_MAX_SHARED = 4
_VARYING = (
    *("time", "uuid", "IP", "l4", "l7", "trace_context", "extensions"),
    *("source_names", "destination_names", "socket_cookie"),
)


_FIELD = field_numbers(Flow)
_RESPONSE = field_numbers(GetFlowsResponse)
_L4 = field_numbers(Layer4)
_IP = field_numbers(IP)

_REPEATING = key_dtype(
    *("type", "l7_type", "event_type", "sub_type", "verdict", "direction", "observation"),
    *("is_reply", "protocol", "flags", "icmp_type", "icmp_code", "src_endpoint", "dst_endpoint"),
    *("src_identity", "dst_identity", "ifindex", "drop_reason", "tunnel"),
    *("src_process", "dst_process"),
)
_ADDRESSES = key_dtype("family", "src_addr", "dst_addr")
_ADDRESSES_XLATED = key_dtype("family", "src_addr", "dst_addr", "nat", "is_reply", "nat_src_addr")
_TRANSLATION_KEY = key_dtype(*TRANSLATED)


class FastFlowEncoder:
    """Encodes rows as framed GetFlowsResponse messages under one field mask.

    Args:
        tree: fields to keep, from `parse_mask`.
    """

    def __init__(self, directory: Directory, tree: MaskTree) -> None:
        self._directory = directory
        self._tree = tree
        self._encoder = FlowEncoder(directory)
        self._sampling = sampling_entry(directory)
        self._node = node_bits(directory)
        self._names: tuple[dict[int, str], tuple[str, ...]] = ({}, ())
        self._repeating: dict[bytes, bytes] = {}
        self._addresses: dict[bytes, bytes] = {}
        self._static: dict[bytes, bytes] = {}
        self._translated: dict[bytes, bytes] = {}
        self._shared: dict[tuple[int, int], bytes] = {}
        self._columnar = not any(tree.get(name) for name in _VARYING)
        node_name = self._encoder.node_name.encode() if self._wants("node_name") else b""
        self._end = length_delimited(_RESPONSE["node_name"], node_name) if node_name else b""

    def _wants(self, name: str) -> bool:
        return not self._tree or name in self._tree

    def shared(self, position: int, rows: FlowRows) -> bytes:
        """As `encode`, for rows of the ring from a position on; several readers share the result."""
        key = (position, len(rows))
        cached = self._shared.get(key)
        if cached is None:
            cached = self.encode(rows)
            if len(self._shared) >= _MAX_SHARED:
                del self._shared[next(iter(self._shared))]
            self._shared[key] = cached
        return cached

    def encode(self, rows: FlowRows) -> bytes:
        """One framed message a row, joined."""
        if not self._columnar:
            return b"".join(map(frame, self._messages(rows)))
        self._drop_stale_names()
        parts = [self._repeating_parts(rows)]
        if self._wants("l4"):
            parts.append(port_fields(rows))
        if self._wants("time"):
            parts.append(rows_as_bytes(timestamp_fields(rows, _FIELD["time"])))
        if self._wants("uuid"):
            parts.append(rows_as_bytes(uuid_fields(rows, self._node, _FIELD["uuid"])))
        if self._wants("IP"):
            parts.append(self._address_parts(rows))
        if self._wants("extensions"):
            parts += self._extensions(rows)
        parts += self._name_and_cookie_parts(rows)
        parts.append(self._l7_parts(rows))
        ends = (
            [rows_as_bytes(timestamp_fields(rows, _RESPONSE["time"], self._end))]
            if self._wants("time")
            else []
        )
        if not ends and self._end:
            ends = [[self._end] * len(rows)]
        starts = frame_heads(
            row_lengths(len(rows), parts), row_lengths(len(rows), ends), _RESPONSE["flow"]
        )
        return b"".join(chain.from_iterable(zip(starts, *parts, *ends, strict=True)))

    def _drop_stale_names(self) -> None:
        """Clear the parts with interface names and node labels when these changed."""
        names = (self._directory.interfaces, self._directory.node_labels)
        if self._names != names:
            self._names = (dict(names[0]), names[1])
            self._repeating.clear()

    def _messages(self, rows: FlowRows) -> Iterator[GetFlowsResponse]:
        for flow in self._encoder.encode(rows):
            apply_mask(self._tree, flow)
            moment = flow.time if flow.HasField("time") else None
            yield GetFlowsResponse(flow=flow, node_name=flow.node_name, time=moment)

    def _repeating_parts(self, rows: FlowRows) -> list[bytes]:
        return _cached_parts(packed(rows, _REPEATING), rows, self._repeating, self._new_repeating)

    def _new_repeating(self, rows: FlowRows) -> Iterator[bytes]:
        """The repeating fields of each row, then the head of `l4`, which the ports follow."""
        flows = self._encoder.encode(rows)
        for row, flow in zip(unpack_rows(rows), flows, strict=True):
            for name in _VARYING:
                if name != "l4" or row.protocol in PORTS:
                    flow.ClearField(cast("str", name))  # type: ignore[arg-type]
            if row.l7_type:
                flow.ClearField("Summary")
            apply_mask(self._tree, flow)
            head = _l4_head(row) if row.protocol in PORTS and self._wants("l4") else b""
            yield flow.SerializeToString() + head

    def _address_parts(self, rows: FlowRows) -> list[bytes]:
        columns = _ADDRESSES_XLATED if (rows["nat"] == Nat.BEFORE).any() else _ADDRESSES
        return _cached_parts(packed(rows, columns), rows, self._addresses, _new_addresses)

    def _extensions(self, rows: FlowRows) -> list[list[bytes]]:
        parts = [_cached_parts(static_keys(rows), rows, self._static, self._new_static)]
        places = np.flatnonzero(rows["nat"])
        if len(places):
            parts.append(self._translations(rows[places], places, len(rows)))
        counted = rows["packets"] > 0
        if counted.any():
            parts.append(masked_rows(count_entries(rows, BYTES, PACKETS), counted))
            if self._sampling:
                parts.append([self._sampling if one else b"" for one in counted.tolist()])
        for column in SOCKET_NUMBERS:
            values = rows[column]
            if values.any():
                parts.append(masked_rows(double_entries(values, ENTRIES[column]), values > 0))
        sizes = row_lengths(len(rows), parts).tolist()
        return [[_extension_head(size) if size else b"" for size in sizes], *parts]

    def _new_static(self, rows: FlowRows) -> Iterator[bytes]:
        return map(self._encoder.extensions.static_part, unpack_rows(rows))

    def _translations(self, rows: FlowRows, places: NDArray[np.intp], count: int) -> list[bytes]:
        """The entry `translation` of `count` rows; only the rows at `places` may have one."""
        parts = [b""] * count
        entries = _cached_parts(
            packed(rows, _TRANSLATION_KEY), rows, self._translated, _new_translations
        )
        for place, part in zip(places.tolist(), entries, strict=True):
            parts[place] = part
        return parts

    def _name_and_cookie_parts(self, rows: FlowRows) -> Iterator[list[bytes]]:
        """`source_names`, `destination_names` and `socket_cookie`."""
        for field, column in (("source_names", "src_name"), ("destination_names", "dst_name")):
            named = rows[column].astype(np.bool_)
            if named.any() and self._wants(field):
                texts = rows[column].tolist()
                yield [_name(_FIELD[field], text) if text else b"" for text in texts]
        cookies = np.where(rows["src_cookie"] > 0, rows["src_cookie"], rows["dst_cookie"])
        if cookies.any() and self._wants("socket_cookie"):
            yield masked_rows(uint64_fields(cookies, _FIELD["socket_cookie"]), cookies > 0)

    def _l7_parts(self, rows: FlowRows) -> list[bytes]:
        """`l7`, `trace_context` and the Summary of L7 rows."""
        parts = [b""] * len(rows)
        has_l7 = (rows["l7_type"] != 0) | rows["trace_id"].astype(np.bool_)
        http = is_http(rows)
        places = np.flatnonzero(has_l7 & http)
        wanted = [self._wants(name) for name in ("l7", "trace_context", "Summary")]
        columns = unpack_columns(rows[places], http_bytes.COLUMNS)
        for place, values in zip(places.tolist(), columns, strict=True):
            fields = http_bytes.http_fields(values)
            parts[place] = b"".join(compress(fields, wanted))
        places = np.flatnonzero(has_l7 & ~http)
        if len(places):
            for place, row in zip(places.tolist(), unpack_rows(rows[places]), strict=True):
                flow = self._encoder.l7_part(row)
                apply_mask(self._tree, flow)
                parts[place] = flow.SerializeToString()
        return parts


def _new_addresses(rows: FlowRows) -> Iterator[bytes]:
    """The field `IP` of each row; empty for an unknown family."""
    names = ("family", "src_addr", "dst_addr", "nat", "is_reply", "nat_src_addr")
    for family, src, dst, nat, reply, nat_src in unpack_columns(rows, names):
        if family not in IP_VERSION:
            yield b""
            continue
        xlated = source_xlated(nat, reply, src, nat_src)
        pair = length_delimited(_IP["source"], src.encode()) if src else b""
        pair += length_delimited(_IP["destination"], dst.encode()) if dst else b""
        pair += bytes([_IP["ipVersion"] << 3, IP_VERSION[family]])
        yield length_delimited(
            _FIELD["IP"],
            pair + length_delimited(_IP["source_xlated"], xlated.encode()) if xlated else pair,
        )


def _new_translations(rows: FlowRows) -> Iterator[bytes]:
    return map(entry_from_columns, unpack_columns(rows, TRANSLATED))


@lru_cache(4096)
def _extension_head(size: int) -> bytes:
    """Tag, type URL and lengths before the `size` bytes of a Struct in `extensions`."""
    inner = length_delimited(1, TYPE_URL.encode()) + b"\x12" + varint(size)
    return length_delimited(_FIELD["extensions"], inner, size)


@lru_cache(_MAX_CACHED)
def _name(field: int, text: str) -> bytes:
    return length_delimited(field, utf8(text).encode())


def _l4_head(row: FlowRow) -> bytes:
    """`l4` up to the 8 bytes of the ports."""
    flags = b""
    if row.protocol == Protocol.TCP and has_flags(row):
        message = tcp_flags(row.flags).SerializeToString()
        flags = length_delimited(field_numbers(TCP)["flags"], message)
    inner = length_delimited(_L4[PORTS[Protocol(row.protocol)]], flags, 8)
    return length_delimited(_FIELD["l4"], inner, 8)


def _cached_parts(
    keys: NDArray[np.void],
    rows: FlowRows,
    cache: dict[bytes, bytes],
    make: Callable[[FlowRows], Iterator[bytes]],
) -> list[bytes]:
    """The part of every row, from the cache or else made.

    Args:
        keys: packed key columns, shape (rows,).
        make: encodes the parts of rows with new keys.
    """
    row_keys: list[bytes] = keys.view(f"V{keys.itemsize}").tolist()
    parts = list(map(cache.get, row_keys))
    if None in parts:
        new = {key: place for place, key in enumerate(row_keys) if parts[place] is None}
        made = dict(zip(new, make(rows[list(new.values())]), strict=True))
        if len(cache) + len(made) > _MAX_CACHED:
            cache.clear()
        cache |= made
        parts = [
            made[key] if part is None else part for key, part in zip(row_keys, parts, strict=True)
        ]
    return cast("list[bytes]", parts)
