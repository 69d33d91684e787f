"""The Hubble API with misbehaving clients and clocks: other clients are served, losses reported."""

import asyncio
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import AsyncExitStack, contextmanager
from typing import Any

import grpc
import grpc.aio
import numpy as np
import pytest
from h2.events import DataReceived, RemoteSettingsChanged, ResponseReceived, StreamEnded
from h2.settings import SettingCodes

from flowd.model.losses import Place
from flowd.model.records.flow import FlowRows
from flowd.wire.flow.flow_pb2 import HUBBLE_RING_BUFFER
from flowd_exporters.hubble.encode.ring_row import RING_ROW
from flowd_exporters.hubble.lost import OverwriteCounter
from flowd_exporters.hubble.ring import TEXT_BYTES
from tests.support.flow_samples import START, pod, sample_rows
from tests.support.h2_service import RawClient, raw
from tests.support.hubble_server import SECONDS, Served, eventually, serve
from tests.support.raw_wire import Field, Raw, message, one, parse

GET_FLOWS = "/observer.Observer/GetFlows"
FOLLOW: Field = (3, 1)
ALL: Field = (1, 2**64 - 1)
LARGEST = 2**31 - 1
RING = 500
MEMORY = RING * (RING_ROW.itemsize + TEXT_BYTES)


def large(count: int, first: int = 0) -> FlowRows:
    """HTTP flows of one KiB each, numbered by their source port."""
    rows = sample_rows("request")[np.zeros(count, int)]
    rows["headers"] = [{"pad": "x" * 1000}] * count
    rows["src_port"] = (np.arange(count) + first) % 65536
    return rows


async def lives(served: Served) -> None:
    """Assert that another client gets the newest flow."""
    assert len(await served.flows((1, 1))) == 1


def ask(client: RawClient, *fields: Field, stream: int = 1) -> None:
    """Call GetFlows."""
    body = message(*fields)
    headers = {":method": "POST", ":scheme": "http", ":authority": "x", ":path": GET_FLOWS}
    headers |= {"content-type": "application/grpc", "te": "trailers"}
    client.http2.send_headers(stream, list(headers.items()))
    framed = b"\0" + len(body).to_bytes(4) + body
    client.http2.send_data(stream, framed, end_stream=True)


class Reader:
    """A raw client that reads responses only when the test asks for them."""

    def __init__(self, client: RawClient) -> None:
        self.client = client
        self.sent = self.lost = self.events = 0
        self.ended = False
        self._held = b""

    async def read(self) -> None:
        for event in await self.client.events():
            self.ended |= isinstance(event, StreamEnded)
            if isinstance(event, DataReceived):
                self._held += event.data or b""
                size = event.flow_controlled_length or 0
                self.client.http2.acknowledge_received_data(size, event.stream_id or 0)
        while len(self._held) > 4 and len(self._held) >= (
            end := 5 + int.from_bytes(self._held[1:5])
        ):
            self._count(parse(self._held[5:end]))
            self._held = self._held[end:]

    def _count(self, answer: Raw) -> None:
        lost = one(answer, 3, 2)
        self.sent += 1 in answer
        self.events += 3 in answer
        self.lost += lost if isinstance(lost, int) else 0


async def test_a_client_that_never_reads_costs_itself_alone() -> None:
    async with serve(large(1), memory=MEMORY) as served, raw(served.server.addresses[0]) as client:
        client.http2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: LARGEST})
        client.http2.increment_flow_control_window(LARGEST - 65535)
        ask(client, FOLLOW, ALL)
        await client.flush()
        await eventually(lambda: served.hubble.ring.waiting == 1)
        rounds = 60  # some 40 MiB: more than the socket buffers hold
        for _ in range(rounds):
            await served.put(large(RING))
        await lives(served)
        assert served.hubble.ring.written == 1 + rounds * RING
        reader = Reader(client)
        async with asyncio.timeout(SECONDS):
            while reader.sent + reader.lost < 1 + rounds * RING:
                await reader.read()
        assert reader.sent + reader.lost == 1 + rounds * RING
        assert reader.lost > 0
        assert served.losses.snapshot()[Place.STORE, "hubble_ring"] == reader.lost


