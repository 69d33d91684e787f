"""Attach the kernel programs to network interfaces, and follow changes of interfaces."""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeAlias

from flowd.model.directory import Directory
from flowd_bpf.attach.interfaces import Interface, LinkWatch
from flowd_bpf.attach.programs import Attacher
from flowd_bpf.errors import BpfError

log = logging.getLogger(__name__)

GATHER_SECONDS = 0.05
MAX_REMOVED = 256  # removed interfaces whose names are kept for rows that are still queued


RunInThread: TypeAlias = Callable[..., Awaitable[None]]
"""Runs a blocking call with its arguments in the attach thread."""


class KernelInterfaces:
    """Attaches the programs to new interfaces and detaches them from removed ones.

    Args:
        directory: `interfaces` is kept current.
        globs: as in LinkWatch.
        attacher: attaches the programs to one interface.
        run_in_thread: attaching blocks for an RCU grace period, 12 ms a program.
        gather: seconds between two polls, in which further changes are collected.

    Attributes:
        failed: reason why an interface is not captured, by index.

    Raises:
        OSError: rtnetlink is not available.
    """

    def __init__(
        self,
        directory: Directory,
        globs: Sequence[str],
        attacher: Attacher,
        run_in_thread: RunInThread,
        gather: float = GATHER_SECONDS,
    ) -> None:
        self.failed: dict[int, str] = {}
        self._directory = directory
        self._attacher = attacher
        self._run_in_thread = run_in_thread
        self._gather = gather
        self._watch = LinkWatch(globs)
        self._removed: deque[int] = deque()

    async def watch(self) -> None:
        """Follow changes of interfaces until cancelled.

        Raises:
            OSError: the kernel does not answer.
        """
        while True:
            await self._changed()
            await self.follow()
            await asyncio.sleep(self._gather)

    async def _changed(self) -> None:
        loop, changed = asyncio.get_running_loop(), asyncio.Event()
        loop.add_reader(self._watch, changed.set)
        try:
            await changed.wait()
        finally:
            loop.remove_reader(self._watch)  # the socket stays readable until it is read

    async def follow(self) -> None:
        """Attach to interfaces that appeared since the last call, and detach from removed ones.

        Raises:
            OSError: the kernel does not answer.
        """
        appeared, removed = self._watch.poll()
        for link in removed:
            self.failed.pop(link.index, None)
            await self._run_in_thread(self._detach, self._attacher, link)
            self._removed.append(link.index)
        for link in appeared:
            self._directory.interfaces[link.index] = link.name
            await self._run_in_thread(self._attach, self._attacher, link)
        while len(self._removed) > MAX_REMOVED:
            index = self._removed.popleft()
            if index not in self._watch.links:
                self._directory.interfaces.pop(index, None)

    def close(self) -> None:
        """Close the rtnetlink socket."""
        self._watch.close()

    def _attach(self, attacher: Attacher, link: Interface) -> None:
        try:
            attacher.attach(link)
        except BpfError as error:
            self.failed[link.index] = f"{link.name}: {error.message}"
            log.warning(
                "interface is not captured", extra={"interface": link.name, "why": str(error)}
            )

    def _detach(self, attacher: Attacher, link: Interface) -> None:
        try:
            attacher.detach(link.index)
        except BpfError as error:
            log.warning("interface kept", extra={"interface": link.name, "why": str(error)})
