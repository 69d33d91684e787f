"""Run a capture in a test and query its rows."""

import asyncio
import contextlib
import os
from collections.abc import AsyncGenerator, Callable
from typing import Any

import numpy as np

from flowd.capture.kernel.source import KernelCapture
from flowd.model.directory import Directory
from flowd.model.enums import Reason
from flowd.model.losses import Losses, Place
from flowd.model.records.connection import ConnectionBatch, empty_connections
from flowd.runtime.queue import Queue
from flowd_bpf.maps.connection_table import IdleTimeouts


class Recorder:
    """A capture, and all rows it has put into its queue."""

    def __init__(self, **options: Any) -> None:
        self.directory = Directory()
        self.losses = Losses()
        self.queue: Queue[ConnectionBatch] = Queue("test", 1 << 22, self.losses)
        self.capture = KernelCapture(self.directory, self.losses, **options)
        self.task: asyncio.Task[None] | None = None
        self._batches = [empty_connections()]

    def rows(self, *, port: int = 0, protocol: int = 0) -> ConnectionBatch:
        """All rows so far, optionally of one destination port or protocol."""
        rows = np.concatenate([*self._batches, *self.queue.take()])
        self._batches = [rows]
        if port:
            rows = rows[rows["dst_port"] == port]
        return rows[rows["protocol"] == protocol] if protocol else rows

    def lost(self, reason: str) -> int:
        """A counter of Place.KERNEL; 0 before the first reading of the kernel's own."""
        return self.losses.snapshot().get((Place.KERNEL, reason), 0)

    async def until(self, met: Callable[[ConnectionBatch], bool]) -> None:
        """Wait for rows that meet a condition."""
        await eventually(lambda: self._alive() and met(self.rows()))

    async def interfaces(self, count: int) -> None:
        """Wait until the capture reports `count` interfaces."""
        capture = self.capture
        await eventually(
            lambda: self._alive() and capture.status()[0].detail.startswith(f"{count} interface")
        )

    def _alive(self) -> bool:
        assert self.task is not None
        assert not self.task.done(), "the capture ended"
        return True


SECONDS = 30 * float(os.environ.get("FLOWD_TEST_PATIENCE", "1"))  # more where it is emulated


async def eventually(met: Callable[[], bool], seconds: float = SECONDS) -> None:
    """Poll until a condition is met."""
    async with asyncio.timeout(seconds):
        while not met():  # noqa: ASYNC110
            await asyncio.sleep(0.05)


@contextlib.asynccontextmanager
async def recording(**options: Any) -> AsyncGenerator[Recorder]:
    """Run a capture until the block ends; then the recorder has its last rows too."""
    recorder = Recorder(**{"limits": IdleTimeouts(closed=0.5), "hash_seed": 0, **options})
    await recorder.capture.start()
    task = recorder.task = asyncio.create_task(recorder.capture.run(recorder.queue))
    try:
        yield recorder
    finally:
        task.cancel()
        try:
            with contextlib.suppress(asyncio.CancelledError):
                await task
        finally:
            await recorder.capture.close()


def ended(connections: int) -> Callable[[ConnectionBatch], bool]:
    """Condition: `count` connections have ended."""
    return lambda rows: int(np.sum(rows["reason"] == Reason.END)) >= connections


def consistent(rows: ConnectionBatch) -> None:
    """Assert one NEW first, at most one END, and deltas that add up to the totals."""
    for conn_id in np.unique(rows["conn_id"]):
        mine = rows[rows["conn_id"] == conn_id]
        assert list(mine["reason"]).count(Reason.NEW) == 1
        assert mine["reason"][0] == Reason.NEW
        assert list(mine["reason"]).count(Reason.END) <= 1
        for column in ("bytes_fwd", "bytes_rev", "packets_fwd", "packets_rev"):
            assert mine[column].sum() == mine[f"total_{column}"].max()
