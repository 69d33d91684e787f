"""docs/metrics.md is fresh, and the metric table follows Prometheus' naming rules."""

import re

import pytest

from flowd_exporters.prometheus.metric import LABELS, Metric
from flowd_exporters.prometheus.metric_definitions import METRICS
from tools.docs_metrics import PAGE, page


def test_the_page_is_fresh() -> None:
    assert PAGE.read_text() == page(), "run `make docs`"


def test_every_label_is_described_and_used() -> None:
    assert {label for metric in METRICS for label in metric.labels} == set(LABELS)


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_names_follow_the_rules(metric: Metric) -> None:
    assert re.fullmatch("(flowd|hubble)(_[a-z]+)+", metric.name)
    assert (metric.type == "counter") == metric.name.endswith("_total")
    assert (metric.type == "histogram") == bool(metric.buckets)
    assert metric.family.endswith(metric.unit)
    assert metric.help.endswith(".")
    assert len(set(metric.labels)) == len(metric.labels)
    assert list(metric.buckets) == sorted(metric.buckets)
