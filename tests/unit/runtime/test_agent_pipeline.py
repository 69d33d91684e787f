"""The pipeline from end to end with sources, join and exporters of the test's own."""

import asyncio
from collections.abc import Callable, Sequence

import numpy as np
import pytest

from flowd.agent import run_pipeline
from flowd.model.losses import Losses, Place
from flowd.model.records.batch import FlowBatch
from flowd.model.records.connection import ConnectionBatch, empty_connections
from flowd.model.records.flow import empty_flows
from flowd.model.records.request import RequestBatch, empty_requests
from flowd.model.status import PartStatus, State
from flowd.runtime.parts import Parts
from flowd.runtime.queue import Closed, Queue


class Source:
    """Puts the batches it was given, and one more when it is closed."""

    def __init__(self, batches: Sequence[np.ndarray], last: np.ndarray, fail: bool = False) -> None:
        self._batches, self._last, self._fail = batches, last, fail
        self._out: Queue[np.ndarray] | None = None

    async def run(self, out: Queue[np.ndarray]) -> None:
        self._out = out
        for batch in self._batches:
            out.put(batch)
        if self._fail:
            raise RuntimeError("boom")
        await asyncio.Event().wait()

    async def close(self) -> None:
        assert self._out is not None
        self._out.put(self._last)

    def status(self) -> Sequence[PartStatus]:
        return []

    @property
    def received(self) -> int:
        return 0


class Join:
    """Makes a flow row a row, from both queues."""

    async def run(
        self,
        connections: Queue[ConnectionBatch],
        requests: Queue[RequestBatch],
        out: Callable[[FlowBatch], None],
    ) -> None:
        async def pump(queue: Queue[np.ndarray]) -> None:
            try:
                while True:
                    batch = await queue.get()
                    out(FlowBatch(empty_connections(), empty_requests(), empty_flows(len(batch))))
            except Closed:
                return

        await asyncio.gather(pump(connections), pump(requests))


class Sink:
    """Counts rows; `slow` waits for an event before it reads."""

    def __init__(self, name: str, gate: asyncio.Event | None = None) -> None:
        self.name, self._gate, self.rows, self.flushed = name, gate, 0, False

    async def run(self, batches: Queue[FlowBatch]) -> None:
        if self._gate:
            await self._gate.wait()
        try:
            while True:
                self.rows += len(await batches.get())
        except Closed:
            self.flushed = True


class Broken:
    """An exporter that fails at once."""

    name = "broken"

    async def run(self, batches: Queue[FlowBatch]) -> None:
        raise OSError("disk full")


def parts(exporters: Sequence[Sink | Broken], rows: int = 100, fail: bool = False) -> Parts:
    return Parts(
        kernel=Source([empty_connections(3), empty_connections(4)], empty_connections(5), fail),
        requests={"envoy-als": Source([empty_requests(2)], empty_requests(1))},
        identify=lambda batch: batch,
        attribute=lambda batch: batch,
        join=Join(),
        exporters=exporters,
        losses=Losses(),
        queue_rows=rows,
    )


async def run_for_a_moment(made: Parts) -> None:
    stop = asyncio.Event()
    task = asyncio.create_task(run_pipeline(made, stop))
    for _ in range(20):
        await asyncio.sleep(0)
    stop.set()
    await task


async def test_what_is_left_at_the_end_is_drained_and_flushed() -> None:
    sink = Sink("sink")
    await run_for_a_moment(parts([sink]))
    assert sink.rows == 3 + 4 + 5 + 2 + 1
    assert sink.flushed


async def test_a_broken_exporter_leaves_its_neighbours_alone() -> None:
    sink, made = Sink("sink"), parts([])
    made.exporters = [Broken(), sink]
    await run_for_a_moment(made)
    assert sink.rows == 15
    assert made.failures["broken"] == PartStatus("broken", State.FAILED, "OSError: disk full")


async def test_a_broken_source_leaves_the_other_one_alone() -> None:
    sink = Sink("sink")
    made = parts([sink], fail=True)
    await run_for_a_moment(made)
    assert made.failures["capture"].detail == "RuntimeError: boom"
    assert sink.rows == 15


async def test_a_slow_exporter_loses_only_its_own_and_it_is_counted() -> None:
    gate = asyncio.Event()
    slow, fast = Sink("slow", gate), Sink("fast")
    made = parts([slow, fast], rows=9)
    stop = asyncio.Event()
    task = asyncio.create_task(run_pipeline(made, stop))
    for _ in range(20):
        await asyncio.sleep(0)
    stop.set()
    for _ in range(40):
        await asyncio.sleep(0)
    gate.set()
    await task
    assert fast.rows == 15
    lost = made.losses.snapshot()[Place.QUEUE, "slow"]
    assert lost > 0
    assert slow.rows + lost == 15


async def test_a_batch_that_a_stage_cannot_take_is_counted() -> None:
    def refuse(batch: ConnectionBatch) -> ConnectionBatch:
        if len(batch) == 4:
            raise ValueError("no")
        return batch

    sink = Sink("sink")
    made = parts([sink])
    made.identify = refuse
    await run_for_a_moment(made)
    assert sink.rows == 11
    assert made.losses.snapshot()[Place.STAGE, "identified"] == 4


@pytest.mark.parametrize("rows", [1, 5, 6])
async def test_a_queue_drops_its_oldest(rows: int) -> None:
    losses = Losses()
    queue = Queue[ConnectionBatch]("q", rows, losses)
    for size in (3, 2, 1):
        queue.put(empty_connections(size))
    kept = [len(batch) for batch in queue.take()]
    assert kept == [3, 2, 1][-len(kept) :]
    assert sum(kept) + losses.snapshot()[Place.QUEUE, "q"] == 6
