"""Protocols of the pipeline's parts (sources, join, exporter status), and the set of parts that runs."""

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


class ConnectionSource(Protocol):
    """A source of connection records: `run` until cancelled, then `close` puts the last ones."""

    async def run(self, out: Queue[ConnectionBatch]) -> None: ...
    async def close(self) -> None: ...
    def status(self) -> Sequence[PartStatus]: ...


class RequestSource(Protocol):
    """A source of access-log entries: `run` until cancelled, then `close` puts the last ones."""

    async def run(self, out: Queue[RequestBatch]) -> None: ...
    async def close(self) -> None: ...
    def status(self) -> Sequence[PartStatus]: ...
    @property
    def received(self) -> int: ...  # entries so far, including those that start or go on


class Joiner(Protocol):
    """The stage that joins requests to connections; it ends when both queues have ended."""

    async def run(
        self,
        connections: Queue[ConnectionBatch],
        requests: Queue[RequestBatch],
        out: Callable[[FlowBatch], None],
    ) -> None: ...


@runtime_checkable
class Reporting(Protocol):
    """An exporter that reports its own status."""

    def status(self) -> Sequence[PartStatus]: ...


@dataclass
class Parts:
    """The parts that `flowd.agent.run_pipeline` connects by queues.

    Attributes:
        kernel: the source of connections; None without capture.
        requests: sources of access-log entries by the name of their part in the status.
        identify: fills endpoints and translations of connection rows.
        attribute: fills route, backend and attribution of request rows.
        queue_rows: bound on each queue, in rows.
        release_held: returns the rows that `identify` holds back, see `flowd.runtime.tasks.stage`.
        failures: status of each part that ended by an error, by name.
    """

    kernel: ConnectionSource | None
    requests: Mapping[str, RequestSource]
    identify: Callable[[ConnectionBatch], ConnectionBatch]
    attribute: Callable[[RequestBatch], RequestBatch]
    join: Joiner
    exporters: Sequence[Exporter]
    losses: Losses
    queue_rows: int = 100000
    release_held: Callable[[bool], ConnectionBatch] | None = None
    failures: dict[str, PartStatus] = field(default_factory=dict[str, PartStatus])

    def failed(self, part: str, detail: str) -> None:
        """Record a part that ended by an error."""
        self.failures[part] = PartStatus(part, State.FAILED, detail)
