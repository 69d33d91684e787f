"""GrpcConnection: one client's HTTP/2 connection (RFC 9113), frames to calls and back.

The library `h2` keeps the protocol state. The memory that a client can occupy is bounded: streams,
headers, bytes of requests, and responses that it does not read. A client with too many control
frames is disconnected (ENHANCE_YOUR_CALM).
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
from flowd_exporters.h2grpc.service import ServiceTable

if TYPE_CHECKING:
    from ssl import SSLObject

log = logging.getLogger(__name__)

MAX_STREAMS = 256
MAX_HEADERS = 64 << 10
MAX_RECEIVED = 16 << 20
"""Bound of the bytes of requests in all calls of a connection."""

_FLUSH = 64 << 10
_SEND_BUFFER = 256 << 10  # above it no response is sent
_FULL_BUFFER = 1 << 20  # above it nothing is read either: acknowledgements need room too

HeaderList = list[tuple[str, str]]
"""Names and values in order (RFC 9113, section 8.2)."""


@dataclass(frozen=True, slots=True)
class ConnectionPolicy:
    """Keepalive and the rate limit of control frames.

    Attributes:
        keepalive: seconds of silence after which the server sends a PING; the client must answer
            within as many seconds again.
        frames, frames_per_second: burst and rate of control frames, a token bucket.
    """

    keepalive: float = 30.0
    frames: int = 1000
    frames_per_second: float = 200.0


class _Http2(H2Connection):
    """H2Connection whose calls go on after the client's GOAWAY (RFC 9113, section 6.8)."""

    def _receive_goaway_frame(self, frame: GoAwayFrame) -> tuple[list[Frame], list[Event]]:
        return [], [ConnectionTerminated()]


