"""Metrics for Prometheus: batches are added up as they come, and read when scraped."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, cast

import numpy as np
from numpy.typing import NDArray
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector, CollectorRegistry
from prometheus_client.samples import Exemplar, Sample

from flowd import __version__
from flowd.model.directory import Directory
from flowd.model.losses import Losses
from flowd.model.records.batch import FlowBatch
from flowd.runtime.queue import Queue
from flowd_exporters.base import consume
from flowd_exporters.label_values import DirectoryLabels, bounded
from flowd_exporters.prometheus import metric_definitions
from flowd_exporters.prometheus.dns import DnsMetrics
from flowd_exporters.prometheus.drops import Drops
from flowd_exporters.prometheus.histogram import Histogram
from flowd_exporters.prometheus.hubble import LOST_SOURCES, HubbleNames
from flowd_exporters.prometheus.metric import Metric
from flowd_exporters.prometheus.routes import Routes
from flowd_exporters.prometheus.series import Labels, Series
from flowd_exporters.prometheus.shares import PARTS, Shares
from flowd_exporters.prometheus.sockets import Sockets
from flowd_exporters.prometheus.traffic import Traffic

if TYPE_CHECKING:
    from flowd_exporters.flowlog.exporter import FlowLogHealth


class PrometheusExporter(Collector):
    """Adds up batches and is the collector of its own registry.

    Args:
        max_series: most label sets of a metric; what is over goes to `other`, and is counted.
        live_connections: connections that are open now; None when nothing counts them.
        packets: what became of the packets that the kernel programs saw; None without them.
        conntrack_entries: by state, of the node's conntrack; None when nothing reads it.
        gateway_connections: connections to logged listeners that are over, without and with an
            entry; None when nothing counts them.
        access_log: entries received by source, and streams that ended; None without a source.
        envoy_logs: entries by Envoy, source and fate, as Envoy counts them.
        kubernetes_age: seconds since the API server was last heard; None without one.
        address_conflicts: addresses that are claimed more than once; None where nobody knows.
        flow_logs: how each flow log goes; None without any.

    Attributes:
        registry: for a MetricsServer; it holds the process's own metrics too.
    """

    name = "prometheus"

    def __init__(
        self,
        directory: Directory,
        losses: Losses,
        *,
        max_series: int = 10000,
        live_connections: Callable[[], int] | None = None,
        packets: Callable[[], Mapping[str, int]] | None = None,
        conntrack_entries: Callable[[], Mapping[str, int]] | None = None,
        gateway_connections: Callable[[], tuple[int, int]] | None = None,
        access_log: Callable[[], tuple[Mapping[str, int], int]] | None = None,
        envoy_logs: Callable[[], Mapping[Labels, int]] = dict,
        kubernetes_age: Callable[[], float] | None = None,
        address_conflicts: Callable[[], int] | None = None,
        flow_logs: "Callable[[], Iterable[FlowLogHealth]] | None" = None,
    ) -> None:
        self._directory = directory
        self._losses = losses
        self._live_connections = live_connections
        self._packets = packets
        self._conntrack_entries = conntrack_entries
        self._gateway_connections = gateway_connections
        self._access_log = access_log
        self._envoy_logs = envoy_logs
        self._kubernetes_age = kubernetes_age
        self._address_conflicts = address_conflicts
        self._flow_logs = flow_logs

        def series(metric: Metric, width: int) -> Series:
            return Series(metric.name, len(metric.labels), width, max_series, losses)

        names = DirectoryLabels(directory)
        self._traffic = Traffic(names, series)
        self._drops = Drops(names, directory, series)
        self._sockets = Sockets(names, series)
        self._dns = DnsMetrics(names, series)
        self._routes = Routes(names, series)
        self._shares = Shares(names, series)
        self._hubble = HubbleNames(series)
        self.registry = CollectorRegistry()
        self.registry.register(self)
        ProcessCollector(registry=self.registry)

    async def run(self, batches: Queue[FlowBatch]) -> None:
        """Add up batches until the queue is closed and empty."""
        await consume(self.name, batches, self.observe, self._losses)

    def observe(self, batch: FlowBatch) -> None:
        """Add up one batch."""
        if len(batch.connections):
            self._traffic.observe(batch.connections)
        if len(batch.drops):
            self._drops.observe(batch.drops)
        if len(batch.sockets):
            self._sockets.observe(batch.sockets)
        if len(batch.dns):
            self._dns.observe(batch.dns)
        if len(batch.requests):
            self._routes.observe(batch.requests)
            self._shares.observe_requests(batch.requests)
        if len(batch.shares):
            self._shares.observe_traffic(batch.shares)
        if len(batch.flows):
            self._hubble.observe(batch.flows)

    def collect(self) -> Iterator[Family]:
        """The families of METRICS, as they are now; call it where batches are observed."""
        traffic, routes, hubble = self._traffic, self._routes, self._hubble
        both = ("request",), ("response",)
        yield _counter(metric_definitions.CONNECTIONS, traffic.series, {0: ()})
        yield _counter(metric_definitions.BYTES, traffic.series, {1: both[0], 2: both[1]})
        yield _counter(metric_definitions.PACKETS, traffic.series, {3: both[0], 4: both[1]})
        yield _plain(metric_definitions.TCP_FLAGS, traffic.flags)
        if self._live_connections:
            yield _plain(metric_definitions.LIVE_CONNECTIONS, {(): self._live_connections()})
        if self._packets:
            fates = self._packets()
            yield _plain(
                metric_definitions.KERNEL_PACKETS, {(fate,): n for fate, n in fates.items()}
            )
            yield _plain(metric_definitions.SAMPLING, {(): self._directory.sampling})
        if self._conntrack_entries:
            entries = self._conntrack_entries()
            yield _plain(
                metric_definitions.CONNTRACK, {(state,): count for state, count in entries.items()}
            )
        if self._gateway_connections:
            ended = zip((("false",), ("true",)), self._gateway_connections(), strict=True)
            yield _plain(metric_definitions.GATEWAY_CONNECTIONS, dict(ended))
        if self._access_log:
            entries, streams = self._access_log()
            yield _plain(
                metric_definitions.LOG_ENTRIES, {(name,): n for name, n in entries.items()}
            )
            yield _plain(metric_definitions.LOG_STREAMS_ENDED, {(): streams})
        yield _plain(metric_definitions.ENVOY_LOGS, self._envoy_logs())
        if self._kubernetes_age:
            yield _plain(metric_definitions.KUBERNETES_AGE, {(): self._kubernetes_age()})
        if self._address_conflicts:
            yield _plain(metric_definitions.ADDRESS_CONFLICTS, {(): self._address_conflicts()})
        yield _counter(metric_definitions.DROPS, self._drops.series, {0: ()})
        sockets = self._sockets
        yield _histogram(sockets.connect)
        yield _histogram(sockets.rtt)
        yield _counter(metric_definitions.TCP_RETRANSMITS, sockets.retransmits, {0: ()})
        yield _counter(metric_definitions.TCP_FAILURES, sockets.failures, {0: ()})
        yield _counter(metric_definitions.TCP_RESETS, sockets.resets, {0: ()})
        yield _histogram(self._dns.duration)
        yield _counter(metric_definitions.DNS_TIMEOUTS, self._dns.timeouts, {0: ()})
        yield _counter(metric_definitions.ROUTE_REQUESTS, routes.requests, {0: ()})
        yield _counter(metric_definitions.ROUTE_CONNECTIONS, routes.connections, {0: ()})
        yield _counter(metric_definitions.ROUTE_OUTCOMES, routes.outcomes, {0: ()})
        yield _histogram(routes.duration)
        yield _histogram(routes.upstream)
        shared, split = self._shares.traffic, self._shares.split
        yield _counter(metric_definitions.ROUTE_BYTES, shared, {0: both[0], 1: both[1]})
        yield _counter(metric_definitions.ROUTE_PACKETS, shared, {2: both[0], 3: both[1]})
        yield _counter(metric_definitions.ROUTE_RETRANSMITS, shared, {4: ()})
        parts = {place: (part,) for place, part in enumerate(PARTS)}
        yield _counter(metric_definitions.ROUTE_SPLIT, split, parts, 1e6)
        yield _counter(metric_definitions.ROUTE_SPLIT_REQUESTS, split, {len(PARTS): ()})
        yield _plain(
            metric_definitions.ROUTE_UNATTRIBUTED,
            {(reason,): count for reason, count in routes.unattributed.items()},
        )
        lost = self._losses.snapshot()
        yield _plain(
            metric_definitions.LOST,
            {(str(place), bounded(why)): n for (place, why), n in lost.items()},
        )
        logs = {(bounded(one.name),): one for one in (self._flow_logs or tuple)()}
        yield _plain(
            metric_definitions.FLOW_LOG_UP, {name: int(one.up) for name, one in logs.items()}
        )
        yield _plain(
            metric_definitions.FLOW_LOG_LAST_WRITE,
            {name: one.last_write for name, one in logs.items()},
        )
        yield _plain(
            metric_definitions.FLOW_LOG_BEHIND, {name: one.behind for name, one in logs.items()}
        )
        yield _plain(metric_definitions.AGENT_INFO, {self._identity(): 1})
        yield _counter(metric_definitions.HUBBLE_FLOWS, hubble.flows, {0: ()})
        yield _plain(metric_definitions.HUBBLE_FLAGS, hubble.flags)
        yield _counter(metric_definitions.HUBBLE_DROPS, self._drops.hubble, {0: ()})
        yield _counter(metric_definitions.HUBBLE_DNS_QUERIES, self._dns.queries, {0: ()})
        yield _counter(metric_definitions.HUBBLE_DNS_RESPONSES, self._dns.responses, {0: ()})
        yield _counter(metric_definitions.HUBBLE_DNS_TYPES, self._dns.types, {0: ()})
        sources = dict.fromkeys(((source,) for source in LOST_SOURCES.values()), 0)
        for (place, _), count in lost.items():
            if place in LOST_SOURCES:
                sources[(LOST_SOURCES[place],)] += count
        yield _plain(metric_definitions.HUBBLE_LOST, sources)
        yield _counter(metric_definitions.HUBBLE_HTTP, hubble.http, {0: ()})
        yield _histogram(hubble.duration)

    def describe(self) -> Iterable[Family]:
        """Families without samples, so that the registry knows every name."""
        return [_family(metric) for metric in metric_definitions.METRICS]

    def _identity(self) -> Labels:
        return (
            __version__,
            bounded(self._directory.node_name),
            bounded(self._directory.cluster_name),
        )


class _Samples:
    """Samples that are made when they are written, which a server does in a thread."""

    def __init__(self, make: Callable[[], Iterator[Sample]]) -> None:
        self._make = make

    def __iter__(self) -> Iterator[Sample]:
        return self._make()


def _family(metric: Metric, make: Callable[[], Iterator[Sample]] | None = None) -> Family:
    family = Family(metric.family, metric.help, metric.type, metric.unit)
    if make:
        family.samples = cast("list[Sample]", _Samples(make))
    return family


def _plain(metric: Metric, values: Mapping[tuple[str, ...], float]) -> Family:
    """A family from values by label set."""
    family = _family(metric)
    for labels, value in values.items():
        family.add_sample(metric.name, dict(zip(metric.labels, labels, strict=True)), value)
    return family


def _counter(
    metric: Metric, series: Series, columns: Mapping[int, Labels], unit: float = 1
) -> Family:
    """A family from columns of series, each with the label values it adds to the row's.

    Args:
        unit: what of the column is one of the metric.
    """
    return _family(metric, partial(_counter_samples, metric, *series.read(), columns, unit))


def _counter_samples(
    metric: Metric,
    rows: list[Labels],
    values: NDArray[np.uint64],
    columns: Mapping[int, Labels],
    unit: float,
) -> Iterator[Sample]:
    for column, extra in columns.items():
        for labels, value in zip(rows, values[:, column].tolist(), strict=True):
            named = dict(zip(metric.labels, labels + extra, strict=True))
            yield Sample(metric.name, named, value / unit if unit != 1 else value)


def _histogram(histogram: Histogram) -> Family:
    rows, values = histogram.series.read()
    return _family(
        histogram.metric,
        partial(_histogram_samples, histogram.metric, rows, values, histogram.current(rows)),
    )


def _histogram_samples(
    metric: Metric,
    rows: list[Labels],
    values: NDArray[np.uint64],
    exemplars: Mapping[tuple[Labels, int], Exemplar],
) -> Iterator[Sample]:
    bounds = [*map(str, metric.buckets), "+Inf"]
    counts: list[list[int]] = np.cumsum(values[:, :-1], axis=1).tolist()
    for row, (labels, cumulated) in enumerate(zip(rows, counts, strict=True)):
        named = dict(zip(metric.labels, labels, strict=True))
        for bucket, (bound, count) in enumerate(zip(bounds, cumulated, strict=True)):
            exemplar = exemplars.get((labels, bucket))
            yield Sample(f"{metric.name}_bucket", {**named, "le": bound}, count, exemplar=exemplar)
        yield Sample(f"{metric.name}_count", named, cumulated[-1])
        yield Sample(f"{metric.name}_sum", named, int(values[row, -1]) / 1e9)
