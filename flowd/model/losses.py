"""Loss counters by place and reason: records, entries, flows and spans that the agent lost."""

from collections import Counter
from enum import StrEnum


class Place(StrEnum):
    """A place where data can be lost; label `place` of flowd_lost_total."""

    ENVOY = "envoy"  # entries dropped by Envoy, from its own counter logs_dropped
    KERNEL = "kernel"  # records lost in the kernel: ring_full, map_full
    CAPTURE = "capture"  # records or packets that could not be read
    ACCESS_LOG = "access_log"  # entries that could not be decoded or were over a bound
    QUEUE = "queue"  # rows dropped because a queue was full; the reason is the queue's name
    STAGE = "stage"  # rows of a batch that a stage could not process; the reason is the stage
    STORE = "store"  # flows overwritten before a reader read them
    EXPORT = "export"  # spans or flows an exporter could not deliver
    SERIES = "series"  # metric series over the bound, counted under `other`
    MANIFEST = "manifest"  # objects that could not be used


class Losses:
    """Monotonic counters by (place, reason); used on the event loop's thread only."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[Place, str]] = Counter()

    def add(self, place: Place, reason: str, count: int = 1) -> None:
        """Add to a counter; a count of 0 creates it."""
        self._counts[place, reason] += count

    def set_total(self, place: Place, reason: str, total: int) -> None:
        """Set a counter to a total that is counted elsewhere, for example in the kernel."""
        self._counts[place, reason] = total

    def snapshot(self) -> dict[tuple[Place, str], int]:
        """A copy of all counters."""
        return dict(self._counts)

    def total(self) -> int:
        """The sum of all counters."""
        return sum(self._counts.values())
