"""Call: run one RPC's method, decode its requests and send its responses under flow control."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any, NoReturn, Protocol

import grpc
from google.protobuf.message import DecodeError, Message

from flowd_exporters.h2grpc.messages import Aborted, MessageDeframer
from flowd_exporters.h2grpc.service import Method, frame

log = logging.getLogger(__name__)

_MAX_STREAMED_REQUEST = 32 << 10  # below the stream's window, which opens only by reading


class CallTransport(Protocol):
    """The connection of a call; `stream` is the HTTP/2 stream id."""

    def send(self, stream: int, data: memoryview) -> int:
        """Send the part of data that flow control has room for; returns its bytes."""
        ...

    def finish(self, stream: int, code: grpc.StatusCode, details: str) -> None:
        """End the stream with a status in trailers."""
        ...

    def reset(self, stream: int) -> None:
        """End the stream in the middle of a message."""
        ...

    def acknowledge(self, stream: int, size: int) -> None:
        """Open the flow-control window again by `size` bytes."""
        ...

    def forget(self, stream: int) -> None:
        """Drop the call, which has ended."""
        ...


class Call:
    """Runs a method in a task of its own.

    Args:
        encoding: compression of the requests, one of `messages.ENCODINGS`.
        timeout: seconds until the client's deadline; None for no deadline.

    Attributes:
        received: buffered bytes of a unary request; 0 for streamed requests, which flow control
            keeps at the client until the method reads them.
        writable: set by the connection when flow control may have room.
        task: ends with the call; its result is the status.
    """

    def __init__(
        self,
        transport: CallTransport,
        stream: int,
        method: Method,
        encoding: str,
        timeout: float | None,
    ) -> None:
        self.received = 0
        self.writable = asyncio.Event()
        self._transport = transport
        self._stream = stream
        self._method = method
        limits = (_MAX_STREAMED_REQUEST,) if method.request_streaming else ()
        self._messages = MessageDeframer(encoding, *limits)
        self._unacknowledged = 0
        self._half_closed = False
        self._readable = asyncio.Event()
        self._mid_message = False
        self._cancel_status: Aborted | None = None
        self.task = asyncio.create_task(self._run(timeout), name=f"grpc-{stream}")
        self.task.add_done_callback(self._on_done)

    def feed(self, data: bytes, size: int) -> None:
        """Buffer bytes of requests; `size` is their flow-controlled length."""
        if self._method.request_streaming:
            self._unacknowledged += size
        else:
            self.received += len(data)
            self._transport.acknowledge(self._stream, size)
        self._messages.feed(data)
        self._readable.set()

    def half_close(self) -> None:
        """Note that the client has sent all its requests."""
        self._half_closed = True
        self._readable.set()

    def cancel(self, status: Aborted | None = None) -> None:
        """Stop the method; the client gets the status, if one is given."""
        self._cancel_status = status
        self.task.cancel()

    async def abort(self, code: grpc.StatusCode, details: str = "") -> NoReturn:
        """End the call with a status."""
        raise Aborted(code, details)

    def _on_done(self, task: asyncio.Task[Aborted]) -> None:
        """Send the status, unless the client left.

        A done callback runs even when the task was cancelled before it began.
        """
        status = self._cancel_status if task.cancelled() else task.result()
        self._transport.acknowledge(self._stream, self._unacknowledged)
        self._transport.forget(self._stream)
        if status is None:
            return
        if self._mid_message:
            self._transport.reset(self._stream)
        else:
            self._transport.finish(self._stream, status.code, status.details)

    async def _run(self, timeout: float | None) -> Aborted:
        """Run the method and send its responses; returns the status to end with."""
        limit = asyncio.timeout(timeout)
        try:
            async with limit:
                await self._respond()
        except Aborted as error:
            return error
        except Exception as error:
            if isinstance(error, TimeoutError) and limit.expired():
                return Aborted(grpc.StatusCode.DEADLINE_EXCEEDED, "deadline exceeded")
            log.exception("a call of the API failed")
            return Aborted(grpc.StatusCode.UNKNOWN, f"unexpected {type(error).__name__}")
        return Aborted(grpc.StatusCode.OK)

    async def _respond(self) -> None:
        method = self._method
        request: Any = self._requests() if method.request_streaming else await self._request()
        if not method.response_streaming:
            await self._write(frame(await method.call(request, self)))
            return
        async with aclosing(method.call(request, self)) as responses:
            async for response in responses:
                await self._write(response if isinstance(response, bytes) else frame(response))

    async def _request(self) -> Message:
        first = await self._next()
        if first is None or await self._next() is not None:
            raise Aborted(grpc.StatusCode.INTERNAL, "one request is expected")
        return self._decoded(first)

    async def _requests(self) -> AsyncIterator[Message]:
        while (data := await self._next()) is not None:
            yield self._decoded(data)

    def _decoded(self, data: bytes) -> Message:
        try:
            return self._method.request.FromString(data)
        except DecodeError:
            raise Aborted(grpc.StatusCode.INTERNAL, "request cannot be decoded") from None

    async def _next(self) -> bytes | None:
        """The next request; None after the last one.

        Raises:
            Aborted: the client half-closed in the middle of a request.
        """
        while (data := self._messages.take()) is None:
            self._transport.acknowledge(self._stream, self._unacknowledged)
            self._unacknowledged = 0
            if self._half_closed:
                if len(self._messages):
                    raise Aborted(grpc.StatusCode.INTERNAL, "request is cut off")
                return None
            self._readable.clear()
            await self._readable.wait()
        return data

    async def _write(self, data: bytes) -> None:
        """Send messages, waiting while flow control or the socket has no room."""
        view = memoryview(data)
        while view:
            self.writable.clear()
            sent = self._transport.send(self._stream, view)
            self._mid_message |= sent > 0
            view = view[sent:]
            if view:
                await self.writable.wait()
        self._mid_message = False
