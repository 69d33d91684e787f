"""The access-log server: valid, malformed, oversized and endless streams."""

import asyncio
import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
import grpc.aio
import pytest

from flowd.capture.envoy.decode import AlsLimits
from flowd.capture.envoy.server import AlsServer
from flowd.errors import UsageError
from flowd.model.losses import Losses, Place
from flowd.model.records.request import RequestBatch
from flowd.model.status import State
from flowd.runtime.queue import Queue
from flowd.wire.als.als_pb2 import Common, Http, Message

METHOD = "/envoy.service.accesslog.v3.AccessLogService/StreamAccessLogs"


def message(*paths: str, node: str = "") -> bytes:
    sent = Message()
    for path in paths:
        sent.http.entries.append(Http(common=Common(type=6), request={"path": path}))
    if node:
        sent.identifier.node.id = node
    return sent.SerializeToString()


@dataclass
class Running:
    server: AlsServer
    losses: Losses
    queue: Queue[RequestBatch]
    channels: list[Any] = field(default_factory=list[Any])

    def stream(self) -> Any:
        """A new stream over a new connection."""
        channel: Any = grpc.aio.insecure_channel(
            self.server.address, options=[("grpc.use_local_subchannel_pool", 1)]
        )
        self.channels.append(channel)
        return channel.stream_unary(METHOD)()

    async def rows(self, count: int) -> list[tuple[str, str]]:
        """Node and path of the next entries, at least `count`."""
        seen: list[tuple[str, str]] = []
        while len(seen) < count:
            batch = await self.queue.get()
            seen += zip(batch["node_id"].tolist(), batch["path"].tolist(), strict=True)
        return seen

    def lost(self, reason: str) -> int:
        return self.losses.snapshot().get((Place.ACCESS_LOG, reason), 0)


@asynccontextmanager
async def running(limits: AlsLimits | None = None) -> AsyncGenerator[Running]:
    losses = Losses()
    server = AlsServer("127.0.0.1:0", losses, limits or AlsLimits())
    await server.start()
    queue: Queue[RequestBatch] = Queue("requests", 100_000, losses)
    task = asyncio.create_task(server.run(queue))
    started = Running(server, losses, queue)
    try:
        yield started
    finally:
        for channel in started.channels:
            await channel.close()
        await server.close()
        await task


async def until(server: AlsServer, said: str) -> None:
    """Wait for a text in the server's status."""
    while said not in server.status()[0].detail:  # noqa: ASYNC110
        await asyncio.sleep(0.01)


async def test_streams_keep_their_own_identifier() -> None:
    async with running() as als:
        a, b = als.stream(), als.stream()
        await a.write(message("/a1", node="a"))
        await b.write(message("/b1", node="b"))
        seen = await als.rows(2)
        assert "streams 2, entries 2" in als.server.status()[0].detail
        await a.write(message("/a2"))
        await b.write(message("/b2", "/b3"))
        seen += await als.rows(3)
        assert sorted(seen) == [("a", "/a1"), ("a", "/a2"), *(("b", f"/b{n}") for n in (1, 2, 3))]


async def test_answers_only_when_the_client_has_ended() -> None:
    async with running() as als:
        stream = als.stream()
        await stream.write(message("/", node="a"))
        await als.rows(1)
        assert not stream.done()
        await stream.done_writing()
        assert await stream == b""


async def test_malformed_message_ends_its_stream_only() -> None:
    async with running() as als:
        good, bad = als.stream(), als.stream()
        await good.write(message("/1", node="a"))
        await bad.write(b"\xff\xff\xff")
        assert await bad.code() == grpc.StatusCode.INVALID_ARGUMENT
        assert als.lost("malformed") == 1
        await good.write(message("/2"))
        assert await als.rows(2) == [("a", "/1"), ("a", "/2")]


async def test_entries_that_are_malformed_are_left_out_and_the_stream_lives_on() -> None:
    async with running() as als:
        stream = als.stream()
        await stream.write(message("/1", "/ab", "/2").replace(b"/ab", b"/\xff\xfe"))
        assert [path for _, path in await als.rows(2)] == ["/1", "/2"]
        assert als.lost("malformed") == 1
        await stream.write(message("/3"))
        assert [path for _, path in await als.rows(1)] == ["/3"]