async def test_the_ring_goes_round_ten_times_during_one_request() -> None:
    flows = 6 * RING
    async with serve(large(flows), memory=6 * MEMORY) as served:
        async with raw(served.server.addresses[0]) as client:
            client.http2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 0})
            await client.until(RemoteSettingsChanged)
            ask(client, ALL)
            await client.until(ResponseReceived)
            for _ in range(10):
                await served.put(large(flows))
            client.http2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 1 << 20})
            reader = Reader(client)
            async with asyncio.timeout(SECONDS):
                while not reader.ended:
                    await reader.read()
        assert reader.sent + reader.lost == flows
        assert reader.sent > 0
        assert reader.lost > 0
        assert reader.events == 1
        await lives(served)


async def test_a_thousand_streams_of_one_client() -> None:
    async with serve(large(1)) as served:
        calls = [served.stream(GET_FLOWS, FOLLOW, (1, 1)) for _ in range(1000)]
        firsts = [asyncio.create_task(call.read()) for call in calls]
        await eventually(lambda: served.hubble.ring.waiting >= 200)
        options: Any = [("grpc.use_local_subchannel_pool", 1)]
        async with grpc.aio.insecure_channel(served.server.addresses[0], options) as channel:
            other: Any = channel
            call = other.unary_stream(GET_FLOWS, None, None)(message((1, 1)), timeout=SECONDS)
            assert parse(await call.read())
        waiting = served.hubble.ring.waiting
        for call in calls:
            call.cancel()
        await asyncio.gather(*firsts, return_exceptions=True)
        await eventually(lambda: served.hubble.ring.waiting == 0)
        assert waiting <= 256
        await lives(served)


async def test_a_thousand_streams_of_ten_clients_all_follow() -> None:
    async with serve(large(1)) as served, AsyncExitStack() as stack:
        address = served.server.addresses[0]
        clients = [await stack.enter_async_context(raw(address)) for _ in range(10)]
        for client in clients:
            for number in range(100):
                ask(client, FOLLOW, stream=2 * number + 1)
            await client.flush()
        await eventually(lambda: served.hubble.ring.waiting == 1000)
        await served.put(large(3))
        readers = [Reader(client) for client in clients]
        async with asyncio.timeout(SECONDS):
            for reader in readers:
                while reader.sent < 300:
                    await reader.read()
        assert [(reader.sent, reader.lost) for reader in readers] == [(300, 0)] * 10
        await lives(served)


CLIENT = """
import sys, grpc
call = grpc.insecure_channel(sys.argv[1]).unary_stream(sys.argv[2], None, None)
for answer in call(bytes.fromhex(sys.argv[3])):
    print(len(answer), flush=True)
"""


async def test_a_client_that_is_killed_in_mid_stream() -> None:
    async with serve(large(5)) as served:
        arguments = [served.server.addresses[0], GET_FLOWS, message(FOLLOW, ALL).hex()]
        client = await asyncio.create_subprocess_exec(
            sys.executable, "-c", CLIENT, *arguments, stdout=subprocess.PIPE
        )
        try:
            assert client.stdout
            assert await asyncio.wait_for(client.stdout.readline(), SECONDS)
            await eventually(lambda: served.hubble.ring.waiting == 1)
        finally:
            client.kill()
            await client.wait()
        await served.put(large(5))
        await eventually(lambda: served.hubble.ring.waiting == 0)
        await lives(served)


@contextmanager
def set_back(monkeypatch: pytest.MonkeyPatch, seconds: int) -> Generator[None]:
    """Set the wall clock back by some seconds."""
    real = time.time_ns
    with monkeypatch.context() as patched:
        patched.setattr(time, "time_ns", lambda: real() - seconds * 10**9)
        yield


