"""Flows of several servers as one stream in the order of time."""

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

HOLD = 1.0
"""Seconds that a new flow waits for older ones of other servers."""

AGAIN = 2.0
"""Seconds between attempts to reach a server that was lost."""

_AHEAD = 1024

Tell = Callable[[str], None]


@dataclass(eq=False)
class _Source:
    """One server: what came from it and is not given on yet, with the moment when it came."""

    client: Client
    waiting: deque[tuple[float, int, GetFlowsResponse]] = field(
        default_factory=deque[tuple[float, int, GetFlowsResponse]]
    )
    room: asyncio.Event = field(default_factory=asyncio.Event)
    ended: bool = False
    error: FlowdError | None = None
    last_ns: int = 0


class Merge:
    """Asks every server and gives their answers by time; each server's own order is kept.

    A server that cannot be reached is told and left out; when following it is tried again, from
    the last flow that it gave.

    Args:
        tell: is given one line a lost or regained server.
        greet: is given each server when it is reached.

    Raises:
        FlowdError: from `responses`, when no server can be reached, or one refuses the request.
    """

    def __init__(
        self,
        clients: Sequence[Client],
        request: GetFlowsRequest,
        tell: Tell,
        greet: Callable[[Client], None],
    ) -> None:
        self._request = request
        self._tell = tell
        self._greet = greet
        self._sources = [_Source(client) for client in clients]
        self._arrived = asyncio.Event()
        self._refused: FlowdError | None = None
        self._reached = False

    async def responses(self) -> AsyncIterator[GetFlowsResponse]:
        """Answers until every server has ended its stream."""
        tasks = [asyncio.create_task(self._feed(source)) for source in self._sources]
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
            async for response in self._ordered(HOLD):
                yield response
            return
        window = Window(self._request)
        async for response in self._ordered(None):
            for one in window.take(response):
                yield one
            if window.full:
                break
        for one in window.rest():
            yield one

    async def _ordered(self, hold: float | None) -> AsyncIterator[GetFlowsResponse]:
        while True:
            self._arrived.clear()
            self._check()
            heads = [source for source in self._sources if source.waiting]
            oldest = min(heads, key=lambda source: source.waiting[0][1], default=None)
            complete = all(source.waiting or source.ended for source in self._sources)
            if oldest is None:
                if complete:
                    return
                await self._arrived.wait()
                continue
            if not complete:
                came = oldest.waiting[0][0]
                left = None if hold is None else came + hold - time.monotonic()
                if left is None or left > 0:
                    with suppress(TimeoutError):
                        await asyncio.wait_for(self._arrived.wait(), left)
                    continue
            yield oldest.waiting.popleft()[2]
            oldest.room.set()

    def _check(self) -> None:
        """Raise what ends it all: a refused request, or that no server was ever reached."""
        if self._refused:
            raise self._refused
        errors = [source.error for source in self._sources if source.error]
        if not self._reached and len(errors) == len(self._sources):
            raise errors[0]

    async def _feed(self, source: _Source) -> None:
        server = source.client.server
        while not source.ended:
            away = source.error is not None
            try:
                async with source.client:
                    if away:
                        self._tell(f"{server}: connected again")
                    else:
                        self._greet(source.client)
                    self._reached, source.error, away = True, None, False
                    await self._take(source)
                if self._request.follow:
                    raise ConnectError(f"{server} ended the stream")
                source.ended = True
            except (ConnectError, TimedOut) as error:
                source.error, source.ended = error, not self._request.follow
                if not away:
                    again = "" if source.ended else f"; trying again every {AGAIN:g} s"
                    self._tell(error.message + again)
            except FlowdError as error:
                source.ended, self._refused = True, error
            self._arrived.set()
            if not source.ended:
                await asyncio.sleep(AGAIN)

    async def _take(self, source: _Source) -> None:
        async for response in source.client.get_flows(self._resumed(source)):
            stamp = when(response)
            at = stamp.ToNanoseconds() if stamp else source.last_ns
            if response.HasField("flow"):
                source.last_ns = max(source.last_ns, at)
            source.waiting.append((time.monotonic(), at, response))
            self._arrived.set()
            while len(source.waiting) >= _AHEAD:
                source.room.clear()
                await source.room.wait()

    def _resumed(self, source: _Source) -> GetFlowsRequest:
        request = GetFlowsRequest()
        request.CopyFrom(self._request)
        if source.last_ns:
            request.number = 0
            request.since.FromNanoseconds(source.last_ns + 1)
        return request
