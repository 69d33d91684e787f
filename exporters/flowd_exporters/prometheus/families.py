"""Make Prometheus metric families (HELP, TYPE and samples) from counters, series and histograms."""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Protocol, cast

import numpy as np
from numpy.typing import NDArray
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.samples import Exemplar, Sample

from flowd_exporters.prometheus.histogram import Histogram
from flowd_exporters.prometheus.metric import Metric
from flowd_exporters.prometheus.series import LabelSet, Series

REQUEST: LabelSet = ("request",)
RESPONSE: LabelSet = ("response",)
"""Values of the label `direction`."""


class FamilySource(Protocol):
    """A part of the exporter that owns some metrics."""

    def families(self) -> Iterator[Family]:
        """The part's families with their values now, in the order of METRICS."""
        ...


class _Samples:
    """An iterable that makes the samples when they are written, in the server's thread."""

    def __init__(self, make: Callable[[], Iterator[Sample]]) -> None:
        self._make = make

    def __iter__(self) -> Iterator[Sample]:
        return self._make()


def empty_family(metric: Metric) -> Family:
    """A family without samples."""
    return Family(metric.family, metric.help, metric.type, metric.unit)


def plain_family(metric: Metric, values: Mapping[LabelSet, float]) -> Family:
    """A family of one sample a label set.

    Args:
        values: by label values, in the order of `metric.labels`.
    """
    family = empty_family(metric)
    for labels, value in values.items():
        family.add_sample(metric.name, dict(zip(metric.labels, labels, strict=True)), value)
    return family


def counter_family(
    metric: Metric, series: Series, columns: Mapping[int, LabelSet], unit: float = 1
) -> Family:
    """A family of the counters of a series; the values are copied now, the samples made later.

    Args:
        columns: columns of the series to expose, each with the label values to append to those of
            the row.
        unit: divisor from the column's unit to the metric's.
    """
    return _lazy_family(metric, partial(_counter_samples, metric, *series.read(), columns, unit))


def histogram_family(histogram: Histogram) -> Family:
    """A family of `_bucket`, `_count` and `_sum` samples with exemplars."""
    rows, values = histogram.series.read()
    metric, exemplars = histogram.metric, histogram.live_exemplars(rows)
    return _lazy_family(metric, partial(_histogram_samples, metric, rows, values, exemplars))


def _lazy_family(metric: Metric, make: Callable[[], Iterator[Sample]]) -> Family:
    family = empty_family(metric)
    family.samples = cast("list[Sample]", _Samples(make))
    return family


def _counter_samples(
    metric: Metric,
    rows: list[LabelSet],
    values: NDArray[np.uint64],
    columns: Mapping[int, LabelSet],
    unit: float,
) -> Iterator[Sample]:
    for column, extra in columns.items():
        for labels, value in zip(rows, values[:, column].tolist(), strict=True):
            named = dict(zip(metric.labels, labels + extra, strict=True))
            yield Sample(metric.name, named, value / unit if unit != 1 else value)


def _histogram_samples(
    metric: Metric,
    rows: list[LabelSet],
    values: NDArray[np.uint64],
    exemplars: Mapping[tuple[LabelSet, int], Exemplar],
) -> Iterator[Sample]:
    bounds = [*map(str, metric.buckets), "+Inf"]
    counts: list[list[int]] = np.cumsum(values[:, :-1], axis=1).tolist()
    for row, (labels, cumulated) in enumerate(zip(rows, counts, strict=True)):
        named = dict(zip(metric.labels, labels, strict=True))
        for bucket, (bound, count) in enumerate(zip(bounds, cumulated, strict=True)):
            exemplar = exemplars.get((labels, bucket))
            yield Sample(f"{metric.name}_bucket", {**named, "le": bound}, count, exemplar=exemplar)
        yield Sample(f"{metric.name}_count", named, cumulated[-1])
        yield Sample(f"{metric.name}_sum", named, int(values[row, -1]) / 1e9)
