"""Raw values of access-log fields as columns: what is absent, malformed or over a bound.

A raw value is what JSON or a text line holds: text, a number, None; `-` and null both mean absent.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flowd.accesslog.times import SECOND, by_form, nanoseconds
from flowd.model.address import NONE, pack
from flowd.model.enums import RESPONSE_FLAGS, HttpVersion

MAX_TEXT = 8192
"""Most characters kept of a text or header."""
_LONGEST_ADDRESS = 64
_LONGEST_NUMBER = 32
_BAD_ADDRESS = NONE, 0, True
_MOST = (1 << 63) - 1
_ISO_MILLIS = len("2026-11-21T08:14:05.574Z")

LOG_TYPES = {
    "NotSet": 0,
    "TcpUpstreamConnected": 1,
    "TcpPeriodic": 2,
    "TcpConnectionEnd": 3,
    "DownstreamStart": 4,
    "DownstreamPeriodic": 5,
    "DownstreamEnd": 6,
    "UpstreamPoolReady": 7,
    "UpstreamPeriodic": 8,
    "UpstreamEnd": 9,
    "DownstreamTunnelSuccessfullyEstablished": 10,
    "UdpTunnelUpstreamConnected": 11,
    "UdpPeriodic": 12,
    "UdpSessionEnd": 13,
    "TcpConnectionStart": 14,
}
"""AccessLogType (envoy.data.accesslog.v3) by the names that `%ACCESS_LOG_TYPE%` writes."""

VERSIONS = {
    "HTTP/1.0": HttpVersion.HTTP10,
    "HTTP/1.1": HttpVersion.HTTP11,
    "HTTP/2": HttpVersion.HTTP2,
    "HTTP/2.0": HttpVersion.HTTP2,
    "HTTP/3": HttpVersion.HTTP3,
    "HTTP/3.0": HttpVersion.HTTP3,
}

_LONG_FLAGS = {
    "FailedLocalHealthCheck": "LH",
    "NoHealthyUpstream": "UH",
    "UpstreamRequestTimeout": "UT",
    "LocalReset": "LR",
    "UpstreamRemoteReset": "UR",
    "UpstreamConnectionFailure": "UF",
    "UpstreamConnectionTermination": "UC",
    "UpstreamOverflow": "UO",
    "NoRouteFound": "NR",
    "DelayInjected": "DI",
    "FaultInjected": "FI",
    "RateLimited": "RL",
    "UnauthorizedExternalService": "UAEX",
    "RateLimitServiceError": "RLSE",
    "DownstreamConnectionTermination": "DC",
    "UpstreamRetryLimitExceeded": "URX",
    "StreamIdleTimeout": "SI",
    "InvalidEnvoyRequestHeaders": "IH",
    "DownstreamProtocolError": "DPE",
    "UpstreamMaxStreamDurationReached": "UMSDR",
    "ResponseFromCacheFilter": "RFCF",
    "NoFilterConfigFound": "NFCF",
    "DurationTimeout": "DT",
    "UpstreamProtocolError": "UPE",
    "NoClusterFound": "NC",
    "OverloadManagerTerminated": "OM",
    "DnsResolutionFailed": "DF",
    "DownstreamRemoteReset": "DR",
}
_SHORT_FLAGS = {name: 1 << bit for bit, name in enumerate(RESPONSE_FLAGS)}
_BITS = _SHORT_FLAGS | {name: _SHORT_FLAGS[short] for name, short in _LONG_FLAGS.items()}


def absent(value: Any) -> bool:
    """Whether a raw value says nothing."""
    return value is None or value == "-" or value == ""


def text(value: Any) -> str:
    """A raw value as text, "" when absent; JSON's own types as JSON would have them."""
    if value.__class__ is str:
        return "" if value == "-" else value
    if value is None:
        return ""
    return str(value).lower() if value.__class__ is bool else str(value)[:MAX_TEXT]


