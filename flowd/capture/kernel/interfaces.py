"""The interfaces that the programs are on, as they come and go."""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeAlias

from flowd.model.directory import Directory
from flowd_bpf.attach.attacher import Attacher
from flowd_bpf.attach.interfaces import Interface, LinkWatch
from flowd_bpf.errors import BpfError

log = logging.getLogger(__name__)

GATHER_SECONDS = 0.05
GONE = 256  # interfaces whose names are kept for rows that are still on their way


Apart: TypeAlias = Callable[..., Awaitable[None]]
"""Runs a call with its arguments on the thread for what waits."""


class KernelLinks:
    """Attaches to what appears, and forgets what is gone.

    Args:
        directory: its `interfaces` are kept current.
        globs: as in LinkWatch.
        apart: attaching waits for the kernel's readers, 12 ms a program, so it has another thread.
        gather: seconds in which what else changes is left for the next look.

    Attributes:
        failed: why an interface is not captured, by index.

    Raises:
        OSError: there is no netlink here.
    """

    def __init__(
        self,
        directory: Directory,
        globs: Sequence[str],
        way: Attacher,
        apart: Apart,
        gather: float = GATHER_SECONDS,
    ) -> None:
        self.failed: dict[int, str] = {}
        self._directory = directory
        self._way = way
        self._apart = apart
        self._gather = gather
        self._watch = LinkWatch(globs)
        self._gone: deque[int] = deque()

    async def watch(self) -> None:
        """Follow what changes, until cancelled.

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
            loop.remove_reader(self._watch)  # it stays readable until it is read

    async def follow(self) -> None:
        """Attach to what appeared since the last call, and detach from what is gone.

        Raises:
            OSError: the kernel does not answer.
        """
        appeared, gone = self._watch.poll()
        for link in gone:
            self.failed.pop(link.index, None)
            await self._apart(self._detach, self._way, link)
            self._gone.append(link.index)
        for link in appeared:
            self._directory.interfaces[link.index] = link.name
            await self._apart(self._attach, self._way, link)
        while len(self._gone) > GONE:
            index = self._gone.popleft()
            if index not in self._watch.links:
                self._directory.interfaces.pop(index, None)

    def close(self) -> None:
        """Listen no more."""
        self._watch.close()

    def _attach(self, way: Attacher, link: Interface) -> None:
        try:
            way.attach(link)
        except BpfError as error:
            self.failed[link.index] = f"{link.name}: {error.message}"
            log.warning(
                "interface is not captured", extra={"interface": link.name, "why": str(error)}
            )

    def _detach(self, way: Attacher, link: Interface) -> None:
        try:
            way.detach(link.index)
        except BpfError as error:
            log.warning("interface kept", extra={"interface": link.name, "why": str(error)})
