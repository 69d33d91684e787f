"""A whole agent inside the test, and all rows that came out of it."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from flowd.model.losses import Place
from flowd.model.records.batch import FlowBatch
from flowd.model.records.connection import ConnectionBatch, empty_connections
from flowd.model.records.request import RequestBatch, empty_requests
from flowd.runtime.assemble import Assembly
from flowd.runtime.queue import Closed, Queue
from flowd.settings import Settings
from tests.kernel.recorder import eventually

soon = partial(eventually, seconds=90)
"""Waits for a condition that nobody tells us of, on a busy machine too."""


@dataclass
class Rows:
    """An exporter that keeps everything."""

    name: str = "rows"
    batches: list[FlowBatch] = field(default_factory=list[FlowBatch])

    async def run(self, batches: Queue[FlowBatch]) -> None:
        with contextlib.suppress(Closed):
            while True:
                self.batches.append(await batches.get())

    @property
    def received(self) -> int:
        """Number of entries so far."""
        return sum(len(batch.requests) for batch in self.batches)

    @property
    def requests(self) -> RequestBatch:
        """All entries so far."""
        return np.concatenate([empty_requests(), *(batch.requests for batch in self.batches)])

    @property
    def connections(self) -> ConnectionBatch:
        """All connection records so far."""
        return np.concatenate([empty_connections(), *(batch.connections for batch in self.batches)])


class RunningAgent:
    """An agent of some settings.

    Off unless asked for: its servers for people, and what watches the whole machine.
    """

    def __init__(self, **settings: Any) -> None:
        quiet: dict[str, Any] = {
            "hubble_listen": "",
            "metrics_listen": "",
            "als_listen": "127.0.0.1:0",
            "drops": False,
            "sockets": False,
        }
        self.assembly = Assembly(Settings(**(quiet | settings)))
        self.rows = Rows()
        self.assembly.parts.exporters = [*self.assembly.parts.exporters, self.rows]
        self._stop = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @property
    def als(self) -> int:
        """Port of the access-log service."""
        assert self.assembly.envoy is not None
        return int(self.assembly.envoy.address.rpartition(":")[2])

    @property
    def otlp(self) -> int:
        """Port for OTLP logs."""
        assert self.assembly.logs.otlp is not None
        return int(self.assembly.logs.otlp.address.rpartition(":")[2])

    def lost(self) -> dict[tuple[Place, str], int]:
        """What was lost outside the kernel, without zeros."""
        found = self.assembly.losses.snapshot()
        return {key: n for key, n in found.items() if n and key[0] != Place.KERNEL}

    async def start(self) -> None:
        """Start, and wait until it listens."""
        self._task = asyncio.create_task(self.assembly.run(self._stop))
        envoy = self.assembly.envoy
        async with asyncio.timeout(60):
            while (envoy and not envoy.address) or not self._ready():
                assert not self._task.done(), self._task.exception()
                await asyncio.sleep(0.02)

    def _ready(self) -> bool:
        otlp = self.assembly.logs.otlp
        return otlp is None or bool(otlp.address)

    async def stop(self) -> None:
        """Take in what is left, flush and end, as SIGTERM does."""
        self._stop.set()
        if self._task:
            await self._task


@contextlib.asynccontextmanager
async def running_agent(**settings: Any) -> AsyncGenerator[RunningAgent]:
    """An agent inside the block; afterwards it is stopped."""
    agent = RunningAgent(**settings)
    await agent.start()
    try:
        yield agent
    finally:
        await agent.stop()
