"""The last flows of this node, in arrays made as they fill, and where each was lost.

A position counts the flows ever appended, from 0; it never changes and is never used again. A
cursor is the position of the next flow to read. Losses are marks between positions.
"""

import asyncio
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from flowd.model.records.flow import FlowRows
from flowd_exporters.hubble.encode.ring_row import HELD, Texts, hold

if TYPE_CHECKING:
    from flowd.wire.flow.flow_pb2 import LostEventSource

TEXT_BYTES = 300  # of a request's url, headers and ids, spread over all flows
_MOST_MARKS = 1024
_SEGMENT = 4096  # rows; an array of text columns is touched whole when it is made


@dataclass(frozen=True, slots=True)
class LostMark:
    """Something was lost before the flow at `position` (flow.LostEventSource; Unix time)."""

    number: int
    position: int
    source: "LostEventSource"
    count: int
    time_ns: int


@dataclass(frozen=True, slots=True)
class Chunk:
    """A piece of the ring from a cursor on, and what to read next.

    Attributes:
        rows: a view, of dtype HELD, that is only valid until the reader gives up control.
        overwritten: flows lost because the cursor was too old; they come before `rows`.
        marks: losses that come after `rows`.
    """

    rows: FlowRows
    overwritten: int
    marks: list[LostMark]
    cursor: int
    mark: int


class FlowRing:
    """Flows for any number of readers, of which none can hold up the writer.

    Args:
        memory: bytes to use at most, with the text of requests as it is on average.
    """

    def __init__(self, memory: int = 64 << 20) -> None:
        self.capacity = max(1, memory // (HELD.itemsize + TEXT_BYTES))
        self.written = 0
        self.marked = 0
        self.closed = False
        self.waiting = 0  # readers that have read everything
        self._segments: list[FlowRows] = []
        self._texts = Texts()
        self._marks: deque[LostMark] = deque(maxlen=_MOST_MARKS)
        self._news = asyncio.Event()

    def __len__(self) -> int:
        return min(self.written, self.capacity)

    @property
    def oldest(self) -> int:
        """Position of the oldest flow that is held."""
        return self.written - len(self)

    def append(self, rows: FlowRows) -> None:
        """Add rows of FLOW, overwriting the oldest."""
        skipped = max(0, len(rows) - self.capacity)
        self.written += skipped
        rows = rows[skipped:]
        done = 0
        while done < len(rows):
            free = self._piece(self.written + done, len(rows) - done)
            hold(free, rows[done : done + len(free)])
            self._texts.share(free)
            done += len(free)
        self.written += len(rows)
        self._wake()

    def lost(self, source: "LostEventSource", count: int, time_ns: int) -> None:
        """Note that flows which would come next were lost before they got here."""
        self._marks.append(LostMark(self.marked, self.written, source, count, time_ns))
        self.marked += 1
        self._wake()

    def close(self) -> None:
        """No more flows will come; followers end."""
        self.closed = True
        self._wake()

    def view(self, start: int, end: int) -> FlowRows:
        """Rows of HELD from position start up to end, or up to where their array ends.

        The view shows other flows once these are overwritten: use it before giving up control.
        """
        return self._piece(start, end - start)

    def before(self, position: int, most: int) -> int:
        """Where a view that ends at `position` can begin, at most `most` rows before it."""
        last = position - 1
        return max(self.oldest, position - most, last - last % self.capacity % _SEGMENT)

    def _piece(self, start: int, most: int) -> FlowRows:
        number, offset = divmod(start % self.capacity, _SEGMENT)
        while number >= len(self._segments):
            left = self.capacity - len(self._segments) * _SEGMENT
            self._segments.append(np.zeros(min(_SEGMENT, left), HELD))
        return self._segments[number][offset : offset + most]

    def read(self, cursor: int, mark: int, end: int, limit: int) -> Chunk:
        """At most `limit` rows from the cursor on, stopping at `end` and at the next loss."""
        start = max(cursor, self.oldest)
        marks = [one for one in self._marks if one.number >= mark and one.position <= end]
        after = marks[0].position if marks else end
        rows = self.view(start, max(start, min(after, end, start + limit)))
        reached = start + len(rows)
        due = [one for one in marks if one.position <= reached]
        return Chunk(
            rows,
            max(0, min(start, end) - cursor),
            due,
            reached,
            due[-1].number + 1 if due else mark,
        )

    def first_mark(self, position: int) -> int:
        """Number of the first loss at or after a position."""
        for one in self._marks:
            if one.position >= position:
                return one.number
        return self.marked

    async def changed(self, cursor: int, mark: int) -> None:
        """Wait until there is something to read at the cursor, or the ring is closed."""
        self.waiting += 1
        try:
            while not self.closed and self.written <= cursor and self.marked <= mark:
                await self._news.wait()
        finally:
            self.waiting -= 1

    async def ended(self) -> None:
        """Wait until the ring is closed."""
        while not self.closed:
            await self._news.wait()

    def _wake(self) -> None:
        self._news.set()
        self._news = asyncio.Event()
