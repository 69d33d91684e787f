"""FlowRate and RecentNamespaces: the numbers of ServerStatus and GetNamespaces."""

import time

import numpy as np

from flowd.filter.endpoints import pod_namespace
from flowd.model.directory import Directory
from flowd.model.records.flow import FlowRows

WINDOW = 60
NAMESPACE_SECONDS = 3600.0


class FlowRate:
    """Flows per second over the last minute, in buckets of one second.

    Args:
        began: monotonic time of the start; None for now.
    """

    def __init__(self, began: float | None = None) -> None:
        self._began = time.monotonic() if began is None else began
        self._counts = [0] * (WINDOW + 1)
        self._second = int(self._began)

    def add(self, count: int, now: float) -> None:
        """Count flows that arrived at the monotonic time `now`."""
        self._advance(int(now))
        self._counts[self._second % len(self._counts)] += count

    def rate(self, now: float) -> float:
        """Flows per second; the current second counts with its elapsed fraction."""
        self._advance(int(now))
        span = min(now - self._began, WINDOW + now - int(now))
        return sum(self._counts) / span if span >= 1 else float(sum(self._counts))

    def _advance(self, second: int) -> None:
        """Clear the buckets up to a second."""
        for passed in range(self._second + 1, min(second, self._second + len(self._counts)) + 1):
            self._counts[passed % len(self._counts)] = 0
        self._second = max(self._second, second)


class RecentNamespaces:
    """Namespaces of sources and destinations of the last hour."""

    def __init__(self, directory: Directory) -> None:
        self._directory = directory
        self._last = np.zeros(0)  # monotonic time of the last flow by endpoint index

    def add(self, rows: FlowRows, now: float) -> None:
        """Note the namespaces of these flows at the monotonic time `now`."""
        if more := len(self._directory.endpoints) - len(self._last):
            self._last = np.concatenate([self._last, np.full(more, -np.inf)])
        for column in ("src_endpoint", "dst_endpoint"):
            self._last[rows[column]] = now

    def recent(self, now: float) -> list[str]:
        """Sorted names of the namespaces with a flow in the last hour."""
        recent = np.flatnonzero(now - self._last < NAMESPACE_SECONDS)
        names = {pod_namespace(self._directory.endpoints[index]) for index in recent.tolist()}
        return sorted(names - {""})