@pytest.mark.parametrize("size", [1500, 3000])
async def test_large_messages_end_the_stream_and_are_counted(size: int) -> None:
    async with running(AlsLimits(message_bytes=1000)) as als:
        stream = als.stream()
        await stream.write(message("/" * size))
        assert await stream.code() == grpc.StatusCode.INVALID_ARGUMENT
        assert als.lost("message_too_large") == 1


async def test_too_many_streams_are_refused() -> None:
    async with running(AlsLimits(streams=2)) as als:
        kept = [als.stream(), als.stream()]
        for stream in kept:
            await stream.write(message("/", node="a"))
        await als.rows(2)
        third = als.stream()
        assert await third.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        assert als.lost("too_many_streams") == 1
        kept[0].cancel()
        await until(als.server, "streams 1")
        fourth = als.stream()
        await fourth.write(message("/4", node="b"))
        assert await als.rows(1) == [("b", "/4")]


async def test_a_stream_without_end_is_held_in_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many entries, or many bytes, are flushed before the interval ends."""
    monkeypatch.setattr("flowd.capture.envoy.server.FLUSH_SECONDS", 3600)
    monkeypatch.setattr("flowd.capture.envoy.server.FLUSH_ROWS", 50)
    monkeypatch.setattr("flowd.capture.envoy.server.FLUSH_BYTES", 100_000)
    async with running() as als:
        stream = als.stream()
        for number in range(5):
            await stream.write(message(*[f"/{number}"] * 10))
        assert len(await als.rows(50)) == 50
        await stream.write(message(*["/" * 7000] * 15))
        assert len(await als.rows(15)) == 15
        assert not stream.done()


async def test_many_streams_at_once_and_the_61_kb_of_a_node() -> None:
    sent = Message.FromString(message("/first", node="gateway-0"))
    node = sent.identifier.node
    node.MergeFromString(b"\x1a\x80\xe8\x03" + b"m" * 62_464)  # its metadata, which is not decoded
    async with running() as als:
        streams = [als.stream() for _ in range(40)]
        for number, stream in enumerate(streams):
            await stream.write(sent.SerializeToString())
            await stream.write(message(f"/{number}"))
        rows = await als.rows(80)
        assert sorted(rows) == sorted(
            ("gateway-0", path) for n in range(40) for path in ("/first", f"/{n}")
        )
        await until(als.server, "streams 40")
        for reason in ("malformed", "too_many_streams", "message_too_large"):
            assert not als.lost(reason)


async def test_entries_beyond_the_bound_of_a_message_are_counted() -> None:
    async with running(AlsLimits(entries=3)) as als:
        stream = als.stream()
        await stream.write(message(*[f"/{number}" for number in range(10)]))
        assert [path for _, path in await als.rows(3)] == ["/0", "/1", "/2"]
        assert als.lost("too_many_entries") == 7


async def test_what_was_received_is_in_the_queue_once_closed() -> None:
    losses = Losses()
    server = AlsServer("127.0.0.1:0", losses)
    await server.start()
    queue: Queue[RequestBatch] = Queue("requests", 1000, losses)
    task = asyncio.create_task(server.run(queue))
    channel: Any = grpc.aio.insecure_channel(server.address)
    async with channel:
        stream = channel.stream_unary(METHOD)()
        await stream.write(message("/1", node="a"))
        await until(server, "entries 1")
        await server.close()
    assert sum(len(batch) for batch in queue.take()) == 1
    assert server.status()[0].state == State.OFF
    await task


@pytest.mark.parametrize("listen", ["9001", "127.0.0.1:x", "127.0.0.1:99999", ":9001", ""])
async def test_address_that_is_none(listen: str) -> None:
    with pytest.raises(UsageError, match="is not host:port"):
        await AlsServer(listen, Losses()).start()


async def test_port_in_use_is_one_line_and_a_hint() -> None:
    with socket.create_server(("127.0.0.1", 0)) as holder:
        listen = f"127.0.0.1:{holder.getsockname()[1]}"
        with pytest.raises(UsageError) as told:
            await AlsServer(listen, Losses()).start()
    message = f"cannot listen for access logs on {listen}: Address already in use"
    assert told.value.message == message
    assert "--als-listen" in told.value.hint


async def test_second_server_does_not_share_the_port() -> None:
    async with running() as als:
        with pytest.raises(UsageError, match="Address already in use"):
            await AlsServer(als.server.address, Losses()).start()
