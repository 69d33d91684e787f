"""Convert CLOCK_MONOTONIC time stamps of the kernel to Unix time."""

import time
from collections.abc import Callable

STEP_NS = 1_000_000
READINGS = 3


class UnixEpoch:
    """Unix time in ns at which CLOCK_MONOTONIC was 0; constant until the system clock is set.

    The process can be preempted between reading two clocks, so CLOCK_MONOTONIC is read before and
    after Unix time, which bounds the epoch. The known epoch stays while it is within `STEP_NS` of
    these bounds; otherwise two records of one connection would disagree on its start.

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
        """The current epoch, ns."""
        earliest, latest = self._read()
        if not earliest - STEP_NS <= self._epoch <= latest + STEP_NS:
            readings = [(earliest, latest), *(self._read() for _ in range(READINGS - 1))]
            earliest, latest = min(readings, key=lambda span: span[1] - span[0])
            self._epoch = (earliest + latest) // 2
        return self._epoch

    def _read(self) -> tuple[int, int]:
        before, unix, after = self._monotonic(), self._unix(), self._monotonic()
        return unix - after, unix - before
