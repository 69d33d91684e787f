"""A complete agent in the test process, and all rows that it exports."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from flowd.agent import Agent
from flowd.model.losses import Place
from flowd.model.records.batch import FlowBatch
from flowd.model.records.connection import ConnectionBatch, empty_connections
from flowd.model.records.request import RequestBatch, empty_requests
from flowd.runtime.queue import Closed, Queue
from flowd.settings import Settings
from flowd.wiring.inputs import ListeningSource
from tests.kernel.recorder import eventually

soon = partial(eventually, seconds=90)
"""Polls a condition, with a timeout for busy machines."""


@dataclass
class Rows:
    """An exporter that keeps all rows."""

    name: str = "rows"
    batches: list[FlowBatch] = field(default_factory=list[FlowBatch])

    async def run(self, batches: Queue[FlowBatch]) -> None:
        with contextlib.suppress(Closed):
            while True:
                self.batches.append(await batches.get())

    @property
    def received(self) -> int:
        """Number of received entries."""
        return sum(len(batch.requests) for batch in self.batches)

    @property
    def requests(self) -> RequestBatch:
        """All received entries, shape (N,)."""
        return np.concatenate([empty_requests(), *(batch.requests for batch in self.batches)])

    @property
    def connections(self) -> ConnectionBatch:
        """All received connection records, shape (N,)."""
        return np.concatenate([empty_connections(), *(batch.connections for batch in self.batches)])


class RunningAgent:
    """An agent with the given settings.

    Its servers for clients, and capture of the whole machine, are off unless set.
    """

    def __init__(self, **settings: Any) -> None:
        quiet: dict[str, Any] = {
            "hubble_listen": "",
            "metrics_listen": "",
            "als_listen": "127.0.0.1:0",
            "drops": False,
            "sockets": False,
        }
        self.agent = Agent(Settings(**(quiet | settings)))
        self.rows = Rows()
        self.agent.parts.exporters = [*self.agent.parts.exporters, self.rows]
        self._stop = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @property
    def als(self) -> int:
        """Port of the access-log service."""
        return self._port("envoy-als")

    @property
    def otlp(self) -> int:
        """Port for OTLP logs."""
        return self._port("otlp-logs")

    def _port(self, part: str) -> int:
        source = self.agent.inputs.requests[part]
        assert isinstance(source, ListeningSource)
        return int(source.address.rpartition(":")[2])

    def lost(self) -> dict[tuple[Place, str], int]:
        """Losses outside the kernel, without zeros."""
        found = self.agent.parts.losses.snapshot()
        return {key: n for key, n in found.items() if n and key[0] != Place.KERNEL}

    async def start(self) -> None:
        """Start the agent, and wait until it listens."""
        self._task = asyncio.create_task(self.agent.run(self._stop))
        async with asyncio.timeout(60):
            while not self._ready():
                assert not self._task.done(), self._task.exception()
                await asyncio.sleep(0.02)

    def _ready(self) -> bool:
        return all(
            source.address
            for source in self.agent.inputs.requests.values()
            if isinstance(source, ListeningSource)
        )

    async def stop(self) -> None:
        """Drain, flush and stop, as on SIGTERM."""
        self._stop.set()
        if self._task:
            await self._task


@contextlib.asynccontextmanager
async def running_agent(**settings: Any) -> AsyncGenerator[RunningAgent]:
    """An agent that runs inside the block."""
    agent = RunningAgent(**settings)
    await agent.start()
    try:
        yield agent
    finally:
        await agent.stop()
