"""Raw values of access-log fields as columns: what is absent, malformed or over a bound.

A raw value is what JSON or a text line holds: text, a number, None; `-` and null both mean absent.
"""

from collections.abc import Callable, Sequence
from types import NoneType
from typing import Any, TypeVar

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
_SAME_PLACES = np.array([*range(11), 13, 16, 19, 23])
_DIGIT_PLACES = np.array([11, 12, 14, 15, 17, 18, 20, 21, 22])
_DIGIT_WORTH = SECOND * np.array([36000, 3600, 600, 60, 10, 1, 0, 0, 0])
_DIGIT_WORTH[-3:] = SECOND // np.array([10, 100, 1000])
_TOLD_APART = {str, int, NoneType}  # no two values of these are equal but the same
Value = TypeVar("Value")

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


def log_type(value: Any) -> int:
    """AccessLogType of a raw value, 0 when it is none."""
    return LOG_TYPES.get(value, 0) if value.__class__ is str else 0


def http_version(value: Any) -> int:
    """HttpVersion of a raw value, 0 when it is none."""
    return VERSIONS.get(value, 0) if value.__class__ is str else 0


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


def texts(column: Sequence[Any]) -> Sequence[str]:
    """Raw values as texts, as `text` makes them; none at all where every one is ""."""
    kinds = set(map(type, column))
    if kinds == {str}:
        return column if "-" not in column else ["" if one == "-" else one for one in column]
    if kinds == {NoneType}:
        return []
    if kinds == {str, NoneType}:
        return [one if one and one != "-" else "" for one in column]
    return list(map(text, column))


def each(column: Sequence[Any], read: Callable[[Any], Value]) -> list[Value]:
    """What is read of each raw value, the same ones once."""
    if set(map(type, column)) <= _TOLD_APART:
        known = {value: read(value) for value in set(column)}
        return list(map(known.__getitem__, column))
    return list(map(read, column))


def whole(column: Sequence[Any]) -> NDArray[np.int64]:
    """Raw values as `number` makes them; what does not fit 63 bits is negative."""
    if set(map(type, column)) == {int}:
        try:
            return np.array(column, np.int64)
        except OverflowError:
            pass  # one of them: find out which
    return np.array(each(column, number), np.int64)


def durations(column: Sequence[Any], scale: int) -> NDArray[np.float64]:
    """Nanoseconds of raw durations in units of `scale`; NaN where malformed."""
    return np.array(each(column, _duration), np.float64) * scale


def _duration(value: Any) -> float:
    if value.__class__ is int:
        return float(min(max(value, -1), _MOST))
    return 0.0 if absent(value) else _decimal(value)


def times(column: Sequence[Any], form: str) -> NDArray[np.int64]:
    """Unix times in nanoseconds; 0 where absent, -1 where malformed."""
    if not form and set(map(type, column)) == {str} and set(map(len, column)) == {_ISO_MILLIS}:
        found = _of_one_day("".join(column))
        if found is not None:
            return found
    return np.array([_time(value, form) for value in column], np.int64)


def _of_one_day(joined: str) -> NDArray[np.int64] | None:
    """Times like 2026-11-21T08:14:05.574Z one after the other; None where one is none of that day.

    A batch of an access log nearly always is of one day.
    """
    if not joined.isascii():
        return None
    shown = np.frombuffer(joined.encode(), np.uint8).reshape(-1, _ISO_MILLIS)
    digits = shown - np.uint8(ord("0"))
    same = (shown[:, _SAME_PLACES] == shown[0, _SAME_PLACES]).all()
    if not same or (digits[:, _DIGIT_PLACES] > 9).any():
        return None
    try:
        day = nanoseconds(f"{joined[:11]}00:00:00.000{joined[_ISO_MILLIS - 1]}")
        nanoseconds(joined[:_ISO_MILLIS])
    except ValueError:
        return None
    if not 0 <= day < _MOST - 24 * 3600 * SECOND:
        return None
    clock = digits[:, _DIGIT_PLACES].astype(np.int64) @ _DIGIT_WORTH
    hours, minutes, seconds = (digits[:, at] * 10 + digits[:, at + 1] for at in (11, 14, 17))
    if (hours > 23).any() or (minutes > 59).any() or (seconds > 59).any():
        return None
    return day + clock


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
