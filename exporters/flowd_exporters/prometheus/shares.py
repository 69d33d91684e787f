"""What of the connections' traffic and of the requests' time was each route's."""

import numpy as np

from flowd.model.enums import EntryKind, ShareSide
from flowd.model.records.request import RequestBatch
from flowd.model.records.share import OTHER_ROUTE, ShareBatch
from flowd_exporters.base import final
from flowd_exporters.label_values import DirectoryLabels
from flowd_exporters.otlp.span_attributes import PARTS
from flowd_exporters.prometheus.histogram import NewSeries
from flowd_exporters.prometheus.metric_definitions import OTHER, ROUTE_BYTES, ROUTE_SPLIT
from flowd_exporters.prometheus.series import Labels, group, sizes, totals

AMOUNTS = ("bytes_fwd", "bytes_rev", "packets_fwd", "packets_rev", "retransmits")


class Shares:
    """Sums by Gateway, listener and route.

    Attributes:
        traffic: AMOUNTS, by route and side.
        split: microseconds of PARTS, then requests, by route.
    """

    def __init__(self, names: DirectoryLabels, series: NewSeries) -> None:
        self._names = names
        self.traffic = series(ROUTE_BYTES, len(AMOUNTS))
        self.split = series(ROUTE_SPLIT, len(PARTS) + 1)

    def observe_traffic(self, batch: ShareBatch) -> None:
        """Add up what records shared out."""
        over = batch["route"] == OTHER_ROUTE
        ids = self._names.routes.ids(np.where(over, 0, batch["route"])) + 1
        bound = len(self._names.routes.labels) + 1
        groups = group([(np.where(over, 0, ids), bound), (batch["side"], 2)])
        amounts = totals(groups, *(batch[name] for name in AMOUNTS))
        self.traffic.add(self.traffic.rows(groups, self._traffic_labels), amounts)

    def observe_requests(self, batch: RequestBatch) -> None:
        """Add up the requests whose split is known."""
        http = final(batch, EntryKind.HTTP)
        columns = [http[f"{part}_us"].astype(np.uint64) for part in PARTS]
        known = np.logical_or.reduce([column > 0 for column in columns])
        if not known.any():
            return
        ids = self._names.routes.ids(http["route"][known])
        groups = group([(ids, len(self._names.routes.labels))])
        spent = totals(groups, *(column[known] for column in columns))
        amounts = np.hstack([spent, sizes(groups).astype(np.uint64)])
        self.split.add(self.split.rows(groups, self._split_labels), amounts)

    def _traffic_labels(self, key: tuple[int, ...]) -> Labels:
        route, side = key
        labels = self._names.routes.labels[route - 1][:6] if route else (OTHER,) * 6
        return (*labels, ShareSide(side).name.lower())

    def _split_labels(self, key: tuple[int, ...]) -> Labels:
        return self._names.routes.labels[key[0]][:6]
