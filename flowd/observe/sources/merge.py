"""Merge the flows of several servers into one stream, ordered by time."""

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from flowd.client.client import Client
from flowd.errors import ConnectError, FlowdError, TimedOut
from flowd.observe.options.window import Window
from flowd.observe.output.fields import when
from flowd.wire.observer.observer_pb2 import GetFlowsRequest, GetFlowsResponse

HOLD_SECONDS = 1.0
"""Longest time that a new flow waits for older flows of other servers."""

RETRY_SECONDS = 2.0
"""Delay between attempts to reach a lost server."""

_MAX_WAITING = 1024

Warn = Callable[[str], None]


@dataclass(eq=False)
class _ServerStream:
    """Stream of one server.

    Attributes:
        waiting: responses not yet yielded: monotonic time of arrival, Unix time in ns, response.
        room: set when `waiting` has room again.
        last_ns: Unix time of the newest flow, from which a new stream resumes.
    """

    client: Client
    waiting: deque[tuple[float, int, GetFlowsResponse]] = field(
        default_factory=deque[tuple[float, int, GetFlowsResponse]]
    )
    room: asyncio.Event = field(default_factory=asyncio.Event)
    ended: bool = False
    error: FlowdError | None = None
    last_ns: int = 0


class Merge:
    """Requests flows from every server and yields them by time, each server's in their own order.

    A server that cannot be reached is reported and left out; with `follow` it is retried, from its
    last flow on.

    Args:
        warn: called with one line for each lost or regained server.
        on_connect: called for each server when it is first reached.

    Raises:
        FlowdError: by `responses`, if no server can be reached, or one refuses the request.
    """

    def __init__(
        self,
        clients: Sequence[Client],
        request: GetFlowsRequest,
        warn: Warn,
        on_connect: Callable[[Client], None],
    ) -> None:
        self._request = request
        self._warn = warn
        self._on_connect = on_connect
        self._streams = [_ServerStream(client) for client in clients]
        self._changed = asyncio.Event()
        self._refused: FlowdError | None = None
        self._reached = False

    async def responses(self) -> AsyncIterator[GetFlowsResponse]:
        """Responses until every server has ended its stream."""
        tasks = [asyncio.create_task(self._feed(stream)) for stream in self._streams]
        try:
            async for response in self._windowed():
                yield response
        finally:
            for task in tasks:
                task.cancel()
            for task in tasks:
                with suppress(asyncio.CancelledError):
                    await task

    async def _windowed(self) -> AsyncIterator[GetFlowsResponse]:
        if self._request.follow:
            async for response in self._ordered(HOLD_SECONDS):
                yield response
            return
        window = Window(self._request)
        async for response in self._ordered(None):
            for one in window.add(response):
                yield one
            if window.full:
                break
        for one in window.flush():
            yield one

    async def _ordered(self, hold: float | None) -> AsyncIterator[GetFlowsResponse]:
        while True:
            self._changed.clear()
            self._raise_failure()
            heads = [stream for stream in self._streams if stream.waiting]
            oldest = min(heads, key=lambda stream: stream.waiting[0][1], default=None)
            complete = all(stream.waiting or stream.ended for stream in self._streams)
            if oldest is None:
                if complete:
                    return
                await self._changed.wait()
                continue
            if not complete:
                arrived = oldest.waiting[0][0]
                left = None if hold is None else arrived + hold - time.monotonic()
                if left is None or left > 0:
                    with suppress(TimeoutError):
                        await asyncio.wait_for(self._changed.wait(), left)
                    continue
            yield oldest.waiting.popleft()[2]
            oldest.room.set()

    def _raise_failure(self) -> None:
        """Raise the error that ends the merge: a refused request, or no reachable server."""
        if self._refused:
            raise self._refused
        errors = [stream.error for stream in self._streams if stream.error]
        if not self._reached and len(errors) == len(self._streams):
            raise errors[0]

    async def _feed(self, stream: _ServerStream) -> None:
        server = stream.client.server
        while not stream.ended:
            reconnecting = stream.error is not None
            try:
                async with stream.client:
                    if reconnecting:
                        self._warn(f"{server}: connected again")
                    else:
                        self._on_connect(stream.client)
                    self._reached, stream.error, reconnecting = True, None, False
                    await self._receive(stream)
                if self._request.follow:
                    raise ConnectError(f"{server} ended the stream")
                stream.ended = True
            except (ConnectError, TimedOut) as error:
                stream.error, stream.ended = error, not self._request.follow
                if not reconnecting:
                    retry = "" if stream.ended else f"; trying again every {RETRY_SECONDS:g} s"
                    self._warn(error.message + retry)
            except FlowdError as error:
                stream.ended, self._refused = True, error
            self._changed.set()
            if not stream.ended:
                await asyncio.sleep(RETRY_SECONDS)

    async def _receive(self, stream: _ServerStream) -> None:
        async for response in stream.client.get_flows(self._resumed(stream)):
            stamp = when(response)
            at = stamp.ToNanoseconds() if stamp else stream.last_ns
            if response.HasField("flow"):
                stream.last_ns = max(stream.last_ns, at)
            stream.waiting.append((time.monotonic(), at, response))
            self._changed.set()
            while len(stream.waiting) >= _MAX_WAITING:
                stream.room.clear()
                await stream.room.wait()

    def _resumed(self, stream: _ServerStream) -> GetFlowsRequest:
        request = GetFlowsRequest()
        request.CopyFrom(self._request)
        if stream.last_ns:
            request.number = 0
            request.since.FromNanoseconds(stream.last_ns + 1)
        return request
