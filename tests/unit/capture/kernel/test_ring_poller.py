"""RingPoller wakes on edges: unread records in a ring alone cause no wakeup."""

import asyncio
import contextlib
import os
from collections.abc import Generator

import pytest

from flowd.capture.kernel.polling import RingPoller

NEVER = 3600.0
TURNS = 50


@contextlib.contextmanager
def ring() -> Generator[int]:
    """A descriptor that stays readable until it is read, as a ring buffer map does."""
    fd = os.eventfd(0, os.EFD_NONBLOCK)
    try:
        yield fd
    finally:
        os.close(fd)


async def turns() -> None:
    for _ in range(TURNS):
        await asyncio.sleep(0)


def test_a_ring_that_asked_once_wakes_once() -> None:
    async def main() -> None:
        with ring() as fd:
            poller = RingPoller([fd], NEVER, 0)
            os.eventfd_write(fd, 1)
            await poller.wait()
            again = asyncio.create_task(poller.wait())
            await turns()
            assert not again.done(), "woken by a record that had caused a wakeup before"
            os.eventfd_write(fd, 1)
            await again
            poller.close()

    asyncio.run(main())


@pytest.mark.parametrize("asking", [0, 1])
def test_each_ring_can_ask(asking: int) -> None:
    async def main() -> None:
        with ring() as one, ring() as other:
            poller = RingPoller([one, other], NEVER, 0)
            waiting = asyncio.create_task(poller.wait())
            await turns()
            assert not waiting.done()
            os.eventfd_write((one, other)[asking], 1)
            await waiting
            poller.close()

    asyncio.run(main())


def test_what_was_there_before_is_read() -> None:
    async def main() -> None:
        with ring() as fd:
            os.eventfd_write(fd, 1)
            poller = RingPoller([fd], NEVER, 0)
            await poller.wait()
            poller.close()

    asyncio.run(main())


def test_without_anybody_asking_it_is_time_after_a_while() -> None:
    async def main() -> None:
        poller = RingPoller([], 0.001, 0)
        await poller.wait()
        poller.close()

    asyncio.run(main())


def test_whoever_asks_waits_for_a_batch_that_is_worth_its_price() -> None:
    async def main() -> None:
        with ring() as fd:
            poller = RingPoller([fd], NEVER, NEVER)
            waiting = asyncio.create_task(poller.wait())
            os.eventfd_write(fd, 1)
            await turns()
            assert not waiting.done()
            waiting.cancel()
            poller.close()

    asyncio.run(main())
