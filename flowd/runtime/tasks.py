"""Run parts as tasks: `guard` isolates the failure of a part, `stage` moves batches through a function."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sized
from functools import partial
from typing import TypeVar

from flowd.model.losses import Losses, Place
from flowd.runtime.queue import Closed, Queue

log = logging.getLogger(__name__)
T = TypeVar("T", bound=Sized)

HELD_SECONDS = 0.1
LONGEST_HELD_SECONDS = 0.4


async def guard(name: str, work: Awaitable[None], failed: Callable[[str, str], None]) -> None:
    """Await a part until it ends; log and report its failure, so that the other parts go on.

    Args:
        failed: called with the name of the part and the text of the error.
    """
    try:
        await work
    except asyncio.CancelledError:
        raise
    except Exception as error:
        log.exception("part failed", extra={"part": name})
        failed(name, f"{type(error).__name__}: {error}")


async def stage(
    source: Queue[T],
    out: Queue[T],
    function: Callable[[T], T],
    losses: Losses,
    release_held: Callable[[bool], T] | None = None,
) -> None:
    """Move batches from `source` through a function to `out`; close `out` when `source` ends.

    A batch on which the function fails is logged, counted (place `stage`) and left out, so that one
    bad batch does not end the stage.

    Args:
        release_held: returns rows that the function holds back. Called with False, for rows whose
            time is over, when no batch came for HELD_SECONDS; the interval doubles up to
            LONGEST_HELD_SECONDS until a batch comes. Called with True, for all rows, at the end.
    """

    def put(call: Callable[[], T], rows: int) -> None:
        try:
            out.put(call())
        except Exception:
            log.exception("batch left out", extra={"stage": out.name, "rows": rows})
            losses.add(Place.STAGE, out.name, rows)

    interval = HELD_SECONDS
    try:
        while True:
            try:
                async with asyncio.timeout(interval if release_held else None):
                    batch = await source.get()
            except TimeoutError:
                if release_held:
                    put(partial(release_held, False), 0)
                interval = min(2 * interval, LONGEST_HELD_SECONDS)
                continue
            interval = HELD_SECONDS
            put(partial(function, batch), len(batch))
    except Closed:
        if release_held:
            put(partial(release_held, True), 0)
        out.close()
