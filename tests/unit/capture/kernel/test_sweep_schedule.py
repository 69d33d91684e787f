"""The table is looked through once a second, or less often where looking alone is dear."""

from collections.abc import Iterator

import numpy as np
import pytest

from flowd.capture.kernel.sweep_schedule import SECONDS, SHARE, Batch, Pace


class Clocks:
    """Wall clock that stands still, and a CPU clock that runs while a look is at work."""

    now = 100.0
    cpu = 0.0

    def look(self, sizes: list[int], cost: float) -> Iterator[Batch]:
        for size in sizes:
            self.cpu += cost
            yield np.zeros(size)
        self.cpu += cost


@pytest.mark.parametrize(
    ("sizes", "live", "cost", "pause"),
    [
        ([], 0, 0.0, SECONDS),
        ([10], 1000, 0.001, SECONDS),
        ([], 100_000, 0.2, 0.2 / SHARE),
        ([500, 500], 2000, 0.1, 0.3 / 2 / SHARE),
        ([30_000, 30_000], 60_000, 0.5, SECONDS),  # all of it was worth it
    ],
)
def test_only_what_stays_makes_it_wait(
    sizes: list[int], live: int, cost: float, pause: float
) -> None:
    clocks = Clocks()
    pace = Pace(lambda: clocks.now, lambda: clocks.cpu)
    assert pace.due()
    for rows in pace.timed(clocks.look(sizes, cost), live):
        clocks.cpu += 7  # what is done with them is not looking
        assert len(rows) in sizes
    assert not pace.due()
    clocks.now += pause - 0.001
    assert not pace.due()
    clocks.now += 0.002
    assert pace.due()
