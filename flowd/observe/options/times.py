"""Parse and format times and durations as hubble's flags and output do, in UTC."""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from email.utils import parsedate_to_datetime
from functools import lru_cache

_UNITS = {
    "ns": 1,
    "us": 1_000,
    "µs": 1_000,
    "μs": 1_000,
    "ms": 1_000_000,
    "s": 1_000_000_000,
    "m": 60_000_000_000,
    "h": 3_600_000_000_000,
}
_PART = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|μs|ms|s|m|h)")
_STAMP = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)"
    r"(?:T(\d\d)(?::(\d\d)(?::(\d\d)(?:\.(\d{1,9}))?)?)?(Z|[+-]\d\d:\d\d))?"
)
_RFC1123Z = re.compile(r"[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d [+-]\d{4}")
_LAST_SECOND = 253_402_300_799  # 9999-12-31T23:59:59Z, the end of google.protobuf.Timestamp

TIME_HELP = "a time before now (`90s`, `1h43m`), `2026-11-21`, `2026-11-21T04:40Z` or RFC 3339"


def parse_duration(text: str) -> int:
    """Nanoseconds of a Go duration: `5s`, `1h43m`, `300ms`; every part needs its unit.

    Raises:
        ValueError: the text is not a duration.
    """
    if text == "0":
        return 0
    total, at = 0.0, 0
    while at < len(text):
        part = _PART.match(text, at)
        if not part:
            break
        total += float(part[1]) * _UNITS[part[2]]
        at = part.end()
    if not text or at < len(text):
        raise ValueError(f"{text!r} is no duration: write `90s` or `1h43m`")
    return round(total)


def parse_time(text: str, now_ns: int) -> int:
    """Unix time in nanoseconds of `--since` or `--until`.

    Args:
        text: a duration before now, a date, a date with hour, minute or second and a zone, or
            RFC 1123 with a numeric zone.
        now_ns: the time that durations count from.

    Raises:
        ValueError: the text is no time.
    """
    if stamp := _STAMP.fullmatch(text):
        return _from_stamp(stamp, text)
    if _RFC1123Z.fullmatch(text):
        try:
            return int(parsedate_to_datetime(text).timestamp()) * 1_000_000_000
        except (ValueError, TypeError):
            raise ValueError(f"{text!r} is no date") from None
    try:
        return now_ns - parse_duration(text)
    except ValueError:
        raise ValueError(f"{text!r} is no time: write {TIME_HELP}") from None


def _from_stamp(stamp: re.Match[str], text: str) -> int:
    zone = UTC
    if stamp[8] and stamp[8] != "Z":
        offset = timedelta(hours=int(stamp[8][1:3]), minutes=int(stamp[8][4:6]))
        zone = timezone(-offset if stamp[8][0] == "-" else offset)
    year, month, day, hour, minute, second = (int(part or 0) for part in stamp.groups()[:6])
    try:
        moment = datetime(year, month, day, hour, minute, second, tzinfo=zone)
        seconds = int(moment.timestamp())
    except (ValueError, OverflowError):
        raise ValueError(f"{text!r} is no date") from None
    return seconds * 1_000_000_000 + int((stamp[7] or "").ljust(9, "0"))


def _stamp_milli(moment: datetime, nanos: int) -> str:
    return f"{moment:%b} {moment.day:2d} {moment:%H:%M:%S}.{nanos // 1_000_000:03d}"


def _rfc3339(digits: int) -> Callable[[datetime, int], str]:
    def write(moment: datetime, nanos: int) -> str:
        fraction = f"{nanos:09d}"[:digits].rstrip("0")
        return f"{moment:%Y-%m-%dT%H:%M:%S}{'.' if fraction else ''}{fraction}Z"

    return write


TIME_FORMATS: dict[str, Callable[[datetime, int], str]] = {
    "StampMilli": _stamp_milli,
    "YearMonthDay": lambda moment, _: f"{moment:%Y-%m-%d}",
    "YearMonthDayHour": lambda moment, _: f"{moment:%Y-%m-%dT%HZ}",
    "YearMonthDayHourMinute": lambda moment, _: f"{moment:%Y-%m-%dT%H:%MZ}",
    "RFC3339": _rfc3339(0),
    "RFC3339Milli": _rfc3339(3),
    "RFC3339Micro": _rfc3339(6),
    "RFC3339Nano": _rfc3339(9),
    "RFC1123Z": lambda moment, _: f"{moment:%a, %d %b %Y %H:%M:%S} +0000",
}


def format_time(seconds: int, nanos: int, form: str) -> str:
    """Format a Unix time in UTC; unknown formats mean StampMilli, times out of range give `N/A`."""
    if not 0 <= nanos < 1_000_000_000 or not -62_135_596_800 <= seconds <= _LAST_SECOND:
        return "N/A"
    return TIME_FORMATS.get(form, _stamp_milli)(_moment(seconds), nanos)


@lru_cache(256)
def _moment(seconds: int) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)


def exact_duration(nanoseconds: int) -> str:
    """Format a duration of 1 s or more to the nanosecond, like Go: `2m27.461771354s`."""
    minutes, rest = divmod(nanoseconds, 60_000_000_000)
    hours, minutes = divmod(minutes, 60)
    seconds, fraction = divmod(rest, 1_000_000_000)
    digits = f".{fraction:09d}".rstrip("0").rstrip(".")
    head = f"{hours}h{minutes}m" if hours else f"{minutes}m" if minutes else ""
    return f"{head}{seconds}{digits}s"


def format_duration(nanoseconds: int) -> str:
    """Format a duration in whole seconds, like Go: `1h0m0s`, `2m5s`, `7s`."""
    minutes, seconds = divmod(round(nanoseconds / 1e9), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}h{minutes}m{seconds}s"
    return f"{minutes}m{seconds}s" if minutes else f"{seconds}s"
