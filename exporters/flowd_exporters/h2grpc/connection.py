"""One client: HTTP/2 frames to calls and back (RFC 9113), by the library `h2`.

What a client can make the server hold is bounded: streams, headers, bytes of requests, and answers
that it does not read. One that spends its time on control frames is sent away.
"""

import asyncio
import logging
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import grpc
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    Event,
    PingReceived,
    PriorityUpdated,
    RemoteSettingsChanged,
    RequestReceived,
    StreamEnded,
    StreamReset,
    WindowUpdated,
)
from h2.exceptions import ProtocolError
from h2.settings import SettingCodes, Settings
from hyperframe.frame import Frame, GoAwayFrame

from flowd_exporters.h2grpc.call import Call
from flowd_exporters.h2grpc.headers import parse_timeout, percent_encoded, request_encoding
from flowd_exporters.h2grpc.messages import ENCODINGS, Aborted
from flowd_exporters.h2grpc.service import Services

if TYPE_CHECKING:
    from ssl import SSLObject

log = logging.getLogger(__name__)

MAX_STREAMS = 256
MAX_HEADERS = 64 << 10
MAX_RECEIVED = 16 << 20
"""Bytes of requests that all calls of a connection may hold."""

_FLUSH = 64 << 10
_SEND_BUFFER = 256 << 10  # above it no answer is sent
_FULL_BUFFER = 1 << 20  # above it nothing is read either: acknowledgements need room too

