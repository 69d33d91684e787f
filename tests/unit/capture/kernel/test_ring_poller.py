"""Readings are asked for by edges: what lies unread in a ring asks for nothing."""

import asyncio
import contextlib
import os
from collections.abc import Generator

import pytest

from flowd.capture.kernel.ring_poller import Wakes

NEVER = 3600.0
TURNS = 50


@contextlib.contextmanager
def ring() -> Generator[int]:
    """What can be read for as long as nobody read it, as a ring buffer map can."""
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
            wakes = Wakes([fd], NEVER, 0)
            os.eventfd_write(fd, 1)
            await wakes.wait()
            again = asyncio.create_task(wakes.wait())
            await turns()
            assert not again.done(), "woken by what was there before"
            os.eventfd_write(fd, 1)
            await again
            wakes.close()

    asyncio.run(main())


@pytest.mark.parametrize("asking", [0, 1])
def test_each_ring_can_ask(asking: int) -> None:
    async def main() -> None:
        with ring() as one, ring() as other:
            wakes = Wakes([one, other], NEVER, 0)
            waiting = asyncio.create_task(wakes.wait())
            await turns()
            assert not waiting.done()
            os.eventfd_write((one, other)[asking], 1)
            await waiting
            wakes.close()

    asyncio.run(main())


def test_what_was_there_before_is_read() -> None:
    async def main() -> None:
        with ring() as fd:
            os.eventfd_write(fd, 1)
            wakes = Wakes([fd], NEVER, 0)
            await wakes.wait()
            wakes.close()

    asyncio.run(main())


def test_without_anybody_asking_it_is_time_after_a_while() -> None:
    async def main() -> None:
        wakes = Wakes([], 0.001, 0)
        await wakes.wait()
        wakes.close()

    asyncio.run(main())


def test_whoever_asks_waits_for_a_batch_that_is_worth_its_price() -> None:
    async def main() -> None:
        with ring() as fd:
            wakes = Wakes([fd], NEVER, NEVER)
            waiting = asyncio.create_task(wakes.wait())
            os.eventfd_write(fd, 1)
            await turns()
            assert not waiting.done()
            waiting.cancel()
            wakes.close()

    asyncio.run(main())
