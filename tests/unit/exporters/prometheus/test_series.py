"""Series: the bound on label sets; label values: bounded and printable."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from flowd.model.endpoint import Endpoint, EndpointKind
from flowd.model.losses import Losses, Place
from flowd.model.records.batch import FlowBatch
from flowd.model.records.connection import empty_connections
from flowd.model.records.flow import empty_flows
from flowd.model.records.request import empty_requests
from flowd.model.records.share import empty_shares
from flowd.model.route import RouteRef
from flowd_exporters.label_values import FlagSets, workload_labels
from flowd_exporters.prometheus.exporter import PrometheusExporter
from flowd_exporters.prometheus.series import IDLE_SECONDS, Series, group, sizes
from tests.support.exporter_batches import cluster, random_batch, web_requests


class Clock:
    """A clock that the test advances."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def count(series: Series, keys: list[int]) -> None:
    groups = group([(np.array(keys), 1000)])
    series.add(series.rows(groups, lambda key: (f"k{key[0]}",)), sizes(groups))


def read(series: Series) -> dict[str, int]:
    labels, values = series.read()
    return {one[0]: int(value) for one, value in zip(labels, values[:, 0], strict=True)}


def test_over_the_bound_goes_to_other_and_is_counted() -> None:
    losses = Losses()
    series = Series("m", 1, 3, losses, Clock())
    count(series, [1, 2, 2])
    assert read(series) == {"k1": 1, "k2": 2}
    count(series, [3, 4, 5, 5, 1])
    assert read(series) == {"other": 3, "k1": 2, "k2": 2, "k3": 1}
    count(series, [4, 2])
    assert read(series) == {"other": 4, "k1": 2, "k2": 3, "k3": 1}
    assert losses.snapshot() == {(Place.SERIES, "m"): 4}


def test_idle_label_sets_make_room() -> None:
    clock = Clock()
    losses = Losses()
    series = Series("m", 1, 3, losses, clock)
    count(series, [1, 2, 3, 4])
    clock.now = IDLE_SECONDS - 100
    count(series, [3])
    clock.now = IDLE_SECONDS + 100
    count(series, [2, 5, 4, 4])
    assert read(series) == {"other": 1 + 1, "k2": 2, "k3": 2, "k4": 2}
    clock.now *= 3
    count(series, [7, 8, 9])
    assert read(series) == {"other": 2, "k7": 1, "k8": 1, "k9": 1}
    assert losses.total() == 2


def test_keys_of_equal_labels_are_one_series() -> None:
    series = Series("m", 1, 2, Losses(), Clock())
    for first in range(0, 100, 10):
        groups = group([(np.arange(first, first + 10), 1000)])
        series.add(series.rows(groups, lambda key: (f"k{key[0] % 2}",)), sizes(groups))
    assert read(series) == {"k0": 50, "k1": 50}


@given(
    st.lists(st.tuples(st.integers(0, 6), st.integers(0, 2), st.integers(0, 9)), min_size=1),
    st.sampled_from([(7, 3, 10), (1 << 30, 1 << 20, 1 << 20)]),
)
def test_groups_are_the_distinct_rows(
    rows: list[tuple[int, int, int]], bounds: tuple[int, int, int]
) -> None:
    columns = np.array(rows).T
    groups = group(list(zip(columns, bounds, strict=True)))
    assert [tuple(groups.keys[place].tolist()) for place in groups.inverse] == rows
    assert len({tuple(key) for key in groups.keys.tolist()}) == len(groups.keys)


