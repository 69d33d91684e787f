"""Reports on TCP sockets added up by the workloads at both ends."""

import numpy as np

from flowd.model.enums import SocketAlso, SocketReason, SocketRole
from flowd.model.records.rows import chosen
from flowd.model.records.socket import SocketBatch
from flowd_exporters.label_values import DirectoryLabels
from flowd_exporters.prometheus import metric_definitions
from flowd_exporters.prometheus.histogram import Histogram, NewSeries
from flowd_exporters.prometheus.series import Groups, Labels, group, sizes, totals

FAILURES = {
    0: "aborted",
    101: "unreachable",  # errno(3): ENETUNREACH
    104: "reset",
    110: "timed_out",
    111: "refused",
    113: "unreachable",  # EHOSTUNREACH
}
RESETS = {SocketReason.RESET_SENT: "sent", SocketReason.RESET_RECEIVED: "received"}
_IS_RESET = np.isin(np.arange(256), list(RESETS))


class Sockets:
    """Round trips, retransmissions and failures by label set.

    The end that connected is the source; of two sockets of one connection each counts for itself.

    Attributes:
        connect: time to establish, once a connection.
        rtt: a value a report, of UPDATE and CLOSED.
        retransmits, failures, resets: counters.
    """

    def __init__(self, names: DirectoryLabels, series: NewSeries) -> None:
        self._workloads = names.workloads
        self.connect = Histogram(metric_definitions.TCP_CONNECT, series)
        self.rtt = Histogram(metric_definitions.TCP_RTT, series)
        self.retransmits = series(metric_definitions.TCP_RETRANSMITS, 1)
        self.failures = series(metric_definitions.TCP_FAILURES, 1)
        self.resets = series(metric_definitions.TCP_RESETS, 1)

    def observe(self, batch: SocketBatch) -> None:
        """Count reports."""
        reason, also = batch["reason"], batch["also"]
        opened = (reason == SocketReason.ESTABLISHED) | (also & SocketAlso.ESTABLISHED != 0)
        rows = chosen(batch, opened & (batch["connect_ns"] > 0))
        if len(rows):
            self.connect.add(self._group(rows), self._labels, rows["connect_ns"])
        used = (reason == SocketReason.UPDATE) | (reason == SocketReason.CLOSED)
        rows = chosen(batch, used & (batch["srtt_us"] > 0))
        if len(rows):
            nanoseconds = rows["srtt_us"].astype(np.uint64) * np.uint64(1000)
            self.rtt.add(self._group(rows), self._labels, nanoseconds)
        rows = chosen(batch, reason == SocketReason.RETRANSMIT)
        if len(rows):
            groups = self._group(rows)
            segments = totals(groups, rows["retransmits"].astype(np.uint64))
            self.retransmits.add(self.retransmits.rows(groups, self._labels), segments)
        rows = chosen(batch, reason == SocketReason.FAILED)
        if len(rows):
            groups = self._group(rows, "error")
            self.failures.add(self.failures.rows(groups, self._failure), sizes(groups))
        rows = chosen(batch, _IS_RESET[reason])
        received = chosen(batch, also & SocketAlso.RESET_RECEIVED != 0)
        if len(received):
            received["reason"] = SocketReason.RESET_RECEIVED
            rows = np.concatenate([rows, received])
        if len(rows):
            groups = self._group(rows, "reason")
            self.resets.add(self.resets.rows(groups, self._reset), sizes(groups))

    def _group(self, rows: SocketBatch, column: str = "") -> Groups:
        accepted = rows["role"] == SocketRole.ACCEPTED
        local, remote = rows["local_endpoint"], rows["remote_endpoint"]
        source = self._workloads.ids(np.where(accepted, remote, local))
        destination = self._workloads.ids(np.where(accepted, local, remote))
        workloads = len(self._workloads.labels)
        ends = [(source, workloads), (destination, workloads)]
        return group([(rows[column], 256), *ends] if column else ends)

    def _labels(self, key: tuple[int, ...]) -> Labels:
        source, destination = key
        return (*self._workloads.labels[source], *self._workloads.labels[destination])

    def _failure(self, key: tuple[int, ...]) -> Labels:
        return FAILURES.get(key[0], "other"), *self._labels(key[1:])

    def _reset(self, key: tuple[int, ...]) -> Labels:
        return RESETS[SocketReason(key[0])], *self._labels(key[1:])
