"""Parsing and formatting of times and durations, as hubble does it."""

import pytest

from flowd.observe.options.times import (
    TIME_FORMATS,
    exact_duration,
    format_duration,
    format_time,
    parse_duration,
    parse_time,
)

NOW = 1_795_252_500_000_000_000  # 2026-11-21T09:15:00Z
SECOND = 1_000_000_000
MIDNIGHT = NOW - (9 * 3600 + 15 * 60) * SECOND


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("90s", NOW - 90 * SECOND),
        ("1h43m", NOW - 6180 * SECOND),
        ("1.5h", NOW - 5400 * SECOND),
        ("250ms", NOW - SECOND // 4),
        ("0", NOW),
        ("2026-11-21", MIDNIGHT),
        ("2026-11-21T04Z", MIDNIGHT + 4 * 3600 * SECOND),
        ("2026-11-21T04:40Z", MIDNIGHT + (4 * 3600 + 2400) * SECOND),
        ("2026-11-21T09:15:00Z", NOW),
        ("2026-11-21T10:15:00+01:00", NOW),
        ("2026-11-21T04:15:00-05:00", NOW),
        ("2026-11-21T09:15:00.5Z", NOW + SECOND // 2),
        ("2026-11-21T09:15:00.000000001Z", NOW + 1),
        ("Sat, 21 Nov 2026 10:15:00 +0100", NOW),
    ],
)
def test_times_are_read(text: str, expected: int) -> None:
    assert parse_time(text, NOW) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "yesterday",
        "1h43",
        "90",
        "2026-11-21T04",
        "2026-11-21T09:15:00",
        "2026-11-31",
        "2026-13-01",
        "2026-11-21T25:00Z",
        "2026-11-21T09:15:00.1234567890Z",
        "2026-11-21T04Z+99:99",
        "Nov 21 09:15:00.000",
        "Sat, 41 Nov 2026 10:15:00 +0100",
    ],
)
def test_other_texts_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no"):
        parse_time(text, NOW)


def test_durations_need_units() -> None:
    assert parse_duration("1m30s") == 90 * SECOND
    assert parse_duration("1us") == 1000
    for text in ("", "5", "5 s", "s", "-5s", "5d"):
        with pytest.raises(ValueError, match="is no duration"):
            parse_duration(text)


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ("StampMilli", "Nov  1 09:15:00.120"),
        ("YearMonthDay", "2026-11-01"),
        ("YearMonthDayHour", "2026-11-01T09Z"),
        ("YearMonthDayHourMinute", "2026-11-01T09:15Z"),
        ("RFC3339", "2026-11-01T09:15:00Z"),
        ("RFC3339Milli", "2026-11-01T09:15:00.12Z"),
        ("RFC3339Micro", "2026-11-01T09:15:00.1203Z"),
        ("RFC3339Nano", "2026-11-01T09:15:00.120300009Z"),
        ("RFC1123Z", "Sun, 01 Nov 2026 09:15:00 +0000"),
        ("nonsense", "Nov  1 09:15:00.120"),
    ],
)
def test_times_are_printed(form: str, expected: str) -> None:
    first = NOW // SECOND - 20 * 86400
    assert format_time(first, 120_300_009, form) == expected


def test_times_out_of_range_are_not_available() -> None:
    for form in TIME_FORMATS:
        assert format_time(1 << 60, 0, form) == "N/A"
        assert format_time(0, -1, form) == "N/A"
        assert format_time(0, SECOND, form) == "N/A"
    assert format_time(0, 0, "RFC3339Nano") == "1970-01-01T00:00:00Z"


def test_durations_are_printed_as_go_does() -> None:
    assert format_duration(3600 * SECOND) == "1h0m0s"
    assert format_duration(65 * SECOND) == "1m5s"
    assert format_duration(7 * SECOND + 400_000_000) == "7s"


@pytest.mark.parametrize(
    ("nanoseconds", "text"),
    [
        (147_461_771_354, "2m27.461771354s"),
        (3_600_000_000_000, "1h0m0s"),
        (7_500_000_000, "7.5s"),
        (0, "0s"),
    ],
)
def test_exact_durations_are_gos(nanoseconds: int, text: str) -> None:
    assert exact_duration(nanoseconds) == text
