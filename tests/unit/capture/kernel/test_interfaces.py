"""A change of interfaces is looked at once, however long its message lies unread."""

import asyncio
import os

import pytest

from flowd.capture.kernel import interfaces
from flowd.capture.kernel.interfaces import KernelLinks
from flowd.model.directory import Directory
from tests.unit.capture.kernel.test_ring_poller import NEVER, ring, turns


class Unread:
    """In place of netlink: a descriptor that can be read, and no news of interfaces."""

    def __init__(self, fd: int) -> None:
        self.looks = 0
        self._fd = fd

    def fileno(self) -> int:
        return self._fd

    def poll(self) -> tuple[list[object], list[object]]:
        self.looks += 1
        return [], []


async def apart(*_: object) -> None:
    raise AssertionError("there is nothing to attach to")


@pytest.mark.parametrize(("gather", "most"), [(NEVER, 1), (0.0, 1000)])
def test_a_change_is_looked_at_once_and_then_others_after_a_while(
    monkeypatch: pytest.MonkeyPatch, gather: float, most: int
) -> None:
    async def main() -> None:
        with ring() as fd:
            watch = Unread(fd)

            def unread(_: object) -> Unread:
                return watch

            monkeypatch.setattr(interfaces, "LinkWatch", unread)
            links = KernelLinks(Directory(), ("*",), None, apart, gather)  # pyright: ignore[reportArgumentType]
            watching = asyncio.create_task(links.watch())
            await turns()
            assert not watch.looks, "nothing has changed"
            os.eventfd_write(fd, 1)
            await turns()
            assert min(2, most) <= watch.looks <= most
            watching.cancel()
            await asyncio.wait([watching])
            assert not asyncio.get_running_loop().remove_reader(fd), "nobody looks any more"

    asyncio.run(main())
