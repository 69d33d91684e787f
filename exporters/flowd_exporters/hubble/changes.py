"""Wakes everyone who waits for something to change."""

import asyncio


class Changes:
    """A number that grows with every change.

    Attributes:
        count: changes so far.
        closed: no more will come.
    """

    def __init__(self) -> None:
        self.count = 0
        self.closed = False
        self._news = asyncio.Event()

    def tell(self) -> None:
        """Something has changed."""
        self.count += 1
        self._wake()

    def close(self) -> None:
        """Nothing will change any more."""
        self.closed = True
        self._wake()

    def _wake(self) -> None:
        self._news.set()
        self._news = asyncio.Event()

    async def after(self, count: int) -> bool:
        """Wait until more than `count` changes were told; False when no more will come."""
        while self.count <= count and not self.closed:
            await self._news.wait()
        return self.count > count
