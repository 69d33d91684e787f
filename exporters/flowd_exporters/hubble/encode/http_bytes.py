"""What a request or a response carries, as the bytes of flow.Flow's fields."""

from collections.abc import Mapping
from typing import TypeAlias

from flowd.filter.endpoints import utf8
from flowd.wire.flow.flow_pb2 import HTTP, Flow, HTTPHeader, Layer7, TraceContext, TraceParent
from flowd_exporters.hubble.encode.l7 import all_headers, http_summary, version_name
from flowd_exporters.hubble.encode.ring_row import Headers
from flowd_exporters.hubble.encode.wire_columns import field_numbers, tagged, varint

COLUMNS = (
    *("l7_type", "latency_ns", "status", "method", "url", "http_version"),
    *("request_id", "headers", "trace_id"),
)
"""Columns of FLOW that `http_fields` takes, in order."""

Values: TypeAlias = tuple[
    int,
    int,
    int,
    str | None,
    str | None,
    int,
    str | None,
    Mapping[str, str] | Headers | None,
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


def http_fields(values: Values) -> tuple[bytes, bytes, bytes]:
    """`l7`, `trace_context` and `Summary`; the second is empty without a trace."""
    kind, latency, status, method, url, version, request_id, headers, trace_id = values
    method, url, protocol = utf8(method or ""), utf8(url or ""), version_name(version)
    http = _CODE + varint(status) if status else b""
    for number, text in (
        (_HTTP["method"], method),
        (_HTTP["url"], url),
        (_HTTP["protocol"], protocol),
    ):
        http += tagged(number, text.encode())
    for name, value in all_headers(headers, request_id).items():
        pair = tagged(_HEADER["key"], utf8(name).encode())
        http += tagged(_HTTP["headers"], pair + tagged(_HEADER["value"], utf8(value).encode()))
    record = _TYPE + varint(kind) + tagged(_L7["http"], http)
    if latency:
        record += _LATENCY + varint(latency)
    trace = b""
    if trace_id:
        inner = tagged(_TRACE[0], tagged(_TRACE[1], utf8(trace_id).encode()))
        trace = tagged(_FLOW["trace_context"], inner)
    text = http_summary(kind, status, latency, method, url, protocol)
    return tagged(_FLOW["l7"], record), trace, tagged(_FLOW["Summary"], text.encode())
