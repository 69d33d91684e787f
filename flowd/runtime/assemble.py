"""Makes the real parts of the agent from its settings, starts them, and stops them."""

import asyncio
import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING

from flowd.accesslog.forwarded import fill_forwarded
from flowd.agent import Parts, Reporting, run_pipeline
from flowd.capture.envoy.server import AlsServer
from flowd.capture.envoy.stats import EnvoyStats
from flowd.errors import UnsupportedError
from flowd.gateway.attribution.attribute import Attributor
from flowd.gateway.report.describe import describe
from flowd.gateway.report.explain import explain_json
from flowd.identity.table import IdentityTable
from flowd.kubernetes.manifests import Manifests
from flowd.kubernetes.objects.snapshot import Objects
from flowd.model.records.connection import ConnectionBatch
from flowd.model.records.request import RequestBatch
from flowd.model.status import PartStatus, State
from flowd.pipeline.dns_names import DnsNames
from flowd.pipeline.identify import identify
from flowd.pipeline.join.join import WAIT_NS, Join
from flowd.pipeline.nat.translate import Translator
from flowd.pipeline.redact import Redactor
from flowd.runtime.bootstrap import Groundwork, lay
from flowd.runtime.cluster_state import Knowledge
from flowd.runtime.cluster_view import cluster_view
from flowd.runtime.exporter import Exporter
from flowd.runtime.inputs import LogSources
from flowd.runtime.memory import trim_regularly
from flowd.settings import Settings
from flowd_exporters.agent_api.service import AgentService
from flowd_exporters.agent_api.traffic import TopExporter
from flowd_exporters.api_server import ApiServer
from flowd_exporters.h2grpc.tls import tls_certificates
from flowd_exporters.hubble.exporter import HubbleExporter
from flowd_exporters.prometheus.exporter import PrometheusExporter
from flowd_exporters.prometheus.http_server import MetricsServer

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from flowd.capture.kernel.conntrack import Conntrack
    from flowd.kubernetes.api.cluster import Cluster
    from flowd_exporters.flowlog.exporter import FlowLogExporter


log = logging.getLogger(__name__)