async def test_a_clock_that_is_set_back(monkeypatch: pytest.MonkeyPatch) -> None:
    def rows(first: int, time_ns: int) -> FlowRows:
        found = sample_rows("dns")[np.zeros(3, int)]
        found["dst_port"] = np.arange(first, first + 3)
        found["time_ns"] = time_ns + np.arange(3)
        return found

    def ports(answers: list[Raw]) -> list[object]:
        return [one(answer, 1, 6, 2, 2) for answer in answers if 1 in answer]

    before: list[Field] = [(1, START // 10**9 - 60)]
    async with serve(rows(1, START)) as served:
        call = served.stream(GET_FLOWS, FOLLOW)
        await eventually(lambda: served.hubble.ring.waiting == 1)
        with set_back(monkeypatch, 3600):
            served.losses.add(Place.QUEUE, "connections", 5)
            await served.put(rows(4, START - 3600 * 10**9))
            answers: list[Raw] = []
            async with asyncio.timeout(SECONDS):
                while len(answers) < 4:
                    answers.append(parse(await call.read()))
            assert ports(answers) == [4, 5, 6]
            assert [one(answer, 3, 2) for answer in answers if 3 in answer] == [5]
            assert ports(await served.flows(ALL)) == [1, 2, 3, 4, 5, 6]
            assert ports(await served.flows((1, 4))) == [3, 4, 5, 6]
            assert ports(await served.flows((7, before))) == [1, 2, 3]
            assert ports(await served.flows((8, before))) == [4, 5, 6]
        call.cancel()


def test_losses_while_the_clock_is_set_back_are_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    missed = OverwriteCounter()
    missed.add(3)
    with set_back(monkeypatch, 3600):
        missed.add(4)
        event = missed.take_event()
    assert event
    assert (event.source, event.num_events_lost) == (HUBBLE_RING_BUFFER, 7)
    assert event.first.ToNanoseconds() <= event.last.ToNanoseconds()


COSTLY: list[tuple[str, list[Field]]] = [
    ("labels", [(10, f"app in (a{n})") for n in range(500)]),
    ("addresses", [(1, f"10.{n // 256}.{n % 256}.0/24") for n in range(2000)]),
    ("regular expressions", [(22, f"^/{n}(a|b)*c+$") for n in range(100)]),
    ("CEL", [(999, [(1, "_flow.uuid.matches('(a|b)*c')")])]),
]


@pytest.mark.parametrize(("name", "fields"), COSTLY, ids=[name for name, _ in COSTLY])
async def test_filters_that_cost_too_much_end_their_own_request(
    name: str, fields: list[Field], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serve(large(RING)) as served:
        for number in range(200):
            served.directory.endpoints.index(pod("many", f"pod-{number}", 1000 + number))
        monkeypatch.setattr("flowd.filter.cost.MAX_BATCH_SECONDS", 3600.0)
        assert len(await served.flows((6, fields), (1, 5))) <= 5
        monkeypatch.setattr("flowd.filter.cost.MAX_BATCH_SECONDS", 1e-5)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await served.flows((6, fields), (1, 5))
        error: Any = caught.value
        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "too long" in error.details()
        await lives(served)


async def test_a_request_whose_filters_take_too_long_all_in_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with serve(large(3000), memory=4 << 20) as served:
        request: Field = (6, [(999, [(1, "_flow.uuid == ''")])])
        monkeypatch.setattr("flowd.filter.cost.MAX_BATCH_SECONDS", 3600.0)
        assert await served.flows(request) == []
        monkeypatch.setattr("flowd.filter.cost.MAX_TOTAL_SECONDS", 0.001)
        monkeypatch.setattr("flowd.filter.cost._SHARE", 0.0)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await served.flows(request)
        error: Any = caught.value
        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        await lives(served)
