"""TopExporter: traffic by route and backend in snapshots of one second, for `flowd top`."""

import asyncio
import os
import time
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from flowd.model.directory import Directory
from flowd.model.enums import RESPONSE_FLAGS, EntryKind, Reason
from flowd.model.losses import Losses
from flowd.model.records.batch import FlowBatch
from flowd.model.records.connection import ConnectionBatch
from flowd.model.records.request import RequestBatch
from flowd.runtime.queue import Closed, Queue
from flowd.wire.flowd import agent_pb2
from flowd_exporters.base import consume, final_entries
from flowd_exporters.label_values import ATTRIBUTIONS, LATENCY_PARTS

HISTORY_SECONDS = 15 * 60
HISTORY_BYTES = 16 << 20
BACKLOG = 60  # snapshots in the queue of a slow subscriber
LATENCY_BUCKETS = 129
BUCKET_BOUNDS_US = 2.0 ** (np.arange(LATENCY_BUCKETS - 1) / 4)
SPLIT = tuple(f"{part}_us" for part in LATENCY_PARTS)
CONNECTION_ROUTES = frozenset({"TLSRoute", "TCPRoute", "UDPRoute"})


@dataclass(slots=True)
class _RouteCounters:
    """Counters of one route, backend and attribution in the current interval.

    Attributes:
        number: row of the interval's latency splits.
        status, flags: requests by status code and by response flag.
        latency: requests by latency bucket.
    """

    number: int
    requests: int = 0
    retries: int = 0
    status: Counter[int] = field(default_factory=Counter[int])
    flags: Counter[str] = field(default_factory=Counter[str])
    latency: Counter[int] = field(default_factory=Counter[int])


