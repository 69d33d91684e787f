"""Columns of start times: of one day, of several days, and malformed ones."""

import numpy as np
import pytest

from flowd.accesslog.values import times

DAY = 1_795_219_200 * 10**9  # 2026-11-21


def test_times_of_one_day_and_of_two() -> None:
    texts = ["2026-11-21T00:00:00.001Z", "2026-11-21T23:59:59.999Z", "2026-11-22T01:02:03.004Z"]
    wanted = [DAY + 10**6, DAY + 86_399_999 * 10**6, DAY + (86_400_000 + 3_723_004) * 10**6]
    assert times(texts[:2], "").tolist() == wanted[:2]
    assert times(texts, "").tolist() == wanted


@pytest.mark.parametrize(
    "odd",
    [
        "9999-11-21T00:00:00.001Z",
        "2262-04-11T23:59:59.999Z",
        "1969-12-31T23:59:59.999Z",
        "2026-13-21T00:00:00.001Z",
        "2026-11-21T24:00:00.001Z",
        "2026-11-21T00:60:00.001Z",
        "2026-11-21T00:00:61.001Z",
        "2026-11-21T00:00:0x.001Z",
        "2026-11-21T00:00:0é.001Z",
        "2026-11-21T00:00:00.001X",
    ],
)
def test_what_is_no_time_or_none_that_fits_is_so_alone_and_among_others(odd: str) -> None:
    assert times([odd], "").tolist() == [-1]
    assert times([odd, odd], "").tolist() == [-1, -1]
    found = times(["2026-11-21T00:00:00.001Z", odd], "")
    assert np.array_equal(found, [DAY + 10**6, -1])
