"""Parse START_TIME values: ISO 8601, seconds of Unix time, or a strftime format."""

import re
from calendar import timegm
from datetime import UTC, datetime
from functools import lru_cache

SECOND = 10**9
_ISO = re.compile(
    r"(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d:\d\d)(?:[.,](\d{1,12}))? ?(Z|UTC|[+-]\d\d:?\d\d)?"
)
_SECONDS = re.compile(r"(\d{1,19})(?:\.(\d{1,12}))?")
_SELF_DESCRIBING = re.compile(
    r"(?:%Y-%m-%d[T ](?:%H:%M:%S|%T)|%FT%T|%F %T|%s)(?:[.]?%\d?f|\.?%E\d?f)?(?:Z|%z|%Ez)?"
)
_UNITS = {10: SECOND, 13: 10**6, 16: 10**3, 19: 1}
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_PARTS = {
    "Y": r"(?P<Y>\d{4})",
    "y": r"(?P<y>\d\d)",
    "m": r"(?P<m>\d\d?)",
    "d": r"(?P<d>\d\d?)",
    "e": r" ?(?P<d>\d\d?)",
    "H": r"(?P<H>\d\d)",
    "M": r"(?P<M>\d\d)",
    "S": r"(?P<S>\d\d)",
    "b": r"(?P<b>[A-Za-z]{3})",
    "h": r"(?P<b>[A-Za-z]{3})",
    "a": r"[A-Za-z]{3}",
    "A": r"[A-Za-z]{6,9}",
    "s": r"(?P<s>\d{1,12})",
    "f": r"(?P<f>\d{1,9})",
    "z": r"(?P<z>[+-]\d\d:?\d\d|Z)",
    "Z": r"[A-Za-z+\-:0-9]{1,9}",
    "%": "%",
}
_ALIASES = {
    "%T": "%H:%M:%S",
    "%F": "%Y-%m-%d",
    "%D": "%m/%d/%y",
    "%R": "%H:%M",
    "%E*S": "%S.%f",
    "%Ez": "%z",
    "%ET": "T",
}


def is_self_describing(form: str) -> bool:
    """Whether `parse_time` reads the times of a strftime format without knowing the format."""
    return not form or _SELF_DESCRIBING.fullmatch(form) is not None


def parse_time(text: str) -> int:
    """Unix time in ns of an ISO 8601 text, or of a number of s, ms, us or ns by its length.

    Raises:
        ValueError: the text is neither.
    """
    if found := _ISO.fullmatch(text):
        day, clock, fraction, zone = found.groups()
        return _moment(day, clock) - _offset(zone) * SECOND + _fraction(fraction)
    if found := _SECONDS.fullmatch(text):
        whole, fraction = found.groups()
        return int(whole) * (SECOND if fraction else _UNITS.get(len(whole), SECOND)) + _fraction(
            fraction
        )
    raise ValueError(f"not a time: {text[:40]!r}")


@lru_cache(64)
def strftime_pattern(form: str) -> re.Pattern[str]:
    """The pattern of times in a strftime format; the groups are named by its letters.

    Raises:
        ValueError: an unknown or repeated conversion.
    """
    for alias, meaning in _ALIASES.items():
        form = form.replace(alias, meaning)
    form = re.sub(r"%E(\d)S", r"%S.%f", form)
    form = re.sub(r"%E?\d?f", "%f", form)
    parts: list[str] = []
    at = 0
    while at < len(form):
        if form[at] != "%":
            parts.append(re.escape(form[at]))
            at += 1
            continue
        letter = form[at + 1 : at + 2]
        if letter not in _PARTS:
            raise ValueError(f"START_TIME: conversion %{letter} is not known")
        parts.append(_PARTS[letter])
        at += 2
    try:
        return re.compile("".join(parts))
    except re.error as error:
        raise ValueError(f"START_TIME({form}): {error}") from None


def parse_strftime(text: str, form: str) -> int:
    """Unix time in ns of a text in a strftime format; UTC if it has no zone.

    Raises:
        ValueError: the text does not match the format.
    """
    found = strftime_pattern(form).fullmatch(text)
    if not found:
        raise ValueError(f"not a time: {text[:40]!r}")
    part = found.groupdict()
    fraction = _fraction(part.get("f"))
    if seconds := part.get("s"):
        return int(seconds) * SECOND + fraction
    month = part.get("b")
    year = int(part.get("Y") or 2000 + int(part.get("y") or 0))
    moment = datetime(
        year,
        _MONTHS.index(month.lower()) + 1 if month else int(part.get("m") or 1),
        int(part.get("d") or 1),
        int(part.get("H") or 0),
        int(part.get("M") or 0),
        int(part.get("S") or 0),
        tzinfo=UTC,
    )
    return (timegm(moment.timetuple()) - _offset(part.get("z"))) * SECOND + fraction


@lru_cache(4096)
def _moment(day: str, clock: str) -> int:
    return timegm(datetime.fromisoformat(f"{day}T{clock}").timetuple()) * SECOND


def _offset(zone: str | None) -> int:
    if not zone or zone in ("Z", "UTC"):
        return 0
    seconds = int(zone[1:3]) * 3600 + int(zone[-2:]) * 60
    return -seconds if zone[0] == "-" else seconds


def _fraction(digits: str | None) -> int:
    return int(digits[:9].ljust(9, "0")) if digits else 0
