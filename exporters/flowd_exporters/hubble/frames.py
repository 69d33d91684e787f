"""Flow rows as the bytes of GetFlows' answers, a batch at a time.

Most of a flow's message repeats from row to row; those parts are made by `FlowEncoder`, masked,
serialised and kept. What differs in every row (times, id, ports, counts) has the same width in
every row here, so that numpy writes it for all rows at once. Only HTTP rows need a message each.
"""

from collections.abc import Callable, Iterator
from itertools import chain
from typing import Any, cast

import numpy as np
from google.protobuf.message import Message

from flowd.filter.uuid7 import node_bits
from flowd.model.address import unpack
from flowd.model.directory import Directory
from flowd.model.enums import Protocol
from flowd.model.flow import FLOW, FlowRows
from flowd.wire.flow.flow_pb2 import IP, TCP, Flow, Layer4
from flowd.wire.observer.observer_pb2 import GetFlowsResponse
from flowd_exporters.h2grpc.service import frame
from flowd_exporters.hubble.encode import IP_VERSION, FlowEncoder, tcp_flags
from flowd_exporters.hubble.extensions import BYTES, PACKETS, TYPE_URL
from flowd_exporters.hubble.fixed import (
    PORTS,
    as_bytes,
    counts,
    heads,
    lengths,
    only,
    ports,
    tagged,
    times,
    uuids,
    varint,
)
from flowd_exporters.hubble.mask import Tree, apply_mask
from flowd_exporters.hubble.row import Row, unpack_rows

_MOST_KEPT = 16384  # parts of a kind, some hundred bytes each
_MOST_SHARED = 4
_VARYING = ("time", "uuid", "IP", "l4", "l7", "trace_context", "extensions")


def _numbers(message: type[Message]) -> dict[str, int]:
    return {name: field.number for name, field in message.DESCRIPTOR.fields_by_name.items()}


_FIELD = _numbers(Flow)
_ANSWER = _numbers(GetFlowsResponse)
_L4 = _numbers(Layer4)
_COUNTS = 16 + len(PACKETS)


def _key(*columns: str) -> np.dtype[np.void]:
    """Columns side by side without gaps."""
    packed: list[tuple[str, np.dtype[Any], tuple[int, ...]]] = []
    for name in columns:
        column = FLOW[name]
        packed.append((name, column.base, column.shape))
    return np.dtype(packed)


_REPEATING = _key(
    *("type", "l7_type", "event_type", "sub_type", "verdict", "direction", "observation"),
    *("is_reply", "protocol", "flags", "icmp_type", "icmp_code", "src_endpoint", "dst_endpoint"),
    *("src_identity", "dst_identity", "ifindex", "drop_reason"),
)
_ADDRESSES = _key("family", "src_addr", "dst_addr")
_ROUTED = _key("route", "backend", "attribution", "envoy_flags", "drop_reason", "packets")


