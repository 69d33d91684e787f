"""Bound the CPU time of one request's filters, so that a costly filter cannot starve others."""

import time
from collections.abc import Generator
from contextlib import contextmanager

from flowd.filter.grammar.errors import CostlyFilter

MAX_BATCH_SECONDS = 0.25
"""Bound for one batch of rows, during which no other task runs."""

MAX_TOTAL_SECONDS = 20.0
"""Bound for a whole request; beyond it a request may use a tenth of a core."""

_SHARE = 0.1


class CostMeter:
    """Adds up the CPU time of one request's filters."""

    def __init__(self) -> None:
        self._made = time.monotonic()
        self._total = 0.0
        self._until = 0.0

    @contextmanager
    def batch(self) -> Generator[None]:
        """Inside this context `check` enforces the bounds."""
        global _running
        began = time.thread_time()
        left = MAX_TOTAL_SECONDS + _SHARE * (time.monotonic() - self._made) - self._total
        self._until = began + min(MAX_BATCH_SECONDS, left)
        outer, _running = _running, self
        try:
            yield
        finally:
            _running = outer
            self._total += time.thread_time() - began

    def over(self) -> bool:
        """Whether the batch has taken too long."""
        return time.thread_time() > self._until


_running: CostMeter | None = None


def check() -> None:
    """Check the time spent; call it between operations of a few microseconds.

    Raises:
        CostlyFilter: the filters of the current batch take too long.
    """
    if _running and _running.over():
        raise CostlyFilter("filters take too long", "ask for less, or in several requests")
