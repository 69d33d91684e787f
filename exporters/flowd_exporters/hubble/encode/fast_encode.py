"""Flow rows as the bytes of GetFlows' answers, a batch at a time.

Most of a flow's message repeats from row to row; those parts are made by `FlowEncoder`, masked,
serialised and kept. What differs in every row (times, id, ports, counts) has the same width in
every row here, so that numpy writes it for all rows at once. Only L7 rows need a message each.
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
    scale,
)
from flowd_exporters.hubble.encode.field_mask import Tree, apply_mask
from flowd_exporters.hubble.encode.flow_to_protobuf import (
    IP_VERSION,
    FlowEncoder,
    has_flags,
    source_xlated,
    tcp_flags,
)
from flowd_exporters.hubble.encode.part_keys import key_of, lasting_keys, packed
from flowd_exporters.hubble.encode.row import Row, unpack_columns, unpack_rows
from flowd_exporters.hubble.encode.translation import TRANSLATED, moved_entry
from flowd_exporters.hubble.encode.wire_columns import (
    PORTS,
    as_bytes,
    counts,
    doubles,
    field_numbers,
    heads,
    lengths,
    numbers64,
    only,
    ports,
    tagged,
    times,
    uuids,
    varint,
)

_MOST_KEPT = 16384  # parts of a kind, some hundred bytes each
_MOST_SHARED = 4
_VARYING = (
    *("time", "uuid", "IP", "l4", "l7", "trace_context", "extensions"),
    *("source_names", "destination_names", "socket_cookie"),
)


_FIELD = field_numbers(Flow)
_ANSWER = field_numbers(GetFlowsResponse)
_L4 = field_numbers(Layer4)
_IP = field_numbers(IP)

_REPEATING = key_of(
    *("type", "l7_type", "event_type", "sub_type", "verdict", "direction", "observation"),
    *("is_reply", "protocol", "flags", "icmp_type", "icmp_code", "src_endpoint", "dst_endpoint"),
    *("src_identity", "dst_identity", "ifindex", "drop_reason", "tunnel"),
    *("src_process", "dst_process"),
)
_ADDRESSES = key_of("family", "src_addr", "dst_addr")
_WITH_XLATED = key_of("family", "src_addr", "dst_addr", "nat", "is_reply", "nat_src_addr")
_MOVED = key_of(*TRANSLATED)


class FlowFrames:
    """Makes framed GetFlowsResponse messages of rows under one field mask.

    Args:
        tree: what the mask keeps, of `parse_mask`.
    """

    def __init__(self, directory: Directory, tree: Tree) -> None:
        self._directory = directory
        self._tree = tree
        self._encoder = FlowEncoder(directory)
        self._scale = scale(directory)
        self._node = node_bits(directory)
        self._names: tuple[dict[int, str], tuple[str, ...]] = ({}, ())
        self._repeating: dict[bytes, bytes] = {}
        self._addresses: dict[bytes, bytes] = {}
        self._lasting: dict[bytes, bytes] = {}
        self._translated: dict[bytes, bytes] = {}
        self._shared: dict[tuple[int, int], bytes] = {}
        self._in_parts = not any(tree.get(name) for name in _VARYING)
        node_name = self._encoder.node_name.encode() if self._wants("node_name") else b""
        self._end = tagged(_ANSWER["node_name"], node_name) if node_name else b""

    def _wants(self, name: str) -> bool:
        return not self._tree or name in self._tree

    def shared(self, position: int, rows: FlowRows) -> bytes:
        """As `encode`, for all rows of a ring from a position on, which several readers want."""
        key = (position, len(rows))
        known = self._shared.get(key)
        if known is None:
            known = self.encode(rows)
            if len(self._shared) >= _MOST_SHARED:
                del self._shared[next(iter(self._shared))]
            self._shared[key] = known
        return known

    def encode(self, rows: FlowRows) -> bytes:
        """One framed message a row."""
        if not self._in_parts:
            return b"".join(map(frame, self._messages(rows)))
        self._forget_old_names()
        parts = [self._repeating_parts(rows)]
        if self._wants("l4"):
            parts.append(ports(rows))
        if self._wants("time"):
            parts.append(as_bytes(times(rows, _FIELD["time"])))
        if self._wants("uuid"):
            parts.append(as_bytes(uuids(rows, self._node, _FIELD["uuid"])))
        if self._wants("IP"):
            parts.append(self._address_parts(rows))
        if self._wants("extensions"):
            parts += self._extensions(rows)
        parts += self._peer_parts(rows)
        parts.append(self._l7_parts(rows))
        ends = [as_bytes(times(rows, _ANSWER["time"], self._end))] if self._wants("time") else []
        if not ends and self._end:
            ends = [[self._end] * len(rows)]
        starts = heads(lengths(len(rows), parts), lengths(len(rows), ends), _ANSWER["flow"])
        return b"".join(chain.from_iterable(zip(starts, *parts, *ends, strict=True)))

    def _forget_old_names(self) -> None:
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
        return _kept(packed(rows, _REPEATING), rows, self._repeating, self._new_repeating)

    def _new_repeating(self, rows: FlowRows) -> Iterator[bytes]:
        """What repeats; it ends with the head of `l4`, whose ports come next."""
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
        columns = _WITH_XLATED if (rows["nat"] == Nat.BEFORE).any() else _ADDRESSES
        return _kept(packed(rows, columns), rows, self._addresses, _new_addresses)

    def _extensions(self, rows: FlowRows) -> list[list[bytes]]:
        parts = [_kept(lasting_keys(rows), rows, self._lasting, self._new_lasting)]
        places = np.flatnonzero(rows["nat"])
        if len(places):
            parts.append(self._translations(rows[places], places, len(rows)))
        counted = rows["packets"] > 0
        if counted.any():
            parts.append(only(counts(rows, BYTES, PACKETS), counted))
            if self._scale:
                parts.append([self._scale if one else b"" for one in counted.tolist()])
        for column in SOCKET_NUMBERS:
            values = rows[column]
            if values.any():
                parts.append(only(doubles(values, ENTRIES[column]), values > 0))
        sizes = lengths(len(rows), parts).tolist()
        return [[_extension_head(size) if size else b"" for size in sizes], *parts]

    def _new_lasting(self, rows: FlowRows) -> Iterator[bytes]:
        return map(self._encoder.extensions.lasting, unpack_rows(rows))

    def _translations(self, rows: FlowRows, places: NDArray[np.intp], count: int) -> list[bytes]:
        """`translation` of `count` rows, of which those at places may have one."""
        parts = [b""] * count
        found = _kept(packed(rows, _MOVED), rows, self._translated, _new_translations)
        for place, part in zip(places.tolist(), found, strict=True):
            parts[place] = part
        return parts

    def _peer_parts(self, rows: FlowRows) -> Iterator[list[bytes]]:
        """`source_names`, `destination_names` and `socket_cookie`."""
        for field, column in (("source_names", "src_name"), ("destination_names", "dst_name")):
            named = rows[column].astype(np.bool_)
            if named.any() and self._wants(field):
                texts = rows[column].tolist()
                yield [_name(_FIELD[field], text) if text else b"" for text in texts]
        cookies = np.where(rows["src_cookie"] > 0, rows["src_cookie"], rows["dst_cookie"])
        if cookies.any() and self._wants("socket_cookie"):
            yield only(numbers64(cookies, _FIELD["socket_cookie"]), cookies > 0)

    def _l7_parts(self, rows: FlowRows) -> list[bytes]:
        """`l7`, `trace_context` and the Summary of L7 rows."""
        parts = [b""] * len(rows)
        carrying = (rows["l7_type"] != 0) | rows["trace_id"].astype(np.bool_)
        http = is_http(rows)
        places = np.flatnonzero(carrying & http)
        wanted = [self._wants(name) for name in ("l7", "trace_context", "Summary")]
        columns = unpack_columns(rows[places], http_bytes.COLUMNS)
        for place, values in zip(places.tolist(), columns, strict=True):
            fields = http_bytes.http_fields(values)
            parts[place] = b"".join(compress(fields, wanted))
        places = np.flatnonzero(carrying & ~http)
        if len(places):
            for place, row in zip(places.tolist(), unpack_rows(rows[places]), strict=True):
                flow = self._encoder.l7_part(row)
                apply_mask(self._tree, flow)
                parts[place] = flow.SerializeToString()
        return parts


def _new_addresses(rows: FlowRows) -> Iterator[bytes]:
    """`IP`, or nothing for a family that is none."""
    names = ("family", "src_addr", "dst_addr", "nat", "is_reply", "nat_src_addr")
    for family, src, dst, nat, reply, nat_src in unpack_columns(rows, names):
        if family not in IP_VERSION:
            yield b""
            continue
        moved = source_xlated(nat, reply, src, nat_src)
        pair = tagged(_IP["source"], src.encode()) if src else b""
        pair += tagged(_IP["destination"], dst.encode()) if dst else b""
        pair += bytes([_IP["ipVersion"] << 3, IP_VERSION[family]])
        yield tagged(
            _FIELD["IP"], pair + tagged(_IP["source_xlated"], moved.encode()) if moved else pair
        )


def _new_translations(rows: FlowRows) -> Iterator[bytes]:
    return map(moved_entry, unpack_columns(rows, TRANSLATED))


@lru_cache(4096)
def _extension_head(size: int) -> bytes:
    """What stands before the `size` bytes of a Struct in `extensions`."""
    inner = tagged(1, TYPE_URL.encode()) + b"\x12" + varint(size)
    return tagged(_FIELD["extensions"], inner, size)


@lru_cache(_MOST_KEPT)
def _name(field: int, text: str) -> bytes:
    return tagged(field, utf8(text).encode())


def _l4_head(row: Row) -> bytes:
    flags = b""
    if row.protocol == Protocol.TCP and has_flags(row):
        held = tcp_flags(row.flags).SerializeToString()
        flags = tagged(field_numbers(TCP)["flags"], held)
    inner = tagged(_L4[PORTS[Protocol(row.protocol)]], flags, 8)
    return tagged(_FIELD["l4"], inner, 8)


def _kept(
    keys: NDArray[np.void],
    rows: FlowRows,
    kept: dict[bytes, bytes],
    make: Callable[[FlowRows], Iterator[bytes]],
) -> list[bytes]:
    """A part for every row, looked up by its key and made where it is not known."""
    found: list[bytes] = keys.view(f"V{keys.itemsize}").tolist()
    parts = list(map(kept.get, found))
    if None in parts:
        new = {key: place for place, key in enumerate(found) if parts[place] is None}
        made = dict(zip(new, make(rows[list(new.values())]), strict=True))
        if len(kept) + len(made) > _MOST_KEPT:
            kept.clear()
        kept |= made
        parts = [
            made[key] if part is None else part for key, part in zip(found, parts, strict=True)
        ]
    return cast("list[bytes]", parts)
