"""Streams of one server into the store: flows, traffic, routes and state, over broken connections."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from flowd.client.client import Unimplemented
from flowd.errors import FlowdError
from flowd.wire.flow import flow_pb2
from flowd.wire.flowd import agent_pb2
from flowd.wire.observer import observer_pb2
from flowd_tui.data.store import Store

LAST_FLOWS = 1000
POLL_SECONDS = 10.0
RETRY_SECONDS = (0.5, 1.0, 2.0, 5.0)
LOST_HERE = (flow_pb2.OBSERVER_EVENTS_QUEUE, flow_pb2.HUBBLE_RING_BUFFER)

Sleep = Callable[[float], Awaitable[None]]


class Reader(Protocol):
    """What is used of `flowd.client.client.Client`."""

    def get_flows(
        self, request: observer_pb2.GetFlowsRequest
    ) -> AsyncIterator[observer_pb2.GetFlowsResponse]: ...
    def watch(self) -> AsyncIterator[agent_pb2.Snapshot]: ...
    async def routes(self) -> agent_pb2.RoutesResponse: ...
    async def agent_status(self) -> agent_pb2.StatusResponse: ...


class Source:
    """Keeps a store fed until it is cancelled.

    Args:
        connect: opens a connection anew; leaving it closes it.
    """

    def __init__(
        self,
        store: Store,
        connect: Callable[[], AbstractAsyncContextManager[Reader]],
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        self._store = store
        self._connect = connect
        self._sleep = sleep

    async def run(self) -> None:
        """Connect, read, and begin again with growing pauses."""
        failures = 0
        while True:
            try:
                async with self._connect() as reader:
                    self._store.connected()
                    failures = 0
                    await self._session(reader)
                problem = "the server ended the stream"
            except FlowdError as error:
                problem = error.message
            self._store.disconnected(problem)
            await self._sleep(RETRY_SECONDS[min(failures, len(RETRY_SECONDS) - 1)])
            failures += 1

    async def _session(self, reader: Reader) -> None:
        beside = [
            asyncio.create_task(self._again(lambda: self._watch(reader))),
            asyncio.create_task(self._again(lambda: self._poll(reader))),
        ]
        try:
            await self._flows(reader)
        finally:
            for task in beside:
                task.cancel()
            await asyncio.gather(*beside, return_exceptions=True)

    async def _flows(self, reader: Reader) -> None:
        request = observer_pb2.GetFlowsRequest(follow=True)
        if newest := self._store.newest_flow_ns:
            request.since.FromNanoseconds(newest + 1)
        else:
            request.number = LAST_FLOWS
        async for response in reader.get_flows(request):
            if response.HasField("flow"):
                self._store.add_flow(response.flow)
            elif response.lost_events.source in LOST_HERE:
                self._store.add_lost(response.lost_events.num_events_lost)

    async def _again(self, work: Callable[[], Awaitable[None]]) -> None:
        """Do something of the Agent service until the server says that it has none."""
        while True:
            try:
                await work()
            except Unimplemented as error:
                self._store.agent_missing(error.message)
                return
            except FlowdError as error:
                self._store.agent_missing(error.message)
            await self._sleep(RETRY_SECONDS[-1])

    async def _watch(self, reader: Reader) -> None:
        async for snapshot in reader.watch():
            self._store.add_second(snapshot)

    async def _poll(self, reader: Reader) -> None:
        while True:
            self._store.set_agent(await reader.agent_status())
            self._store.set_topology(await reader.routes())
            self._store.agent_missing("")
            await self._sleep(POLL_SECONDS)
