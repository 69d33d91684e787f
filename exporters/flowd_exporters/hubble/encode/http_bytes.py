"""Encode HTTP columns as the wire bytes of `l7`, `trace_context` and `Summary` of flow.Flow."""

from collections.abc import Mapping
from typing import TypeAlias

from flowd.filter.endpoints import utf8
from flowd.wire.flow.flow_pb2 import HTTP, Flow, HTTPHeader, Layer7, TraceContext, TraceParent
from flowd_exporters.hubble.encode.l7 import all_headers, http_summary, version_name
from flowd_exporters.hubble.encode.ring_row import HeaderPairs
from flowd_exporters.hubble.encode.wire_columns import field_numbers, length_delimited, varint

COLUMNS = (
    *("l7_type", "latency_ns", "status", "method", "url", "http_version"),
    *("request_id", "headers", "trace_id"),
)
"""Columns of FLOW in the order of HttpValues."""

HttpValues: TypeAlias = tuple[
    int,
    int,
    int,
    str | None,
    str | None,
    int,
    str | None,
    Mapping[str, str] | HeaderPairs | None,
    str | None,
]

_FLOW = field_numbers(Flow)
_L7 = field_numbers(Layer7)
_HTTP = field_numbers(HTTP)
_HEADER = field_numbers(HTTPHeader)
_TYPE = varint(_L7["type"] << 3)
_LATENCY = varint(_L7["latency_ns"] << 3)
_CODE = varint(_HTTP["code"] << 3)
_TRACE = (field_numbers(TraceContext)["parent"], field_numbers(TraceParent)["trace_id"])


def http_fields(values: HttpValues) -> tuple[bytes, bytes, bytes]:
    """Wire bytes of `l7`, `trace_context` (empty without a trace) and `Summary`."""
    kind, latency, status, method, url, version, request_id, headers, trace_id = values
    method, url, protocol = utf8(method or ""), utf8(url or ""), version_name(version)
    http = _CODE + varint(status) if status else b""
    for number, text in (
        (_HTTP["method"], method),
        (_HTTP["url"], url),
        (_HTTP["protocol"], protocol),
    ):
        http += length_delimited(number, text.encode())
    for name, value in all_headers(headers, request_id).items():
        pair = length_delimited(_HEADER["key"], utf8(name).encode())
        http += length_delimited(
            _HTTP["headers"], pair + length_delimited(_HEADER["value"], utf8(value).encode())
        )
    record = _TYPE + varint(kind) + length_delimited(_L7["http"], http)
    if latency:
        record += _LATENCY + varint(latency)
    trace = b""
    if trace_id:
        inner = length_delimited(_TRACE[0], length_delimited(_TRACE[1], utf8(trace_id).encode()))
        trace = length_delimited(_FLOW["trace_context"], inner)
    text = http_summary(kind, status, latency, method, url, protocol)
    return (
        length_delimited(_FLOW["l7"], record),
        trace,
        length_delimited(_FLOW["Summary"], text.encode()),
    )
