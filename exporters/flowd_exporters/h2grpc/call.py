"""One call: its request in, its answers out as fast as the client takes them, its end."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any, NoReturn, Protocol

import grpc
from google.protobuf.message import DecodeError, Message

from flowd_exporters.h2grpc.messages import Aborted, Messages
from flowd_exporters.h2grpc.service import Method, frame

log = logging.getLogger(__name__)

_MAX_CHAT_MESSAGE = 32 << 10  # below the stream's window, which is only given back by reading


class Link(Protocol):
    """What a call needs of its connection."""

    def send(self, stream: int, data: memoryview) -> int:
        """Send what there is room for now; returns how many bytes that was."""
        ...

    def finish(self, stream: int, code: grpc.StatusCode, details: str) -> None:
        """End a stream with a status."""
        ...

    def reset(self, stream: int) -> None:
        """End a stream in the middle of a message."""
        ...

    def acknowledge(self, stream: int, size: int) -> None:
        """Let the client send as many bytes more."""
        ...

    def forget(self, stream: int) -> None:
        """The call is over."""
        ...


class Call:
    """Runs a method as a task of its own.

    Args:
        encoding: how requests are compressed, one of `messages.ENCODINGS`.
        timeout: seconds that the client gives it; None for no deadline.

    Attributes:
        received: bytes of requests that were taken in, 0 for streams of requests, which wait at
            the client until they are read.
        room: set by the connection when there may be room to send.
        task: ends when the call has.
    """

    def __init__(
        self, link: Link, stream: int, method: Method, encoding: str, timeout: float | None
    ) -> None:
        self.received = 0
        self.room = asyncio.Event()
        self._link = link
        self._stream = stream
        self._method = method
        limits = (_MAX_CHAT_MESSAGE,) if method.many_requests else ()
        self._messages = Messages(encoding, *limits)
        self._unread = 0
        self._complete = False
        self._news = asyncio.Event()
        self._cut = False
        self._farewell: Aborted | None = None
        self.task = asyncio.create_task(self._run(timeout), name=f"grpc-{stream}")
        self.task.add_done_callback(self._over)

    def feed(self, data: bytes, size: int) -> None:
        """Take in bytes of requests; `size` is what they count for in flow control."""
        if self._method.many_requests:
            self._unread += size
        else:
            self.received += len(data)
            self._link.acknowledge(self._stream, size)
        self._messages.feed(data)
        self._news.set()

    def end(self) -> None:
        """The client has sent all its requests."""
        self._complete = True
        self._news.set()

    def cancel(self, farewell: Aborted | None = None) -> None:
        """Stop the method; with a farewell the client is told of it."""
        self._farewell = farewell
        self.task.cancel()

    async def abort(self, code: grpc.StatusCode, details: str = "") -> NoReturn:
        """End the call with a status."""
        raise Aborted(code, details)

    def _over(self, task: asyncio.Task[Aborted]) -> None:
        """Tell the client how it ended, unless it left. Runs even when the task never began."""
        ending = self._farewell if task.cancelled() else task.result()
        self._link.acknowledge(self._stream, self._unread)
        self._link.forget(self._stream)
        if ending is None:
            return
        if self._cut:
            self._link.reset(self._stream)
        else:
            self._link.finish(self._stream, ending.code, ending.details)

    async def _run(self, timeout: float | None) -> Aborted:
        """Answer; returns the status to end with."""
        limit = asyncio.timeout(timeout)
        try:
            async with limit:
                await self._answer()
        except Aborted as error:
            return error
        except Exception as error:
            if isinstance(error, TimeoutError) and limit.expired():
                return Aborted(grpc.StatusCode.DEADLINE_EXCEEDED, "deadline exceeded")
            log.exception("a call of the API failed")
            return Aborted(grpc.StatusCode.UNKNOWN, f"unexpected {type(error).__name__}")
        return Aborted(grpc.StatusCode.OK)

    async def _answer(self) -> None:
        method = self._method
        request: Any = self._requests() if method.many_requests else await self._request()
        if not method.many_answers:
            await self._write(frame(await method.call(request, self)))
            return
        async with aclosing(method.call(request, self)) as answers:
            async for answer in answers:
                await self._write(answer if isinstance(answer, bytes) else frame(answer))

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
        """The next request; None when there is none."""
        while (data := self._messages.take()) is None:
            self._link.acknowledge(self._stream, self._unread)
            self._unread = 0
            if self._complete:
                if len(self._messages):
                    raise Aborted(grpc.StatusCode.INTERNAL, "request is cut off")
                return None
            self._news.clear()
            await self._news.wait()
        return data

    async def _write(self, data: bytes) -> None:
        """Send messages, waiting whenever the client or its socket has no room."""
        view = memoryview(data)
        while view:
            self.room.clear()
            sent = self._link.send(self._stream, view)
            self._cut |= sent > 0
            view = view[sent:]
            if view:
                await self.room.wait()
        self._cut = False
