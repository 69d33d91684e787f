"""The agent as a process: capabilities and environment at the start, signals, the event loop."""

import asyncio
import gc
import logging
import os
import signal
from collections.abc import Awaitable, Callable, Sequence

from flowd.runtime.privileges import drop_privileges

log = logging.getLogger(__name__)


def start(unknown_variables: Sequence[str]) -> None:
    """Drop unused capabilities and log the start.

    Must run before the first thread starts, and so before numpy and grpc are imported: Linux keeps
    capabilities per thread (capabilities(7)).

    Args:
        unknown_variables: FLOWD_* environment variables that set nothing; each is warned about.

    Raises:
        OSError: the kernel refused the new capability sets.
    """
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
    kept = drop_privileges()
    log.info(
        "starting", extra={"capabilities": ",".join(cap.name.lower() for cap in kept) or "none"}
    )
    for name in unknown_variables:
        log.warning("environment variable sets nothing: %s", name)


def run_until_signal(run: Callable[[asyncio.Event], Awaitable[None]]) -> None:
    """Run an agent until SIGTERM or SIGINT; return when everything is flushed.

    Args:
        run: runs until the event is set.
    """
    gc.freeze()
    asyncio.run(_main(run))
    log.info("stopped")


async def _main(run: Callable[[asyncio.Event], Awaitable[None]]) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await run(stop)
