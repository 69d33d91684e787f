"""Bounded queues between stages: a full queue drops its oldest batch and counts the rows."""

import asyncio
from collections import deque
from collections.abc import Sized
from typing import Generic, TypeVar

from flowd.model.losses import Losses, Place

T = TypeVar("T", bound=Sized)


class Closed(Exception):
    """The queue was closed and every batch was read."""


class Queue(Generic[T]):
    """A queue of batches from one writer to one reader, bounded by rows.

    Args:
        name: the reason under which dropped rows are counted (place `queue`).
        rows: bound on the rows held; a single larger batch is still accepted.
    """

    def __init__(self, name: str, rows: int, losses: Losses) -> None:
        self.name = name
        self.limit = rows
        self.held = 0
        self._losses = losses
        self._batches: deque[T] = deque()
        self._ready = asyncio.Event()
        self._closed = False
        losses.add(Place.QUEUE, name, 0)

    def put(self, batch: T) -> None:
        """Add a batch; drop the oldest batches while the queue is over its bound. Ignore an empty batch."""
        if not len(batch):
            return
        self._batches.append(batch)
        self.held += len(batch)
        while self.held > self.limit and len(self._batches) > 1:
            oldest = self._batches.popleft()
            self.held -= len(oldest)
            self._losses.add(Place.QUEUE, self.name, len(oldest))
        self._ready.set()

    async def get(self) -> T:
        """Remove and return the oldest batch; wait while there is none.

        Raises:
            Closed: the queue was closed and is empty.
        """
        while not self._batches:
            if self._closed:
                raise Closed(self.name)
            self._ready.clear()
            await self._ready.wait()
        batch = self._batches.popleft()
        self.held -= len(batch)
        return batch

    def take(self) -> list[T]:
        """Remove and return all batches, without waiting."""
        batches = list(self._batches)
        self._batches.clear()
        self.held = 0
        return batches

    def close(self) -> None:
        """End the queue: the reader gets the remaining batches, then Closed."""
        self._closed = True
        self._ready.set()
