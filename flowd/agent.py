"""The agent's whole data flow, source to sink.

    kernel ──► identify ──┐
                          ├──► join ──► fan-out ──► one queue an exporter
    Envoy ───► attribute ─┘

Every queue carries batches (numpy structured arrays), is bounded, and counts what it drops. The
parts are made in `flowd/runtime/assemble.py`; tests pass their own.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from flowd.model.losses import Losses
from flowd.model.records.batch import FlowBatch
from flowd.model.records.connection import ConnectionBatch
from flowd.model.records.request import RequestBatch
from flowd.model.status import PartStatus, State
from flowd.runtime.exporter import Exporter
from flowd.runtime.queue import Queue
from flowd.runtime.tasks import guard, stage

log = logging.getLogger(__name__)
DRAIN_SECONDS = 10.0


class ConnectionSource(Protocol):
    """Where connection records come from: runs until cancelled; `close` puts the rest."""

    async def run(self, out: Queue[ConnectionBatch]) -> None: ...
    async def close(self) -> None: ...
    def status(self) -> Sequence[PartStatus]: ...


class RequestSource(Protocol):
    """Where access-log entries come from: runs until cancelled; `close` puts the rest."""

    async def run(self, out: Queue[RequestBatch]) -> None: ...
    async def close(self) -> None: ...
    def status(self) -> Sequence[PartStatus]: ...
    @property
    def received(self) -> int: ...  # entries so far, those of a request's start and middle too


class Joiner(Protocol):
    """Requests meet their connections; ends when both queues have ended."""

    async def run(
        self,
        connections: Queue[ConnectionBatch],
        requests: Queue[RequestBatch],
        out: Callable[[FlowBatch], None],
    ) -> None: ...


@runtime_checkable
class Reporting(Protocol):
    """An exporter that says how it goes."""

    def status(self) -> Sequence[PartStatus]: ...


@dataclass
class Parts:
    """What the pipeline is made of."""

    kernel: ConnectionSource | None
    requests: Mapping[str, RequestSource]  # by the name of their part in the status
    identify: Callable[[ConnectionBatch], ConnectionBatch]
    attribute: Callable[[RequestBatch], RequestBatch]
    join: Joiner
    exporters: Sequence[Exporter]
    losses: Losses
    queue_rows: int = 100000
    late: Callable[[bool], ConnectionBatch] | None = None  # what `identify` held back, see `stage`
    failures: dict[str, PartStatus] = field(default_factory=dict[str, PartStatus])

    def failed(self, part: str, detail: str) -> None:
        """Note a part that ended by an error."""
        self.failures[part] = PartStatus(part, State.FAILED, detail)


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
        identifying = stage(connections, identified, parts.identify, parts.losses, parts.late)
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
