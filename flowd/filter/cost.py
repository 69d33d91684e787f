"""Bounds on the CPU that the filters of one request take, so that others are served."""

import time
from collections.abc import Generator
from contextlib import contextmanager

from flowd.filter.grammar.errors import CostlyFilter

MOST_SECONDS = 0.25
"""For one batch of rows, which nobody else can interrupt."""

MOST_TOTAL_SECONDS = 20.0
"""For a request all in all; what follows may go on with a tenth of a core."""

_SHARE = 0.1


class Meter:
    """Adds up what filters take, batch by batch."""

    def __init__(self) -> None:
        self._made = time.monotonic()
        self._total = 0.0
        self._until = 0.0

    @contextmanager
    def batch(self) -> Generator[None]:
        """Inside of it `check` keeps to the bounds."""
        global _running
        began = time.thread_time()
        left = MOST_TOTAL_SECONDS + _SHARE * (time.monotonic() - self._made) - self._total
        self._until = began + min(MOST_SECONDS, left)
        outer, _running = _running, self
        try:
            yield
        finally:
            _running = outer
            self._total += time.thread_time() - began

    def over(self) -> bool:
        """Whether the batch has taken too long."""
        return time.thread_time() > self._until


_running: Meter | None = None


def check() -> None:
    """To be called between two things that take some microseconds each.

    Raises:
        CostlyFilter: the filters of the batch that runs take too long.
    """
    if _running and _running.over():
        raise CostlyFilter("filters take too long", "ask for less, or in several requests")
