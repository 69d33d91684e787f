"""Requests meet the connections that carried them, and connections the routes that used them."""

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
from flowd.model.records.rows import copied, joined
from flowd.model.records.socket import SocketBatch, empty_sockets
from flowd.pipeline.dns_names import DnsNames
from flowd.pipeline.endpoint_tuples import Pairs, pair_hash, sockets
from flowd.pipeline.flows import FlowBuilder
from flowd.pipeline.identify import (
    Addresses,
    identify_dns,
    identify_drops,
    identify_sockets,
    resolve_missing,
    tell_named,
)
from flowd.pipeline.join.connection_table import ConnectionTable
from flowd.pipeline.join.end_delay import Ending
from flowd.pipeline.join.measure import measure_connections, measure_drops, measure_requests
from flowd.pipeline.join.socket_reports import SocketMeeting
from flowd.pipeline.sorted_index import U64, Slots
from flowd.runtime.queue import Closed, Queue

log = logging.getLogger(__name__)
T = TypeVar("T", bound=NDArray[Any])

WAIT_NS = 1_500_000_000
WAITING_ROWS = 65_536
WAIT_TURNS = 3  # time alone can pass while a busy machine lets nobody read records
GATHER_SECONDS = 0.2  # a step has a fixed price, here and in every exporter
TICK_SECONDS = 0.1
STEP_ROWS = 8192  # records; more at a time would cost more each, and much memory
ASK_SECONDS = 1.0  # for drops, sockets and DNS, when nothing else comes


@dataclass(slots=True)
class _Waiting:
    """Requests that miss a connection, and the pair hashes, shape (N, 2), that they wait for."""

    until_ns: int
    rows: RequestBatch
    hashes: U64
    turns: int = 0  # since they wait


@dataclass(frozen=True, slots=True)
class _Side:
    """One of a request's two sockets: its columns, seen from the side that began it."""

    near: str
    far: str
    conn: str
    near_endpoint: str
    far_endpoint: str
    share: ShareSide

    def told(self, rows: RequestBatch) -> NDArray[np.bool_]:
        """Which rows name both ends of this socket."""
        near, far = rows[f"{self.near}_port"] != 0, rows[f"{self.far}_port"] != 0
        return near & far & rows[f"{self.near}_addr"].any(1) & rows[f"{self.far}_addr"].any(1)


DOWN = _Side(
    *("client", "local", "down_conn", "client_endpoint", "gateway_endpoint"), ShareSide.DOWNSTREAM
)
UP = _Side(
    *("up_local", "up_remote", "up_conn", "gateway_endpoint", "backend_endpoint"),
    ShareSide.UPSTREAM,
)


_Rows: TypeAlias = ConnectionBatch | RequestBatch | DropBatch | SocketBatch
_ENDS = {"src_endpoint": "src_addr", "dst_endpoint": "dst_addr"}
_SOCKET_ENDS = {"local_endpoint": "local_addr", "remote_endpoint": "remote_addr"}
_REQUEST_ENDS = {"client_endpoint": "client_addr", "backend_endpoint": "up_remote_addr"}
"""Columns of endpoints, each with that of its address."""


