"""One access-log entry as a tuple of plain values, in the order of COLUMNS.

Field meanings: Envoy's data/accesslog/v3/accesslog.proto.
"""

from functools import lru_cache
from typing import Any

from google.protobuf.message import DecodeError

from flowd.capture.als_metadata import entry_metadata
from flowd.model.address import NONE, pack
from flowd.model.enums import EntryKind
from flowd.wire.als.als_pb2 import Addr, Common, Flags, Http, Tcp

METHODS = ("", "GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH")
"""By RequestMethod; Envoy logs every other method as 0."""
MALFORMED = b"\xff"
"""Bytes that are no message."""

HTTP_ENDS = frozenset((0, 6))
"""AccessLogType NotSet and DownstreamEnd: the last entry about a request."""
TCP_ENDS = frozenset((0, 3, 13))
"""NotSet, TcpConnectionEnd and UdpSessionEnd: the last entry about a connection or session."""

COLUMNS = (
    "start_s",
    "start_ns",
    "duration_s",
    "duration_ns",
    "us_tx_s",
    "us_tx_ns",
    "us_rx_s",
    "us_rx_ns",
    "client",
    "remote",
    "local",
    "up_local",
    "up_remote",
    "flags",
    "log_type",
    "attempts",
    "cluster",
    "route_name",
    "sni",
    "transport_failure",
    "metadata",
    "kind",
    "http_version",
    "status",
    "bytes_received",
    "bytes_sent",
    "details",
    "request_id",
    "method",
    "scheme",
    "host",
    "path",
    "original_path",
    "user_agent",
    "forwarded_for",
    "headers",
)


def http_row(entry: Http, common: Common) -> tuple[Any, ...]:
    """An HTTP entry's values; header names in lower case."""
    request, response = entry.request, entry.response
    fields = request.headers
    return (
        *_common(common),
        EntryKind.HTTP,
        entry.version,
        response.code.value,
        request.body_bytes,
        response.body_bytes,
        response.details,
        request.request_id or common.stream_id,
        request.method,
        request.scheme,
        request.authority,
        request.path,
        request.original_path,
        request.user_agent,
        request.forwarded_for,
        {name.lower(): value for name, value in fields.items()} if fields else {},
    )


def tcp_row(entry: Tcp, common: Common) -> tuple[Any, ...]:
    """A TCP entry's values; what only HTTP has is zero or empty."""
    volume = entry.volume
    own = (EntryKind.TCP, 0, 0, volume.received, volume.sent, common.termination_details)
    return (*_common(common), *own, common.stream_id, 0, "", "", "", "", "", "", {})


def _common(common: Common) -> tuple[Any, ...]:
    start, duration = common.start, common.duration
    direct, remote = common.direct_remote, common.remote
    described = common.metadata or common.filter_state or common.custom_tags
    sent, answered = common.t_first_us_tx, common.t_first_us_rx
    if not duration.seconds and not duration.nanos:
        duration = common.t_last_ds_tx
    return (
        start.seconds,
        start.nanos,
        duration.seconds,
        duration.nanos,
        sent.seconds,
        sent.nanos,
        answered.seconds,
        answered.nanos,
        direct or remote,
        remote,
        common.local,
        common.up_local,
        common.up_remote,
        common.response_flags,
        common.type,
        common.attempts,
        common.cluster,
        common.route_name,
        common.tls.sni,
        common.up_transport_failure or common.down_transport_failure,
        entry_metadata(common) if described else None,
    )


@lru_cache(65536)
def address(raw: bytes) -> tuple[bytes, int, bool]:
    """16 bytes and port of an Address message, and whether it was none; pipes are all zero."""
    try:
        socket = Addr.FromString(raw).socket
        packed = pack(socket.address) if socket.address else NONE
    except (DecodeError, ValueError):
        return NONE, 0, True
    return (packed, socket.port, False) if socket.port < 1 << 16 else (packed, 0, True)


@lru_cache(4096)
def response_flags(raw: bytes) -> int:
    """Bit set of a ResponseFlags message, as in RESPONSE_FLAGS; -1 when it is none."""
    try:
        fields = Flags.FromString(raw).ListFields()
    except DecodeError:
        return -1
    return sum(1 << field.number - 1 for field, _ in fields)


def is_forwarded(raw: bytes) -> bool:
    """Whether an Address is one that was forwarded: it has no port."""
    packed, port, bad = address(raw)
    return not bad and not port and packed != NONE
