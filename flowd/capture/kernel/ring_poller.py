"""When the kernel's rings are read: some times a second, sooner when one of them fills."""

import asyncio
import select
from collections.abc import Iterable

LONGEST = 0.2
SHORTEST = 0.05


class Wakes:
    """Waits between two readings, seldom long and never short.

    A ring can be read whenever there is a record in it (kernel/bpf/ringbuf.c, ringbuf_map_poll), so
    an event loop that watched it would come back at every record while there is traffic. What counts
    is the moment at which the kernel side asks for the reader, and that is an edge.

    Args:
        rings: descriptors of ring buffer maps.
        longest: seconds between two readings when nobody asks.
        shortest: seconds between them when somebody does, so that batches are worth their price.
    """

    def __init__(
        self, rings: Iterable[int], longest: float = LONGEST, shortest: float = SHORTEST
    ) -> None:
        self._longest = longest
        self._shortest = shortest
        self._event = asyncio.Event()
        self._edges = select.epoll()
        for ring in rings:
            self._edges.register(ring, select.EPOLLIN | select.EPOLLET)
        asyncio.get_running_loop().add_reader(self._edges, self._edge)

    async def wait(self) -> None:
        """Until it is time to read."""
        loop = asyncio.get_running_loop()
        soonest = loop.time() + self._shortest
        timer = loop.call_later(self._longest, self._event.set)
        try:
            await self._event.wait()
        finally:
            timer.cancel()
        if (early := soonest - loop.time()) > 0:
            await asyncio.sleep(early)
        self._event.clear()

    def close(self) -> None:
        """Stop watching."""
        asyncio.get_running_loop().remove_reader(self._edges)
        self._edges.close()

    def _edge(self) -> None:
        self._edges.poll(0)
        self._event.set()
