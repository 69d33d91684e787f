"""A change of interfaces is polled once, however long its message stays unread."""

import asyncio
import os

import pytest

from flowd.capture.kernel import interfaces
from flowd.capture.kernel.interfaces import KernelInterfaces
from flowd.model.directory import Directory
from tests.unit.capture.kernel.test_ring_poller import NEVER, ring, turns


class Unread:
    """A fake LinkWatch: a readable descriptor without changes of interfaces."""

    def __init__(self, fd: int) -> None:
        self.polls = 0
        self._fd = fd

    def fileno(self) -> int:
        return self._fd

    def poll(self) -> tuple[list[object], list[object]]:
        self.polls += 1
        return [], []


async def run_in_thread(*_: object) -> None:
    raise AssertionError("no interface to attach to")


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
            links = KernelInterfaces(Directory(), ("*",), None, run_in_thread, gather)  # pyright: ignore[reportArgumentType]
            watching = asyncio.create_task(links.watch())
            await turns()
            assert not watch.polls, "nothing has changed"
            os.eventfd_write(fd, 1)
            await turns()
            assert min(2, most) <= watch.polls <= most
            watching.cancel()
            await asyncio.wait([watching])
            assert not asyncio.get_running_loop().remove_reader(fd), (
                "the descriptor is still watched"
            )

    asyncio.run(main())
