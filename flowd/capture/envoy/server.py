"""The gRPC server of Envoy's access-log service (envoy.service.accesslog.v3, ALS)."""

# grpc's handler factories are generic without bounds, which strict checking calls unknown.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

import asyncio
import contextlib
import logging
import socket
import time
from collections.abc import AsyncIterator

import grpc
import grpc.aio
from google.protobuf.message import DecodeError

from flowd.capture.envoy.decode import (
    DEFAULT_LIMITS,
    AlsLimits,
    EntryDecoder,
    StreamIdentifier,
    stream_identifier,
)
from flowd.errors import UsageError
from flowd.model.losses import Losses, Place
from flowd.model.records.request import RequestBatch
from flowd.model.status import PartStatus, State
from flowd.runtime.queue import Queue
from flowd.text import count
from flowd.wire.als.als_pb2 import Envelope

log = logging.getLogger(__name__)
SERVICE = "envoy.service.accesslog.v3.AccessLogService"
PART = "envoy-als"
FLUSH_SECONDS = 0.4  # decoding a batch costs 3 ms even for a few entries
FLUSH_ROWS = 4096
FLUSH_BYTES = 8 << 20


class AlsServer:
    """Receives access-log streams and decodes them into REQUEST batches.

    Args:
        listen: `host:port`; an IPv6 host in brackets, port 0 for any free one.
        losses: receives malformed, oversized and excess messages and entries under
            Place.ACCESS_LOG.
        trusted_hops: proxies before Envoy whose X-Forwarded-For counts.

    Attributes:
        address: the bound `host:port`, "" before `start`.
        streams_ended: streams that ended; entries in transit on them can be lost.
    """

    def __init__(
        self,
        listen: str,
        losses: Losses,
        limits: AlsLimits = DEFAULT_LIMITS,
        *,
        trusted_hops: int = 0,
    ) -> None:
        self._listen = listen
        self._losses = losses
        self._limits = limits
        self._entries = EntryDecoder(losses, limits, trusted_hops=trusted_hops)
        self._streams = 0
        self.streams_ended = 0
        self._server: grpc.aio.Server | None = None
        self._out: Queue[RequestBatch] | None = None
        self._running = asyncio.Event()
        self._closed = asyncio.Event()
        self.address = ""

    async def start(self) -> None:
        """Bind and listen, and set `address`.

        Raises:
            UsageError: the address cannot be bound.
        """
        host = _probe(self._listen)
        options = [
            ("grpc.so_reuseport", 0),  # a second agent must not share the port unnoticed
            # Above this limit gRPC ends the stream without the handler, which could not count it
            ("grpc.max_receive_message_length", 4 * self._limits.message_bytes),
            ("grpc.max_concurrent_streams", self._limits.streams),
        ]
        handler = grpc.stream_unary_rpc_method_handler(self._stream)
        methods = {"StreamAccessLogs": handler}
        server = grpc.aio.server(options=options)
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, methods),))
        port = server.add_insecure_port(self._listen)
        await server.start()
        self._server = server
        self.address = f"{host}:{port}"

    async def run(self, out: Queue[RequestBatch]) -> None:
        """Put entries into `out`, a batch every 400 ms or 4096 entries, until closed."""
        self._out = out
        self._running.set()
        try:
            while not self._closed.is_set():
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._closed.wait(), FLUSH_SECONDS)
                self._flush()
        finally:
            self._flush()

    @property
    def received(self) -> int:
        """Total of received entries, including intermediate ones."""
        return self._entries.seen + self._entries.intermediate

    def status(self) -> list[PartStatus]:
        """The address, open and ended streams, and totals of entries."""
        if self._server is None:
            return [PartStatus(PART, State.OFF)]
        entries = self._entries
        detail = f"{self.address}, streams {self._streams}, entries {count(entries.seen)}"
        if self.streams_ended:
            detail += f", streams ended {count(self.streams_ended)}"
        if entries.intermediate:
            detail += f", intermediate ones left out {count(entries.intermediate)}"
        return [PartStatus(PART, State.ON, detail)]

    async def close(self) -> None:
        """Stop listening, end all streams, and put the received entries into the queue."""
        if self._server is not None:
            await self._server.stop(grace=None)
            self._server = None
        self._flush()
        self._closed.set()

    async def _stream(
        self, messages: AsyncIterator[bytes], context: grpc.aio.ServicerContext[bytes, bytes]
    ) -> bytes:
        if self._streams >= self._limits.streams:
            self._losses.add(Place.ACCESS_LOG, "too_many_streams")
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "too many streams")
        self._streams += 1
        try:
            await self._running.wait()
            await self._read(messages)
        except ValueError as error:
            log.warning("access-log stream ended", extra={"peer": context.peer(), "why": error})
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        finally:
            self._streams -= 1
            self.streams_ended += 1
        return b""

    async def _read(self, messages: AsyncIterator[bytes]) -> None:
        """Add a stream's messages until it ends.

        Raises:
            ValueError: a message was malformed or too large; it is counted.
        """
        identifier = StreamIdentifier()
        async for raw in messages:
            if len(raw) > self._limits.message_bytes:
                self._losses.add(Place.ACCESS_LOG, "message_too_large")
                raise ValueError(f"a message of more than {self._limits.message_bytes} bytes")
            try:
                message = Envelope.FromString(raw)
            except DecodeError as error:
                self._losses.add(Place.ACCESS_LOG, "malformed")
                raise ValueError("not a StreamAccessLogsMessage") from error
            identifier = stream_identifier(message, identifier, self._limits)
            self._entries.add(message, identifier, time.time_ns())
            if len(self._entries) >= FLUSH_ROWS or self._entries.pending_bytes >= FLUSH_BYTES:
                self._flush()

    def _flush(self) -> None:
        if self._out is not None and len(self._entries):
            self._out.put(self._entries.take())


def _probe(listen: str) -> str:
    """Check that a listen address can be bound; returns its host.

    Raises:
        UsageError: the address is not `host:port` or cannot be bound.
    """
    host, _, port = listen.rpartition(":")
    bare = host.removeprefix("[").removesuffix("]")
    if not bare or not port.isdecimal() or int(port) > 65535:
        raise UsageError(f"access-log address {listen!r} is not host:port", "--als-listen sets it")
    try:
        family, kind, protocol, _, target = socket.getaddrinfo(
            bare, int(port), type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, protocol) as trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            trial.bind(target)
    except OSError as error:
        raise UsageError(
            f"cannot listen for access logs on {listen}: {error.strerror or error}",
            "stop what uses it, or choose another address with --als-listen",
        ) from error
    return host
