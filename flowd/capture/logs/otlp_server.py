"""The gRPC server of OTLP logs (opentelemetry.proto.collector.logs.v1), for Envoy's logger."""

# grpc's handler factories are generic without bounds, which strict checking calls unknown.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

import asyncio
import contextlib
import logging
from collections.abc import Sequence

import grpc
import grpc.aio
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

from flowd.accesslog.snippet import Format
from flowd.capture.logs.otlp_entries import OtlpEntries
from flowd.errors import UsageError
from flowd.model.losses import Losses, Place
from flowd.model.records.request import RequestBatch
from flowd.model.status import PartStatus, State
from flowd.runtime.queue import Queue
from flowd.text import count

log = logging.getLogger(__name__)
SERVICE = "opentelemetry.proto.collector.logs.v1.LogsService"
PART = "otlp-logs"
FLUSH_SECONDS = 0.1
FLUSH_ROWS = 4096
MESSAGE_BYTES = 4 << 20
CALLS = 256
"""Most concurrent calls."""


class OtlpLogsServer:
    """Receives exported log records and converts them to REQUEST batches.

    Args:
        listen: `host:port`; an IPv6 host in brackets, port 0 for any free one.
        losses: receives malformed requests, and the losses of OtlpEntries, under Place.ACCESS_LOG.
        formats: configured formats, as in LineParser.

    Attributes:
        address: the bound `host:port`, "" before `start`.
    """

    def __init__(self, listen: str, losses: Losses, formats: Sequence[Format] = ()) -> None:
        self._listen = listen
        self._losses = losses
        self._entries = OtlpEntries(losses, formats)
        self._server: grpc.aio.Server | None = None
        self._out: Queue[RequestBatch] | None = None
        self._closed = asyncio.Event()
        self.address = ""

    async def start(self) -> None:
        """Bind and listen, and set `address`.

        Raises:
            UsageError: the address cannot be bound.
        """
        options = [
            ("grpc.so_reuseport", 0),  # a second agent must not share the port unnoticed
            ("grpc.max_receive_message_length", MESSAGE_BYTES),
            ("grpc.max_concurrent_streams", CALLS),
        ]
        handler = grpc.unary_unary_rpc_method_handler(self._export)
        server = grpc.aio.server(options=options)
        server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(SERVICE, {"Export": handler}),)
        )
        host, colon, port = self._listen.rpartition(":")
        bound = 0
        if colon and host and port.isdecimal() and int(port) < 1 << 16:
            with contextlib.suppress(RuntimeError):
                bound = server.add_insecure_port(self._listen)
        if not bound:
            raise UsageError(
                f"cannot listen for OTLP logs on {self._listen}",
                "--otlp-logs-listen wants host:port, and the port must be free",
            )
        await server.start()
        self._server = server
        self.address = f"{host}:{bound}"

    async def run(self, out: Queue[RequestBatch]) -> None:
        """Put entries into `out`, a batch every 100 ms or 4096 entries, until closed."""
        self._out = out
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

    def status(self) -> Sequence[PartStatus]:
        """The address and totals of entries."""
        if self._server is None:
            return [PartStatus(PART, State.OFF)]
        detail = f"{self.address}, entries {count(self._entries.seen)}"
        if left_out := self._entries.intermediate:
            detail += f", intermediate ones left out {count(left_out)}"
        return [PartStatus(PART, State.ON, detail)]

    async def close(self) -> None:
        """Stop listening, and put the received entries into the queue."""
        if self._server is not None:
            await self._server.stop(grace=None)
            self._server = None
        self._flush()
        self._closed.set()

    async def _export(self, raw: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
        try:
            request = ExportLogsServiceRequest.FromString(raw)
        except DecodeError:
            self._losses.add(Place.ACCESS_LOG, "malformed")
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "not an ExportLogsServiceRequest")
        self._entries.add(request)
        if len(self._entries) >= FLUSH_ROWS:
            self._flush()
        return b""

    def _flush(self) -> None:
        if self._out is not None and len(self._entries):
            self._out.put(self._entries.take())
