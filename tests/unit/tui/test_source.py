"""StoreReflector: streams into the store, with lost and regained servers."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager

from flowd.client.errors import Unimplemented
from flowd.errors import ConnectError, FlowdError
from flowd.wire.flow import flow_pb2
from flowd.wire.flowd import agent_pb2
from flowd.wire.observer import observer_pb2
from flowd_tui.data.source import LAST_FLOWS, StoreReflector
from flowd_tui.data.store import ConnectionState, TopStore
from tests.fakes import top_data
from tests.fakes.top_data import BASE_NS


class FakeClient:
    """A server whose streams the test feeds."""

    def __init__(self) -> None:
        self.requests: list[observer_pb2.GetFlowsRequest] = []
        self.flows = asyncio.Queue[observer_pb2.GetFlowsResponse | FlowdError | None]()
        self.agent: FlowdError | None = None

    def flow(self, flow: flow_pb2.Flow) -> None:
        self.flows.put_nowait(observer_pb2.GetFlowsResponse(flow=flow))

    async def get_flows(
        self, request: observer_pb2.GetFlowsRequest
    ) -> AsyncIterator[observer_pb2.GetFlowsResponse]:
        self.requests.append(request)
        while response := await self.flows.get():
            if isinstance(response, FlowdError):
                raise response
            yield response

    async def watch(self) -> AsyncIterator[agent_pb2.Snapshot]:
        if self.agent:
            raise self.agent
        yield top_data.snapshot(0, BASE_NS)
        await asyncio.Event().wait()

    async def routes(self) -> agent_pb2.RoutesResponse:
        return top_data.topology()

    async def agent_status(self) -> agent_pb2.StatusResponse:
        if self.agent:
            raise self.agent
        return top_data.status()


class Bench:
    """A StoreReflector with a fake client, a clock that does not wait, and the requested delays."""

    def __init__(self) -> None:
        self.store = TopStore("server")
        self.reader = FakeClient()
        self.pauses: list[float] = []
        self.refusals = 0
        self.source = StoreReflector(self.store, self.connect, self.sleep)

    @asynccontextmanager
    async def connect(self) -> AsyncGenerator[FakeClient]:
        if self.refusals:
            self.refusals -= 1
            raise ConnectError("cannot reach server (connection refused)")
        yield self.reader

    async def sleep(self, seconds: float) -> None:
        if seconds >= 10:
            await asyncio.Event().wait()
        self.pauses.append(seconds)
        await asyncio.sleep(0)

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(5):
            while not condition():  # noqa: ASYNC110 - the store is plain data and tells nobody
                await asyncio.sleep(0.001)


async def test_everything_arrives() -> None:
    bench = Bench()
    task = asyncio.create_task(bench.source.run())
    try:
        for flow in top_data.flows(5):
            bench.reader.flow(flow)
        lost = flow_pb2.LostEvent(source=flow_pb2.HUBBLE_RING_BUFFER, num_events_lost=9)
        bench.reader.flows.put_nowait(observer_pb2.GetFlowsResponse(lost_events=lost))
        kernel = flow_pb2.LostEvent(source=flow_pb2.PERF_EVENT_RING_BUFFER, num_events_lost=50)
        bench.reader.flows.put_nowait(observer_pb2.GetFlowsResponse(lost_events=kernel))
        await bench.until(lambda: bench.reader.flows.empty() and bench.store.received == 5)
        await bench.until(lambda: bool(bench.store.snapshot().agent.node))
        await bench.until(lambda: bool(bench.store.snapshot().totals))
        snapshot = bench.store.snapshot()
        assert snapshot.connection is ConnectionState.LIVE
        assert snapshot.agent.node == "kind-worker"
        assert len(snapshot.topology.routes) == 7
        assert snapshot.lost_stream == 9
        request = bench.reader.requests[0]
        assert (request.number, request.follow) == (LAST_FLOWS, True)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_lost_server_is_tried_again_with_growing_pauses() -> None:
    bench = Bench()
    bench.refusals = 6
    task = asyncio.create_task(bench.source.run())
    try:
        await bench.until(lambda: bench.store.connection is ConnectionState.LIVE)
        assert bench.pauses == [0.5, 1.0, 2.0, 5.0, 5.0, 5.0]
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_after_a_break_it_goes_on_where_it_was() -> None:
    bench = Bench()
    task = asyncio.create_task(bench.source.run())
    try:
        for flow in top_data.flows(3):
            bench.reader.flow(flow)
        bench.reader.flows.put_nowait(ConnectError("cannot reach server (connection closed)"))
        await bench.until(lambda: len(bench.reader.requests) == 2)
        request = bench.reader.requests[1]
        assert request.since.ToNanoseconds() == BASE_NS + 1
        assert request.number == 0
        assert bench.pauses == [0.5]
        assert bench.store.received == 3
        bench.reader.flows.put_nowait(None)
        await bench.until(lambda: len(bench.reader.requests) == 3)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_what_went_wrong_is_told() -> None:
    bench = Bench()
    bench.refusals = 10**6
    task = asyncio.create_task(bench.source.run())
    try:
        await bench.until(lambda: bench.store.connection is ConnectionState.DISCONNECTED)
        assert bench.store.problem == "cannot reach server (connection refused)"
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_plain_hubble_server_still_shows_flows() -> None:
    bench = Bench()
    bench.reader.agent = Unimplemented("server does not offer flowd.v1.Agent/Watch")
    task = asyncio.create_task(bench.source.run())
    try:
        for flow in top_data.flows(2):
            bench.reader.flow(flow)
        await bench.until(lambda: bench.store.received == 2 and bool(bench.store.agent_error))
        assert bench.store.connection is ConnectionState.LIVE
        assert "does not offer" in bench.store.agent_error
        assert bench.pauses == []
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
