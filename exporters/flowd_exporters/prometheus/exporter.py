"""PrometheusExporter: counts batches as they come, and exposes the metrics when scraped."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from heapq import merge
from typing import TypedDict, Unpack

from prometheus_client.metrics_core import Metric as Family
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector, CollectorRegistry

from flowd import __version__
from flowd.model.directory import Directory
from flowd.model.losses import Losses
from flowd.model.records.batch import FlowBatch
from flowd.runtime.queue import Queue
from flowd_exporters.base import FlowLogHealth, consume
from flowd_exporters.label_values import DirectoryLabels, bounded
from flowd_exporters.prometheus import metric_definitions as definitions
from flowd_exporters.prometheus.dns import DnsMetrics
from flowd_exporters.prometheus.drops import DropMetrics
from flowd_exporters.prometheus.families import FamilySource, empty_family, plain_family
from flowd_exporters.prometheus.hubble import LOST_SOURCES, HubbleMetrics
from flowd_exporters.prometheus.metric import Metric
from flowd_exporters.prometheus.routes import RouteMetrics
from flowd_exporters.prometheus.series import LabelSet, Series
from flowd_exporters.prometheus.shares import ShareMetrics
from flowd_exporters.prometheus.sockets import SocketMetrics
from flowd_exporters.prometheus.traffic import TrafficMetrics

_TABLE_ORDER = {metric.family: place for place, metric in enumerate(definitions.METRICS)}


class AgentGauges(TypedDict, total=False):
    """Functions that read the agent's own state at a scrape; metrics of a missing one are absent.

    Attributes:
        live_connections: number of open connections.
        packets: packets seen by the kernel programs, by fate.
        conntrack_entries: entries of the node's conntrack table, by state.
        gateway_connections: connections to logged listeners that are over, without and with an
            access-log entry.
        access_log: entries received by source, and number of streams that ended.
        envoy_logs: entries by Envoy, source and fate, as Envoy counts them.
        kubernetes_age: seconds since the last contact with the API server.
        address_conflicts: number of addresses that are claimed more than once.
        flow_logs: state of every flow log.
    """

    live_connections: Callable[[], int] | None
    packets: Callable[[], Mapping[str, int]] | None
    conntrack_entries: Callable[[], Mapping[str, int]] | None
    gateway_connections: Callable[[], tuple[int, int]] | None
    access_log: Callable[[], tuple[Mapping[str, int], int]] | None
    envoy_logs: Callable[[], Mapping[LabelSet, int]]
    kubernetes_age: Callable[[], float] | None
    address_conflicts: Callable[[], int] | None
    flow_logs: Callable[[], Iterable[FlowLogHealth]] | None


class AgentMetrics:
    """Metrics of the agent itself: its inputs, losses, flow logs and identity."""

    def __init__(self, directory: Directory, losses: Losses, gauges: AgentGauges) -> None:
        self._directory = directory
        self._losses = losses
        self._gauges = gauges

    def families(self) -> Iterator[Family]:
        """Kernel and conntrack, access logs, Kubernetes, losses, flow logs, agent info."""
        yield from self._kernel_families()
        yield from self._access_log_families()
        if kubernetes_age := self._gauges.get("kubernetes_age"):
            yield plain_family(definitions.KUBERNETES_AGE, {(): kubernetes_age()})
        if address_conflicts := self._gauges.get("address_conflicts"):
            yield plain_family(definitions.ADDRESS_CONFLICTS, {(): address_conflicts()})
        lost = self._losses.snapshot()
        by_reason = {(str(place), bounded(reason)): n for (place, reason), n in lost.items()}
        yield plain_family(definitions.LOST, by_reason)
        yield from self._flow_log_families()
        info = __version__, self._directory.node_name, self._directory.cluster_name
        yield plain_family(definitions.AGENT_INFO, {tuple(map(bounded, info)): 1})
        by_source: dict[LabelSet, int] = {(source,): 0 for source in LOST_SOURCES.values()}
        for (place, _), count in lost.items():
            if place in LOST_SOURCES:
                by_source[(LOST_SOURCES[place],)] += count
        yield plain_family(definitions.HUBBLE_LOST, by_source)

    def _kernel_families(self) -> Iterator[Family]:
        if live_connections := self._gauges.get("live_connections"):
            yield plain_family(definitions.LIVE_CONNECTIONS, {(): live_connections()})
        if packets := self._gauges.get("packets"):
            yield plain_family(definitions.KERNEL_PACKETS, _by_label(packets()))
            yield plain_family(definitions.SAMPLING, {(): self._directory.sampling})
        if conntrack_entries := self._gauges.get("conntrack_entries"):
            yield plain_family(definitions.CONNTRACK, _by_label(conntrack_entries()))

    def _access_log_families(self) -> Iterator[Family]:
        if gateway_connections := self._gauges.get("gateway_connections"):
            unlogged, logged = gateway_connections()
            values: dict[LabelSet, int] = {("false",): unlogged, ("true",): logged}
            yield plain_family(definitions.GATEWAY_CONNECTIONS, values)
        if access_log := self._gauges.get("access_log"):
            entries, streams = access_log()
            yield plain_family(definitions.LOG_ENTRIES, _by_label(entries))
            yield plain_family(definitions.LOG_STREAMS_ENDED, {(): streams})
        yield plain_family(definitions.ENVOY_LOGS, self._gauges.get("envoy_logs", dict)())

    def _flow_log_families(self) -> Iterator[Family]:
        flow_logs = self._gauges.get("flow_logs")
        logs = {(bounded(log.name),): log for log in (flow_logs() if flow_logs else ())}
        up = {name: int(log.up) for name, log in logs.items()}
        yield plain_family(definitions.FLOW_LOG_UP, up)
        last_write = {name: log.last_write for name, log in logs.items()}
        yield plain_family(definitions.FLOW_LOG_LAST_WRITE, last_write)
        behind = {name: log.behind for name, log in logs.items()}
        yield plain_family(definitions.FLOW_LOG_BEHIND, behind)


class PrometheusExporter(Collector):
    """Counts batches, and is the collector of its own registry.

    Args:
        max_series: most label sets of a metric; amounts over the bound go to `other`, counted.
        gauges: functions that read the agent's own state at a scrape.

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
        **gauges: Unpack[AgentGauges],
    ) -> None:
        self._losses = losses

        def new_series(metric: Metric, width: int) -> Series:
            return Series(metric.name, width, max_series, losses)

        labels = DirectoryLabels(directory)
        self._traffic = TrafficMetrics(labels, new_series)
        self._drops = DropMetrics(labels, directory, new_series)
        self._sockets = SocketMetrics(labels, new_series)
        self._dns = DnsMetrics(labels, new_series)
        self._routes = RouteMetrics(labels, new_series)
        self._shares = ShareMetrics(labels, new_series)
        self._hubble = HubbleMetrics(new_series)
        self._sources: tuple[FamilySource, ...] = (
            *(self._traffic, self._drops, self._sockets, self._dns, self._routes, self._shares),
            *(self._hubble, AgentMetrics(directory, losses, gauges)),
        )
        self.registry = CollectorRegistry()
        self.registry.register(self)
        ProcessCollector(registry=self.registry)

    async def run(self, batches: Queue[FlowBatch]) -> None:
        """Count batches until the queue is closed and empty."""
        await consume(self.name, batches, self.observe, self._losses)

    def observe(self, batch: FlowBatch) -> None:
        """Count one batch."""
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
        """The families of METRICS in the table's order, made one by one as they are asked for.

        Call it in the thread that observes batches.
        """
        families = [source.families() for source in self._sources]
        return merge(*families, key=lambda family: _TABLE_ORDER[family.name])

    def describe(self) -> Iterable[Family]:
        """Families without samples, so that the registry knows every name."""
        return [empty_family(metric) for metric in definitions.METRICS]


def _by_label(values: Mapping[str, int]) -> dict[LabelSet, int]:
    return {(label,): value for label, value in values.items()}
