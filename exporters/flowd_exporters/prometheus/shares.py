"""Count each route's share of connection traffic, and where the time of its requests went."""

from collections.abc import Iterator

import numpy as np
from prometheus_client.metrics_core import Metric as Family

from flowd.model.enums import EntryKind, ShareSide
from flowd.model.records.request import RequestBatch
from flowd.model.records.share import OTHER_ROUTE, ShareBatch
from flowd_exporters.base import final_entries
from flowd_exporters.label_values import (
    LATENCY_PARTS,
    OTHER,
    ROUTE_OBJECT_LABELS,
    DirectoryLabels,
    route_object_of,
)
from flowd_exporters.prometheus.families import REQUEST, RESPONSE, counter_family
from flowd_exporters.prometheus.histogram import SeriesFactory
from flowd_exporters.prometheus.metric_definitions import (
    ROUTE_BYTES,
    ROUTE_PACKETS,
    ROUTE_RETRANSMITS,
    ROUTE_SPLIT,
    ROUTE_SPLIT_REQUESTS,
)
from flowd_exporters.prometheus.series import LabelSet, group, sizes, totals

AMOUNTS = ("bytes_fwd", "bytes_rev", "packets_fwd", "packets_rev", "retransmits")


class ShareMetrics:
    """Sums by Gateway, listener and route.

    Attributes:
        traffic: AMOUNTS, by route and side.
        split: microseconds of each of LATENCY_PARTS, then requests, by route.
    """

    def __init__(self, labels: DirectoryLabels, new_series: SeriesFactory) -> None:
        self._routes = labels.routes
        self.traffic = new_series(ROUTE_BYTES, len(AMOUNTS))
        self.split = new_series(ROUTE_SPLIT, len(LATENCY_PARTS) + 1)

    def families(self) -> Iterator[Family]:
        """Bytes, packets and retransmits, then the latency split and its requests."""
        yield counter_family(ROUTE_BYTES, self.traffic, {0: REQUEST, 1: RESPONSE})
        yield counter_family(ROUTE_PACKETS, self.traffic, {2: REQUEST, 3: RESPONSE})
        yield counter_family(ROUTE_RETRANSMITS, self.traffic, {4: ()})
        parts = {column: (part,) for column, part in enumerate(LATENCY_PARTS)}
        yield counter_family(ROUTE_SPLIT, self.split, parts, unit=1e6)
        yield counter_family(ROUTE_SPLIT_REQUESTS, self.split, {len(LATENCY_PARTS): ()})

    def observe_traffic(self, batch: ShareBatch) -> None:
        """Add the amounts of share records."""
        over = batch["route"] == OTHER_ROUTE
        ids = self._routes.ids(np.where(over, 0, batch["route"])) + 1
        bound = len(self._routes.labels) + 1
        groups = group([(np.where(over, 0, ids), bound), (batch["side"], 2)])
        amounts = totals(groups, *(batch[name] for name in AMOUNTS))
        self.traffic.add(self.traffic.rows(groups, self._traffic_labels), amounts)

    def observe_requests(self, batch: RequestBatch) -> None:
        """Add the latency split of the HTTP requests that have one."""
        http = final_entries(batch, EntryKind.HTTP)
        columns = [http[f"{part}_us"].astype(np.uint64) for part in LATENCY_PARTS]
        known = np.logical_or.reduce([column > 0 for column in columns])
        if not known.any():
            return
        ids = self._routes.ids(http["route"][known])
        groups = group([(ids, len(self._routes.labels))])
        microseconds = totals(groups, *(column[known] for column in columns))
        amounts = np.hstack([microseconds, sizes(groups).astype(np.uint64)])
        self.split.add(self.split.rows(groups, self._split_labels), amounts)

    def _traffic_labels(self, key: tuple[int, ...]) -> LabelSet:
        """Labels of (route id + 1, side); 0 in place of the former is OTHER_ROUTE."""
        route, side = key
        if route:
            labels = route_object_of(self._routes.labels[route - 1])
        else:
            labels = (OTHER,) * len(ROUTE_OBJECT_LABELS)
        return (*labels, ShareSide(side).name.lower())

    def _split_labels(self, key: tuple[int, ...]) -> LabelSet:
        return route_object_of(self._routes.labels[key[0]])
