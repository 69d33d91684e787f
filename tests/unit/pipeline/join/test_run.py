"""The join as a running stage: each row leaves exactly once, for every order of arrival."""

import asyncio

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowd.model.losses import Losses, Place
from flowd.model.records.batch import FlowBatch
from flowd.model.records.connection import ConnectionBatch, empty_connections
from flowd.model.records.request import RequestBatch, empty_requests
from flowd.pipeline.join.connection_table import ConnectionTable
from flowd.pipeline.join.join import STEP_ROWS, Join, group_batches
from flowd.runtime.queue import Queue
from tests.support.join_rows import SECOND, T0, KnownAddresses, connection, request

GATEWAY = "10.0.1.1:10080"


def client(port: int) -> str:
    return f"10.0.0.9:{port}"


steps = st.lists(
    st.tuples(
        st.lists(st.integers(1, 6), max_size=4),  # connections, by the client's port
        st.lists(st.integers(1, 6), max_size=4),  # requests, by the client's port
        st.integers(0, 1000),  # milliseconds until the next step
    ),
    max_size=8,
)


@given(steps, st.integers(1, 8))
@settings(deadline=None)
def test_every_row_leaves_exactly_once(
    made: list[tuple[list[int], list[int], int]], room: int
) -> None:
    join = Join(KnownAddresses(), Losses(), waiting_rows=room)
    now, seen = 1.0, list[FlowBatch]()
    sent, known, due = list[str](), set[int](), dict[str, tuple[float, int]]()
    for ports, asked, pause in made:
        now += pause / 1000
        records = [connection(port, client(port), GATEWAY) for port in ports]
        ids = [str(len(sent) + n) for n in range(len(asked))]
        entries = [
            request(client(port), GATEWAY, at=1, request_id=name)
            for port, name in zip(asked, ids, strict=True)
        ]
        sent += ids
        known |= set(ports)
        due |= {name: (now + 1.5, port) for name, port in zip(ids, asked, strict=True)}
        batch = join.step(
            np.concatenate([empty_connections(), *records]),
            np.concatenate([empty_requests(), *entries]),
            T0 + round(now * SECOND),
        )
        seen.append(batch)
        assert len(batch.connections) == len(ports)
        assert join.waiting <= room
        out = set(np.concatenate([each.requests for each in seen])["request_id"])
        late = {name for name, (until, port) in due.items() if port in known or until < now - 1e-6}
        assert late <= out
        for row in batch.requests:
            assert int(row["down_conn"]) in (0, int(row["client_port"]))
    seen.append(join.step(empty_connections(), empty_requests(), T0 + round((now + 2) * SECOND)))
    left = np.concatenate([each.requests for each in seen])["request_id"].tolist()
    assert sorted(left, key=int) == sent
    flows = np.concatenate([each.flows for each in seen])
    assert flows["seq"].tolist() == list(range(1, len(flows) + 1))
    assert (np.diff(flows["time_ns"].astype(np.int64)) > 0).all()


def queues() -> tuple[Queue[ConnectionBatch], Queue[RequestBatch]]:
    losses = Losses()
    return Queue("connections", 1000, losses), Queue("requests", 1000, losses)


async def test_ends_with_its_queues_and_lets_go_of_what_waits() -> None:
    connections, requests = queues()
    seen: list[FlowBatch] = []
    running = asyncio.create_task(
        Join(KnownAddresses(), Losses()).run(connections, requests, seen.append)
    )
    connections.put(connection(1, client(1), GATEWAY))
    requests.put(request(client(1), GATEWAY))
    requests.put(request(client(2), GATEWAY))
    connections.close()
    requests.close()
    await running
    found = np.concatenate([batch.requests for batch in seen])
    assert sorted(found[["client_port", "down_conn"]].tolist()) == [(1, 1), (2, 0)]
    assert sum(len(batch.connections) for batch in seen) == 1


async def test_waiting_request_leaves_by_itself_in_a_quiet_pipeline() -> None:
    connections, requests = queues()
    out: Queue[FlowBatch] = Queue("out", 1000, Losses())
    join = Join(KnownAddresses(), Losses(), wait_ns=SECOND // 10)
    running = asyncio.create_task(join.run(connections, requests, out.put))
    try:
        requests.put(request(client(2), GATEWAY))
        batch = await out.get()
        assert batch.requests["client_port"].tolist() == [2]
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_batch_that_cannot_be_joined_is_counted_and_the_stage_lives_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    failed = asyncio.Event()

    class FailsOnce(ConnectionTable):
        def expire_and_count(self, now_ns: int) -> None:
            if not failed.is_set():
                failed.set()
                raise RuntimeError("boom")

    connections, requests = queues()
    seen: list[FlowBatch] = []
    losses = Losses()
    join = Join(KnownAddresses(), losses, FailsOnce())
    connections.put(connection(1, client(1), GATEWAY))
    running = asyncio.create_task(join.run(connections, requests, seen.append))
    await failed.wait()
    connections.put(connection(2, client(2), GATEWAY))
    connections.close()
    requests.close()
    await running
    assert losses.snapshot() == {(Place.STAGE, "join"): 1}
    assert [batch.connections["conn_id"].tolist() for batch in seen] == [[2]]
    assert "batches left out" in caplog.text


def test_batches_go_on_in_order_and_in_stretches() -> None:
    sizes = [1, STEP_ROWS - 1, 1, STEP_ROWS + 5, 2]
    batches = [empty_connections(size) for size in sizes]
    for place, batch in enumerate(batches):
        batch["conn_id"] = place
    parts = group_batches(batches)
    assert [len(part) for part in parts] == [STEP_ROWS, 1, STEP_ROWS + 5, 2]
    assert np.concatenate(parts)["conn_id"].tolist() == np.concatenate(batches)["conn_id"].tolist()
    assert [len(part) for part in group_batches([])] == [0]


async def test_exporters_keep_up_with_many_steps_at_once() -> None:
    losses = Losses()
    records, entries = (
        Queue[ConnectionBatch]("r", 10**6, losses),
        Queue[RequestBatch]("e", 9, losses),
    )
    sink = Queue[FlowBatch]("sink", 2 * STEP_ROWS, losses)
    for place in range(6):
        batch = empty_connections(STEP_ROWS)
        batch["conn_id"] = 1 + place * STEP_ROWS + np.arange(STEP_ROWS)
        records.put(batch)
    records.close()
    entries.close()

    async def count() -> int:
        seen = 0
        while seen < 6 * STEP_ROWS:
            seen += len((await sink.get()).connections)
        return seen

    counting = asyncio.create_task(count())
    async with asyncio.timeout(30):
        await Join(KnownAddresses(), losses).run(records, entries, sink.put)
        assert await counting == 6 * STEP_ROWS
    assert losses.snapshot()[Place.QUEUE, "sink"] == 0
