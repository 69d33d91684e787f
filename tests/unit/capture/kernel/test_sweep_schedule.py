"""The connection table is swept once a second, or less often where scanning it is expensive."""

from collections.abc import Iterator

import numpy as np
import pytest

from flowd.capture.kernel.polling import CPU_SHARE, SWEEP_SECONDS, Batch, SweepScheduler


class Clocks:
    """A wall clock that stands still, and a CPU clock that advances during a sweep."""

    now = 100.0
    cpu = 0.0

    def sweep(self, sizes: list[int], cost: float) -> Iterator[Batch]:
        for size in sizes:
            self.cpu += cost
            yield np.zeros(size)
        self.cpu += cost


@pytest.mark.parametrize(
    ("sizes", "live", "cost", "pause"),
    [
        ([], 0, 0.0, SWEEP_SECONDS),
        ([10], 1000, 0.001, SWEEP_SECONDS),
        ([], 100_000, 0.2, 0.2 / CPU_SHARE),
        ([500, 500], 2000, 0.1, 0.3 / 2 / CPU_SHARE),
        ([30_000, 30_000], 60_000, 0.5, SWEEP_SECONDS),  # every entry had ended
    ],
)
def test_only_what_stays_makes_it_wait(
    sizes: list[int], live: int, cost: float, pause: float
) -> None:
    clocks = Clocks()
    scheduler = SweepScheduler(lambda: clocks.now, lambda: clocks.cpu)
    assert scheduler.due()
    for rows in scheduler.timed(clocks.sweep(sizes, cost), live):
        clocks.cpu += 7  # CPU time of the consumer does not count
        assert len(rows) in sizes
    assert not scheduler.due()
    clocks.now += pause - 0.001
    assert not scheduler.due()
    clocks.now += 0.002
    assert scheduler.due()