class TopExporter:
    """Aggregates batches into a `flowd.v1.Snapshot` a second, and keeps those of the last 15 min.

    Args:
        interval: seconds.
        clock: Unix time in nanoseconds.

    Attributes:
        seen_flows: flows since the start.
    """

    name = "top"

    def __init__(
        self,
        directory: Directory,
        losses: Losses,
        *,
        interval: float = 1.0,
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        self.seen_flows = 0
        self._directory = directory
        self._losses = losses
        self._interval = interval
        self._clock = clock
        self._history: deque[bytes] = deque()
        self._history_bytes = 0
        self._subscribers: set[Queue[_SnapshotBatch]] = set()
        self._began = clock()
        self._cpu = time.process_time()
        self._reset()

    @property
    def watchers(self) -> int:
        """Number of open Watch streams."""
        return len(self._subscribers)

    def _reset(self) -> None:
        self._cells: dict[int, _RouteCounters] = {}
        self._splits = np.zeros((0, 1 + len(SPLIT)))
        self._flows = self._bytes = self._packets = self._new = 0

    async def run(self, batches: Queue[FlowBatch]) -> None:
        """Aggregate until the queue is closed and empty; then end every subscriber's stream."""
        async with asyncio.TaskGroup() as tasks:
            ticker = tasks.create_task(self._tick())
            await consume(self.name, batches, self.observe, self._losses)
            ticker.cancel()
        self.close_interval()
        for subscriber in self._subscribers:
            subscriber.close()

    async def _tick(self) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            due = max(due + self._interval, loop.time())
            await asyncio.sleep(due - loop.time())
            self.close_interval()

    def observe(self, batch: FlowBatch) -> None:
        """Count a batch in the current interval."""
        self._flows += len(batch.flows)
        self.seen_flows += len(batch.flows)
        self._add_connections(batch.connections)
        if len(batch.requests):
            self._add_requests(final_entries(batch.requests, EntryKind.HTTP))
            self._add_requests(self._routed(final_entries(batch.requests, EntryKind.TCP)))

    def _routed(self, rows: RequestBatch) -> RequestBatch:
        """TCP entries that belong to a TLS, TCP or UDP route.

        A proxy may log an HTTP connection in addition to its requests; that entry has no route of
        its own.
        """
        routes = self._directory.routes
        indexes = np.unique(rows["route"])
        routed = [index for index in indexes if routes[int(index)].kind in CONNECTION_ROUTES]
        return rows[np.isin(rows["route"], routed)]

    def _add_connections(self, rows: ConnectionBatch) -> None:
        self._bytes += int(rows["bytes_fwd"].sum() + rows["bytes_rev"].sum())
        self._packets += int(rows["packets_fwd"].sum() + rows["packets_rev"].sum())
        self._new += int(np.count_nonzero(rows["reason"] == Reason.NEW))

    def _add_requests(self, rows: RequestBatch) -> None:
        if not len(rows):
            return
        # Registries are dense, so 28 bits hold more routes and backends than memory could.
        keys = rows["route"].astype(np.uint64) << np.uint64(36)
        keys |= rows["backend"].astype(np.uint64) << np.uint64(8)
        keys |= rows["attribution"].astype(np.uint64)
        groups, group = np.unique(keys, return_inverse=True)
        cells = [self._cell(key) for key in groups.tolist()]

        attempts = rows["attempts"].astype(np.int64)
        retries = np.bincount(group, np.maximum(attempts - 1, 0))
        for cell, requests, retried in zip(cells, np.bincount(group), retries, strict=True):
            cell.requests += int(requests)
            cell.retries += int(retried)
        for index, status, count in _pairs(group, rows["status"]):
            cells[index].status[status] += count
        buckets = np.searchsorted(BUCKET_BOUNDS_US, rows["duration_ns"] / 1000, side="right")
        for index, bucket, count in _pairs(group, buckets):
            cells[index].latency[bucket] += count
        self._add_splits(rows, group, cells)
        seen = int(np.bitwise_or.reduce(rows["flags"]))
        for bit, flag in enumerate(RESPONSE_FLAGS):
            if seen >> bit & 1:
                chosen = group[(rows["flags"] >> np.uint64(bit)) & np.uint64(1) == 1]
                for index in np.flatnonzero(counts := np.bincount(chosen)):
                    cells[index].flags[flag] += int(counts[index])

    def _cell(self, key: int) -> _RouteCounters:
        cell = self._cells.get(key)
        if cell is None:
            cell = self._cells[key] = _RouteCounters(len(self._cells))
        return cell

    def _add_splits(
        self, rows: RequestBatch, group: NDArray[np.intp], cells: list[_RouteCounters]
    ) -> None:
        """Count the HTTP requests with a latency split, and sum its parts (exact below 2^53)."""
        parts = np.stack([rows[name] for name in SPLIT])
        known = np.flatnonzero(parts.any(0) & (rows["kind"] == EntryKind.HTTP))
        if not len(known):
            return
        if len(self._splits) < len(self._cells):
            larger = np.zeros((2 * len(self._cells), 1 + len(SPLIT)))
            larger[: len(self._splits)] = self._splits
            self._splits = larger
        group = group[known]
        sums = [np.bincount(group, part, len(cells)) for part in parts[:, known]]
        requests = np.bincount(group, minlength=len(cells))
        self._splits[[cell.number for cell in cells]] += np.stack([requests, *sums], 1)

    def close_interval(self) -> agent_pb2.Snapshot:
        """End the current interval: keep its snapshot, send it to every subscriber and return it."""
        now, cpu = self._clock(), time.process_time()
        length = max(now - self._began, 1)
        snapshot = agent_pb2.Snapshot(
            interval_ns=length,
            flows=self._flows,
            bytes=self._bytes,
            packets=self._packets,
            new_connections=self._new,
            routes=[self._traffic(key, cell) for key, cell in self._cells.items()],
            losses=wire_losses(self._losses),
            resident_bytes=resident_bytes(),
            cpu_share=(cpu - self._cpu) * 1e9 / length,
        )
        snapshot.time.FromNanoseconds(now)
        self._began, self._cpu = now, cpu
        self._reset()
        self._keep(snapshot.SerializeToString())
        for subscriber in self._subscribers:
            subscriber.put(_SnapshotBatch(snapshot))
        return snapshot

    def _keep(self, snapshot: bytes) -> None:
        self._history.append(snapshot)
        self._history_bytes += len(snapshot)
        most = HISTORY_SECONDS / self._interval
        while len(self._history) > most or self._history_bytes > HISTORY_BYTES:
            self._history_bytes -= len(self._history.popleft())

    def _traffic(self, key: int, cell: _RouteCounters) -> agent_pb2.RouteTraffic:
        route = self._directory.routes[key >> 36]
        backend = self._directory.backends[key >> 8 & (1 << 28) - 1]
        return agent_pb2.RouteTraffic(
            gateway_namespace=route.gateway_namespace,
            gateway=route.gateway,
            listener=route.listener,
            kind=route.kind,
            namespace=route.namespace,
            name=route.name,
            rule=route.rule,
            match=route.match,
            reason=route.reason,
            backend_namespace=backend.namespace,
            backend=backend.name,
            backend_port=backend.port,
            requests=cell.requests,
            status=cell.status,
            response_flags=cell.flags,
            retries=cell.retries,
            latency=cell.latency,
            attribution=ATTRIBUTIONS.get(key & 0xFF, str(key & 0xFF)),
            split=self._split(cell.number),
        )

    def _split(self, number: int) -> agent_pb2.LatencySplit | None:
        if number >= len(self._splits) or not self._splits[number, 0]:
            return None
        sums: list[int] = self._splits[number].astype(np.uint64).tolist()
        return agent_pb2.LatencySplit(requests=sums[0], **dict(zip(SPLIT, sums[1:], strict=True)))

    async def watch(self) -> AsyncIterator[agent_pb2.Snapshot]:
        """The kept snapshots, oldest first with `history` set, then every new snapshot.

        A subscriber that is more than 60 snapshots behind loses the oldest, counted as queue/watch.
        """
        subscriber = Queue[_SnapshotBatch]("watch", BACKLOG, self._losses)
        history = list(self._history)
        self._subscribers.add(subscriber)
        try:
            for past in history:
                snapshot = agent_pb2.Snapshot.FromString(past)
                snapshot.history = True
                yield snapshot
            with suppress(Closed):
                while True:
                    yield (await subscriber.get()).snapshot
        finally:
            self._subscribers.discard(subscriber)


@dataclass(frozen=True, slots=True)
class _SnapshotBatch:
    """One snapshot, of length 1 as a Queue needs it."""

    snapshot: agent_pb2.Snapshot

    def __len__(self) -> int:
        return 1


def _pairs(group: NDArray[np.intp], value: NDArray[np.integer]) -> list[tuple[int, int, int]]:
    """(group, value, count) of every distinct pair of two columns; values are below 65536."""
    pairs, counts = np.unique((group << 16) | value, return_counts=True)
    return list(
        zip((pairs >> 16).tolist(), (pairs & 0xFFFF).tolist(), counts.tolist(), strict=True)
    )


def wire_losses(losses: Losses) -> list[agent_pb2.Loss]:
    """Every loss counter, sorted by place and reason."""
    counts = sorted(losses.snapshot().items())
    return [agent_pb2.Loss(place=p, reason=reason, count=n) for (p, reason), n in counts]


def resident_bytes() -> int:
    """Resident memory of this process (proc(5), statm); 0 where /proc is missing."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except (OSError, IndexError, ValueError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")
