"""When the kernel's ring buffers are read and when its connection table is swept."""

import asyncio
import select
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from numpy.typing import NDArray

MAX_INTERVAL_SECONDS = 0.2
MIN_INTERVAL_SECONDS = 0.05
SWEEP_SECONDS = 1.0
CPU_SHARE = 0.05  # upper bound of the thread's time that scanning live connections may take

Batch = NDArray[Any]


class RingPoller:
    """Waits between two reads of the rings, by an edge-triggered epoll and within time bounds.

    A ring buffer map is readable while it has a record (kernel/bpf/ringbuf.c, ringbuf_map_poll), so
    level-triggered polling would wake the event loop for every record under traffic. The programs
    request a read by a wakeup, and an edge-triggered epoll reports exactly those wakeups.

    Args:
        rings: file descriptors of ring buffer maps.
        longest: seconds between two reads without a wakeup.
        shortest: seconds between two reads with one; batches of this length pay for their overhead.
    """

    def __init__(
        self,
        rings: Iterable[int],
        longest: float = MAX_INTERVAL_SECONDS,
        shortest: float = MIN_INTERVAL_SECONDS,
    ) -> None:
        self._longest = longest
        self._shortest = shortest
        self._event = asyncio.Event()
        self._epoll = select.epoll()
        for ring in rings:
            self._epoll.register(ring, select.EPOLLIN | select.EPOLLET)
        asyncio.get_running_loop().add_reader(self._epoll, self._wake)

    async def wait(self) -> None:
        """Return when the rings are due to be read."""
        loop = asyncio.get_running_loop()
        earliest = loop.time() + self._shortest
        timer = loop.call_later(self._longest, self._event.set)
        try:
            await self._event.wait()
        finally:
            timer.cancel()
        if (remaining := earliest - loop.time()) > 0:
            await asyncio.sleep(remaining)
        self._event.clear()

    def close(self) -> None:
        """Stop polling."""
        asyncio.get_running_loop().remove_reader(self._epoll)
        self._epoll.close()

    def _wake(self) -> None:
        self._epoll.poll(0)
        self._event.set()


class SweepScheduler:
    """Schedules the sweeps of the connection table so that live connections cost little CPU.

    Only the part of a sweep's CPU time that falls on live connections delays the next sweep. An
    ended connection costs the same whenever it is evicted, and a delay would only fill the table.

    Args:
        clock: seconds, monotonic.
        cpu: CPU seconds of this thread.
    """

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        cpu: Callable[[], float] = time.thread_time,
    ) -> None:
        self._clock = clock
        self._cpu = cpu
        self._next_sweep = 0.0

    def due(self) -> bool:
        """Whether the next sweep is due."""
        return self._clock() >= self._next_sweep

    def timed(self, sweep: Iterator[Batch], live: int) -> Iterator[Batch]:
        """Yield the batches of a sweep, measure its CPU time and schedule the next sweep.

        Args:
            sweep: batches of evicted entries.
            live: entries in the table before the sweep.
        """
        cpu_seconds, ended = 0.0, 0
        while True:
            began = self._cpu()
            batch = next(sweep, None)
            cpu_seconds += self._cpu() - began
            if batch is None:
                break
            ended += len(batch)
            yield batch
        live_share = max(0, live - ended) / max(1, live)
        pause = max(SWEEP_SECONDS, cpu_seconds * live_share / CPU_SHARE)
        self._next_sweep = self._clock() + pause
