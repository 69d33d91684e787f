"""A change of interfaces asks for a look once, however long its message lies unread."""

import asyncio
import os

import pytest

from flowd.capture import kernel_links
from flowd.capture.kernel_links import KernelLinks
from flowd.model.directory import Directory
from tests.unit.test_capture_wakes import ring, turns


class Unread:
    """In place of netlink: a descriptor that can be read, and no news of interfaces."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def fileno(self) -> int:
        return self._fd

    def poll(self) -> tuple[list[object], list[object]]:
        return [], []


async def apart(*_: object) -> None:
    raise AssertionError("there is nothing to attach to")


def test_a_change_wakes_once_until_it_is_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        with ring() as fd:

            def unread(_: object) -> Unread:
                return Unread(fd)

            monkeypatch.setattr(kernel_links, "LinkWatch", unread)
            links = KernelLinks(Directory(), ("*",), None, apart)  # pyright: ignore[reportArgumentType]
            woken: list[int] = []
            await links.watch(lambda: woken.append(1))
            os.eventfd_write(fd, 1)
            await turns()
            assert len(woken) == 1
            await links.watch(lambda: woken.append(2))
            await turns()
            assert woken == [1, 2]
            asyncio.get_running_loop().remove_reader(fd)

    asyncio.run(main())
