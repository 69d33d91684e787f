"""FlowRing: ring buffer of the last flow rows for any number of readers, with loss marks.

The position of a flow is the number of flows appended before it; it is never reused. A cursor is
the position of the next flow to read. A mark is a loss between two positions. The rows are in
arrays that are allocated as the ring fills.
"""

import asyncio
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from flowd.model.records.flow import FlowRows
from flowd_exporters.hubble.encode.ring_row import RING_ROW, StringPool, copy_to_ring

if TYPE_CHECKING:
    from flowd.wire.flow.flow_pb2 import LostEventSource

TEXT_BYTES = 300  # a flow on average, for the url, headers and ids of requests
_MAX_MARKS = 1024
_SEGMENT = 4096  # rows; an array with object columns is written whole when it is made


@dataclass(frozen=True, slots=True)
class LostMark:
    """A loss before the flow at `position`.

    Attributes:
        number: 0, 1, 2, ... in the order of the losses.
        source: flow.LostEventSource.
        count: lost events.
        time_ns: Unix time.
    """

    number: int
    position: int
    source: "LostEventSource"
    count: int
    time_ns: int


@dataclass(frozen=True, slots=True)
class RingChunk:
    """Consecutive rows of the ring from a cursor on.

    Attributes:
        rows: a view of dtype RING_ROW, valid until the reader gives up control.
        overwritten: flows before `rows` that were overwritten because the cursor was too old.
        marks: losses after `rows`.
        cursor: the position to read next.
        mark: the number of the mark to read next.
    """

    rows: FlowRows
    overwritten: int
    marks: list[LostMark]
    cursor: int
    mark: int


class FlowRing:
    """Flows for any number of readers, none of which can block the writer.

    Args:
        memory: bound in bytes, with TEXT_BYTES of text a flow.

    Attributes:
        capacity: most rows.
        written: position of the next flow to append.
        marked: number of the next mark.
        closed: whether `close` was called.
        waiting: number of readers that have read everything.
    """

    def __init__(self, memory: int = 64 << 20) -> None:
        self.capacity = max(1, memory // (RING_ROW.itemsize + TEXT_BYTES))
        self.written = 0
        self.marked = 0
        self.closed = False
        self.waiting = 0
        self._segments: list[FlowRows] = []
        self._strings = StringPool()
        self._marks: deque[LostMark] = deque(maxlen=_MAX_MARKS)
        self._event = asyncio.Event()

    def __len__(self) -> int:
        return min(self.written, self.capacity)

    @property
    def oldest(self) -> int:
        """Position of the oldest flow in the ring."""
        return self.written - len(self)

    def append(self, rows: FlowRows) -> None:
        """Append rows of dtype FLOW, overwriting the oldest."""
        skipped = max(0, len(rows) - self.capacity)
        self.written += skipped
        rows = rows[skipped:]
        done = 0
        while done < len(rows):
            target = self._segment_view(self.written + done, len(rows) - done)
            copy_to_ring(target, rows[done : done + len(target)])
            self._strings.intern(target)
            done += len(target)
        self.written += len(rows)
        self._wake()

    def lost(self, source: "LostEventSource", count: int, time_ns: int) -> None:
        """Add a mark: `count` events were lost before the ring."""
        self._marks.append(LostMark(self.marked, self.written, source, count, time_ns))
        self.marked += 1
        self._wake()

    def close(self) -> None:
        """End the flows: followers' streams end."""
        self.closed = True
        self._wake()

    def view(self, start: int, end: int) -> FlowRows:
        """Rows of dtype RING_ROW from position start to end, or to the end of their segment.

        The writer overwrites the view's rows: use the view before giving up control.
        """
        return self._segment_view(start, end - start)

    def view_start(self, position: int, count: int) -> int:
        """First position of a view that ends at `position` and has at most `count` rows."""
        last = position - 1
        return max(self.oldest, position - count, last - last % self.capacity % _SEGMENT)

    def _segment_view(self, start: int, count: int) -> FlowRows:
        """At most `count` rows from a position on, to the end of their segment."""
        number, offset = divmod(start % self.capacity, _SEGMENT)
        while number >= len(self._segments):
            left = self.capacity - len(self._segments) * _SEGMENT
            self._segments.append(np.zeros(min(_SEGMENT, left), RING_ROW))
        return self._segments[number][offset : offset + count]

    def read(self, cursor: int, mark: int, end: int, limit: int) -> RingChunk:
        """At most `limit` rows from the cursor on, up to `end` or the next mark."""
        start = max(cursor, self.oldest)
        marks = [one for one in self._marks if one.number >= mark and one.position <= end]
        next_mark = marks[0].position if marks else end
        rows = self.view(start, max(start, min(next_mark, end, start + limit)))
        reached = start + len(rows)
        due = [one for one in marks if one.position <= reached]
        return RingChunk(
            rows,
            max(0, min(start, end) - cursor),
            due,
            reached,
            due[-1].number + 1 if due else mark,
        )

    def first_mark(self, position: int) -> int:
        """Number of the first mark at or after a position."""
        for one in self._marks:
            if one.position >= position:
                return one.number
        return self.marked

    async def wait_readable(self, cursor: int, mark: int) -> None:
        """Wait until there is a row or mark to read, or the ring is closed."""
        self.waiting += 1
        try:
            while not self.closed and self.written <= cursor and self.marked <= mark:
                await self._event.wait()
        finally:
            self.waiting -= 1

    async def wait_closed(self) -> None:
        """Wait until the ring is closed."""
        while not self.closed:
            await self._event.wait()

    def _wake(self) -> None:
        self._event.set()
        self._event = asyncio.Event()