class GrpcConnection(asyncio.Protocol):
    """Serves one client until it disconnects.

    Args:
        metadata: headers of every response.
        opened, closed: called when the connection was made, and when it was lost.
    """

    def __init__(
        self,
        services: ServiceTable,
        metadata: HeaderList,
        opened: Callable[["GrpcConnection"], None],
        closed: Callable[["GrpcConnection"], None],
        policy: ConnectionPolicy,
    ) -> None:
        self._services = services
        self._metadata: HeaderList = [
            (":status", "200"),
            ("content-type", "application/grpc"),
            ("grpc-accept-encoding", ",".join(ENCODINGS)),
            *metadata,
        ]
        self._opened, self._closed = opened, closed
        self._lost = asyncio.Event()
        self._policy = policy
        self._calls: dict[int, Call] = {}
        self._received = 0
        self._paused = False
        self._closing = False
        self._sent_since_ping = False
        self._last_read = self._last_refill = time.monotonic()
        self._frame_tokens = float(policy.frames)
        self._awaiting_pong = False
        self._keepalive: asyncio.TimerHandle | None = None
        self._http2 = _Http2(H2Configuration(client_side=False, header_encoding=None))

    @property
    def tasks(self) -> list[asyncio.Task[Aborted]]:
        """Tasks of the running calls."""
        return [call.task for call in self._calls.values()]

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the connection preface with our SETTINGS (asyncio.Protocol)."""
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
        self._schedule_keepalive()

    def connection_lost(self, exc: Exception | None) -> None:
        """Cancel every call (asyncio.Protocol)."""
        self._closing = True
        if self._keepalive:
            self._keepalive.cancel()
        for call in self._calls.values():
            call.cancel()
        self._lost.set()
        self._closed(self)

    def pause_writing(self) -> None:
        """Stop sending: the write buffer is full (asyncio.Protocol)."""
        self._paused = True

    def resume_writing(self) -> None:
        """Send again: the write buffer was drained (asyncio.Protocol)."""
        self._paused = False
        self._transport.resume_reading()
        self._wake_calls()

    def data_received(self, data: bytes) -> None:
        """Handle bytes from the client (asyncio.Protocol)."""
        self._last_read = time.monotonic()
        self._awaiting_pong = False
        try:
            for event in self._http2.receive_data(data):
                self._on_event(event)
        except ProtocolError as error:
            log.debug("client breaks HTTP/2: %s", error)
            self._close()
            return
        if self._frame_tokens < 0:
            self.go_away(ErrorCodes.ENHANCE_YOUR_CALM)
            self._close()
            return
        self._flush()

    def go_away(self, reason: ErrorCodes = ErrorCodes.NO_ERROR) -> None:
        """Send GOAWAY and refuse new calls; the running ones go on."""
        self._closing = True
        # h2's own GOAWAY would end the running calls.
        last = self._http2.highest_inbound_stream_id
        goaway = GoAwayFrame(0, last_stream_id=last, error_code=int(reason)).serialize()
        self._flush()
        if not self._transport.is_closing():
            self._transport.write(goaway)
        self._close_when_idle()

    def cancel_calls(self, status: Aborted) -> None:
        """Cancel the running calls and send the status to the client."""
        for call in self._calls.values():
            call.cancel(status)

    async def wait_closed(self, seconds: float) -> None:
        """Close; bytes that the client does not read within `seconds` are dropped."""
        self._close()
        try:
            async with asyncio.timeout(seconds):
                await self._lost.wait()
        except TimeoutError:
            self._transport.abort()
            await self._lost.wait()

    # CallTransport

    def send(self, stream: int, data: memoryview) -> int:
        """Send as many bytes as flow control, the frame size and the socket have room for."""
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
            pass  # the stream was reset; its call gets cancelled by the event
        self._flush()
        self._sent_since_ping |= sent > 0
        if stream in self._calls:
            self._calls[stream] = self._calls.pop(stream)  # round robin: the others are next
        return sent

    def finish(self, stream: int, code: grpc.StatusCode, details: str) -> None:
        """Send the status in trailers."""
        self._send_trailers(stream, [], code, details)

    def reset(self, stream: int, reason: ErrorCodes = ErrorCodes.CANCEL) -> None:
        """Send RST_STREAM."""
        try:
            self._http2.reset_stream(stream, reason)
        except ProtocolError:
            return
        self._flush()

    def acknowledge(self, stream: int, size: int) -> None:
        """Open the flow-control windows of stream and connection again."""
        if size and not self._transport.is_closing():
            self._http2.acknowledge_received_data(size, stream)
            self._flush()

    def forget(self, stream: int) -> None:
        """Drop a call that has ended."""
        call = self._calls.pop(stream, None)
        if call:
            self._received -= call.received
        asyncio.get_running_loop().call_soon(self._close_when_idle)

    def _close_when_idle(self) -> None:
        if self._closing and not self._calls:
            self._close()

    def _on_event(self, event: Event) -> None:
        match event:
            case DataReceived():
                self._on_data(event)
            case WindowUpdated() | RemoteSettingsChanged():
                if isinstance(event, RemoteSettingsChanged):
                    self._charge_control_frame()
                self._wake_calls(event.stream_id if isinstance(event, WindowUpdated) else 0)
            case RequestReceived():
                self._on_request(event)
            case StreamEnded():
                if call := self._calls.get(event.stream_id or 0):
                    call.half_close()
            case StreamReset():
                self._charge_control_frame()
                if call := self._calls.get(event.stream_id or 0):
                    call.cancel()
            case PingReceived():
                # gRPC's clients measure the bandwidth with a PING for every batch they get.
                if not self._sent_since_ping:
                    self._charge_control_frame()
                self._sent_since_ping = False
            case PriorityUpdated():
                self._charge_control_frame()
            case ConnectionTerminated():
                self._closing = True
                self._close_when_idle()
            case _:
                pass

    def _charge_control_frame(self) -> None:
        """Take one token from the bucket of control frames."""
        now = time.monotonic()
        refill = (now - self._last_refill) * self._policy.frames_per_second
        self._frame_tokens = min(self._frame_tokens + refill, self._policy.frames) - 1
        self._last_refill = now

    def _on_data(self, event: DataReceived) -> None:
        stream, size = event.stream_id or 0, event.flow_controlled_length or 0
        call = self._calls.get(stream)
        if not event.data and event.stream_ended is None:
            self._charge_control_frame()
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
        if self._closing:
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
            return  # the client reset the stream at once
        self._calls[stream] = Call(self, stream, method, encoding, timeout)

    def _refuse(self, stream: int, status: str, code: grpc.StatusCode, details: str) -> None:
        first = [(":status", status), *self._metadata[1:]]
        self._send_trailers(stream, first, code, details)

    def _send_trailers(
        self, stream: int, first: HeaderList, code: grpc.StatusCode, details: str
    ) -> None:
        """End a stream with a status; `first` are the headers of a trailers-only response."""
        headers = [*first, ("grpc-status", str(cast("tuple[int, str]", code.value)[0]))]
        if details:
            headers.append(("grpc-message", percent_encoded(details)))
        try:
            self._http2.send_headers(stream, headers, end_stream=True)
            state = self._http2.streams.get(stream)
            if state and not state.closed:  # asks a client that still sends to stop
                self._http2.reset_stream(stream, ErrorCodes.NO_ERROR)
        except ProtocolError:
            return  # the client reset the stream first
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

    def _wake_calls(self, stream: int = 0) -> None:
        """Let the call of a stream try to send again; stream 0 is all calls."""
        calls = (self._calls.get(stream),) if stream else self._calls.values()
        for call in calls:
            if call:
                call.writable.set()

    def _schedule_keepalive(self) -> None:
        loop = asyncio.get_running_loop()
        self._keepalive = loop.call_later(self._policy.keepalive, self._check_keepalive)

    def _check_keepalive(self) -> None:
        """Send a PING to a silent client; disconnect it when the last PING had no answer."""
        if time.monotonic() - self._last_read >= self._policy.keepalive * 0.9:
            if self._awaiting_pong or self._transport.is_closing():
                self._transport.abort()
                return
            self._awaiting_pong = True
            self._http2.ping(bytes(8))
            self._flush()
        self._schedule_keepalive()
