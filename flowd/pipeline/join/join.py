"""The join stage: match access-log requests to their connections, by 5-tuple and time."""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from flowd.model.enums import HttpVersion, Protocol, ShareSide
from flowd.model.losses import Losses, Place
from flowd.model.records.batch import FlowBatch
from flowd.model.records.connection import ConnectionBatch, empty_connections
from flowd.model.records.dns import DnsBatch, empty_dns
from flowd.model.records.drop import DropBatch, empty_drops
from flowd.model.records.request import RequestBatch, empty_requests
from flowd.model.records.rows import concat_rows, copy_rows
from flowd.model.records.socket import SocketBatch, empty_sockets
from flowd.pipeline.dns_names import DnsNames
from flowd.pipeline.endpoint_tuples import EndpointPairs, hash_pairs, pack_endpoints
from flowd.pipeline.flows import FlowBuilder
from flowd.pipeline.identify import (
    AddressTable,
    identify_dns,
    identify_drops,
    identify_sockets,
    resolve_by_dns_name,
    resolve_missing,
)
from flowd.pipeline.join.connection_table import ConnectionTable
from flowd.pipeline.join.end_delay import EndDelay
from flowd.pipeline.join.measure import measure_connections, measure_drops, measure_requests
from flowd.pipeline.join.socket_reports import SocketReportMatcher
from flowd.pipeline.sorted_index import U64, Slots
from flowd.runtime.queue import Closed, Queue

log = logging.getLogger(__name__)
T = TypeVar("T", bound=NDArray[Any])

WAIT_NS = 1_500_000_000
WAITING_ROWS = 65_536
WAIT_STEPS = 3  # on a busy machine the time can pass before any record is read
GATHER_SECONDS = 0.2  # a step has a fixed cost, here and in every exporter
TICK_SECONDS = 0.1
STEP_ROWS = 8192  # records; larger steps cost more per record, and more memory
POLL_SECONDS = 1.0  # period of polling drops, sockets and DNS while the queues are idle


@dataclass(slots=True)
class _WaitingRequests:
    """Requests with an unknown connection, and `hash_pairs` of both connections, shape (N, 2)."""

    until_ns: int
    rows: RequestBatch
    hashes: U64
    steps: int = 0  # steps waited


@dataclass(frozen=True, slots=True)
class _RequestConnection:
    """Column names of one of a request's two connections; `near` is the connection's initiator."""

    near: str
    far: str
    conn: str
    near_endpoint: str
    far_endpoint: str
    share: ShareSide

    def has_addresses(self, rows: RequestBatch) -> NDArray[np.bool_]:
        """A mask of the rows with both addresses and ports of this connection; shape (N,)."""
        near, far = rows[f"{self.near}_port"] != 0, rows[f"{self.far}_port"] != 0
        return near & far & rows[f"{self.near}_addr"].any(1) & rows[f"{self.far}_addr"].any(1)


DOWN = _RequestConnection(
    *("client", "local", "down_conn", "client_endpoint", "gateway_endpoint"), ShareSide.DOWNSTREAM
)
UP = _RequestConnection(
    *("up_local", "up_remote", "up_conn", "gateway_endpoint", "backend_endpoint"),
    ShareSide.UPSTREAM,
)


_Rows: TypeAlias = ConnectionBatch | RequestBatch | DropBatch | SocketBatch
_ENDS = {"src_endpoint": "src_addr", "dst_endpoint": "dst_addr"}
_SOCKET_ENDS = {"local_endpoint": "local_addr", "remote_endpoint": "remote_addr"}
_REQUEST_ENDS = {"client_endpoint": "client_addr", "backend_endpoint": "up_remote_addr"}
"""Endpoint columns, each with its address column."""


