"""Count connection records: connections, bytes, packets and TCP flags by workload."""

from collections import Counter
from collections.abc import Iterator

import numpy as np
from prometheus_client.metrics_core import Metric as Family

from flowd.model.enums import TCP_FLAGS, Protocol, Reason
from flowd.model.records.connection import ConnectionBatch
from flowd_exporters.label_values import DIRECTIONS, FAMILIES, NATS, PROTOCOLS, DirectoryLabels
from flowd_exporters.prometheus import metric_definitions
from flowd_exporters.prometheus.families import REQUEST, RESPONSE, counter_family, plain_family
from flowd_exporters.prometheus.histogram import SeriesFactory
from flowd_exporters.prometheus.metric_definitions import BYTES, CONNECTIONS, PACKETS
from flowd_exporters.prometheus.series import LabelSet, group, totals

_BITS = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1, bitorder="little").astype(
    np.int64
)
"""Bits 0 to 7 of every flag byte, shape (256, 8)."""


class TrafficMetrics:
    """Connections, bytes and packets, which share label sets and therefore rows.

    Attributes:
        series: new connections; bytes forward and back; packets forward and back.
        flags: occurrences by flag and family.
    """

    def __init__(self, labels: DirectoryLabels, new_series: SeriesFactory) -> None:
        self._workloads = labels.workloads
        self.series = new_series(CONNECTIONS, 5)
        self.flags: Counter[LabelSet] = Counter()

    def families(self) -> Iterator[Family]:
        """Connections, bytes, packets, TCP flags."""
        yield counter_family(CONNECTIONS, self.series, {0: ()})
        yield counter_family(BYTES, self.series, {1: REQUEST, 2: RESPONSE})
        yield counter_family(PACKETS, self.series, {3: REQUEST, 4: RESPONSE})
        yield plain_family(metric_definitions.TCP_FLAGS, self.flags)

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

    def _labels(self, key: tuple[int, ...]) -> LabelSet:
        protocol, direction, source, destination, nat = key
        return (
            PROTOCOLS.get(protocol, str(protocol)),
            DIRECTIONS.get(direction, "unknown"),
            *self._workloads.labels[source],
            *self._workloads.labels[destination],
            NATS.get(nat, "none"),
        )