class FlowFrames:
    """Makes framed GetFlowsResponse messages of rows under one field mask.

    Args:
        tree: what the mask keeps, of `parse_mask`.
    """

    def __init__(self, directory: Directory, tree: Tree) -> None:
        self._directory = directory
        self._tree = tree
        self._encoder = FlowEncoder(directory)
        self._node = node_bits(directory)
        self._interfaces: dict[int, str] = {}
        self._repeating: dict[bytes, bytes] = {}
        self._addresses: dict[bytes, bytes] = {}
        self._routed: dict[bytes, bytes] = {}
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
        if self._interfaces != self._directory.interfaces:
            self._interfaces = dict(self._directory.interfaces)
            self._repeating.clear()
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
        parts.append(self._http_parts(rows))
        ends = [as_bytes(times(rows, _ANSWER["time"], self._end))] if self._wants("time") else []
        if not ends and self._end:
            ends = [[self._end] * len(rows)]
        starts = heads(lengths(len(rows), parts), lengths(len(rows), ends), _ANSWER["flow"])
        return b"".join(chain.from_iterable(zip(starts, *parts, *ends, strict=True)))

    def _messages(self, rows: FlowRows) -> Iterator[GetFlowsResponse]:
        for flow in self._encoder.encode(rows):
            apply_mask(self._tree, flow)
            moment = flow.time if flow.HasField("time") else None
            yield GetFlowsResponse(flow=flow, node_name=flow.node_name, time=moment)

    def _repeating_parts(self, rows: FlowRows) -> list[bytes]:
        return _kept(rows, _REPEATING, self._repeating, self._new_repeating)

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
        return _kept(rows, _ADDRESSES, self._addresses, _new_addresses)

    def _extensions(self, rows: FlowRows) -> list[list[bytes]]:
        counted = rows["packets"] > 0
        keys = rows.copy()
        keys["packets"] = counted
        parts = [_kept(keys, _ROUTED, self._routed, self._new_routed)]
        if counted.any():
            parts.append(only(counts(rows, PACKETS), counted))
        return parts

    def _new_routed(self, rows: FlowRows) -> Iterator[bytes]:
        """`extensions`, up to the counts at its end if the row has some."""
        for row in unpack_rows(rows):
            routed = self._encoder.extensions.routed(row)
            value, more = (routed + BYTES, _COUNTS) if row.packets else (routed, 0)
            if not value:
                yield b""
                continue
            url = b"\x0a" + varint(len(TYPE_URL)) + TYPE_URL.encode()
            inner = url + b"\x12" + varint(len(value) + more) + value
            yield tagged(_FIELD["extensions"], inner, more)

    def _http_parts(self, rows: FlowRows) -> list[bytes]:
        """`l7`, `trace_context` and the Summary of HTTP rows."""
        parts = [b""] * len(rows)
        places = np.flatnonzero((rows["l7_type"] != 0) | rows["trace_id"].astype(np.bool_))
        if len(places):
            for place, row in zip(places.tolist(), unpack_rows(rows[places]), strict=True):
                flow = self._encoder.http_part(row)
                apply_mask(self._tree, flow)
                parts[place] = flow.SerializeToString()
        return parts


def _new_addresses(rows: FlowRows) -> Iterator[bytes]:
    """`IP`, or nothing for a family that is none."""
    for row in rows:
        version = IP_VERSION.get(int(row["family"]))
        if version is None:
            yield b""
            continue
        source, destination = (unpack(row[name].tobytes()) for name in ("src_addr", "dst_addr"))
        pair = IP(source=source, destination=destination, ipVersion=version)
        yield tagged(_FIELD["IP"], pair.SerializeToString())


def _l4_head(row: Row) -> bytes:
    flags = b""
    if row.protocol == Protocol.TCP and not row.l7_type:
        held = tcp_flags(row.flags).SerializeToString()
        flags = tagged(_numbers(TCP)["flags"], held)
    inner = tagged(_L4[PORTS[Protocol(row.protocol)]], flags, 8)
    return tagged(_FIELD["l4"], inner, 8)


def _kept(
    rows: FlowRows,
    columns: np.dtype[np.void],
    kept: dict[bytes, bytes],
    make: Callable[[FlowRows], Iterator[bytes]],
) -> list[bytes]:
    """A part for every row, looked up by some of its columns and made where it is not known."""
    packed = np.empty(len(rows), columns)
    for name in columns.names or ():
        packed[name] = rows[name]
    keys: list[bytes] = packed.view(f"V{columns.itemsize}").tolist()
    parts = list(map(kept.get, keys))
    if None in parts:
        new = {key: place for place, key in enumerate(keys) if parts[place] is None}
        made = dict(zip(new, make(rows[list(new.values())]), strict=True))
        if len(kept) + len(made) > _MOST_KEPT:
            kept.clear()
        kept |= made
        parts = [made[key] if part is None else part for key, part in zip(keys, parts, strict=True)]
    return cast("list[bytes]", parts)