class Join:
    """The stage that joins access-log entries with connection records.

    An entry arrives up to a second after its request, and the first record of a connection may
    arrive even later. A request with an unknown connection therefore waits, for at most `wait_ns`
    and among at most `waiting_rows` requests; then it leaves without the connection. The END
    record of a gateway's connection is delayed for the entries of its requests. Every request and
    every record leaves exactly once.

    Args:
        table: the connection table, if shared with status and metrics.
        drops, sockets, dns: return the rows since their previous call; polled in every step, and
            at least once a second.
        names: learns DNS names from the DNS rows, and resolves outside peers.

    Attributes:
        wait_ns: maximum wait, nanoseconds; 0 without connection capture.
    """

    def __init__(
        self,
        addresses: AddressTable,
        losses: Losses,
        table: ConnectionTable | None = None,
        wait_ns: int = WAIT_NS,
        waiting_rows: int = WAITING_ROWS,
        drops: Callable[[], DropBatch] | None = None,
        sockets: Callable[[], SocketBatch] | None = None,
        dns: Callable[[], DnsBatch] | None = None,
        names: DnsNames | None = None,
    ) -> None:
        self.table = ConnectionTable() if table is None else table
        self._addresses = addresses
        self._losses = losses
        self._names = names
        self._flows = FlowBuilder(addresses, names)
        self._socket_reports = SocketReportMatcher(self.table)
        self._end_delay = EndDelay()
        self.wait_ns = wait_ns
        self._waiting_rows = waiting_rows
        self._wait_steps = 1
        self._drops, self._sockets, self._dns = drops, sockets, dns
        self._polled_rows = 0
        self._waiting: deque[_WaitingRequests] = deque()

    @property
    def waiting(self) -> int:
        """Number of requests waiting for a connection."""
        return sum(len(one.rows) for one in self._waiting)

    async def run(
        self,
        connections: Queue[ConnectionBatch],
        requests: Queue[RequestBatch],
        out: Callable[[FlowBatch], None],
    ) -> None:
        """Join until both queues have ended, then release all waiting rows."""
        records, entries = _QueueReader(connections), _QueueReader(requests)
        self._wait_steps = WAIT_STEPS
        try:
            while tasks := [intake.task for intake in (records, entries) if not intake.ended]:
                idle = POLL_SECONDS if self._drops or self._sockets or self._dns else None
                tick = TICK_SECONDS if self._waiting or self._end_delay.waiting else idle
                await asyncio.wait(tasks, timeout=tick, return_when=asyncio.FIRST_COMPLETED)
                await self._put(records.take(), entries.take(), out)
                await asyncio.sleep(GATHER_SECONDS)
            self._wait_steps = 1
            longest = max(self.wait_ns, self._end_delay.hold_ns)
            self._step(empty_connections(), empty_requests(), time.time_ns() + longest, out)
        finally:
            records.task.cancel()
            entries.task.cancel()

    def step(
        self,
        connections: ConnectionBatch,
        requests: RequestBatch,
        now_ns: int,
        *,
        poll: bool = True,
    ) -> FlowBatch:
        """One step: returns the rows that are complete, or that have waited long enough.

        Args:
            connections: identified records, in order of time.
            requests: attributed entries; filled in place.
            now_ns: Unix time, nanoseconds.
            poll: also poll drops, sockets and DNS.
        """
        drops, reports, dns = (
            self._poll_sources() if poll else (empty_drops(), empty_sockets(), empty_dns())
        )
        if self._names is not None:
            self._names.learn(dns, now_ns)
        records, entries = copy_rows(connections), requests
        self._resolve_by_dns_name(records, _ENDS)
        fresh = self.table.update(records)
        self._socket_reports.step(reports, fresh, now_ns)
        ready = self._wake(fresh, now_ns)
        complete = self._look_up(entries)
        if complete.all():
            ready.append(entries)
        else:
            ready.append(entries[complete])
            self._hold(entries[~complete], now_ns)
            ready += self._overflow()
        found = concat_rows(ready)
        self._fill_endpoints(found)
        self._resolve_by_dns_name(found, _REQUEST_ENDS)
        owners = measure_requests(found, self.table)
        records = self._end_delay.step(records, self._addresses.is_gateway, now_ns)
        shares = measure_connections(records, self.table)
        self.table.expire_and_count(now_ns)
        flows = self._flows.build(
            records, found, now_ns, drops, dns, owners, measure_drops(drops, self.table)
        )
        return FlowBatch(records, found, flows, drops, reports, dns, shares)

    def _poll_sources(self) -> tuple[DropBatch, SocketBatch, DnsBatch]:
        """New drops, socket reports and DNS messages, with endpoints resolved."""
        drops = self._drops() if self._drops else empty_drops()
        reports = self._sockets() if self._sockets else empty_sockets()
        dns = self._dns() if self._dns else empty_dns()
        self._polled_rows = len(drops) + len(reports) + len(dns)
        drops = identify_drops(drops, self._addresses) if len(drops) else drops
        reports = identify_sockets(reports, self._addresses) if len(reports) else reports
        self._resolve_by_dns_name(drops, _ENDS)
        self._resolve_by_dns_name(reports, _SOCKET_ENDS)
        return drops, reports, identify_dns(dns, self._addresses) if len(dns) else dns

    def _resolve_by_dns_name(self, rows: _Rows, columns: Mapping[str, str]) -> None:
        if self._names is not None:
            resolve_by_dns_name(rows, columns, self._addresses, self._names)

    def _wake(self, fresh: U64, now_ns: int) -> list[RequestBatch]:
        """Release waiting requests whose connections are now known, or whose time is over."""
        ready: list[RequestBatch] = []
        for waiting in self._waiting:
            complete = np.zeros(len(waiting.rows), np.bool_)
            woken = np.flatnonzero(np.isin(waiting.hashes, fresh).any(axis=1))
            if len(woken):
                rows = waiting.rows[woken]
                complete[woken] = self._look_up(rows)
                waiting.rows[woken] = rows
            waiting.steps += 1
            if waiting.until_ns <= now_ns and waiting.steps >= self._wait_steps:
                complete[:] = True
            if complete.any():
                ready.append(waiting.rows[complete])
                waiting.rows, waiting.hashes = waiting.rows[~complete], waiting.hashes[~complete]
        self._waiting = deque(one for one in self._waiting if len(one.rows))
        return ready

    def _hold(self, rows: RequestBatch, now_ns: int) -> None:
        every = np.arange(len(rows))
        pairs = [_pair(rows, side, every) for side in (DOWN, UP)]
        hashes = np.stack([hash_pairs(near, far) for near, far in pairs], axis=1)
        self._waiting.append(_WaitingRequests(now_ns + self.wait_ns, rows, hashes))

    def _overflow(self) -> list[RequestBatch]:
        released: list[RequestBatch] = []
        while self.waiting > self._waiting_rows:
            released.append(self._waiting.popleft().rows)
        return released

    def _look_up(self, rows: RequestBatch) -> NDArray[np.bool_]:
        """Fill the known connections; returns a mask of the rows with no connection missing."""
        complete = np.ones(len(rows), np.bool_)
        if not len(rows):
            return complete
        for side in (DOWN, UP):
            wanted = np.flatnonzero(side.has_addresses(rows) & (rows[side.conn] == 0))
            if not len(wanted):
                continue
            start = rows["time_ns"][wanted].astype(np.int64)
            end = start + rows["duration_ns"][wanted].astype(np.int64)
            pair = _pair(rows, side, wanted)
            found = self.table.find(EndpointPairs(*pair, start, end))
            matched = found.slot >= 0
            if side is DOWN:
                self.table.mark_logged(found.slot[matched], pair[0][matched])
            rows[side.conn][wanted] = found.conn_id
            for column, endpoints in (
                (side.near_endpoint, found.near_endpoint),
                (side.far_endpoint, found.far_endpoint),
            ):
                known = endpoints != 0
                rows[column][wanted[known]] = endpoints[known]
            route = rows["route"][wanted]
            routed = matched & (route != 0)
            if routed.any():
                self.table.count_requests(found.slot[routed], route[routed], side.share)
            complete[wanted] &= matched
        return complete

    def _fill_endpoints(self, rows: RequestBatch) -> None:
        if not len(rows):
            return
        for column, address in (
            ("client_endpoint", "client_addr"),
            ("gateway_endpoint", "local_addr"),
            ("backend_endpoint", "up_remote_addr"),
        ):
            rows[column] = resolve_missing(rows[column], rows[address], self._addresses)

    async def _put(
        self,
        connections: list[ConnectionBatch],
        requests: list[RequestBatch],
        out: Callable[[FlowBatch], None],
    ) -> None:
        *first, last = group_batches(connections)
        for records in first:
            self._step(records, empty_requests(), time.time_ns(), out, poll=False)
            await asyncio.sleep(0)  # so that exporters drain their queues between steps
        self._step(last, concat_rows([empty_requests(), *requests]), time.time_ns(), out)

    def _step(
        self,
        records: ConnectionBatch,
        entries: RequestBatch,
        now_ns: int,
        out: Callable[[FlowBatch], None],
        *,
        poll: bool = True,
    ) -> None:
        try:
            batch = self.step(records, entries, now_ns, poll=poll)
        except Exception:
            rows = len(records) + len(entries) + self._polled_rows
            log.exception("batches left out", extra={"stage": "join", "rows": rows})
            self._losses.add(Place.STAGE, "join", rows)
            return
        if len(batch):
            out(batch)


