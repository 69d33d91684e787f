"""ChangeNotifier: wake the tasks that wait for a state to change."""

import asyncio


class ChangeNotifier:
    """A change counter that tasks can wait on.

    A waiter passes the count that it has seen, so that no change is missed between two waits.

    Attributes:
        count: number of changes so far.
        closed: whether `close` was called; there are no changes after it.
    """

    def __init__(self) -> None:
        self.count = 0
        self.closed = False
        self._event = asyncio.Event()

    def notify(self) -> None:
        """Count a change and wake the waiters."""
        self.count += 1
        self._wake()

    def close(self) -> None:
        """End the changes and wake the waiters."""
        self.closed = True
        self._wake()

    def _wake(self) -> None:
        self._event.set()
        self._event = asyncio.Event()

    async def wait_after(self, count: int) -> bool:
        """Wait for a change after the first `count`; False when the notifier was closed first."""
        while self.count <= count and not self.closed:
            await self._event.wait()
        return self.count > count
