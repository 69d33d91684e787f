"""FlowLogExporter: write flows to rotating files, one JSON ExportEvent a line, as Hubble's exporter.

`hubble observe --input-file` and `flowd observe --input-file` read the files. Lines are written
with every batch, so that a crash of the agent loses none; fsync runs when a file is rotated or
closed, so that a crash of the machine may lose the last half minute.
"""

import asyncio
import logging
import time
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np

from flowd.errors import UsageError
from flowd.filter import FilterError, compile_filters
from flowd.model.directory import Directory
from flowd.model.losses import Losses, Place
from flowd.model.records.batch import FlowBatch
from flowd.model.records.flow import FlowRows
from flowd.model.status import PartStatus, State
from flowd.runtime.queue import Closed, Queue
from flowd.text import count, printable
from flowd.wire.json import flow_to_json
from flowd.wire.observer.observer_pb2 import ExportEvent
from flowd_exporters.base import FlowLogHealth
from flowd_exporters.flowlog.aggregate import FlowAggregator
from flowd_exporters.flowlog.config import FlowLogSpec, parse_config, read_config
from flowd_exporters.flowlog.rotate import RotatingFile
from flowd_exporters.hubble.encode.field_mask import apply_mask, parse_mask
from flowd_exporters.hubble.encode.flow_to_protobuf import FlowEncoder
from flowd_exporters.hubble.encode.json_line import FlowJson

log = logging.getLogger(__name__)

RELOAD_SECONDS = 5.0
_LINES_PER_WRITE = 256
_ROWS_PER_TURN = 1024
_NAME = "flowlog"


class FlowLog:
    """A running flow log.

    Lines that cannot be written are counted and lost; the next ones open the file again.

    Attributes:
        up: whether the last attempt to open or write succeeded.
        last_write: Unix time in seconds of the last written line; 0 for none.
        behind_since: Unix time in seconds since which flows have been unwritten; 0 when all are
            written.

    Raises:
        UsageError: a filter cannot be used.
    """

    def __init__(self, spec: FlowLogSpec, directory: Directory, losses: Losses) -> None:
        self.spec = spec
        self.up = True
        self.last_write = 0.0
        self.behind_since = 0.0
        self._lines = 0
        self._lost = 0
        self._losses = losses
        self._file = RotatingFile(spec.path, spec.max_size, spec.max_backups, spec.compress)
        self._json = FlowJson(directory)
        self._encoder = FlowEncoder(directory)
        self._mask = parse_mask(spec.fields)
        self._aggregate = FlowAggregator(directory, spec.aggregate) if spec.aggregate else None
        self._flush_at = time.monotonic() + spec.interval
        try:
            self._select = compile_filters(
                spec.include, spec.exclude, directory, messages=self._encoder.encode, trusted=True
            )
        except FilterError as error:
            raise UsageError(f"flow log {spec.name}: {error.message}", error.hint) from None

    def open(self) -> None:
        """Open the file.

        Raises:
            UsageError: the file cannot be opened for appending.
        """
        try:
            self._file.open()
        except OSError as error:
            self.up = False
            reason = (error.strerror or str(error)).lower()
            hint = "the folder must exist and be writable"
            raise UsageError(
                f"cannot write the flow log {self.spec.path}: {reason}", hint
            ) from None

    async def write(self, rows: FlowRows) -> None:
        """Append the rows that pass the filters."""
        rows = await self._filtered(rows)
        if self._aggregate:
            self._aggregate.add(rows)
            await self.flush(due=self._aggregate.full)
            return
        events = self._masked(rows) if self._mask else self._json.events(rows)
        await self._write(((event, 1) for event in events), len(rows))

    async def flush(self, *, due: bool) -> None:
        """Write the aggregated groups, if `due` or when their interval is over."""
        if self._aggregate and (due or time.monotonic() >= self._flush_at):
            self._flush_at = time.monotonic() + self.spec.interval
            lines = self._aggregate.lines()
            await self._write(iter(lines), sum(flows for _, flows in lines))

    async def _write(self, lines: Iterator[tuple[str, int]], left: int) -> None:
        """Write lines, each with the number of its flows; `left` is the sum of these numbers."""
        if not left:
            return
        self.behind_since = self.behind_since or time.time()
        succeeded = True
        try:
            while chunk := list(islice(lines, _LINES_PER_WRITE)):
                data = [f"{line}\n".encode() for line, _ in chunk]
                written, error = await asyncio.to_thread(self._file.write, data)
                lost = sum(flows for _, flows in chunk[written:])
                left -= sum(flows for _, flows in chunk)
                self._account(written, lost, error)
                succeeded = succeeded and not error
        except Exception:
            log.exception("batch left out", extra={"flow_log": self.spec.name, "rows": left})
            self._account(0, left, None)
            succeeded = False
        if succeeded:
            self.behind_since = 0.0

    async def finish(self) -> None:
        """Write the aggregated groups, sync the file to the disk and close it."""
        await self.flush(due=True)
        await asyncio.to_thread(self.close)

    def close(self) -> None:
        """Sync the file to the disk and close it."""
        self._file.close()

    def status(self) -> PartStatus:
        """State, path, and number of written and lost lines."""
        state = State.ON if self.up else State.DEGRADED
        detail = f"{self.spec.path}, {count(self._lines)} lines, {count(self._lost)} lost"
        return PartStatus(f"{_NAME}/{printable(self.spec.name)}", state, printable(detail))

    async def _filtered(self, rows: FlowRows) -> FlowRows:
        """Rows that pass the filters; other tasks run between pieces of _ROWS_PER_TURN."""
        masks = [np.zeros(0, np.bool_)]
        for start in range(0, len(rows), _ROWS_PER_TURN):
            masks.append(self._select(rows[start : start + _ROWS_PER_TURN]))
            await asyncio.sleep(0)
        return rows[np.concatenate(masks)]

    def _masked(self, rows: FlowRows) -> Iterator[str]:
        for flow in self._encoder.encode(rows):
            event = ExportEvent(node_name=flow.node_name, time=flow.time)
            apply_mask(self._mask, flow)
            event.flow.CopyFrom(flow)
            yield flow_to_json(event)

    def _account(self, written: int, lost: int, error: OSError | None) -> None:
        self._lines += written
        self._lost += lost
        self.up = not error
        if written:
            self.last_write = time.time()
        if lost:
            self._losses.add(Place.EXPORT, _NAME, lost)
        if error:
            log.warning(
                "flow log cannot be written",
                extra={"path": str(self.spec.path), "reason": error.strerror or str(error)},
            )


