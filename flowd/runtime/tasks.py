"""Background tasks that end well: named, logged, and never the end of their neighbours."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sized
from functools import partial
from typing import TypeVar

from flowd.model.losses import Losses, Place
from flowd.runtime.queue import Closed, Queue

log = logging.getLogger(__name__)
T = TypeVar("T", bound=Sized)

LATE_SECONDS = 0.1
LATEST_SECONDS = 0.4


async def guard(name: str, work: Awaitable[None], failed: Callable[[str, str], None]) -> None:
    """Await a part until it ends; a failure is logged and told, and its neighbours live on.

    Args:
        failed: called with the name and the error's text.
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
    late: Callable[[bool], T] | None = None,
) -> None:
    """Move batches through a function; closes `out` when `source` ends.

    A batch that the function cannot take is logged, counted and left out, so that one bad batch
    does not end the stage.

    Args:
        late: gives what the function held back: asked with False whenever nothing came for
            LATE_SECONDS, then more and more seldom, LATEST_SECONDS at most, until something comes;
            and once with True at the end, for all.
    """

    def put(call: Callable[[], T], rows: int) -> None:
        try:
            out.put(call())
        except Exception:
            log.exception("batch left out", extra={"stage": out.name, "rows": rows})
            losses.add(Place.STAGE, out.name, rows)

    patience = LATE_SECONDS
    try:
        while True:
            try:
                async with asyncio.timeout(patience if late else None):
                    batch = await source.get()
            except TimeoutError:
                if late:
                    put(partial(late, False), 0)
                patience = min(2 * patience, LATEST_SECONDS)
                continue
            patience = LATE_SECONDS
            put(partial(function, batch), len(batch))
    except Closed:
        if late:
            put(partial(late, True), 0)
        out.close()