def test_every_metric_of_the_exporter_is_bounded() -> None:
    rng = np.random.default_rng(3)
    directory = cluster()
    for place in range(500):
        directory.endpoints.index(Endpoint(EndpointKind.POD, 400, "ns", f"pod-{place}"))
        directory.routes.index(RouteRef("infra", "edge", "https", "HTTPRoute", "a", f"r{place}"))
    losses = Losses()
    exporter = PrometheusExporter(directory, losses, max_series=20)
    for _ in range(3):
        exporter.observe(random_batch(rng, directory, 2000))
    requests = 0.0
    for family in text_string_to_metric_families(generate_latest(exporter.registry).decode()):
        per_set = 2 if family.name in ("flowd_bytes", "flowd_packets") else 1
        rows = [s for s in family.samples if not s.name.endswith(("_bucket", "_sum"))]
        assert len(rows) <= 21 * per_set or family.name == "flowd_lost", family.name
        if family.name == "flowd_route_requests":
            requests = sum(sample.value for sample in rows)
            assert any(set(sample.labels.values()) == {"other"} for sample in rows)
    assert requests > 0
    assert losses.snapshot()[Place.SERIES, "flowd_route_requests_total"] > 0
    assert losses.snapshot()[Place.SERIES, "flowd_connections_total"] > 0


def test_shares_over_the_bound_leave_the_page_readable() -> None:
    directory = cluster()
    routes = [
        directory.routes.index(RouteRef("infra", "edge", "https", "HTTPRoute", "a", f"r{place}"))
        for place in range(50)
    ]
    exporter = PrometheusExporter(directory, Losses(), max_series=20)
    shares = empty_shares(len(routes))
    shares["route"], shares["bytes_fwd"] = routes, 7
    exporter.observe(FlowBatch(empty_connections(), empty_requests(), empty_flows(), shares=shares))
    page = text_string_to_metric_families(generate_latest(exporter.registry).decode())
    [bytes_] = [family for family in page if family.name == "flowd_route_connection_bytes"]
    assert sum(sample.value for sample in bytes_.samples) == 7 * len(routes)
    labels = [sample.labels for sample in bytes_.samples if sample.labels["route"] == "other"]
    assert {each["direction"] for each in labels} == {"request", "response"}


def test_label_values_are_printable_and_bounded() -> None:
    directory = cluster()
    evil = RouteRef("infra", "edge", "x" * 1000, "HTTPRoute", 'a"b\\c', "\x1b[2Jr\n\u202e", 0)
    exporter = PrometheusExporter(directory, Losses())
    batch = web_requests(1)
    batch.requests["route"] = directory.routes.index(evil)
    exporter.observe(batch)
    text = generate_latest(exporter.registry).decode()
    assert "\x1b" not in text
    [sample] = [
        sample
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == "flowd_route_requests_total"
    ]
    assert sample.labels["route"] == "^[[2Jr^J\\u202e"
    assert sample.labels["route_namespace"] == 'a"b\\c'
    assert len(sample.labels["listener"]) == 256


def test_flag_sets_are_bounded() -> None:
    flags = FlagSets()
    ids = flags.ids(np.arange(2000, dtype=np.uint64))
    assert flags.labels[ids[0]] == "-"
    assert flags.labels[ids[3]] == "LH,UH"
    assert flags.labels[ids[1999]] == "other"
    assert flags.labels[flags.ids(np.array([3], np.uint64))[0]] == "LH,UH"
    assert len(flags.labels) <= 257


@pytest.mark.parametrize(
    ("endpoint", "names"),
    [
        (Endpoint(EndpointKind.POD, 1, "a", "p-1", workload="p"), ("a", "p")),
        (Endpoint(EndpointKind.POD, 1, "a", "bare"), ("a", "bare")),
        (Endpoint(EndpointKind.SERVICE, 1, "a", "svc"), ("a", "svc")),
        (Endpoint(EndpointKind.NODE, 6, "", "n2"), ("", "node")),
        (Endpoint(EndpointKind.WORLD, 2, address="192.0.2.1"), ("", "world")),
    ],
)
def test_workload_of_an_endpoint(endpoint: Endpoint, names: tuple[str, str]) -> None:
    assert workload_labels(endpoint) == names


@pytest.mark.parametrize("limit", [1, 5])
def test_a_limit_holds_within_one_batch(limit: int) -> None:
    losses = Losses()
    series = Series("m", 1, limit, losses, Clock())
    count(series, list(range(50)))
    assert len(series) == limit
    assert read(series)["other"] == 50 - limit == losses.total()
