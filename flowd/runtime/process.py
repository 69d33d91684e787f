"""The agent as a process: privileges, signals, exit."""

import asyncio
import gc
import logging
import os
import signal
from collections.abc import Awaitable, Callable, Sequence

from flowd.runtime.privileges import drop_privileges
from flowd.settings import Settings

log = logging.getLogger(__name__)


def serve(settings: Settings, unknown_variables: Sequence[str]) -> None:
    """Run the agent until SIGTERM or SIGINT; returns when everything is flushed.

    Capabilities go before the first thread starts, and so before numpy and grpc are imported.

    Raises:
        FlowdError: the agent cannot start; says why and with which exit code.
    """
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
    kept = drop_privileges()
    log.info(
        "starting", extra={"capabilities": ",".join(cap.name.lower() for cap in kept) or "none"}
    )
    for name in unknown_variables:
        log.warning("environment variable sets nothing: %s", name)

    from flowd.runtime.bootstrap import lay

    ground = lay(settings)
    from flowd.runtime.assemble import Assembly  # half a second, in which a child compiles

    assembly = Assembly(settings, ground)
    gc.freeze()
    asyncio.run(_main(assembly.run))
    log.info("stopped")


async def _main(run: Callable[[asyncio.Event], Awaitable[None]]) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await run(stop)
