"""TopExporter against a reference that counts row by row."""

import asyncio
import math
from collections import Counter, defaultdict
from typing import Any

import numpy as np
import pytest

from flowd.model.enums import RESPONSE_FLAGS, EntryKind, Reason
from flowd.model.losses import Losses, Place
from flowd.model.records.batch import FlowBatch
from flowd.model.records.connection import empty_connections
from flowd.model.records.flow import empty_flows
from flowd.model.records.request import empty_requests
from flowd.model.route import RouteRef
from flowd.runtime.queue import Queue
from flowd.wire.flowd import agent_pb2
from flowd_exporters.agent_api import traffic
from flowd_exporters.agent_api.traffic import TopExporter
from tests.support.exporter_batches import NOW, SECOND, cluster, random_batch, web_requests

PARTS = ["client_network_us", "gateway_us", "pod_network_us", "pod_us"]
NAMES = ["none", "name", "metadata", "resolver", "cluster", "listener"]


class Clock:
    """A clock that the test advances."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> int:
        return self.now


def exporter(clock: Clock | None = None, **options: Any) -> TopExporter:
    return TopExporter(cluster(), Losses(), clock=clock or Clock(), **options)


def slow_bucket(nanoseconds: int) -> int:
    """Index of a latency bucket by the definition in agent.proto."""
    micros, bucket = nanoseconds / 1000, 0
    while micros >= 2 ** (bucket / 4):
        bucket += 1
    return bucket


def slow_count(batches: list[FlowBatch]) -> dict[tuple[int, int, int], dict[str, Any]]:
    cells: dict[tuple[int, int, int], dict[str, Any]] = defaultdict(
        lambda: {
            "n": 0,
            "retries": 0,
            "status": Counter(),
            "flags": Counter(),
            "us": Counter(),
            "split": Counter(),
        }
    )
    routes = cluster().routes
    for batch in batches:
        for row in batch.requests:
            kind = routes[int(row["route"])].kind
            counts = row["kind"] == EntryKind.HTTP or kind in ("TLSRoute", "TCPRoute")
            if not counts or row["log_type"] not in (0, 3, 6, 13):
                continue
            cell = cells[int(row["route"]), int(row["backend"]), int(row["attribution"])]
            cell["n"] += 1
            cell["retries"] += max(int(row["attempts"]) - 1, 0)
            cell["status"][int(row["status"])] += 1
            parts = {name: int(row[name]) for name in PARTS}
            if row["kind"] == EntryKind.HTTP and any(parts.values()):
                cell["split"].update(parts | {"requests": 1})
            cell["us"][slow_bucket(int(row["duration_ns"]))] += 1
            cell["flags"].update(
                name for bit, name in enumerate(RESPONSE_FLAGS) if int(row["flags"]) >> bit & 1
            )
    return cells


def test_requests_are_summed_by_route_backend_and_attribution() -> None:
    rng = np.random.default_rng(11)
    top, directory = exporter(), cluster()
    batches = [random_batch(rng, directory, rows) for rows in (1, 300, 77)]
    for batch in batches:
        for name in PARTS:
            batch.requests[name] = rng.choice([0, 0, 0, 1, 2**32 - 1], len(batch.requests))
        top.observe(batch)
    snapshot = top.close_interval()

    expected = slow_count(batches)
    assert len(snapshot.routes) == len(expected) > 10
    for (route, backend, attribution), cell in expected.items():
        r, b = directory.routes[route], directory.backends[backend]
        mine = [
            row
            for row in snapshot.routes
            if (row.kind, row.namespace, row.name, row.rule, row.match, row.reason)
            == (r.kind, r.namespace, r.name, r.rule, r.match, r.reason)
            and (row.backend_namespace, row.backend, row.backend_port)
            == (b.namespace, b.name, b.port)
            and row.attribution
            == (NAMES[attribution] if attribution < len(NAMES) else str(attribution))
        ]
        assert len(mine) == 1
        row = mine[0]
        assert (row.gateway_namespace, row.gateway, row.listener) == (
            r.gateway_namespace,
            r.gateway,
            r.listener,
        )
        assert row.requests == cell["n"]
        assert row.retries == cell["retries"]
        assert dict(row.status) == cell["status"]
        assert dict(row.response_flags) == cell["flags"]
        assert dict(row.latency) == cell["us"]
        assert row.HasField("split") == bool(cell["split"])
        sums = {name: getattr(row.split, name) for name in ("requests", *PARTS)}
        assert sums == {name: cell["split"][name] for name in sums}
    found = [row.HasField("split") for row in snapshot.routes]
    assert any(found)
    assert not all(found)


def test_a_connection_of_a_tls_route_tells_no_split() -> None:
    directory = cluster()
    top = TopExporter(directory, Losses(), clock=Clock())
    directory.routes.index(RouteRef("infra", "edge", "tls", "TLSRoute", "shop", "db", 0))
    batch = web_requests(3)
    batch.requests["route"] = len(directory.routes) - 1
    batch.requests["gateway_us"] = 7
    batch.requests["kind"] = [EntryKind.TCP, EntryKind.TCP, EntryKind.HTTP]
    top.observe(batch)
    row = top.close_interval().routes[0]
    assert (row.requests, row.split.requests, row.split.gateway_us) == (3, 1, 7)


def test_connections_are_summed() -> None:
    top = exporter()
    batch = random_batch(np.random.default_rng(3), cluster(), 200)
    top.observe(batch)
    snapshot = top.close_interval()
    rows = batch.connections
    assert snapshot.flows == len(batch.flows) == top.seen_flows
    assert snapshot.bytes == sum(int(r["bytes_fwd"]) + int(r["bytes_rev"]) for r in rows)
    assert snapshot.packets == sum(int(r["packets_fwd"]) + int(r["packets_rev"]) for r in rows)
    assert snapshot.new_connections == sum(int(r["reason"]) == Reason.NEW for r in rows)


@pytest.mark.parametrize(
    ("nanoseconds", "bucket"),
    [
        (0, 0),
        (999, 0),
        (1000, 1),
        (2000, 5),
        (1_000_000, 40),
        (2**64 - 1, traffic.LATENCY_BUCKETS - 1),
    ],
)
def test_latency_buckets(nanoseconds: int, bucket: int) -> None:
    top = exporter()
    requests = empty_requests(1)
    requests["kind"], requests["duration_ns"] = EntryKind.HTTP, nanoseconds
    top.observe(FlowBatch(empty_connections(), requests, empty_flows(1)))
    assert dict(top.close_interval().routes[0].latency) == {bucket: 1}
    if 1000 <= nanoseconds < 2**60:
        low, high = 2 ** ((bucket - 1) / 4), 2 ** (bucket / 4)
        assert low <= nanoseconds / 1000 < high or math.isclose(low, nanoseconds / 1000)


def test_only_ended_http_requests_are_requests() -> None:
    top = exporter()
    requests = empty_requests(4)
    requests["kind"] = [EntryKind.TCP, EntryKind.HTTP, EntryKind.HTTP, EntryKind.HTTP]
    requests["log_type"] = [0, 4, 5, 9]  # start, periodic, upstream attempt
    top.observe(FlowBatch(empty_connections(), requests, empty_flows(4)))
    assert not top.close_interval().routes


def test_a_snapshot_covers_its_interval_and_begins_anew() -> None:
    clock = Clock()
    top = exporter(clock)
    top.observe(random_batch(np.random.default_rng(5), cluster(), 20))
    clock.now += 3 * SECOND
    first = top.close_interval()
    clock.now += SECOND
    second = top.close_interval()
    assert (first.interval_ns, second.interval_ns) == (3 * SECOND, SECOND)
    assert second.time.ToNanoseconds() == NOW + 4 * SECOND
    assert first.routes
    assert not second.routes
    assert second.flows == 0
    assert first.resident_bytes > 1 << 20


async def test_watch_gives_the_past_first_then_what_comes() -> None:
    clock = Clock()
    top = exporter(clock)
    for _ in range(3):
        clock.now += SECOND
        top.close_interval()
    stream = top.watch()
    past = [await anext(stream) for _ in range(3)]
    assert [s.time.ToNanoseconds() - NOW for s in past] == [SECOND, 2 * SECOND, 3 * SECOND]
    assert all(s.history for s in past)
    clock.now += SECOND
    top.close_interval()
    now = await anext(stream)
    assert not now.history
    assert now.time.ToNanoseconds() == clock.now


async def test_history_is_bounded_in_seconds_and_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    top = exporter(clock)

    async def remembered() -> list[agent_pb2.Snapshot]:
        stream = top.watch()
        found: list[agent_pb2.Snapshot] = []
        while True:
            try:
                found.append(await asyncio.wait_for(anext(stream), 0.05))
            except TimeoutError:
                return found

    for _ in range(traffic.HISTORY_SECONDS + 50):
        clock.now += SECOND
        top.close_interval()
    kept = await remembered()
    assert len(kept) == traffic.HISTORY_SECONDS
    assert kept[-1].time.ToNanoseconds() == clock.now

    monkeypatch.setattr(traffic, "HISTORY_BYTES", sum(s.ByteSize() for s in kept[-10:]))
    top.close_interval()
    assert 5 <= len(await remembered()) <= 10


async def test_a_reader_that_sleeps_loses_the_oldest_and_that_is_counted() -> None:
    clock, losses = Clock(), Losses()
    top = TopExporter(cluster(), losses, clock=clock)
    clock.now += SECOND
    top.close_interval()
    stream = top.watch()
    await anext(stream)
    for _ in range(traffic.BACKLOG + 5):
        clock.now += SECOND
        top.close_interval()
    assert losses.snapshot()[Place.QUEUE, "watch"] == 5
    assert (await anext(stream)).time.ToNanoseconds() == NOW + 7 * SECOND


async def test_run_ends_with_its_queue_and_ends_its_streams() -> None:
    losses = Losses()
    top = TopExporter(cluster(), losses, interval=0.01)
    queue = Queue[FlowBatch]("top", 1000, losses)
    seen: list[agent_pb2.Snapshot] = []
    counted = asyncio.Event()

    async def watch() -> None:
        async for snapshot in top.watch():
            seen.append(snapshot)
            if snapshot.flows:
                counted.set()

    running, watching = asyncio.create_task(top.run(queue)), asyncio.create_task(watch())
    queue.put(random_batch(np.random.default_rng(1), cluster(), 30))
    await counted.wait()
    queue.put(random_batch(np.random.default_rng(2), cluster(), 12))
    queue.close()
    await running
    await watching
    assert sum(snapshot.flows for snapshot in seen) == top.seen_flows
