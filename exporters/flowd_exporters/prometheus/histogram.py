"""Histograms over columns of durations, with exemplars."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from prometheus_client.samples import Exemplar

from flowd_exporters.prometheus.metric import Metric
from flowd_exporters.prometheus.series import Groups, Labels, Series, totals
from flowd_exporters.trace_context import parse

NewSeries = Callable[[Metric, int], Series]
"""Makes the series of a metric with that many counters in a row."""


def buckets(durations: NDArray[np.uint64], bounds: NDArray[np.uint64]) -> NDArray[np.intp]:
    """Index of the bucket of each duration; a bound belongs to its own bucket (`le`).

    Args:
        durations: nanoseconds, shape (n,).
        bounds: ascending upper bounds in nanoseconds; the index len(bounds) is +Inf.
    """
    return np.searchsorted(bounds, durations, side="left")


class Histogram:
    """Durations by label set: the counters of a row are the buckets, then the sum in ns.

    Attributes:
        series: the rows.
        exemplars: the last sampled trace of a label set and bucket.
    """

    def __init__(self, metric: Metric, series: NewSeries) -> None:
        self.metric = metric
        self.width = len(metric.buckets) + 1
        self.series = series(metric, self.width + 1)
        self.exemplars: dict[tuple[Labels, int], Exemplar] = {}
        self._bounds = np.array([round(bound * 1e9) for bound in metric.buckets], np.uint64)

    def add(
        self,
        groups: Groups,
        labels_of: Callable[[tuple[int, ...]], Labels],
        durations: NDArray[np.uint64],
    ) -> NDArray[np.intp]:
        """Count durations (ns, one a row of `groups`) and return the bucket of each."""
        bucket = buckets(durations, self._bounds)
        counts = np.bincount(
            groups.inverse * self.width + bucket, minlength=len(groups.keys) * self.width
        )
        amounts = np.hstack([counts.reshape(-1, self.width), totals(groups, durations)])
        self.series.add(self.series.rows(groups, labels_of), amounts)
        return bucket

    def note(
        self,
        groups: Groups,
        labels_of: Callable[[tuple[int, ...]], Labels],
        bucket: NDArray[np.intp],
        durations: NDArray[np.uint64],
        traceparents: NDArray[Any],
        times: NDArray[np.uint64],
    ) -> None:
        """Keep the last sampled trace of each label set and bucket as exemplar.

        Args:
            traceparents: W3C headers, "" for none.
            times: Unix times in nanoseconds.
        """
        traced = np.flatnonzero(traceparents.astype(bool))[::-1]
        cells = groups.inverse[traced] * self.width + bucket[traced]
        distinct, last = np.unique(cells, return_index=True)
        rows = traced[last]
        headers: list[str] = traceparents[rows].tolist()
        seconds, began = durations[rows] / 1e9, times[rows] / 1e9
        for place, (cell, header) in enumerate(zip(distinct.tolist(), headers, strict=True)):
            trace = parse(header)
            if trace is None or not trace.sampled:
                continue
            group, at = divmod(cell, self.width)
            labels = labels_of(tuple(groups.keys[group].tolist()))
            self.exemplars[labels, at] = Exemplar(
                {"trace_id": trace.trace_id}, float(seconds[place]), float(began[place])
            )

    def current(self, labels: list[Labels]) -> dict[tuple[Labels, int], Exemplar]:
        """A copy of the exemplars; those of label sets that are gone are forgotten."""
        known = set(labels)
        self.exemplars = {key: one for key, one in self.exemplars.items() if key[0] in known}
        return dict(self.exemplars)
