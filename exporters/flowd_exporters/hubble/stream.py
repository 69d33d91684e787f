"""What GetFlows sends: where to start, which flows, where to end."""

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator
from dataclasses import dataclass

import numpy as np
from google.protobuf.timestamp_pb2 import Timestamp

from flowd.filter import Select, compile_filters, route_filter
from flowd.filter.tables import Mask
from flowd.model.directory import Directory
from flowd.model.losses import Losses, Place
from flowd.model.records.flow import FlowRows
from flowd.wire.observer.observer_pb2 import GetFlowsRequest, GetFlowsResponse
from flowd_exporters.h2grpc.service import frame
from flowd_exporters.hubble.encode.fast_encode import FlowFrames
from flowd_exporters.hubble.encode.field_mask import Tree, parse_mask
from flowd_exporters.hubble.encode.flow_to_protobuf import FlowEncoder, shown_node
from flowd_exporters.hubble.lost import Overwritten, lost_response, mark_event
from flowd_exporters.hubble.ring import Chunk, FlowRing

CHUNK = 1024
SMALL_CHUNK = 64  # rows at a time for filters that cost much
_MOST = 2**63 - 1


class RequestError(ValueError):
    """A request that contradicts itself."""


@dataclass(frozen=True, slots=True)
class Query:
    """A GetFlowsRequest, checked.

    Attributes:
        number: 0 for no number.
        chunk: rows to look at before others have their turn.
        since_ns, until_ns: Unix times; None where the request has none.
    """

    select: Select
    chunk: int
    mask: Tree
    number: int
    first: bool
    follow: bool
    since_ns: int | None
    until_ns: int | None


def parse_query(request: GetFlowsRequest, directory: Directory) -> Query:
    """Check a request.

    Raises:
        RequestError: `first` together with `follow`.
        MaskError: a path of the field mask does not exist.
        FilterError: a filter cannot be built.
    """
    if request.first and request.follow:
        raise RequestError("first cannot be used together with follow")
    routes = route_filter(request.extensions)
    return Query(
        select=compile_filters(
            request.whitelist, request.blacklist, directory, routes, FlowEncoder(directory).encode
        ),
        chunk=SMALL_CHUNK if _has_expressions(request) else CHUNK,
        mask=parse_mask(request.field_mask.paths),
        number=request.number,
        first=request.first,
        follow=request.follow,
        since_ns=_nanoseconds(request.since) if request.HasField("since") else None,
        until_ns=_nanoseconds(request.until) if request.HasField("until") else None,
    )


def _has_expressions(request: GetFlowsRequest) -> bool:
    lists = (request.whitelist, request.blacklist)
    return any(one.experimental.cel_expression for filters in lists for one in filters)


def _nanoseconds(moment: Timestamp) -> int:
    return min(max(moment.seconds * 10**9 + moment.nanos, 0), _MOST)


class FlowStream:
    """One answer to GetFlows. Flows are chosen by column, and made only when they are sent."""

    def __init__(
        self, query: Query, ring: FlowRing, frames: FlowFrames, directory: Directory
    ) -> None:
        self._query = query
        self._ring = ring
        self._frames = frames
        self._node_name = shown_node(directory)
        self._missed = Overwritten()

    async def responses(self, losses: Losses) -> AsyncGenerator[bytes]:
        """Flows and lost events as framed messages, many at a time, in the order of the ring.

        Args:
            losses: where flows that were overwritten too early are counted.
        """
        query, ring = self._query, self._ring
        end = None if query.follow else ring.written
        counted = query.number and not query.follow and (query.first or query.since_ns is not None)
        left = query.number if counted else _MOST  # the last N are counted where they begin
        cursor = await self._start(ring.written)
        mark = ring.marked if cursor >= ring.written else ring.first_mark(cursor)
        while True:
            chunk = ring.read(cursor, mark, ring.written if end is None else end, query.chunk)
            rows, past = self._choose(chunk.rows)
            cursor, mark = chunk.cursor, chunk.mark
            self._missed.add(chunk.overwritten)
            losses.add(Place.STORE, "hubble_ring", chunk.overwritten)
            for response in self._missing():
                yield frame(response)
            if sent := self._encoded(rows[:left], chunk):
                yield sent
            left -= len(rows)
            if left <= 0:
                break
            for lost in chunk.marks:
                event = mark_event(lost.source, lost.count)
                yield frame(lost_response(self._node_name, event, lost.time_ns))
            if past or (end is not None and cursor >= end):
                break
            if end is None and ring.closed and cursor >= ring.written:
                break
            await self._pause(cursor, mark, follow=end is None)
        for response in self._missing(final=True):
            yield frame(response)

    def _encoded(self, rows: FlowRows, chunk: Chunk) -> bytes:
        """Rows that were chosen of a chunk, as bytes."""
        if not len(rows):
            return b""
        if len(rows) == len(chunk.rows):
            return self._frames.shared(chunk.cursor - len(rows), rows)
        return self._frames.encode(rows)

    async def _start(self, end: int) -> int:
        """The position of the first flow to look at."""
        query, ring = self._query, self._ring
        if query.since_ns is not None or query.first:
            return ring.oldest
        if not query.number:
            return end if query.follow else ring.oldest
        if query.number >= len(ring):
            return ring.oldest
        return await self._rewind(end, query.number)

    async def _rewind(self, end: int, number: int) -> int:
        """The position from which on `number` flows match, or the oldest one."""
        position = end
        while position > self._ring.oldest:
            start = self._ring.before(position, self._query.chunk)
            hits = np.flatnonzero(self._mask(self._ring.view(start, position)))
            if len(hits) >= number:
                return start + int(hits[-number])
            number -= len(hits)
            position = start
            await asyncio.sleep(0)
        return self._ring.oldest

    def _mask(self, rows: FlowRows) -> Mask:
        mask = self._query.select(rows)
        if self._query.since_ns is not None:
            mask &= rows["time_ns"] >= self._query.since_ns
        if self._query.until_ns is not None:
            mask &= rows["time_ns"] <= self._query.until_ns
        return mask

    def _choose(self, rows: FlowRows) -> tuple[FlowRows, bool]:
        """A copy of the rows to send, and whether a follower has passed its end."""
        until = self._query.until_ns
        past = self._query.follow and until is not None and bool((rows["time_ns"] > until).any())
        return rows[self._mask(rows)], past

    def _missing(self, *, final: bool = False) -> list[GetFlowsResponse]:
        event = self._missed.take(final=final)
        return [lost_response(self._node_name, event, time.time_ns())] if event else []

    async def _pause(self, cursor: int, mark: int, *, follow: bool) -> None:
        """Let others run; a follower waits for news, or until it has a loss to tell."""
        await asyncio.sleep(0)
        if follow:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._missed.wait()):
                    await self._ring.changed(cursor, mark)
