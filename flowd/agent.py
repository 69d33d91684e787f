"""The agent's whole data flow, source to sink.

    kernel ──► identify ──┐
                          ├──► join ──► fan-out ──► one queue an exporter
    Envoy ───► attribute ─┘

`Agent` builds the parts in that order; `run_pipeline` connects them. Every queue carries batches
(numpy structured arrays), is bounded, and counts the rows that it drops.
"""

import asyncio
import contextlib
import logging
from pathlib import Path

from flowd.kubernetes.manifests import Manifests
from flowd.model.records.batch import FlowBatch
from flowd.model.records.connection import ConnectionBatch
from flowd.model.status import PartStatus
from flowd.runtime.memory import trim_regularly
from flowd.runtime.parts import ConnectionSource, Parts, RequestSource
from flowd.runtime.queue import Queue
from flowd.runtime.tasks import guard, stage
from flowd.settings import Settings
from flowd.wiring.bootstrap import Bootstrap, prepare
from flowd.wiring.cluster_state import ClusterState, connect
from flowd.wiring.inputs import Inputs
from flowd.wiring.outputs import Outputs
from flowd.wiring.pipeline import Pipeline

log = logging.getLogger(__name__)
DRAIN_SECONDS = 10.0


class Agent:
    """One agent: inputs, pipeline and outputs of a node, and the state of its cluster.

    Args:
        bootstrap: what `prepare` began before this module was imported; begun here if None.

    Raises:
        UsageError: a listen address, file or manifest that cannot be used.
        UnsupportedError: the setting `capture` is `on` and this machine cannot capture.
    """

    def __init__(self, settings: Settings, bootstrap: Bootstrap | None = None) -> None:
        bootstrap = bootstrap or prepare(settings)
        self._settings = settings
        cluster = connect(settings, bootstrap.losses)
        self.inputs = inputs = Inputs(settings, bootstrap)
        self.pipeline = pipeline = Pipeline(settings, bootstrap, inputs)
        self.state = ClusterState(
            Manifests([Path(path) for path in settings.manifests], bootstrap.losses),
            [
                pipeline.identities.update,
                pipeline.attributor.update,
                lambda _objects: inputs.update_endpoints(pipeline.identities),
                lambda objects: self.outputs.update_cluster(objects),
            ],
            cluster,
        )
        age = self.state.age if cluster else None
        self.outputs = Outputs(
            settings, bootstrap, inputs, pipeline, kubernetes_age=age, status=self.status
        )
        self.parts = Parts(
            kernel=inputs.kernel,
            requests=inputs.requests,
            identify=pipeline.identify,
            attribute=pipeline.attribute,
            join=pipeline.join,
            exporters=self.outputs.exporters,
            losses=bootstrap.losses,
            queue_rows=settings.queue_rows,
            release_held=pipeline.release_held,
        )

    def status(self) -> list[PartStatus]:
        """Status of every part; the error that ended a part replaces its own report."""
        parts = self.inputs.status()
        parts += [*self.state.status(), self.pipeline.identities.status()]
        parts += self.outputs.status()
        return [self.parts.failures.get(part.part, part) for part in parts]

    async def run(self, stop: asyncio.Event) -> None:
        """Start every part, run until `stop` is set, flush, and stop every part."""
        async with contextlib.AsyncExitStack() as closing:
            closing.push_async_callback(self.inputs.close)
            self.state.load()
            await self.inputs.start()
            if self.parts.kernel and not self.inputs.kernel:
                self.parts.kernel = None
                self.pipeline.without_kernel()
            for server in self.outputs.servers:
                await server.start()
                closing.push_async_callback(server.stop)
            self.outputs.started()
            for background in (
                self.state.run(),
                trim_regularly(),
                self.inputs.envoy_stats.run(self.parts.failed),
            ):
                closing.callback(asyncio.create_task(background).cancel)
            addresses = self.inputs.addresses() | self.outputs.addresses()
            log.info("running", extra={"node": self._settings.node_name} | addresses)
            await run_pipeline(self.parts, stop)


async def run_pipeline(parts: Parts, stop: asyncio.Event) -> None:
    """Run until `stop` is set; then take in what is left, and flush every exporter."""

    def queue(name: str) -> Queue[ConnectionBatch]:
        return Queue(name, parts.queue_rows, parts.losses)

    # Start: records as the kernel and Envoy give them
    connections, requests = queue("connections"), queue("requests")
    # Middle: endpoints by index, both sides of translations, routes by evidence
    identified, attributed = queue("identified"), queue("attributed")
    # End: a slow exporter loses only its own
    sinks = [
        Queue[FlowBatch](exporter.name, parts.queue_rows, parts.losses)
        for exporter in parts.exporters
    ]

    def fan_out(batch: FlowBatch) -> None:
        for sink in sinks:
            sink.put(batch)

    async with asyncio.TaskGroup() as tasks:
        sources: list[tuple[ConnectionSource | RequestSource, asyncio.Task[None]]] = []
        if kernel := parts.kernel:
            running = guard("capture", kernel.run(connections), parts.failed)
            sources.append((kernel, tasks.create_task(running)))
        for name, source in parts.requests.items():
            running = guard(name, source.run(requests), parts.failed)
            sources.append((source, tasks.create_task(running)))
        identifying = stage(
            connections, identified, parts.identify, parts.losses, parts.release_held
        )
        tasks.create_task(identifying)
        tasks.create_task(stage(requests, attributed, parts.attribute, parts.losses))
        joining = tasks.create_task(parts.join.run(identified, attributed, fan_out))
        for exporter, sink in zip(parts.exporters, sinks, strict=True):
            tasks.create_task(guard(exporter.name, exporter.run(sink), parts.failed))

        await stop.wait()
        log.info("stopping")
        async with asyncio.timeout(DRAIN_SECONDS):
            for source, task in sources:
                task.cancel()
                await asyncio.wait([task])
                await source.close()
            connections.close()
            requests.close()
            await joining
            for sink in sinks:
                sink.close()
