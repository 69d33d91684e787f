"""Access-log entries added up by gateway, listener, route, rule and backend."""

from collections import Counter

import numpy as np
from numpy.typing import NDArray

from flowd.model.enums import EntryKind
from flowd.model.records.request import RequestBatch
from flowd_exporters.base import final
from flowd_exporters.label_values import ATTRIBUTIONS, OUTCOMES, DirectoryLabels
from flowd_exporters.prometheus.histogram import Histogram, NewSeries
from flowd_exporters.prometheus.metric_definitions import (
    ROUTE_CONNECTIONS,
    ROUTE_DURATION,
    ROUTE_OUTCOMES,
    ROUTE_REQUESTS,
    ROUTE_UPSTREAM,
)
from flowd_exporters.prometheus.series import Columns, Labels, group, sizes


class Routes:
    """Requests and proxied connections by Gateway API route, each counted once."""

    def __init__(self, directory: DirectoryLabels, series: NewSeries) -> None:
        self._names = directory
        self.requests = series(ROUTE_REQUESTS, 1)
        self.connections = series(ROUTE_CONNECTIONS, 1)
        self.outcomes = series(ROUTE_OUTCOMES, 1)
        self.duration = Histogram(ROUTE_DURATION, series)
        self.upstream = Histogram(ROUTE_UPSTREAM, series)
        self.unattributed: Counter[str] = Counter()

    def observe(self, batch: RequestBatch) -> None:
        """Count access-log entries."""
        http = final(batch, EntryKind.HTTP)
        if len(http):
            columns = self._columns(http)
            self._count(http, columns)
            self._measure(http, columns)
        tcp = final(batch, EntryKind.TCP)
        if len(tcp):
            groups = group([*self._columns(tcp), self._flags(tcp)])
            rows = self.connections.rows(groups, self._connection_labels)
            self.connections.add(rows, sizes(groups))
        for rows in (http, tcp):
            if len(rows):
                self._end(rows)
        self._explain(http)
        self._explain(tcp)

    def _count(self, batch: RequestBatch, columns: Columns) -> None:
        code_class = batch["status"] // 100
        code_class = np.where(code_class < 6, code_class, 0)
        groups = group([*columns, (code_class, 6), self._flags(batch)])
        self.requests.add(self.requests.rows(groups, self._request_labels), sizes(groups))

    def _end(self, batch: RequestBatch) -> None:
        routes = self._names.routes
        columns = [(routes.ids(batch["route"]), len(routes.labels)), (batch["outcome"], 256)]
        groups = group(columns)
        self.outcomes.add(self.outcomes.rows(groups, self._outcome_labels), sizes(groups))

    def _measure(self, batch: RequestBatch, columns: Columns) -> None:
        groups = group(columns)
        bucket = self.duration.add(groups, self._labels, batch["duration_ns"])
        self.duration.note(
            groups,
            self._labels,
            bucket,
            batch["duration_ns"],
            batch["traceparent"],
            batch["time_ns"],
        )
        answered = batch["upstream_ns"] > 0
        if answered.any():
            groups = group([(column[answered], bound) for column, bound in columns])
            self.upstream.add(groups, self._labels, batch["upstream_ns"][answered])

    def _explain(self, batch: RequestBatch) -> None:
        """Count the rows without a route by reason."""
        counts = np.bincount(self._names.reasons.ids(batch["route"]))
        for reason in np.flatnonzero(counts).tolist():
            (label,) = self._names.reasons.labels[reason]
            if label:
                self.unattributed[label] += int(counts[reason])

    def _columns(self, batch: RequestBatch) -> Columns:
        routes = self._names.routes.ids(batch["route"])
        backends = self._names.backends.ids(batch["backend"])
        return [
            (routes, len(self._names.routes.labels)),
            (backends, len(self._names.backends.labels)),
            (batch["attribution"], 256),
        ]

    def _flags(self, batch: RequestBatch) -> tuple[NDArray[np.intp], int]:
        ids = self._names.flags.ids(batch["flags"])
        return ids, len(self._names.flags.labels)

    def _labels(self, key: tuple[int, ...]) -> Labels:
        route, backend, attribution = key
        return (
            *self._names.routes.labels[route],
            *self._names.backends.labels[backend],
            ATTRIBUTIONS.get(attribution, "none"),
        )

    def _outcome_labels(self, key: tuple[int, ...]) -> Labels:
        route, outcome = key
        return (*self._names.routes.labels[route][:6], OUTCOMES.get(outcome, "unknown"))

    def _request_labels(self, key: tuple[int, ...]) -> Labels:
        *route, code_class, flags = key
        code = f"{code_class}xx" if code_class else "none"
        return (*self._labels(tuple(route)), code, self._names.flags.labels[flags])

    def _connection_labels(self, key: tuple[int, ...]) -> Labels:
        *route, flags = key
        return (*self._labels(tuple(route)), self._names.flags.labels[flags])
