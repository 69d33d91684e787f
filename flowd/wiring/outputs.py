"""Build the agent's outputs from the settings: exporters, the gRPC API server, the metrics server.

A new exporter is one function and one entry of `Outputs.exporters`.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from flowd.gateway.report.describe import describe
from flowd.gateway.report.explain import explain_json
from flowd.kubernetes.objects.snapshot import Objects
from flowd.model.status import PartStatus, State
from flowd.runtime.exporter import Exporter
from flowd.runtime.parts import Reporting
from flowd.settings import Settings
from flowd.wiring.bootstrap import Bootstrap
from flowd.wiring.cluster_view import cluster_view
from flowd.wiring.inputs import Inputs
from flowd.wiring.pipeline import Pipeline
from flowd_exporters.agent_api.service import AgentService
from flowd_exporters.agent_api.traffic import TopExporter
from flowd_exporters.api_server import ApiServer
from flowd_exporters.h2grpc.tls import tls_certificates
from flowd_exporters.hubble.exporter import HubbleExporter
from flowd_exporters.prometheus.exporter import PrometheusExporter
from flowd_exporters.prometheus.http_server import MetricsServer

if TYPE_CHECKING:
    from flowd_exporters.flowlog.exporter import FlowLogExporter

Status = Callable[[], list[PartStatus]]


class Outputs:
    """Exporters, and the servers that clients reach them by.

    Args:
        kubernetes_age: seconds since the last contact with the API server; None without one.
        status: the status of the whole agent.

    Raises:
        UsageError: an address, a certificate or a flow-log file that cannot be used.
    """

    def __init__(
        self,
        settings: Settings,
        bootstrap: Bootstrap,
        inputs: Inputs,
        pipeline: Pipeline,
        *,
        kubernetes_age: Callable[[], float] | None,
        status: Status,
    ) -> None:
        self._settings, self._bootstrap = settings, bootstrap
        self._identities = pipeline.identities
        self.traffic = TopExporter(bootstrap.directory, bootstrap.losses)
        self.hubble = HubbleExporter(
            bootstrap.directory,
            bootstrap.losses,
            memory=settings.flow_memory << 20,
            tls=bool(settings.hubble_tls_cert_file),
        )
        self.flow_logs = self._flow_logs()
        self.prometheus = self._prometheus(inputs, pipeline, kubernetes_age)
        made = (self.hubble, self.traffic, self.prometheus, self._otlp(), self.flow_logs)
        self.exporters: list[Exporter] = [exporter for exporter in made if exporter]
        self._api = self._api_server(inputs, pipeline, status)
        self._metrics = (
            MetricsServer(settings.metrics_listen, self.prometheus.registry, status)
            if settings.metrics_listen
            else None
        )

    def _prometheus(
        self, inputs: Inputs, pipeline: Pipeline, kubernetes_age: Callable[[], float] | None
    ) -> PrometheusExporter:
        kernel = inputs.kernel
        return PrometheusExporter(
            self._bootstrap.directory,
            self._bootstrap.losses,
            max_series=self._settings.max_series,
            live_connections=inputs.live_connections if kernel else None,
            packets=kernel.packets if kernel else None,
            conntrack_entries=pipeline.conntrack_entries if inputs.conntrack else None,
            gateway_connections=pipeline.gateway_connections if kernel else None,
            access_log=inputs.received,
            envoy_logs=inputs.envoy_stats.counts,
            flow_logs=self.flow_logs.health if self.flow_logs else None,
            kubernetes_age=kubernetes_age,
            address_conflicts=lambda: pipeline.identities.conflicts,
        )

    def _otlp(self) -> Exporter | None:
        if not self._settings.otlp_endpoint:
            return None
        from flowd_exporters.otlp.exporter import OtlpExporter

        return OtlpExporter(
            self._bootstrap.directory,
            self._bootstrap.losses,
            endpoint=self._settings.otlp_endpoint,
            ratio=self._settings.trace_ratio,
        )

    def _flow_logs(self) -> "FlowLogExporter | None":
        settings = self._settings
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
            self._bootstrap.directory,
            self._bootstrap.losses,
            [static] if settings.flow_log else [],
            Path(settings.flow_log_config) if settings.flow_log_config else None,
        )

    def _api_server(self, inputs: Inputs, pipeline: Pipeline, status: Status) -> ApiServer | None:
        settings = self._settings
        socket = f"unix://{settings.hubble_socket}" if settings.hubble_socket else ""
        addresses = [address for address in (settings.hubble_listen, socket) if address]
        service = AgentService(
            self._bootstrap.directory,
            self._bootstrap.losses,
            self.traffic,
            status=status,
            routes=lambda: describe(pipeline.attributor.table),
            explain=lambda request: explain_json(pipeline.attributor.table, request),
            live_connections=inputs.live_connections,
        )
        certificates = tls_certificates(
            settings.hubble_tls_cert_file,
            settings.hubble_tls_key_file,
            settings.hubble_tls_client_ca_files,
        )
        services = [self.hubble.add_to, service.add_to]
        return ApiServer(addresses, services, certificates) if addresses else None

    def update_cluster(self, objects: Objects) -> None:
        """Take over the cluster's objects for Hubble's node, peer and agent-event answers."""
        node = self._settings.node_name
        self.hubble.cluster.update(cluster_view(objects, node, self._identities.entries()))

    @property
    def servers(self) -> Sequence[ApiServer | MetricsServer]:
        """The servers that the settings ask for."""
        return [server for server in (self._api, self._metrics) if server]

    def started(self) -> None:
        """Take over the addresses that the servers have bound."""
        if self._api:
            self.hubble.address = self._api.addresses[0]

    def addresses(self) -> dict[str, str]:
        """Bound addresses by field of the log line `running`."""
        fields: dict[str, str] = {}
        if self._api:
            fields["hubble"] = ",".join(self._api.addresses)
        if self._metrics:
            fields["metrics"] = self._metrics.address
        return fields

    def status(self) -> list[PartStatus]:
        """Status of each exporter; one that reports none is on."""
        parts: list[PartStatus] = []
        for exporter in self.exporters:
            if isinstance(exporter, Reporting):
                parts += exporter.status()
            else:
                parts.append(PartStatus(exporter.name, State.ON))
        return parts