def number(value: Any) -> int:
    """A raw value as a whole number, 0 when absent, -1 when it is none that fits 63 bits."""
    if absent(value):
        return 0
    try:
        if value.__class__ is str:
            found = int(value) if len(value) <= _LONGEST_NUMBER and value.isascii() else -1
        else:
            found = int(value) if value.__class__ in (int, float) else -1
    except (ValueError, OverflowError):
        return -1
    return found if 0 <= found <= _MOST else -1


def durations(column: Sequence[Any], scale: int) -> NDArray[np.float64]:
    """Nanoseconds of raw durations in units of `scale`; NaN where malformed."""
    found: list[float] = []
    for value in column:
        if value.__class__ is int:
            found.append(float(min(max(value, -1), _MOST)))
        elif absent(value):
            found.append(0.0)
        else:
            found.append(_decimal(value))
    return np.array(found, np.float64) * scale


def times(column: Sequence[Any], form: str) -> NDArray[np.int64]:
    """Unix times in nanoseconds; 0 where absent, -1 where malformed."""
    if not form and _plain(column):
        try:
            return np.array(column, "U23").astype("M8[ns]").astype(np.int64)
        except ValueError:
            pass  # one of them is malformed: find out which
    return np.array([_time(value, form) for value in column], np.int64)


def _socket(value: str) -> tuple[bytes, int, bool]:
    host, colon, port = value.rpartition(":")
    try:
        if value.startswith("["):
            inner = host if value[-1] != "]" else value
            return pack(inner[1:-1]), int(port) if inner is host else 0, False
        if colon and "." in host and port.isdecimal():
            return (pack(host), int(port), False) if int(port) < 1 << 16 else _BAD_ADDRESS
        return pack(value), 0, False
    except ValueError:
        return _BAD_ADDRESS


def address(value: Any) -> tuple[bytes, int, bool]:
    """16 bytes and port of a raw `ip:port`, `[ip]:port` or `ip`, and whether it was malformed.

    Pipes and Envoy's internal addresses (`envoy://...`) are no sockets: all zero, not malformed.
    """
    if absent(value):
        return NONE, 0, False
    if value.__class__ is not str:
        return _BAD_ADDRESS
    if value[0] in "/@" or value.startswith("envoy://"):
        return NONE, 0, False
    if len(value) > _LONGEST_ADDRESS:
        return _BAD_ADDRESS
    found = _socket(value)
    return found if found[1] < 1 << 16 else _BAD_ADDRESS


def flags(value: Any) -> int:
    """RESPONSE_FLAGS bits of comma-separated names; -1 when one of them is not known."""
    if absent(value):
        return 0
    if value.__class__ is not str or len(value) > 512:
        return -1
    bits = 0
    for name in value.split(","):
        bit = _BITS.get(name.strip())
        if bit is None:
            return -1
        bits |= bit
    return bits


def _decimal(value: Any) -> float:
    try:
        fits = value.__class__ is float or (value.__class__ is str and len(value) < _LONGEST_NUMBER)
        found = float(value) if fits else -1.0
    except ValueError:
        return np.nan
    return found if 0 <= found <= _MOST else np.nan


def _plain(column: Sequence[Any]) -> bool:
    """Whether all are texts like 2026-11-21T08:14:05.574Z."""
    return all(
        value.__class__ is str
        and len(value) == _ISO_MILLIS
        and value[10] == "T"
        and value[19] == "."
        and value[-1] == "Z"
        for value in column
    )


def _time(value: Any, form: str) -> int:
    if absent(value):
        return 0
    try:
        if value.__class__ is float:
            found = int(value * SECOND)
        else:
            shown = value if value.__class__ is str else str(value)
            found = by_form(shown, form) if form and len(shown) < 128 else nanoseconds(shown)
    except (ValueError, OverflowError):
        return -1
    return found if 0 <= found <= _MOST else -1