class _QueueReader(Generic[T]):
    """A pending read of a queue, for a loop that waits on several queues at once."""

    def __init__(self, queue: Queue[T]) -> None:
        self._queue = queue
        self.ended = False
        self.task = asyncio.create_task(queue.get())

    def take(self) -> list[T]:
        """All batches in the queue; sets `ended` once the queue is closed and empty."""
        if self.ended or not self.task.done():
            return []
        try:
            batches = [self.task.result(), *self._queue.take()]
        except Closed:
            self.ended = True
            return []
        self.task = asyncio.create_task(self._queue.get())
        return batches


def group_batches(batches: list[ConnectionBatch]) -> list[ConnectionBatch]:
    """Concatenate consecutive batches up to STEP_ROWS rows; at least one, possibly empty."""
    groups: list[list[ConnectionBatch]] = [[empty_connections()]]
    rows = 0
    for batch in batches:
        rows += len(batch)
        if rows > STEP_ROWS and len(batch) < rows:
            groups.append([])
            rows = len(batch)
        groups[-1].append(batch)
    return [concat_rows(group) for group in groups]


def _pair(rows: RequestBatch, side: _RequestConnection, wanted: Slots) -> tuple[U64, U64]:
    """Packed endpoint tuples of one connection of the wanted rows: near and far, (K, 3) each."""
    protocol = np.full(len(wanted), Protocol.TCP, np.uint8)
    if side is DOWN:
        protocol[rows["http_version"][wanted] == HttpVersion.HTTP3] = Protocol.UDP
    near, far = (
        pack_endpoints(rows[f"{end}_addr"][wanted], rows[f"{end}_port"][wanted], protocol)
        for end in (side.near, side.far)
    )
    return near, far
