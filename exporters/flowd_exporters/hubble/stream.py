"""FlowStream: the responses of one GetFlows call, from its first flow to its end."""

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
from flowd_exporters.hubble.encode.fast_encode import FastFlowEncoder
from flowd_exporters.hubble.encode.field_mask import MaskTree, parse_mask
from flowd_exporters.hubble.encode.flow_to_protobuf import FlowEncoder, reported_node_name
from flowd_exporters.hubble.lost import OverwriteCounter, lost_response, mark_event
from flowd_exporters.hubble.ring import FlowRing, RingChunk

CHUNK = 1024
SMALL_CHUNK = 64  # rows at a time for CEL expressions, which are slow
_INT64_MAX = 2**63 - 1


class RequestError(ValueError):
    """A request that contradicts itself."""


@dataclass(frozen=True, slots=True)
class FlowQuery:
    """A validated GetFlowsRequest.

    Attributes:
        select: the filters, as a mask over rows.
        chunk: rows to filter before other tasks run.
        mask: fields to send.
        number: bound on the number of flows; 0 for none.
        since_ns, until_ns: Unix times; None where the request has none.
    """

    select: Select
    chunk: int
    mask: MaskTree
    number: int
    first: bool
    follow: bool
    since_ns: int | None
    until_ns: int | None


def parse_query(request: GetFlowsRequest, directory: Directory) -> FlowQuery:
    """Validate a request and compile its filters.

    Raises:
        RequestError: `first` together with `follow`.
        MaskError: a path of the field mask does not exist.
        FilterError: a filter cannot be built.
    """
    if request.first and request.follow:
        raise RequestError("first cannot be used together with follow")
    routes = route_filter(request.extensions)
    return FlowQuery(
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
    return min(max(moment.seconds * 10**9 + moment.nanos, 0), _INT64_MAX)


class FlowStream:
    """One call of GetFlows. Rows are filtered by column, and encoded only when they are sent."""

    def __init__(
        self, query: FlowQuery, ring: FlowRing, encoder: FastFlowEncoder, directory: Directory
    ) -> None:
        self._query = query
        self._ring = ring
        self._encoder = encoder
        self._node_name = reported_node_name(directory)
        self._overwritten = OverwriteCounter()

    async def responses(self, losses: Losses) -> AsyncGenerator[bytes]:
        """Flows and lost events as framed GetFlowsResponse messages, in the order of the ring.

        Each item has many messages.

        Args:
            losses: counts flows that were overwritten before this stream read them.
        """
        query, ring = self._query, self._ring
        end = None if query.follow else ring.written
        bounded = query.number and not query.follow and (query.first or query.since_ns is not None)
        left = query.number if bounded else _INT64_MAX  # _rewind counts the last N
        cursor = await self._start(ring.written)
        mark = ring.marked if cursor >= ring.written else ring.first_mark(cursor)
        while True:
            chunk = ring.read(cursor, mark, ring.written if end is None else end, query.chunk)
            rows, past_until = self._filtered(chunk.rows)
            cursor, mark = chunk.cursor, chunk.mark
            self._overwritten.add(chunk.overwritten)
            losses.add(Place.STORE, "hubble_ring", chunk.overwritten)
            for response in self._overwritten_responses():
                yield frame(response)
            if data := self._encoded(rows[:left], chunk):
                yield data
            left -= len(rows)
            if left <= 0:
                break
            for loss in chunk.marks:
                event = mark_event(loss.source, loss.count)
                yield frame(lost_response(self._node_name, event, loss.time_ns))
            if past_until or (end is not None and cursor >= end):
                break
            if end is None and ring.closed and cursor >= ring.written:
                break
            await self._pause(cursor, mark, follow=end is None)
        for response in self._overwritten_responses(final=True):
            yield frame(response)

    def _encoded(self, rows: FlowRows, chunk: RingChunk) -> bytes:
        """The filtered rows of a chunk as framed messages."""
        if not len(rows):
            return b""
        if len(rows) == len(chunk.rows):
            return self._encoder.shared(chunk.cursor - len(rows), rows)
        return self._encoder.encode(rows)

    async def _start(self, end: int) -> int:
        """Position of the first row to filter."""
        query, ring = self._query, self._ring
        if query.since_ns is not None or query.first:
            return ring.oldest
        if not query.number:
            return end if query.follow else ring.oldest
        if query.number >= len(ring):
            return ring.oldest
        return await self._rewind(end, query.number)

    async def _rewind(self, end: int, number: int) -> int:
        """Position from which on the last `number` matching flows are, or the oldest position."""
        position = end
        while position > self._ring.oldest:
            start = self._ring.view_start(position, self._query.chunk)
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

    def _filtered(self, rows: FlowRows) -> tuple[FlowRows, bool]:
        """A copy of the matching rows, and whether a follower has passed `until`."""
        until = self._query.until_ns
        past_until = (
            self._query.follow and until is not None and bool((rows["time_ns"] > until).any())
        )
        return rows[self._mask(rows)], past_until

    def _overwritten_responses(self, *, final: bool = False) -> list[GetFlowsResponse]:
        event = self._overwritten.take_event(final=final)
        return [lost_response(self._node_name, event, time.time_ns())] if event else []

    async def _pause(self, cursor: int, mark: int, *, follow: bool) -> None:
        """Let other tasks run; a follower waits for rows or until a LostEvent is due."""
        await asyncio.sleep(0)
        if follow:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._overwritten.wait()):
                    await self._ring.wait_readable(cursor, mark)
