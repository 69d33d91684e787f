"""Connection records added up: connections, bytes, packets and TCP flags by workload."""

from collections import Counter

import numpy as np

from flowd.model.enums import TCP_FLAGS, Protocol, Reason
from flowd.model.records.connection import ConnectionBatch
from flowd_exporters.label_values import DIRECTIONS, FAMILIES, NATS, PROTOCOLS, DirectoryLabels
from flowd_exporters.prometheus.histogram import NewSeries
from flowd_exporters.prometheus.metric_definitions import CONNECTIONS
from flowd_exporters.prometheus.series import Labels, group, totals

_BITS = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1, bitorder="little").astype(
    np.int64
)
"""By value of the flags, which of them are set."""


class Traffic:
    """Connections, bytes and packets share their label sets and so their rows.

    Attributes:
        series: new connections; bytes forward and back; packets forward and back.
        flags: occurrences by flag and family.
    """

    def __init__(self, directory: DirectoryLabels, series: NewSeries) -> None:
        self._workloads = directory.workloads
        self.series = series(CONNECTIONS, 5)
        self.flags: Counter[tuple[str, str]] = Counter()

    def observe(self, batch: ConnectionBatch) -> None:
        """Count connection records."""
        source = self._workloads.ids(batch["src_endpoint"])
        destination = self._workloads.ids(batch["dst_endpoint"])
        workloads = len(self._workloads.labels)
        groups = group(
            [
                (batch["protocol"], 256),
                (batch["direction"], 256),
                (source, workloads),
                (destination, workloads),
                (batch["nat"], 256),
            ]
        )
        amounts = totals(
            groups,
            (batch["reason"] == Reason.NEW).astype(np.uint64),
            batch["bytes_fwd"],
            batch["bytes_rev"],
            batch["packets_fwd"],
            batch["packets_rev"],
        )
        self.series.add(self.series.rows(groups, self._labels), amounts)
        self._count_flags(batch)

    def _count_flags(self, batch: ConnectionBatch) -> None:
        tcp = batch["protocol"] == Protocol.TCP
        for number, family in FAMILIES.items():
            flags = batch["flags"][tcp & (batch["family"] == number)]
            if not len(flags):
                continue
            counts = np.bincount(flags, minlength=256) @ _BITS
            for name, count in zip(TCP_FLAGS, counts.tolist(), strict=True):
                if count:
                    self.flags[name, family] += count

    def _labels(self, key: tuple[int, ...]) -> Labels:
        protocol, direction, source, destination, nat = key
        return (
            PROTOCOLS.get(protocol, str(protocol)),
            DIRECTIONS.get(direction, "unknown"),
            *self._workloads.labels[source],
            *self._workloads.labels[destination],
            NATS.get(nat, "none"),
        )
