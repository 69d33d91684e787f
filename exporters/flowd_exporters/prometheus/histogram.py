"""Histogram: durations counted into buckets by label set, with trace exemplars."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from prometheus_client.samples import Exemplar

from flowd_exporters.prometheus.metric import Metric
from flowd_exporters.prometheus.series import Groups, LabelSet, Series, totals
from flowd_exporters.trace_context import parse

SeriesFactory = Callable[[Metric, int], Series]
"""Makes the series of a metric, with the given number of counters in a row."""


def bucket_indexes(durations: NDArray[np.uint64], bounds: NDArray[np.uint64]) -> NDArray[np.intp]:
    """Index of the bucket of each duration; a bound belongs to its own bucket (`le`).

    Args:
        durations: nanoseconds, shape (n,).
        bounds: ascending upper bounds in nanoseconds; the index len(bounds) is +Inf.
    """
    return np.searchsorted(bounds, durations, side="left")


class Histogram:
    """Durations by label set: the counters of a row are the buckets, then the sum in ns.

    Attributes:
        width: number of buckets, +Inf included.
        series: counters, `width` + 1 in a row.
        exemplars: the last sampled trace by label set and bucket index.
    """

    def __init__(self, metric: Metric, new_series: SeriesFactory) -> None:
        self.metric = metric
        self.width = len(metric.buckets) + 1
        self.series = new_series(metric, self.width + 1)
        self.exemplars: dict[tuple[LabelSet, int], Exemplar] = {}
        self._bounds = np.array([round(bound * 1e9) for bound in metric.buckets], np.uint64)

    def add(
        self,
        groups: Groups,
        labels_of: Callable[[tuple[int, ...]], LabelSet],
        durations: NDArray[np.uint64],
    ) -> NDArray[np.intp]:
        """Count durations and return the bucket index of each, shape (n,).

        Args:
            durations: nanoseconds, shape (n,), one a row of `groups`.
        """
        bucket = bucket_indexes(durations, self._bounds)
        counts = np.bincount(
            groups.inverse * self.width + bucket, minlength=len(groups.keys) * self.width
        )
        amounts = np.hstack([counts.reshape(-1, self.width), totals(groups, durations)])
        self.series.add(self.series.rows(groups, labels_of), amounts)
        return bucket

    def add_exemplars(
        self,
        groups: Groups,
        labels_of: Callable[[tuple[int, ...]], LabelSet],
        bucket: NDArray[np.intp],
        durations: NDArray[np.uint64],
        traceparents: NDArray[Any],
        times: NDArray[np.uint64],
    ) -> None:
        """Keep the last sampled trace of each label set and bucket as its exemplar.

        Args:
            bucket: bucket indexes from `add`, shape (n,) as all other columns.
            durations: nanoseconds.
            traceparents: W3C headers, dtype object, "" for none.
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

    def live_exemplars(self, rows: list[LabelSet]) -> dict[tuple[LabelSet, int], Exemplar]:
        """A copy of the exemplars of these label sets; all others are dropped."""
        live = set(rows)
        self.exemplars = {key: one for key, one in self.exemplars.items() if key[0] in live}
        return dict(self.exemplars)
