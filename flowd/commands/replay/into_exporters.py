"""Feed recorded entries to the agent's exporters (`flowd replay --to`)."""

import asyncio
import contextlib
import signal
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, runtime_checkable

import click
from prometheus_client import generate_latest

from flowd.commands.replay.inputs import RecordedEntries
from flowd.errors import FlowdError, UsageError
from flowd.identity.table import IdentityTable
from flowd.model.directory import Directory
from flowd.model.losses import Losses, Place
from flowd.model.records.batch import FlowBatch
from flowd.model.records.connection import empty_connections
from flowd.model.records.request import empty_requests
from flowd.pipeline.join.join import Join
from flowd.pipeline.redact import Redactor
from flowd.runtime.exporter import Exporter
from flowd.runtime.queue import Queue
from flowd.settings import Settings
from flowd_exporters.api_server import ApiServer
from flowd_exporters.hubble.exporter import HubbleExporter
from flowd_exporters.prometheus.exporter import PrometheusExporter

_QUEUE_ROWS = 1 << 20
_FLUSH_SECONDS = 30.0
_POLL_SECONDS = 0.002


@runtime_checkable
class Flushable(Protocol):
    """An exporter that buffers rows and can be told to deliver them."""

    def flush(self, seconds: float) -> None: ...


@dataclass
class ReplayExporters:
    """The exporters that `--to` asks for.

    Attributes:
        targets: address, path or URL by kind, from `parse_targets`.
        exporters: those that run as tasks; `prometheus` is fed directly.
        api: the Hubble API's server, if `hubble` is a target.

    Raises:
        UsageError: a target's address, path or URL cannot be used.
    """

    targets: dict[str, str]
    directory: Directory
    losses: Losses
    exporters: list[Exporter] = field(default_factory=list[Exporter])
    prometheus: PrometheusExporter | None = None
    api: ApiServer | None = None

    def __post_init__(self) -> None:
        settings = Settings()
        if target := self.targets.get("hubble"):
            hubble = HubbleExporter(self.directory, self.losses, memory=settings.flow_memory << 20)
            self.api = ApiServer([target], [hubble.add_to])
            self.exporters.append(hubble)
        if target := self.targets.get("flow-log"):
            from flowd_exporters.flowlog.config import static_log
            from flowd_exporters.flowlog.exporter import FlowLogExporter

            size, backups = settings.flow_log_max_size << 20, settings.flow_log_max_backups
            log = static_log(target, "", "", (), size, backups, settings.flow_log_compress)
            self.exporters.append(FlowLogExporter(self.directory, self.losses, [log]))
        if target := self.targets.get("otlp"):
            from flowd_exporters.otlp.exporter import OtlpExporter

            self.exporters.append(OtlpExporter(self.directory, self.losses, endpoint=target))
        if "prometheus" in self.targets:
            self.prometheus = PrometheusExporter(
                self.directory, self.losses, max_series=settings.max_series
            )


async def replay_to(
    entries: Iterable[tuple[float, RecordedEntries]],
    exporters: ReplayExporters,
    identities: IdentityTable,
    losses: Losses,
) -> bool:
    """Feed attributed entries to the exporters; the Hubble API then serves until interrupted.

    Args:
        entries: pairs of seconds to wait and a piece.

    Returns:
        Whether all entries were fed; False after an earlier interrupt.

    Raises:
        FlowdError: an exporter could not deliver everything.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        with contextlib.suppress(
            RuntimeError
        ):  # outside the main thread, where signals never arrive
            loop.add_signal_handler(number, stop.set)
    if exporters.api:
        await exporters.api.start()
        click.echo(f"serving the Hubble API on {exporters.api.addresses[0]}", err=True)
    sinks = [Queue[FlowBatch](each.name, _QUEUE_ROWS, losses) for each in exporters.exporters]
    try:
        async with asyncio.TaskGroup() as tasks:
            for exporter, sink in zip(exporters.exporters, sinks, strict=True):
                tasks.create_task(exporter.run(sink))
            await _feed(entries, exporters, sinks, Join(identities, losses, wait_ns=0), stop)
            finished = not stop.is_set()
            if exporters.api and finished:
                click.echo("all entries are in; Ctrl-C ends", err=True)
                await stop.wait()
            for sink in sinks:
                sink.close()
    finally:
        if exporters.api:
            await exporters.api.stop()
    if exporters.prometheus:
        _write_metrics(exporters.prometheus, exporters.targets["prometheus"])
    failed = {
        reason: count
        for (place, reason), count in losses.snapshot().items()
        if place in (Place.EXPORT, Place.QUEUE) and count
    }
    if failed:
        counts = ", ".join(f"{reason} {count}" for reason, count in failed.items())
        raise FlowdError(f"not everything was delivered: {counts}")
    return finished


async def _feed(
    entries: Iterable[tuple[float, RecordedEntries]],
    exporters: ReplayExporters,
    sinks: list[Queue[FlowBatch]],
    join: Join,
    stop: asyncio.Event,
) -> None:
    settings = Settings()
    redactor = Redactor(
        enabled=settings.redact,
        query=settings.redact_http_query,
        allow=settings.redact_http_headers_allow,
        deny=settings.redact_http_headers_deny,
    )
    for delay, chunk in entries:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), delay)
        if stop.is_set():
            return
        redactor.redact(chunk.batch)
        for requests in (
            chunk.batch,
            empty_requests(),
        ):  # the second, empty step releases requests without a connection
            batch = join.step(empty_connections(), requests, time.time_ns())
            if exporters.prometheus:
                exporters.prometheus.observe(batch)
            for sink in sinks:
                sink.put(batch)
        while any(sink.held for sink in sinks) and not stop.is_set():  # noqa: ASYNC110
            await asyncio.sleep(_POLL_SECONDS)
        for exporter in exporters.exporters:
            if isinstance(exporter, Flushable):
                await asyncio.to_thread(exporter.flush, _FLUSH_SECONDS)


def _write_metrics(prometheus: PrometheusExporter, path: str) -> None:
    """Write the metrics as Prometheus text; "" and `-` are standard output."""
    text = generate_latest(prometheus.registry)
    if not path or path == "-":
        sys.stdout.buffer.write(text)
        sys.stdout.buffer.flush()
        return
    try:
        Path(path).write_bytes(text)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror or error}") from error
