"""A Hubble server over given flows, and a gRPC client that sends and receives bytes."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import Any, cast

import grpc
import grpc.aio

from flowd.model.directory import Directory
from flowd.model.losses import Losses
from flowd.model.records.batch import FlowBatch
from flowd.model.records.flow import FlowRows
from flowd.runtime.queue import Queue
from flowd_exporters.api_server import ApiServer
from flowd_exporters.hubble.exporter import HubbleExporter
from tests.support.flow_samples import batch, cluster
from tests.support.raw_wire import Field, Raw, message, parse, text

SECONDS = 20
END: object = cast("Any", grpc.aio).EOF


async def eventually(condition: Callable[[], bool]) -> None:
    """Wait until a condition holds."""
    async with asyncio.timeout(SECONDS):
        for _ in count():
            if condition():
                return
            await asyncio.sleep(0.002)


@dataclass
class Served:
    """A running server, its exporter, and the exporter's queue."""

    hubble: HubbleExporter
    server: ApiServer
    losses: Losses
    queue: Queue[FlowBatch]
    channel: grpc.aio.Channel
    running: asyncio.Task[None]
    directory: Directory = field(default_factory=cluster)

    async def put(self, rows: FlowRows) -> None:
        """Queue rows for the exporter, and wait until its ring has them."""
        wanted = self.hubble.ring.written + len(rows)
        self.queue.put(batch(rows))
        async with asyncio.timeout(SECONDS):
            while self.hubble.ring.written < wanted:
                await self.hubble.ring.wait_readable(wanted - 1, self.hubble.ring.marked)

    async def one(self, method: str, *fields: Field) -> Raw:
        """Call a unary method; returns the response."""
        call = self._raw().unary_unary(method, None, None)
        return parse(await call(message(*fields), timeout=SECONDS))

    def stream(self, method: str, *fields: Field) -> Any:
        """Call a streaming method; yields responses as bytes."""
        return self._raw().unary_stream(method, None, None)(message(*fields), timeout=SECONDS)

    async def all(self, method: str, *fields: Field) -> list[Raw]:
        """All responses of a finite stream."""
        return [parse(one) async for one in self.stream(method, *fields)]

    async def flows(self, *fields: Field) -> list[Raw]:
        """The responses of GetFlows."""
        return await self.all("/observer.Observer/GetFlows", *fields)

    async def summaries(self, *fields: Field) -> list[str]:
        """Flow.Summary (field path 1.100000) of each GetFlows response."""
        return [text(one, 1, 100000) for one in await self.flows(*fields)]

    def _raw(self) -> Any:
        return cast("Any", self.channel)


@asynccontextmanager
async def serve(
    rows: FlowRows | None = None,
    *,
    memory: int = 1 << 20,
    directory: Directory | None = None,
    listen: Callable[[], str] = lambda: "127.0.0.1:0",
) -> AsyncGenerator[Served]:
    """Serve flows on a free port until the block ends."""
    losses = Losses()
    directory = directory or cluster()
    hubble = HubbleExporter(directory, losses, memory=memory, address="192.0.2.1:4244")
    server = ApiServer([listen()], [hubble.add_to])
    await server.start()
    queue = Queue[FlowBatch]("hubble", 10**6, losses)
    channel = grpc.aio.insecure_channel(server.addresses[0].replace("unix://", "unix:"))
    running = asyncio.create_task(hubble.run(queue))
    served = Served(hubble, server, losses, queue, channel, running, directory)
    try:
        if rows is not None:
            await served.put(rows)
        yield served
    finally:
        queue.close()
        await running
        await channel.close(None)
        await server.stop(0)
