"""Background tasks that end well: named, logged, and never the end of their neighbours."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sized
from typing import TypeVar

from flowd.model.losses import Losses, Place
from flowd.queue import Closed, Queue

log = logging.getLogger(__name__)
T = TypeVar("T", bound=Sized)


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
    source: Queue[T], out: Queue[T], function: Callable[[T], T], losses: Losses
) -> None:
    """Move batches through a function; closes `out` when `source` ends.

    A batch that the function cannot take is logged, counted and left out, so that one bad batch
    does not end the stage.
    """
    try:
        while True:
            batch = await source.get()
            try:
                out.put(function(batch))
            except Exception:
                log.exception("batch left out", extra={"stage": out.name, "rows": len(batch)})
                losses.add(Place.STAGE, out.name, len(batch))
    except Closed:
        out.close()
