"""Counting what did not make it, by place and reason."""

from collections import Counter
from enum import StrEnum


class Place(StrEnum):
    """Where the agent can lose something."""

    ENVOY = "envoy"  # entries that Envoy had no room for, by its own count: logs_dropped
    KERNEL = "kernel"  # records, in the kernel: ring_full, map_full
    CAPTURE = "capture"  # records or packets that could not be read
    ACCESS_LOG = "access_log"  # entries that could not be decoded or were over a bound
    QUEUE = "queue"  # rows dropped because a queue was full; the reason is the queue's name
    STAGE = "stage"  # rows of a batch that a stage could not process; the reason is the stage
    STORE = "store"  # flows overwritten before a reader got to them
    EXPORT = "export"  # spans or flows an exporter could not deliver
    SERIES = "series"  # metric series over the bound, counted under `other`
    MANIFEST = "manifest"  # objects that could not be used


class Losses:
    """Monotonic counters by (place, reason). Written and read on the event loop's thread."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[Place, str]] = Counter()

    def add(self, place: Place, reason: str, count: int = 1) -> None:
        """Count what was lost; a count of 0 makes the pair visible."""
        self._counts[place, reason] += count

    def put(self, place: Place, reason: str, total: int) -> None:
        """Set a total that is counted elsewhere, such as in the kernel."""
        self._counts[place, reason] = total

    def snapshot(self) -> dict[tuple[Place, str], int]:
        """All counters at this moment."""
        return dict(self._counts)

    def total(self) -> int:
        """Everything lost so far."""
        return sum(self._counts.values())
