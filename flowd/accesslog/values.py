"""Convert raw values of access-log fields (JSON or text) to numbers, times, addresses and texts.

A raw value is a text, a number or None, as JSON or a text line has it; `-` and null mean absent.
"""

from collections.abc import Callable, Sequence
from types import NoneType
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from flowd.accesslog.times import SECOND, parse_strftime, parse_time
from flowd.model.address import NONE, pack
from flowd.model.enums import RESPONSE_FLAGS, AccessLogType, HttpVersion

MAX_TEXT = 8192
"""Longest text or header that is kept, in characters."""
_MAX_ADDRESS = 64
_MAX_NUMBER = 32
_BAD_ADDRESS = NONE, 0, True
_INT63_MAX = (1 << 63) - 1
_ISO_MILLIS = len("2026-11-21T08:14:05.574Z")
_DATE_AND_SEPARATORS = np.array([*range(11), 13, 16, 19, 23])
_CLOCK_DIGITS = np.array([11, 12, 14, 15, 17, 18, 20, 21, 22])
_DIGIT_NS = SECOND * np.array([36000, 3600, 600, 60, 10, 1, 0, 0, 0])
_DIGIT_NS[-3:] = SECOND // np.array([10, 100, 1000])
_DISTINCT = {str, int, NoneType}  # types of which equal values are identical, unlike 1 and True
Value = TypeVar("Value")

LOG_TYPES = {
    "".join(part.title() for part in log_type.name.split("_")): int(log_type)
    for log_type in AccessLogType
}
"""AccessLogType (envoy.data.accesslog.v3) by its name in `%ACCESS_LOG_TYPE%`."""

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
    """AccessLogType of a raw value, 0 for any other value."""
    return LOG_TYPES.get(value, 0) if value.__class__ is str else 0


def http_version(value: Any) -> int:
    """HttpVersion of a raw value, 0 for any other value."""
    return VERSIONS.get(value, 0) if value.__class__ is str else 0


def is_absent(value: Any) -> bool:
    """Whether a raw value is null, `-` or empty."""
    return value is None or value == "-" or value == ""


def text(value: Any) -> str:
    """A raw value as text, "" when absent; other types as JSON writes them."""
    if value.__class__ is str:
        return "" if value == "-" else value
    if value is None:
        return ""
    return str(value).lower() if value.__class__ is bool else str(value)[:MAX_TEXT]


def number(value: Any) -> int:
    """A raw value as an integer of 63 bits, 0 when absent, -1 when malformed."""
    if is_absent(value):
        return 0
    try:
        if value.__class__ is str:
            found = int(value) if len(value) <= _MAX_NUMBER and value.isascii() else -1
        else:
            found = int(value) if value.__class__ in (int, float) else -1
    except (ValueError, OverflowError):
        return -1
    return found if 0 <= found <= _INT63_MAX else -1


def texts(column: Sequence[Any]) -> Sequence[str]:
    """Raw values as texts, as `text` converts them; an empty sequence if every value is absent."""
    kinds = set(map(type, column))
    if kinds == {str}:
        return column if "-" not in column else ["" if one == "-" else one for one in column]
    if kinds == {NoneType}:
        return []
    if kinds == {str, NoneType}:
        return [one if one and one != "-" else "" for one in column]
    return list(map(text, column))


def map_distinct(column: Sequence[Any], read: Callable[[Any], Value]) -> list[Value]:
    """Apply `read` to each raw value, once for equal ones."""
    if set(map(type, column)) <= _DISTINCT:
        known = {value: read(value) for value in set(column)}
        return list(map(known.__getitem__, column))
    return list(map(read, column))


def integers(column: Sequence[Any]) -> NDArray[np.int64]:
    """Raw values as `number` converts them, shape (N,); negative when malformed."""
    if set(map(type, column)) == {int}:
        try:
            return np.array(column, np.int64)
        except OverflowError:
            pass  # `number` finds the values that do not fit
    return np.array(map_distinct(column, number), np.int64)


def durations(column: Sequence[Any], scale: int) -> NDArray[np.float64]:
    """Raw durations in units of `scale` ns as ns, shape (N,); 0 when absent, NaN when malformed."""
    return np.array(map_distinct(column, _duration), np.float64) * scale


def _duration(value: Any) -> float:
    if value.__class__ is int:
        return float(min(max(value, -1), _INT63_MAX))
    return 0.0 if is_absent(value) else _decimal(value)


def times(column: Sequence[Any], form: str) -> NDArray[np.int64]:
    """Unix times in ns, shape (N,); 0 when absent, -1 when malformed.

    Args:
        form: strftime format, "" for times that `parse_time` reads.
    """
    if not form and set(map(type, column)) == {str} and set(map(len, column)) == {_ISO_MILLIS}:
        found = _same_day_times("".join(column))
        if found is not None:
            return found
    return np.array([_time(value, form) for value in column], np.int64)


def _same_day_times(joined: str) -> NDArray[np.int64] | None:
    """Unix times in ns of concatenated texts like 2026-11-21T08:14:05.574Z.

    Returns None if one is malformed or of another day; the entries of a batch are nearly always of
    one day.
    """
    if not joined.isascii():
        return None
    shown = np.frombuffer(joined.encode(), np.uint8).reshape(-1, _ISO_MILLIS)
    digits = shown - np.uint8(ord("0"))
    same = (shown[:, _DATE_AND_SEPARATORS] == shown[0, _DATE_AND_SEPARATORS]).all()
    if not same or (digits[:, _CLOCK_DIGITS] > 9).any():
        return None
    try:
        day = parse_time(f"{joined[:11]}00:00:00.000{joined[_ISO_MILLIS - 1]}")
        parse_time(joined[:_ISO_MILLIS])
    except ValueError:
        return None
    if not 0 <= day < _INT63_MAX - 24 * 3600 * SECOND:
        return None
    clock = digits[:, _CLOCK_DIGITS].astype(np.int64) @ _DIGIT_NS
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
    """Parse `ip:port`, `[ip]:port` or `ip`: 16 bytes, port, and whether the value is malformed.

    Pipes and Envoy's internal addresses (`envoy://...`) give a zero address.
    """
    if is_absent(value):
        return NONE, 0, False
    if value.__class__ is not str:
        return _BAD_ADDRESS
    if value[0] in "/@" or value.startswith("envoy://"):
        return NONE, 0, False
    if len(value) > _MAX_ADDRESS:
        return _BAD_ADDRESS
    found = _socket(value)
    return found if found[1] < 1 << 16 else _BAD_ADDRESS


def flags(value: Any) -> int:
    """RESPONSE_FLAGS bits of comma-separated names; -1 for an unknown name."""
    if is_absent(value):
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
        fits = value.__class__ is float or (value.__class__ is str and len(value) < _MAX_NUMBER)
        found = float(value) if fits else -1.0
    except ValueError:
        return np.nan
    return found if 0 <= found <= _INT63_MAX else np.nan


def _time(value: Any, form: str) -> int:
    if is_absent(value):
        return 0
    try:
        if value.__class__ is float:
            found = int(value * SECOND)
        else:
            shown = value if value.__class__ is str else str(value)
            found = parse_strftime(shown, form) if form and len(shown) < 128 else parse_time(shown)
    except (ValueError, OverflowError):
        return -1
    return found if 0 <= found <= _INT63_MAX else -1
