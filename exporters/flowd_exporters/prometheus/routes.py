"""Count access-log entries by Gateway, listener, route, rule and backend."""

from collections import Counter
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from prometheus_client.metrics_core import Metric as Family

from flowd.model.enums import EntryKind
from flowd.model.records.request import RequestBatch
from flowd_exporters.base import final_entries
from flowd_exporters.label_values import ATTRIBUTIONS, OUTCOMES, DirectoryLabels, route_object_of
from flowd_exporters.prometheus.families import counter_family, histogram_family, plain_family
from flowd_exporters.prometheus.histogram import Histogram, SeriesFactory
from flowd_exporters.prometheus.metric_definitions import (
    ROUTE_CONNECTIONS,
    ROUTE_DURATION,
    ROUTE_OUTCOMES,
    ROUTE_REQUESTS,
    ROUTE_UNATTRIBUTED,
    ROUTE_UPSTREAM,
)
from flowd_exporters.prometheus.series import KeyColumns, LabelSet, group, sizes


class RouteMetrics:
    """HTTP requests and proxied TCP connections by Gateway API route; each is counted once.

    Attributes:
        requests, connections, outcomes: counters.
        duration, upstream: time to the end of the response, and to the backend's first byte.
        unattributed: entries without a route, by reason.
    """

    def __init__(self, labels: DirectoryLabels, new_series: SeriesFactory) -> None:
        self._values = labels
        self.requests = new_series(ROUTE_REQUESTS, 1)
        self.connections = new_series(ROUTE_CONNECTIONS, 1)
        self.outcomes = new_series(ROUTE_OUTCOMES, 1)
        self.duration = Histogram(ROUTE_DURATION, new_series)
        self.upstream = Histogram(ROUTE_UPSTREAM, new_series)
        self.unattributed: Counter[LabelSet] = Counter()

    def families(self) -> Iterator[Family]:
        """Requests, connections, outcomes, durations, then entries without a route."""
        yield counter_family(ROUTE_REQUESTS, self.requests, {0: ()})
        yield counter_family(ROUTE_CONNECTIONS, self.connections, {0: ()})
        yield counter_family(ROUTE_OUTCOMES, self.outcomes, {0: ()})
        yield histogram_family(self.duration)
        yield histogram_family(self.upstream)
        yield plain_family(ROUTE_UNATTRIBUTED, self.unattributed)

    def observe(self, batch: RequestBatch) -> None:
        """Count access-log entries."""
        http = final_entries(batch, EntryKind.HTTP)
        if len(http):
            columns = self._columns(http)
            self._count_requests(http, columns)
            self._observe_durations(http, columns)
        tcp = final_entries(batch, EntryKind.TCP)
        if len(tcp):
            groups = group([*self._columns(tcp), self._flags(tcp)])
            rows = self.connections.rows(groups, self._connection_labels)
            self.connections.add(rows, sizes(groups))
        for rows in (http, tcp):
            if len(rows):
                self._count_outcomes(rows)
        self._count_unattributed(http)
        self._count_unattributed(tcp)

    def _count_requests(self, batch: RequestBatch, columns: KeyColumns) -> None:
        code_class = batch["status"] // 100
        code_class = np.where(code_class < 6, code_class, 0)
        groups = group([*columns, (code_class, 6), self._flags(batch)])
        self.requests.add(self.requests.rows(groups, self._request_labels), sizes(groups))

    def _count_outcomes(self, batch: RequestBatch) -> None:
        routes = self._values.routes
        columns = [(routes.ids(batch["route"]), len(routes.labels)), (batch["outcome"], 256)]
        groups = group(columns)
        self.outcomes.add(self.outcomes.rows(groups, self._outcome_labels), sizes(groups))

    def _observe_durations(self, batch: RequestBatch, columns: KeyColumns) -> None:
        groups = group(columns)
        bucket = self.duration.add(groups, self._labels, batch["duration_ns"])
        self.duration.add_exemplars(
            groups,
            self._labels,
            bucket,
            batch["duration_ns"],
            batch["traceparent"],
            batch["time_ns"],
        )
        responded = batch["upstream_ns"] > 0
        if responded.any():
            groups = group([(column[responded], bound) for column, bound in columns])
            self.upstream.add(groups, self._labels, batch["upstream_ns"][responded])

    def _count_unattributed(self, batch: RequestBatch) -> None:
        """Count the entries without a route by reason."""
        counts = np.bincount(self._values.reasons.ids(batch["route"]))
        for reason in np.flatnonzero(counts).tolist():
            labels = self._values.reasons.labels[reason]
            if labels != ("",):
                self.unattributed[labels] += int(counts[reason])

    def _columns(self, batch: RequestBatch) -> KeyColumns:
        routes = self._values.routes.ids(batch["route"])
        backends = self._values.backends.ids(batch["backend"])
        return [
            (routes, len(self._values.routes.labels)),
            (backends, len(self._values.backends.labels)),
            (batch["attribution"], 256),
        ]

    def _flags(self, batch: RequestBatch) -> tuple[NDArray[np.intp], int]:
        ids = self._values.flags.ids(batch["flags"])
        return ids, len(self._values.flags.labels)

    def _labels(self, key: tuple[int, ...]) -> LabelSet:
        route, backend, attribution = key
        return (
            *self._values.routes.labels[route],
            *self._values.backends.labels[backend],
            ATTRIBUTIONS.get(attribution, "none"),
        )

    def _outcome_labels(self, key: tuple[int, ...]) -> LabelSet:
        route, outcome = key
        labels = self._values.routes.labels[route]
        return (*route_object_of(labels), OUTCOMES.get(outcome, "unknown"))

    def _request_labels(self, key: tuple[int, ...]) -> LabelSet:
        *route, code_class, flags = key
        code = f"{code_class}xx" if code_class else "none"
        return (*self._labels(tuple(route)), code, self._values.flags.labels[flags])

    def _connection_labels(self, key: tuple[int, ...]) -> LabelSet:
        *route, flags = key
        return (*self._labels(tuple(route)), self._values.flags.labels[flags])
