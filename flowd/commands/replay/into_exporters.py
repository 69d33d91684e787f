"""`flowd replay --to`: recorded entries into the agent's exporters."""

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

from flowd.agent import Exporter
from flowd.commands.replay.inputs import Entries
from flowd.errors import FlowdError, UsageError
from flowd.identity.table import IdentityTable
from flowd.model.directory import Directory
from flowd.model.losses import Losses, Place
from flowd.model.records.batch import FlowBatch
from flowd.model.records.connection import empty_connections
from flowd.model.records.request import empty_requests
from flowd.pipeline.join.join import Join
from flowd.pipeline.redact import Redactor
from flowd.runtime.queue import Queue
from flowd.settings import Settings
from flowd_exporters.api_server import ApiServer
from flowd_exporters.hubble.exporter import HubbleExporter
from flowd_exporters.prometheus.exporter import PrometheusExporter

_QUEUE_ROWS = 1 << 20
_FLUSH_SECONDS = 30.0
_TURN_SECONDS = 0.002


@runtime_checkable
class Flushing(Protocol):
    """An exporter that holds back what it was given."""

    def flush(self, seconds: float) -> None: ...


@dataclass
class Targets:
    """The exporters that `--to` asks for.

    Raises:
        UsageError: what follows `KIND=` cannot be used, or a KIND comes twice.
    """

    wanted: dict[str, str]
    directory: Directory
    losses: Losses
    exporters: list[Exporter] = field(default_factory=list[Exporter])
    prometheus: PrometheusExporter | None = None
    api: ApiServer | None = None

    def __post_init__(self) -> None:
        settings = Settings()
        if where := self.wanted.get("hubble"):
            hubble = HubbleExporter(self.directory, self.losses, memory=settings.flow_memory << 20)
            self.api = ApiServer([where], [hubble.add_to])
            self.exporters.append(hubble)
        if where := self.wanted.get("flow-log"):
            from flowd_exporters.flowlog.config import static_log
            from flowd_exporters.flowlog.exporter import FlowLogExporter

            size, backups = settings.flow_log_max_size << 20, settings.flow_log_max_backups
            log = static_log(where, "", "", (), size, backups, settings.flow_log_compress)
            self.exporters.append(FlowLogExporter(self.directory, self.losses, [log]))
        if where := self.wanted.get("otlp"):
            from flowd_exporters.otlp.exporter import OtlpExporter

            self.exporters.append(OtlpExporter(self.directory, self.losses, endpoint=where))
        if "prometheus" in self.wanted:
            self.prometheus = PrometheusExporter(
                self.directory, self.losses, max_series=settings.max_series
            )


async def replay_to(
    entries: Iterable[tuple[float, Entries]],
    targets: Targets,
    identities: IdentityTable,
    losses: Losses,
) -> bool:
    """Feed attributed entries to the exporters; the Hubble API then serves until interrupted.

    Returns:
        Whether all were fed; False when it was interrupted before.

    Raises:
        FlowdError: an exporter could not deliver everything.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        with contextlib.suppress(RuntimeError):  # not in the main thread: nobody can interrupt
            loop.add_signal_handler(number, stop.set)
    if targets.api:
        await targets.api.start()
        click.echo(f"serving the Hubble API on {targets.api.addresses[0]}", err=True)
    sinks = [Queue[FlowBatch](each.name, _QUEUE_ROWS, losses) for each in targets.exporters]
    try:
        async with asyncio.TaskGroup() as tasks:
            for exporter, sink in zip(targets.exporters, sinks, strict=True):
                tasks.create_task(exporter.run(sink))
            await _feed(entries, targets, sinks, Join(identities, losses, wait_ns=0), stop)
            done = not stop.is_set()
            if targets.api and done:
                click.echo("all entries are in; Ctrl-C ends", err=True)
                await stop.wait()
            for sink in sinks:
                sink.close()
    finally:
        if targets.api:
            await targets.api.stop()
    if targets.prometheus:
        _write_metrics(targets.prometheus, targets.wanted["prometheus"])
    failed = {
        reason: count
        for (place, reason), count in losses.snapshot().items()
        if place in (Place.EXPORT, Place.QUEUE) and count
    }
    if failed:
        told = ", ".join(f"{reason} {count}" for reason, count in failed.items())
        raise FlowdError(f"not everything was delivered: {told}")
    return done


async def _feed(
    entries: Iterable[tuple[float, Entries]],
    targets: Targets,
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
        for requests in (chunk.batch, empty_requests()):  # those without a connection come next
            batch = join.step(empty_connections(), requests, time.time_ns())
            if targets.prometheus:
                targets.prometheus.observe(batch)
            for sink in sinks:
                sink.put(batch)
        while any(sink.held for sink in sinks) and not stop.is_set():  # noqa: ASYNC110
            await asyncio.sleep(_TURN_SECONDS)
        for exporter in targets.exporters:
            if isinstance(exporter, Flushing):
                await asyncio.to_thread(exporter.flush, _FLUSH_SECONDS)


def _write_metrics(prometheus: PrometheusExporter, where: str) -> None:
    text = generate_latest(prometheus.registry)
    if not where or where == "-":
        sys.stdout.buffer.write(text)
        sys.stdout.buffer.flush()
        return
    try:
        Path(where).write_bytes(text)
    except OSError as error:
        raise UsageError(f"cannot write {where}: {error.strerror or error}") from error
