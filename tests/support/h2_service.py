"""A gRPC server with test methods, a grpcio channel to it, and a raw HTTP/2 client."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, cast

import grpc
import grpc.aio
from google.protobuf.wrappers_pb2 import BytesValue, Int64Value
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import Event

from flowd_exporters.h2grpc.connection import ConnectionPolicy
from flowd_exporters.h2grpc.server import H2Server
from flowd_exporters.h2grpc.service import (
    Context,
    ServiceTable,
    frame,
    stream_stream,
    unary_stream,
    unary_unary,
)
from flowd_exporters.h2grpc.tls import Certificates

SECONDS = 20
PATH = "/test.Test/"
PATIENT = ConnectionPolicy()


@dataclass
class Methods:
    """The server's methods; they count messages sent and calls cancelled."""

    made: int = 0
    stopped: int = 0
    began: asyncio.Event = field(default_factory=asyncio.Event)

    async def echo(self, request: BytesValue, context: Context) -> BytesValue:
        return request

    async def fail(self, request: BytesValue, context: Context) -> BytesValue:
        if not request.value:
            raise RuntimeError("secret")
        await context.abort(grpc.StatusCode.FAILED_PRECONDITION, request.value.decode())

    async def wait(self, request: BytesValue, context: Context) -> BytesValue:
        self.began.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.stopped += 1
        return request

    async def count(self, request: Int64Value, context: Context) -> AsyncIterator[Int64Value]:
        for number in range(request.value):
            yield Int64Value(value=number)

    async def pour(self, request: Int64Value, context: Context) -> AsyncIterator[bytes]:
        """Stream the requested number of KiB, 64 in each batch of messages; 0 is endless."""
        many = frame(BytesValue(value=bytes(1013))) * 64
        try:
            while not request.value or self.made < request.value:
                self.made += 64
                yield many
                await asyncio.sleep(0)
        finally:
            self.stopped += 1

    async def chat(
        self, requests: AsyncIterator[BytesValue], context: Context
    ) -> AsyncIterator[BytesValue]:
        async for request in requests:
            yield request

    def services(self) -> ServiceTable:
        held = ServiceTable()
        held.add(
            "test.Test",
            {
                "Echo": unary_unary(self.echo, BytesValue),
                "Fail": unary_unary(self.fail, BytesValue),
                "Wait": unary_unary(self.wait, BytesValue),
                "Count": unary_stream(self.count, Int64Value),
                "Pour": unary_stream(self.pour, Int64Value),
                "Chat": stream_stream(self.chat, BytesValue),
            },
        )
        return held


@dataclass
class Served:
    """A running server, and a grpcio channel to it."""

    server: H2Server
    methods: Methods
    address: str
    channel: Any

    def unary(self, name: str) -> Any:
        return self.channel.unary_unary(PATH + name, _serialize, BytesValue.FromString)

    def stream(self, name: str, answer: Any = Int64Value) -> Any:
        return self.channel.unary_stream(PATH + name, _serialize, answer.FromString)

    def chat(self) -> Any:
        return self.channel.stream_stream(PATH + "Chat", _serialize, BytesValue.FromString)


def _serialize(message: Any) -> bytes:
    return message.SerializeToString()


@asynccontextmanager
async def serving(
    listen: str = "127.0.0.1:0",
    *,
    certificates: Certificates | None = None,
    credentials: grpc.ChannelCredentials | None = None,
    patience: ConnectionPolicy = PATIENT,
    options: tuple[tuple[str, int], ...] = (),
) -> AsyncGenerator[Served]:
    """Serve the methods until the block ends."""
    methods = Methods()
    server = H2Server(methods.services(), [("x-server", "flowd")], certificates, patience)
    (address,) = server.start([listen])
    target = address.replace("unix://", "unix:")
    more: Any = list(options)
    channel = (
        grpc.aio.secure_channel(target, credentials, more)
        if credentials
        else grpc.aio.insecure_channel(target, more)
    )
    try:
        yield Served(server, methods, address, cast("Any", channel))
    finally:
        await channel.close(None)
        await server.stop()


class RawClient:
    """An HTTP/2 client without gRPC; it reads from the socket only when asked."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.http2 = H2Connection(H2Configuration(client_side=True, header_encoding="utf-8"))
        self._reader = reader
        self._writer = writer
        self.http2.initiate_connection()

    def call(self, stream: int, body: bytes | None, path: str, **more: str) -> None:
        """Send a request; without a body the stream stays open."""
        headers = {":method": "POST", ":scheme": "http", ":authority": "x", ":path": PATH + path}
        headers |= {"content-type": "application/grpc", "te": "trailers"}
        headers |= {name.replace("_", "-"): value for name, value in more.items()}
        if "method" in headers:
            headers[":method"] = headers.pop("method")
        self.http2.send_headers(stream, list(headers.items()))
        if body is not None:
            self.http2.send_data(stream, body, end_stream=True)

    async def flush(self) -> None:
        """Send the pending frames."""
        self._writer.write(self.http2.data_to_send())
        await self._writer.drain()

    def write(self, data: bytes) -> None:
        """Send any bytes."""
        self._writer.write(data)

    async def events(self) -> list[Event]:
        """The server's next events; empty after it has closed."""
        await self.flush()
        async with asyncio.timeout(SECONDS):
            try:
                data = await self._reader.read(1 << 16)
            except ConnectionError:
                data = b""
        return self.http2.receive_data(data) if data else []

    async def until(self, kind: type[Event]) -> Any:
        """The next event of a kind.

        Raises:
            ConnectionError: the server closed.
        """
        while events := await self.events():
            for event in events:
                if isinstance(event, kind):
                    return event
        raise ConnectionError("closed")

    def abort(self) -> None:
        self._writer.transport.abort()


@asynccontextmanager
async def raw(address: str) -> AsyncGenerator[RawClient]:
    """A raw client of a TCP address."""
    host, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        yield RawClient(reader, writer)
    finally:
        writer.transport.abort()
