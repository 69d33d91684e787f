"""Count packets dropped by the kernel: by kernel reason and workload, and as Hubble's drop metric."""

from collections.abc import Iterator

from prometheus_client.metrics_core import Metric as Family

from flowd.model.directory import Directory
from flowd.model.records.drop import HUBBLE_NAMES, DropBatch, hubble_reason
from flowd_exporters.label_values import DIRECTIONS, PROTOCOLS, DirectoryLabels, Interned
from flowd_exporters.prometheus.families import counter_family
from flowd_exporters.prometheus.histogram import SeriesFactory
from flowd_exporters.prometheus.metric_definitions import DROPS, HUBBLE_DROPS
from flowd_exporters.prometheus.series import LabelSet, group, totals


class DropMetrics:
    """Dropped packets by label set.

    Attributes:
        series: by the kernel's reason, protocol, direction and workloads.
        hubble: by Hubble's reason and protocol.
    """

    def __init__(
        self, labels: DirectoryLabels, directory: Directory, new_series: SeriesFactory
    ) -> None:
        self._workloads = labels.workloads
        self._reasons = Interned(directory.drop_reasons, _reason)
        self.series = new_series(DROPS, 1)
        self.hubble = new_series(HUBBLE_DROPS, 1)

    def families(self) -> Iterator[Family]:
        """Drops by kernel reason, then by Hubble's."""
        yield counter_family(DROPS, self.series, {0: ()})
        yield counter_family(HUBBLE_DROPS, self.hubble, {0: ()})

    def observe(self, batch: DropBatch) -> None:
        """Count the packets of drop records."""
        reason = (self._reasons.ids(batch["reason"]), len(self._reasons.labels))
        protocol = (batch["protocol"], 256)
        source = self._workloads.ids(batch["src_endpoint"])
        destination = self._workloads.ids(batch["dst_endpoint"])
        workloads = len(self._workloads.labels)
        groups = group(
            [
                reason,
                protocol,
                (batch["direction"], 256),
                (source, workloads),
                (destination, workloads),
            ]
        )
        self.series.add(self.series.rows(groups, self._labels), totals(groups, batch["packets"]))
        groups = group([reason, protocol])
        self.hubble.add(
            self.hubble.rows(groups, self._hubble_labels), totals(groups, batch["packets"])
        )

    def _labels(self, key: tuple[int, ...]) -> LabelSet:
        reason, protocol, direction, source, destination = key
        return (
            *self._reasons.labels[reason],
            PROTOCOLS.get(protocol, str(protocol)),
            DIRECTIONS.get(direction, "unknown"),
            *self._workloads.labels[source],
            *self._workloads.labels[destination],
        )

    def _hubble_labels(self, key: tuple[int, ...]) -> LabelSet:
        (name,) = self._reasons.labels[key[0]]
        return HUBBLE_NAMES[hubble_reason(name)], PROTOCOLS.get(key[1], "Unknown L4")


def _reason(name: str) -> tuple[str]:
    return (name or "unknown",)