Headers = list[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a connection is kept, and what a client may ask of it beside calls.

    Attributes:
        keepalive: seconds of silence after which a client must answer a PING, in as many again.
        frames, frames_per_second: control frames at once, and as a rate.
    """

    keepalive: float = 30.0
    frames: int = 1000
    frames_per_second: float = 200.0


class _Http2(H2Connection):
    """As h2's, but calls go on after the client's GOAWAY (RFC 9113, section 6.8)."""

    def _receive_goaway_frame(self, frame: GoAwayFrame) -> tuple[list[Frame], list[Event]]:
        return [], [ConnectionTerminated()]


class Connection(asyncio.Protocol):
    """Serves one client until it leaves.

    Args:
        metadata: headers of every answer.
        opened, closed: called when the connection stands, and when it is gone.
    """

    def __init__(
        self,
        services: Services,
        metadata: Headers,
        opened: Callable[["Connection"], None],
        closed: Callable[["Connection"], None],
        patience: Patience,
    ) -> None:
        self._services = services
        self._metadata: Headers = [
            (":status", "200"),
            ("content-type", "application/grpc"),
            ("grpc-accept-encoding", ",".join(ENCODINGS)),
            *metadata,
        ]
        self._opened, self._closed = opened, closed
        self._gone = asyncio.Event()
        self._patience = patience
        self._calls: dict[int, Call] = {}
        self._received = 0
        self._paused = False
        self._leaving = False
        self._sent = False
        self._heard = self._counted = time.monotonic()
        self._frames = float(patience.frames)
        self._pinged = False
        self._watch: asyncio.TimerHandle | None = None
        self._http2 = _Http2(H2Configuration(client_side=False, header_encoding=None))

    @property
    def tasks(self) -> list[asyncio.Task[Aborted]]:
        """Calls that run."""
        return [call.task for call in self._calls.values()]

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Greet the client."""
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(high=_SEND_BUFFER)
        self._opened(self)
        tls: SSLObject | None = transport.get_extra_info("ssl_object")
        if tls and tls.selected_alpn_protocol() != "h2":
            self._transport.abort()
            return
        self._http2.local_settings = Settings(
            client=False,
            initial_values={
                SettingCodes.MAX_CONCURRENT_STREAMS: MAX_STREAMS,
                SettingCodes.MAX_HEADER_LIST_SIZE: MAX_HEADERS,
            },
        )
        self._http2.initiate_connection()
        self._flush()
        self._watch = asyncio.get_running_loop().call_later(self._patience.keepalive, self._check)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop every call."""
        self._leaving = True
        if self._watch:
            self._watch.cancel()
        for call in self._calls.values():
            call.cancel()
        self._gone.set()
        self._closed(self)

    def pause_writing(self) -> None:
        """The socket is full."""
        self._paused = True

    def resume_writing(self) -> None:
        """There is room again."""
        self._paused = False
        self._transport.resume_reading()
        self._wake()

    def data_received(self, data: bytes) -> None:
        """Act on what the client sent."""
        self._heard = time.monotonic()
        self._pinged = False
        try:
            for event in self._http2.receive_data(data):
                self._on(event)
        except ProtocolError as error:
            log.debug("client breaks HTTP/2: %s", error)
            self._close()
            return
        if self._frames < 0:
            self.go_away(ErrorCodes.ENHANCE_YOUR_CALM)
            self._close()
            return
        self._flush()

    def go_away(self, reason: ErrorCodes = ErrorCodes.NO_ERROR) -> None:
        """Take no new calls, and tell the client so; those that run go on."""
        self._leaving = True
        # h2's own GOAWAY would end what runs.
        last = self._http2.highest_inbound_stream_id
        farewell = GoAwayFrame(0, last_stream_id=last, error_code=int(reason)).serialize()
        self._flush()
        if not self._transport.is_closing():
            self._transport.write(farewell)
        self._leave_when_idle()

    def cancel_calls(self, farewell: Aborted) -> None:
        """End what runs, with a status."""
        for call in self._calls.values():
            call.cancel(farewell)

    async def wait_closed(self, seconds: float) -> None:
        """Close; what the client does not take in time is dropped."""
        self._close()
        try:
            async with asyncio.timeout(seconds):
                await self._gone.wait()
        except TimeoutError:
            self._transport.abort()
            await self._gone.wait()

    # What calls need (call.Link).

    def send(self, stream: int, data: memoryview) -> int:
        """Send what flow control, the frame size and the socket have room for."""
        http2, sent, flushed = self._http2, 0, 0
        try:
            while sent < len(data) and not self._paused:
                room = http2.local_flow_control_window(stream)
                size = min(room, http2.max_outbound_frame_size, len(data) - sent)
                if size <= 0:
                    break
                http2.send_data(stream, data[sent : sent + size])
                sent += size
                if sent - flushed >= _FLUSH:
                    self._flush()
                    flushed = sent
        except ProtocolError:
            pass  # the stream has gone, and its call will hear of it
        self._flush()
        self._sent |= sent > 0
        if stream in self._calls:
            self._calls[stream] = self._calls.pop(stream)  # the others are first next time
        return sent

    def finish(self, stream: int, code: grpc.StatusCode, details: str) -> None:
        """Send the trailers."""
        self._trailers(stream, [], code, details)

    def reset(self, stream: int, reason: ErrorCodes = ErrorCodes.CANCEL) -> None:
        """Send RST_STREAM."""
        try:
            self._http2.reset_stream(stream, reason)
        except ProtocolError:
            return
        self._flush()

    def acknowledge(self, stream: int, size: int) -> None:
        """Open the windows again."""
        if size and not self._transport.is_closing():
            self._http2.acknowledge_received_data(size, stream)
            self._flush()

    def forget(self, stream: int) -> None:
        """Drop a call that has ended."""
        call = self._calls.pop(stream, None)
        if call:
            self._received -= call.received
        asyncio.get_running_loop().call_soon(self._leave_when_idle)

    def _leave_when_idle(self) -> None:
        if self._leaving and not self._calls:
            self._close()

    def _on(self, event: Event) -> None:
        match event:
            case DataReceived():
                self._on_data(event)
            case WindowUpdated() | RemoteSettingsChanged():
                if isinstance(event, RemoteSettingsChanged):
                    self._charge()
                self._wake(event.stream_id if isinstance(event, WindowUpdated) else 0)
            case RequestReceived():
                self._on_request(event)
            case StreamEnded():
                if call := self._calls.get(event.stream_id or 0):
                    call.end()
            case StreamReset():
                self._charge()
                if call := self._calls.get(event.stream_id or 0):
                    call.cancel()
            case PingReceived():
                # gRPC's clients measure the bandwidth with a PING for every batch they get.
                if not self._sent:
                    self._charge()
                self._sent = False
            case PriorityUpdated():
                self._charge()
            case ConnectionTerminated():
                self._leaving = True
                self._leave_when_idle()
            case _:
                pass

    def _charge(self) -> None:
        """Take a control frame off the allowance, which grows with time."""
        now = time.monotonic()
        grown = self._frames + (now - self._counted) * self._patience.frames_per_second
        self._frames, self._counted = min(grown, self._patience.frames) - 1, now

    def _on_data(self, event: DataReceived) -> None:
        stream, size = event.stream_id or 0, event.flow_controlled_length or 0
        call = self._calls.get(stream)
        if not event.data and event.stream_ended is None:
            self._charge()
        if call is None:
            self.acknowledge(stream, size)
            return
        before = call.received
        call.feed(event.data or b"", size)
        self._received += call.received - before
        if self._received > MAX_RECEIVED:
            text = "requests of this connection are too large together"
            call.cancel(Aborted(grpc.StatusCode.RESOURCE_EXHAUSTED, text))

    def _on_request(self, event: RequestReceived) -> None:
        stream = event.stream_id or 0
        if self._leaving:
            self.reset(stream, ErrorCodes.REFUSED_STREAM)
            return
        headers = {
            name.decode("latin-1"): value.decode("latin-1")
            for name, value in cast("list[tuple[bytes, bytes]]", event.headers)
        }
        try:
            timeout = parse_timeout(headers.get("grpc-timeout"))
            encoding = request_encoding(headers)
        except Aborted as error:
            self._refuse(stream, "200", error.code, error.details)
            return
        if headers.get(":method") != "POST":
            self._refuse(stream, "405", grpc.StatusCode.INTERNAL, "method is not POST")
            return
        if not re.match(r"application/grpc(?![\w.-])", headers.get("content-type", "")):
            self._refuse(stream, "415", grpc.StatusCode.INTERNAL, "content-type is not gRPC's")
            return
        path = headers.get(":path", "")
        method = self._services.methods.get(path)
        if method is None:
            unknown = f"unknown method {path[:200]}"
            self._refuse(stream, "200", grpc.StatusCode.UNIMPLEMENTED, unknown)
            return
        try:
            self._http2.send_headers(stream, self._metadata)
        except ProtocolError:
            return  # it was reset at once
        self._calls[stream] = Call(self, stream, method, encoding, timeout)

    def _refuse(self, stream: int, status: str, code: grpc.StatusCode, details: str) -> None:
        first = [(":status", status), *self._metadata[1:]]
        self._trailers(stream, first, code, details)

    def _trailers(self, stream: int, first: Headers, code: grpc.StatusCode, details: str) -> None:
        headers = [*first, ("grpc-status", str(cast("tuple[int, str]", code.value)[0]))]
        if details:
            headers.append(("grpc-message", percent_encoded(details)))
        try:
            self._http2.send_headers(stream, headers, end_stream=True)
            known = self._http2.streams.get(stream)
            if known and not known.closed:  # the client goes on sending: it need not
                self._http2.reset_stream(stream, ErrorCodes.NO_ERROR)
        except ProtocolError:
            return  # the client was faster
        self._flush()

    def _flush(self) -> None:
        data = self._http2.data_to_send()
        if data and not self._transport.is_closing():
            self._transport.write(data)
            if self._transport.get_write_buffer_size() > _FULL_BUFFER:
                self._transport.pause_reading()

    def _close(self) -> None:
        if not self._transport.is_closing():
            self._flush()
            self._transport.close()

    def _wake(self, stream: int = 0) -> None:
        """Calls that wait for room try again; stream 0 is all of them."""
        calls = (self._calls.get(stream),) if stream else self._calls.values()
        for call in calls:
            if call:
                call.room.set()

    def _check(self) -> None:
        """A client that was silent must answer a PING."""
        keepalive = self._patience.keepalive
        if time.monotonic() - self._heard >= keepalive * 0.9:
            if self._pinged or self._transport.is_closing():
                self._transport.abort()
                return
            self._pinged = True
            self._http2.ping(bytes(8))
            self._flush()
        self._watch = asyncio.get_running_loop().call_later(keepalive, self._check)
