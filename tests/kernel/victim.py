"""Capture until killed, as a process of its own: `python -m tests.kernel.victim [tcx|clsact]`."""

import asyncio
import sys
from typing import cast

from flowd.capture.kernel.source import KernelCapture
from flowd.model.directory import Directory
from flowd.model.losses import Losses
from flowd.runtime.queue import Queue
from flowd_bpf.attach.attacher import AttachMode


async def main(mode: AttachMode) -> None:
    """Capture, and print a line once started."""
    losses = Losses()
    capture = KernelCapture(Directory(), losses, attach=mode, sockets=True)
    await capture.start()
    print("ready", flush=True)
    await capture.run(Queue("victim", 1000, losses))


if __name__ == "__main__":
    asyncio.run(main(cast("AttachMode", sys.argv[1])))