class Join:
    """The stage where access-log entries and connection records come together.

    An entry comes up to a second after its request, and a connection's first record may come
    later still, so a request whose connections are not there yet waits for them, `wait_ns` at
    most and `waiting_rows` requests at most; then it goes on without. The last record of a
    gateway's connection waits for the requests that came over it. Every request and every record
    leaves exactly once.

    Args:
        table: the connections, shared with whoever shows their number.
        drops, sockets, dns: give what there was since they were last called; asked every turn,
            and once a second.
        names: learns from the DNS messages, and names outside peers.

    Attributes:
        wait_ns: 0 where no connection will ever come.
    """

    def __init__(
        self,
        addresses: Addresses,
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
        self._meeting = SocketMeeting(self.table)
        self._ending = Ending()
        self.wait_ns = wait_ns
        self._waiting_rows = waiting_rows
        self._wait_turns = 1
        self._drops, self._sockets, self._dns = drops, sockets, dns
        self._asked = 0
        self._waiting: deque[_Waiting] = deque()

    @property
    def waiting(self) -> int:
        """Requests that wait for a connection."""
        return sum(len(held.rows) for held in self._waiting)

    async def run(
        self,
        connections: Queue[ConnectionBatch],
        requests: Queue[RequestBatch],
        out: Callable[[FlowBatch], None],
    ) -> None:
        """Join until both queues have ended; what still waits then goes on as it is."""
        records, entries = _Intake(connections), _Intake(requests)
        self._wait_turns = WAIT_TURNS
        try:
            while tasks := [intake.task for intake in (records, entries) if not intake.ended]:
                idle = ASK_SECONDS if self._drops or self._sockets or self._dns else None
                tick = TICK_SECONDS if self._waiting or self._ending.waiting else idle
                await asyncio.wait(tasks, timeout=tick, return_when=asyncio.FIRST_COMPLETED)
                await self._put(records.take(), entries.take(), out)
                await asyncio.sleep(GATHER_SECONDS)
            self._wait_turns = 1
            longest = max(self.wait_ns, self._ending.hold_ns)
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
        ask: bool = True,
    ) -> FlowBatch:
        """One turn: what is complete, or has waited long enough, by `now_ns` (Unix time).

        Args:
            connections: identified records, in order of time.
            requests: attributed entries, which are filled in where they stand.
            ask: for drops, sockets and DNS too.
        """
        drops, reports, dns = self._ask() if ask else (empty_drops(), empty_sockets(), empty_dns())
        if self._names is not None:
            self._names.learn(dns, now_ns)
        records, entries = copied(connections), requests
        self._tell_named(records, _ENDS)
        fresh = self.table.update(records)
        self._meeting.step(reports, fresh, now_ns)
        ready = self._wake(fresh, now_ns)
        complete = self._look_up(entries)
        if complete.all():
            ready.append(entries)
        else:
            ready.append(entries[complete])
            self._hold(entries[~complete], now_ns)
            ready += self._overflow()
        found = joined(ready)
        self._fill_endpoints(found)
        self._tell_named(found, _REQUEST_ENDS)
        owners = measure_requests(found, self.table)
        records = self._ending.step(records, self._addresses.is_gateway, now_ns)
        shares = measure_connections(records, self.table)
        self.table.expire(now_ns)
        flows = self._flows.build(
            records, found, now_ns, drops, dns, owners, measure_drops(drops, self.table)
        )
        return FlowBatch(records, found, flows, drops, reports, dns, shares)

    def _ask(self) -> tuple[DropBatch, SocketBatch, DnsBatch]:
        """What others have for this turn, with endpoints."""
        drops = self._drops() if self._drops else empty_drops()
        reports = self._sockets() if self._sockets else empty_sockets()
        dns = self._dns() if self._dns else empty_dns()
        self._asked = len(drops) + len(reports) + len(dns)
        drops = identify_drops(drops, self._addresses) if len(drops) else drops
        reports = identify_sockets(reports, self._addresses) if len(reports) else reports
        self._tell_named(drops, _ENDS)
        self._tell_named(reports, _SOCKET_ENDS)
        return drops, reports, identify_dns(dns, self._addresses) if len(dns) else dns

    def _tell_named(self, rows: _Rows, columns: Mapping[str, str]) -> None:
        if self._names is not None:
            tell_named(rows, columns, self._addresses, self._names)

    def _wake(self, fresh: U64, now_ns: int) -> list[RequestBatch]:
        """Requests that wait no longer: their connection is new, or their time is over."""
        ready: list[RequestBatch] = []
        for held in self._waiting:
            complete = np.zeros(len(held.rows), np.bool_)
            woken = np.flatnonzero(np.isin(held.hashes, fresh).any(axis=1))
            if len(woken):
                rows = held.rows[woken]
                complete[woken] = self._look_up(rows)
                held.rows[woken] = rows
            held.turns += 1
            if held.until_ns <= now_ns and held.turns >= self._wait_turns:
                complete[:] = True
            if complete.any():
                ready.append(held.rows[complete])
                held.rows, held.hashes = held.rows[~complete], held.hashes[~complete]
        self._waiting = deque(held for held in self._waiting if len(held.rows))
        return ready

    def _hold(self, rows: RequestBatch, now_ns: int) -> None:
        every = np.arange(len(rows))
        pairs = [_pair(rows, side, every) for side in (DOWN, UP)]
        hashes = np.stack([pair_hash(near, far) for near, far in pairs], axis=1)
        self._waiting.append(_Waiting(now_ns + self.wait_ns, rows, hashes))

    def _overflow(self) -> list[RequestBatch]:
        released: list[RequestBatch] = []
        while self.waiting > self._waiting_rows:
            released.append(self._waiting.popleft().rows)
        return released

    def _look_up(self, rows: RequestBatch) -> NDArray[np.bool_]:
        """Fill in the connections that are known; tells which rows miss none."""
        complete = np.ones(len(rows), np.bool_)
        if not len(rows):
            return complete
        for side in (DOWN, UP):
            wanted = np.flatnonzero(side.told(rows) & (rows[side.conn] == 0))
            if not len(wanted):
                continue
            start = rows["time_ns"][wanted].astype(np.int64)
            end = start + rows["duration_ns"][wanted].astype(np.int64)
            pair = _pair(rows, side, wanted)
            found = self.table.find(Pairs(*pair, start, end))
            met = found.slot >= 0
            if side is DOWN:
                self.table.told(found.slot[met], pair[0][met])
            rows[side.conn][wanted] = found.conn_id
            for column, endpoints in (
                (side.near_endpoint, found.near_endpoint),
                (side.far_endpoint, found.far_endpoint),
            ):
                known = endpoints != 0
                rows[column][wanted[known]] = endpoints[known]
            route = rows["route"][wanted]
            routed = met & (route != 0)
            if routed.any():
                self.table.mark(found.slot[routed], route[routed], side.share)
            complete[wanted] &= met
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
        *first, last = stretches(connections)
        for records in first:
            self._step(records, empty_requests(), time.time_ns(), out, ask=False)
            await asyncio.sleep(0)  # or the queues of the exporters would take it all
        self._step(last, joined([empty_requests(), *requests]), time.time_ns(), out)

    def _step(
        self,
        records: ConnectionBatch,
        entries: RequestBatch,
        now_ns: int,
        out: Callable[[FlowBatch], None],
        *,
        ask: bool = True,
    ) -> None:
        try:
            batch = self.step(records, entries, now_ns, ask=ask)
        except Exception:
            rows = len(records) + len(entries) + self._asked
            log.exception("batches left out", extra={"stage": "join", "rows": rows})
            self._losses.add(Place.STAGE, "join", rows)
            return
        if len(batch):
            out(batch)