class FlowLogExporter:
    """Writes flows to every log whose filters they pass.

    Args:
        logs: static logs, which run as long as the agent.
        config: file of dynamic logs, read again when it changes. Logs whose entry did not change
            keep running; a file that cannot be used changes nothing.

    Raises:
        UsageError: a log or the file cannot be used.
    """

    name = _NAME

    def __init__(
        self,
        directory: Directory,
        losses: Losses,
        logs: Sequence[FlowLogSpec] = (),
        config: Path | None = None,
        reload_seconds: float = RELOAD_SECONDS,
    ) -> None:
        self._directory = directory
        self._losses = losses
        self._config = config
        self._reload_seconds = reload_seconds
        self._config_text = b""
        self._problem = ""
        self._writing = asyncio.Lock()
        losses.add(Place.EXPORT, self.name, 0)
        self._static = [FlowLog(spec, directory, losses) for spec in logs]
        self._dynamic: dict[str, FlowLog] = {}
        if config:
            self._config_text = read_config(config)
            self._dynamic = self._logs_for(self._parsed(config, self._config_text))
        for one in self._running():
            one.open()

    async def run(self, batches: Queue[FlowBatch]) -> None:
        """Write until the queue is closed and empty, then sync and close every log."""
        watch = asyncio.create_task(self._watch(), name="flow-log-config")
        try:
            while True:
                batch = await batches.get()
                async with self._writing:
                    await asyncio.gather(*(one.write(batch.flows) for one in self._running()))
        except Closed:
            pass
        finally:
            watch.cancel()
            await asyncio.gather(watch, return_exceptions=True)
            for one in self._running():
                await one.finish()

    def status(self) -> list[PartStatus]:
        """One status of all logs, then one of each log."""
        logs = self._running()
        state = State.DEGRADED if self._problem else State.ON
        summary = PartStatus(self.name, state, self._problem or f"{len(logs)} logs")
        return [summary, *(one.status() for one in logs)]

    def health(self) -> Iterable[FlowLogHealth]:
        """State of each log for its metrics."""
        now = time.time()
        return [
            FlowLogHealth(
                one.spec.name,
                one.up,
                one.last_write,
                max(now - one.behind_since, 0.0) if one.behind_since else 0.0,
            )
            for one in self._running()
        ]

    def _running(self) -> list[FlowLog]:
        return [*self._static, *self._dynamic.values()]

    def _intervals(self) -> list[float]:
        return [one.spec.interval for one in self._running() if one.spec.aggregate]

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(min([self._reload_seconds, *self._intervals()]))
            async with self._writing:
                await self._expire()
                if self._config:
                    await self._reload(self._config)
                for one in self._running():
                    await one.flush(due=False)

    async def _expire(self) -> None:
        for name, one in list(self._dynamic.items()):
            if _has_ended(one.spec):
                log.info("flow log has come to its end", extra={"flow_log": name})
                await self._dynamic.pop(name).finish()

    async def _reload(self, config: Path) -> None:
        """Apply the configuration file if its contents changed."""
        try:
            text = read_config(config)
            if text == self._config_text:
                return
            self._config_text = text
            logs = self._logs_for(self._parsed(config, text))
        except UsageError as error:
            if error.message != self._problem:
                log.warning("flow logs unchanged: %s", error.message)
            self._problem = error.message
            return
        self._problem = ""
        for name, one in self._dynamic.items():
            if logs.get(name) is not one:
                await one.finish()
        new = [one for name, one in logs.items() if self._dynamic.get(name) is not one]
        self._dynamic = logs
        for one in new:
            try:
                one.open()
            except UsageError as error:
                log.warning("%s", error.message)

    def _parsed(self, config: Path, text: bytes) -> list[FlowLogSpec]:
        specs = parse_config(config, text)
        taken = {one.spec.path for one in self._static}
        duplicates = [spec.path for spec in specs if spec.path in taken]
        if duplicates:
            raise UsageError(f"flow logs {config}: filePath '{duplicates[0]}' is taken")
        return [spec for spec in specs if not _has_ended(spec)]

    def _logs_for(self, specs: Iterable[FlowLogSpec]) -> dict[str, FlowLog]:
        """A log for each spec: the running one if its spec did not change, else a new one."""
        logs: dict[str, FlowLog] = {}
        for spec in specs:
            running = self._dynamic.get(spec.name)
            unchanged = running if running and running.spec == spec else None
            logs[spec.name] = unchanged or FlowLog(spec, self._directory, self._losses)
        return logs


def _has_ended(spec: FlowLogSpec) -> bool:
    return bool(spec.end) and time.time() >= spec.end
