"""Read flows, traffic, routes and agent state from one server into the store, with reconnects."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from flowd.client.errors import Unimplemented
from flowd.errors import FlowdError
from flowd.wire.flow import flow_pb2
from flowd.wire.flowd import agent_pb2
from flowd.wire.observer import observer_pb2
from flowd_tui.data.store import TopStore

LAST_FLOWS = 1000
POLL_SECONDS = 10.0
RETRY_SECONDS = (0.5, 1.0, 2.0, 5.0)
STREAM_LOSSES = (flow_pb2.OBSERVER_EVENTS_QUEUE, flow_pb2.HUBBLE_RING_BUFFER)

Sleep = Callable[[float], Awaitable[None]]


class AgentClient(Protocol):
    """The calls of `flowd.client.client.Client` that are used here."""

    def get_flows(
        self, request: observer_pb2.GetFlowsRequest
    ) -> AsyncIterator[observer_pb2.GetFlowsResponse]: ...
    def watch(self) -> AsyncIterator[agent_pb2.Snapshot]: ...
    async def routes(self) -> agent_pb2.RoutesResponse: ...
    async def agent_status(self) -> agent_pb2.StatusResponse: ...


class StoreReflector:
    """Keeps a store in step with one server, as client-go's Reflector does with an API server.

    Args:
        connect: opens a new connection, as a context manager that closes it.
        sleep: waits for a number of seconds.
    """

    def __init__(
        self,
        store: TopStore,
        connect: Callable[[], AbstractAsyncContextManager[AgentClient]],
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        self._store = store
        self._connect = connect
        self._sleep = sleep

    async def run(self) -> None:
        """Connect and read until cancelled; after a failure reconnect with growing delays."""
        failures = 0
        while True:
            try:
                async with self._connect() as client:
                    self._store.connected()
                    failures = 0
                    await self._session(client)
                problem = "the server ended the stream"
            except FlowdError as error:
                problem = error.message
            self._store.disconnected(problem)
            await self._sleep(RETRY_SECONDS[min(failures, len(RETRY_SECONDS) - 1)])
            failures += 1

    async def _session(self, client: AgentClient) -> None:
        tasks = [
            asyncio.create_task(self._retry(lambda: self._watch(client))),
            asyncio.create_task(self._retry(lambda: self._poll(client))),
        ]
        try:
            await self._flows(client)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _flows(self, client: AgentClient) -> None:
        request = observer_pb2.GetFlowsRequest(follow=True)
        if newest := self._store.newest_flow_ns:
            request.since.FromNanoseconds(newest + 1)
        else:
            request.number = LAST_FLOWS
        async for response in client.get_flows(request):
            if response.HasField("flow"):
                self._store.add_flow(response.flow)
            elif response.lost_events.source in STREAM_LOSSES:
                self._store.add_lost(response.lost_events.num_events_lost)

    async def _retry(self, work: Callable[[], Awaitable[None]]) -> None:
        """Repeat a call of the Agent service until the server answers Unimplemented."""
        while True:
            try:
                await work()
            except Unimplemented as error:
                self._store.set_agent_error(error.message)
                return
            except FlowdError as error:
                self._store.set_agent_error(error.message)
            await self._sleep(RETRY_SECONDS[-1])

    async def _watch(self, client: AgentClient) -> None:
        async for snapshot in client.watch():
            self._store.add_second(snapshot)

    async def _poll(self, client: AgentClient) -> None:
        while True:
            self._store.set_agent(await client.agent_status())
            self._store.set_topology(await client.routes())
            self._store.set_agent_error("")
            await self._sleep(POLL_SECONDS)