class _Intake(Generic[T]):
    """A queue's batches as they come, for a loop that waits for several queues."""

    def __init__(self, queue: Queue[T]) -> None:
        self._queue = queue
        self.ended = False
        self.task = asyncio.create_task(queue.get())

    def take(self) -> list[T]:
        """All batches that are there; sets `ended` when no more will come."""
        if self.ended or not self.task.done():
            return []
        try:
            batches = [self.task.result(), *self._queue.take()]
        except Closed:
            self.ended = True
            return []
        self.task = asyncio.create_task(self._queue.get())
        return batches


def stretches(batches: list[ConnectionBatch]) -> list[ConnectionBatch]:
    """Batches in order, small ones together as far as STEP_ROWS; one at least, which may be empty."""
    groups: list[list[ConnectionBatch]] = [[empty_connections()]]
    held = 0
    for batch in batches:
        held += len(batch)
        if held > STEP_ROWS and len(batch) < held:
            groups.append([])
            held = len(batch)
        groups[-1].append(batch)
    return [joined(group) for group in groups]


def _pair(rows: RequestBatch, side: _Side, wanted: Slots) -> tuple[U64, U64]:
    """Both ends of that socket of the wanted rows."""
    protocol = np.full(len(wanted), Protocol.TCP, np.uint8)
    if side is DOWN:
        protocol[rows["http_version"][wanted] == HttpVersion.HTTP3] = Protocol.UDP
    near, far = (
        sockets(rows[f"{end}_addr"][wanted], rows[f"{end}_port"][wanted], protocol)
        for end in (side.near, side.far)
    )
    return near, far
