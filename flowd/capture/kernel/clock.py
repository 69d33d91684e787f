"""The kernel's time stamps as Unix time."""

import time
from collections.abc import Callable

STEP_NS = 1_000_000
READINGS = 3


class UnixEpoch:
    """Unix time at which CLOCK_MONOTONIC was 0, the same until somebody sets the clock.

    Whoever reads two clocks can be kept from running in between, so one is read on both sides of the
    other. What is known stays while it is within `STEP_NS` of what these can mean; two records of one
    connection would otherwise not agree on when it began.

    Args:
        unix, monotonic: the clocks, ns.
    """

    def __init__(
        self,
        unix: Callable[[], int] = time.time_ns,
        monotonic: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._unix = unix
        self._monotonic = monotonic
        self._epoch = 0

    def now(self) -> int:
        """The epoch, ns."""
        earliest, latest = self._read()
        if not earliest - STEP_NS <= self._epoch <= latest + STEP_NS:
            readings = [(earliest, latest), *(self._read() for _ in range(READINGS - 1))]
            earliest, latest = min(readings, key=lambda span: span[1] - span[0])
            self._epoch = (earliest + latest) // 2
        return self._epoch

    def _read(self) -> tuple[int, int]:
        before, unix, after = self._monotonic(), self._unix(), self._monotonic()
        return unix - after, unix - before
