"""Count TCP socket reports: round trips, retransmissions, failures and resets by workload pair."""

from collections.abc import Iterator

import numpy as np
from prometheus_client.metrics_core import Metric as Family

from flowd.model.enums import SocketAlso, SocketReason, SocketRole
from flowd.model.records.rows import select_rows
from flowd.model.records.socket import SocketBatch
from flowd_exporters.label_values import DirectoryLabels
from flowd_exporters.prometheus import metric_definitions
from flowd_exporters.prometheus.families import counter_family, histogram_family
from flowd_exporters.prometheus.histogram import Histogram, SeriesFactory
from flowd_exporters.prometheus.series import Groups, LabelSet, group, sizes, totals

CONNECT_ERRORS = {
    0: "aborted",
    101: "unreachable",  # errno(3): ENETUNREACH
    104: "reset",
    110: "timed_out",
    111: "refused",
    113: "unreachable",  # EHOSTUNREACH
}
RESETS = {SocketReason.RESET_SENT: "sent", SocketReason.RESET_RECEIVED: "received"}
_IS_RESET = np.isin(np.arange(256), list(RESETS))


class SocketMetrics:
    """Round trips, retransmissions and failures by label set.

    The end that connected is the source. Both sockets of a connection are counted when both are on
    this node.

    Attributes:
        connect: time to establish, one value a connection.
        rtt: smoothed round-trip time, one value a report with reason UPDATE or CLOSED.
        retransmits, failures, resets: counters.
    """

    def __init__(self, labels: DirectoryLabels, new_series: SeriesFactory) -> None:
        self._workloads = labels.workloads
        self.connect = Histogram(metric_definitions.TCP_CONNECT, new_series)
        self.rtt = Histogram(metric_definitions.TCP_RTT, new_series)
        self.retransmits = new_series(metric_definitions.TCP_RETRANSMITS, 1)
        self.failures = new_series(metric_definitions.TCP_FAILURES, 1)
        self.resets = new_series(metric_definitions.TCP_RESETS, 1)

    def families(self) -> Iterator[Family]:
        """Connect time, round-trip time, retransmits, failures, resets."""
        yield histogram_family(self.connect)
        yield histogram_family(self.rtt)
        yield counter_family(metric_definitions.TCP_RETRANSMITS, self.retransmits, {0: ()})
        yield counter_family(metric_definitions.TCP_FAILURES, self.failures, {0: ()})
        yield counter_family(metric_definitions.TCP_RESETS, self.resets, {0: ()})

    def observe(self, batch: SocketBatch) -> None:
        """Count socket reports."""
        reason, also = batch["reason"], batch["also"]
        opened = (reason == SocketReason.ESTABLISHED) | (also & SocketAlso.ESTABLISHED != 0)
        rows = select_rows(batch, opened & (batch["connect_ns"] > 0))
        if len(rows):
            self.connect.add(self._group(rows), self._labels, rows["connect_ns"])
        measured = (reason == SocketReason.UPDATE) | (reason == SocketReason.CLOSED)
        rows = select_rows(batch, measured & (batch["srtt_us"] > 0))
        if len(rows):
            nanoseconds = rows["srtt_us"].astype(np.uint64) * np.uint64(1000)
            self.rtt.add(self._group(rows), self._labels, nanoseconds)
        rows = select_rows(batch, reason == SocketReason.RETRANSMIT)
        if len(rows):
            groups = self._group(rows)
            segments = totals(groups, rows["retransmits"].astype(np.uint64))
            self.retransmits.add(self.retransmits.rows(groups, self._labels), segments)
        rows = select_rows(batch, reason == SocketReason.FAILED)
        if len(rows):
            groups = self._group(rows, "error")
            self.failures.add(self.failures.rows(groups, self._failure_labels), sizes(groups))
        rows = select_rows(batch, _IS_RESET[reason])
        received = select_rows(batch, also & SocketAlso.RESET_RECEIVED != 0)
        if len(received):
            received["reason"] = SocketReason.RESET_RECEIVED
            rows = np.concatenate([rows, received])
        if len(rows):
            groups = self._group(rows, "reason")
            self.resets.add(self.resets.rows(groups, self._reset_labels), sizes(groups))

    def _group(self, rows: SocketBatch, column: str = "") -> Groups:
        """Group rows by source and destination workload, after a column if one is named."""
        accepted = rows["role"] == SocketRole.ACCEPTED
        local, remote = rows["local_endpoint"], rows["remote_endpoint"]
        source = self._workloads.ids(np.where(accepted, remote, local))
        destination = self._workloads.ids(np.where(accepted, local, remote))
        workloads = len(self._workloads.labels)
        ends = [(source, workloads), (destination, workloads)]
        return group([(rows[column], 256), *ends] if column else ends)

    def _labels(self, key: tuple[int, ...]) -> LabelSet:
        source, destination = key
        return (*self._workloads.labels[source], *self._workloads.labels[destination])

    def _failure_labels(self, key: tuple[int, ...]) -> LabelSet:
        return CONNECT_ERRORS.get(key[0], "other"), *self._labels(key[1:])

    def _reset_labels(self, key: tuple[int, ...]) -> LabelSet:
        return RESETS[SocketReason(key[0])], *self._labels(key[1:])