class Assembly:
    """One agent, put together; `run` is its whole life.

    Args:
        ground: what was begun before this module was imported; laid here if not.

    Raises:
        UsageError: a listen address, file or manifest that cannot be used.
        UnsupportedError: kernel capture was asked for and this machine cannot do it.
    """

    def __init__(self, settings: Settings, ground: Groundwork | None = None) -> None:
        self.settings = settings
        ground = ground or lay(settings)
        self.losses, self.directory = ground.losses, ground.directory
        self.kernel, self.kernel_off = ground.kernel, ground.kernel_off
        self.identities = IdentityTable(
            self.directory, node_name=settings.node_name, cluster_name=settings.cluster_name
        )
        self.attributor = Attributor(self.directory, dialect=settings.dialect)
        self.redactor = Redactor(
            enabled=settings.redact,
            query=settings.redact_http_query,
            allow=settings.redact_http_headers_allow,
            deny=settings.redact_http_headers_deny,
        )
        self.conntrack, self.translator = self._nat()
        hops = settings.trusted_hops
        self.envoy = (
            AlsServer(settings.als_listen, self.losses, trusted_hops=hops)
            if settings.als_listen
            else None
        )
        self.logs = LogSources(settings, self.losses)
        self.envoy_stats = EnvoyStats(settings.envoy_stats, self.losses)
        # Without capture no connection will ever come, so requests need not wait for one.
        self.join = Join(
            self.identities,
            self.losses,
            wait_ns=WAIT_NS if self.kernel else 0,
            drops=self.kernel.take_drops if self.kernel else None,
            sockets=self.kernel.take_sockets if self.kernel else None,
            dns=self.kernel.take_dns if self.kernel else None,
            names=DnsNames(self.losses, settings.dns_names)
            if self.kernel and settings.dns
            else None,
        )
        cluster = self._cluster()
        self.knowledge = Knowledge(
            Manifests([Path(p) for p in settings.manifests], self.losses),
            [self.identities.update, self.attributor.update, self._tell_kernel, self._tell_hubble],
            cluster,
        )
        self.top = TopExporter(self.directory, self.losses)
        self.hubble = HubbleExporter(
            self.directory,
            self.losses,
            memory=settings.flow_memory << 20,
            tls=bool(settings.hubble_tls_cert_file),
        )
        self.flow_logs = self._flow_logs()
        self.prometheus = PrometheusExporter(
            self.directory,
            self.losses,
            max_series=settings.max_series,
            live_connections=self.live_connections if self.kernel else None,
            packets=self.kernel.packets if self.kernel else None,
            conntrack_entries=self._conntrack_entries if self.conntrack else None,
            gateway_connections=self._gateway_connections if self.kernel else None,
            access_log=self._received,
            envoy_logs=self.envoy_stats.counts,
            flow_logs=self.flow_logs.health if self.flow_logs else None,
            kubernetes_age=self.knowledge.age if cluster else None,
            address_conflicts=lambda: self.identities.conflicts,
        )
        self._api, self._metrics = self._make_servers()
        self.parts = Parts(
            kernel=self.kernel,
            requests=({"envoy-als": self.envoy} if self.envoy else {}) | self.logs.sources,
            identify=self._identify,
            attribute=self._attribute,
            join=self.join,
            exporters=self._exporters(),
            losses=self.losses,
            queue_rows=settings.queue_rows,
            late=self.translator.release if self.translator else None,
        )

    def live_connections(self) -> int:
        """Connections that are open at this moment."""
        return self.kernel.live_connections() if self.kernel else 0

    def _gateway_connections(self) -> tuple[int, int]:
        return self.join.table.unlogged, self.join.table.logged

    def _received(self) -> tuple[dict[str, int], int]:
        entries = {name: source.received for name, source in self.parts.requests.items()}
        return entries, self.envoy.streams_ended if self.envoy else 0

    def status(self) -> list[PartStatus]:
        """The state of every part; a part that failed says so, whatever it says itself."""
        parts: list[PartStatus] = []
        if self.kernel:
            parts += self.kernel.status()
            parts += [self.conntrack.status()] if self.conntrack else []
        else:
            parts.append(PartStatus("capture", State.OFF, self.kernel_off))
        for source in self.parts.requests.values():
            parts += source.status()
        parts += self.envoy_stats.status()
        parts += [*self.knowledge.status(), self.identities.status()]
        for exporter in self.parts.exporters:
            if isinstance(exporter, Reporting):
                parts += exporter.status()
            else:
                parts.append(PartStatus(exporter.name, State.ON))
        failures = self.parts.failures
        return [failures.get(part.part, part) for part in parts]

    async def run(self, stop: asyncio.Event) -> None:
        """Start everything, run until `stop` is set, flush, and stop everything."""
        closers: list[Callable[[], Awaitable[None]]] = []
        try:
            self.knowledge.load()
            await self._start_kernel()
            if self.kernel and self.conntrack:
                self.conntrack.start()
            if self.envoy:
                await self.envoy.start()
            await self.logs.start()
            for server in self._servers:
                await server.start()
                closers.append(server.stop)
            if self._api:
                self.hubble.address = self._api.addresses[0]
            watch = asyncio.create_task(self.knowledge.run())
            trim = asyncio.create_task(trim_regularly())
            stats = asyncio.create_task(self.envoy_stats.run(self.parts.failed))
            log.info("running", extra=self._listening())
            try:
                await run_pipeline(self.parts, stop)
            finally:
                watch.cancel()
                trim.cancel()
                stats.cancel()
        finally:
            for close in reversed(closers):
                await close()
            if self.conntrack:
                self.conntrack.close()
            if self.kernel:
                await self.kernel.close()

    async def _start_kernel(self) -> None:
        if not self.kernel:
            return
        try:
            await self.kernel.start()
        except UnsupportedError as error:
            if self.settings.capture == "on":
                raise
            log.warning("no kernel capture, access logs only: %s", error.message)
            self.kernel_off = error.message
            self.kernel = self.parts.kernel = None
            self.join.wait_ns = 0

    def _nat(self) -> "tuple[Conntrack | None, Translator | None]":
        """Where translations come from, and who tells rows of them; nobody without capture."""
        if not self.kernel:
            return None, None
        from flowd.capture.kernel.conntrack import Conntrack

        limit = self.settings.max_connections
        source = Conntrack(self.losses, wanted=self.settings.nat, limit=limit)
        return source, Translator(self.directory, self.losses, source.news, limit)

    def _conntrack_entries(self) -> dict[str, int]:
        assert self.conntrack
        assert self.translator
        return {"tracked": self.conntrack.tracked(), "translated": self.translator.table.live}

    def _identify(self, batch: ConnectionBatch) -> ConnectionBatch:
        rows = identify(batch, self.identities)
        return self.translator.translate(rows) if self.translator else rows

    def _cluster(self) -> "Cluster | None":
        """The API server's objects; the HTTP client is imported only where there is one."""
        kubeconfig = self.settings.kubeconfig
        if not kubeconfig and "KUBERNETES_SERVICE_HOST" not in os.environ:
            return None
        from flowd.kubernetes.api.cluster import connect

        return connect(kubeconfig, self.settings.kube_context, self.losses)

    def _exporters(self) -> list[Exporter]:
        settings = self.settings
        exporters: list[Exporter] = [self.hubble, self.top, self.prometheus]
        if settings.otlp_endpoint:
            from flowd_exporters.otlp.exporter import OtlpExporter

            exporters.append(
                OtlpExporter(
                    self.directory,
                    self.losses,
                    endpoint=settings.otlp_endpoint,
                    ratio=settings.trace_ratio,
                )
            )
        if self.flow_logs:
            exporters.append(self.flow_logs)
        return exporters

    def _flow_logs(self) -> "FlowLogExporter | None":
        settings = self.settings
        if not settings.flow_log and not settings.flow_log_config:
            return None
        from flowd_exporters.flowlog.config import static_log
        from flowd_exporters.flowlog.exporter import FlowLogExporter

        static = static_log(
            settings.flow_log,
            settings.flow_log_allowlist,
            settings.flow_log_denylist,
            settings.flow_log_field_mask,
            settings.flow_log_max_size << 20,
            settings.flow_log_max_backups,
            settings.flow_log_compress,
            settings.flow_log_aggregate,
            settings.flow_log_aggregation_interval,
        )
        return FlowLogExporter(
            self.directory,
            self.losses,
            [static] if settings.flow_log else [],
            Path(settings.flow_log_config) if settings.flow_log_config else None,
        )

    def _make_servers(self) -> tuple[ApiServer | None, MetricsServer | None]:
        settings = self.settings
        socket = f"unix://{settings.hubble_socket}" if settings.hubble_socket else ""
        addresses = [address for address in (settings.hubble_listen, socket) if address]
        service = AgentService(
            self.directory,
            self.losses,
            self.top,
            status=self.status,
            routes=lambda: describe(self.attributor.table),
            explain=lambda request: explain_json(self.attributor.table, request),
            live_connections=self.live_connections,
        )
        services = [self.hubble.add_to, service.add_to]
        certificates = tls_certificates(
            settings.hubble_tls_cert_file,
            settings.hubble_tls_key_file,
            settings.hubble_tls_client_ca_files,
        )
        api = ApiServer(addresses, services, certificates) if addresses else None
        listen = settings.metrics_listen
        return api, MetricsServer(listen, self.prometheus.registry, self.status) if listen else None

    @property
    def _servers(self) -> list[ApiServer | MetricsServer]:
        return [server for server in (self._api, self._metrics) if server]

    def _listening(self) -> dict[str, str]:
        """Fields of the log line that tells where everything is."""
        fields = {"node": self.settings.node_name}
        if self.envoy:
            fields["als"] = self.envoy.address
        if self.logs.otlp:
            fields["otlp_logs"] = self.logs.otlp.address
        if self._api:
            fields["hubble"] = ",".join(self._api.addresses)
        if self._metrics:
            fields["metrics"] = self._metrics.address
        return fields

    def _attribute(self, batch: RequestBatch) -> RequestBatch:
        fill_forwarded(batch, self.settings.trusted_hops)
        self.attributor.attribute(batch)
        self.redactor.redact(batch)  # after it, for routes may match on what is redacted
        return batch

    def _tell_kernel(self, _objects: Objects) -> None:
        changes = self.identities.take_differences()
        if self.kernel:
            self.kernel.change_endpoints(changes)
            self.kernel.set_networks(self.identities.prefixes())

    def _tell_hubble(self, objects: Objects) -> None:
        node = self.settings.node_name
        self.hubble.cluster.update(cluster_view(objects, node, self.identities.entries()))
