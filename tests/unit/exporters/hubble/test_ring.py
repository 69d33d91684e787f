"""FlowRing: positions, overwriting, loss marks, and readers that do not block each other."""

import asyncio

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowd.model.records.flow import FlowRows, empty_flows
from flowd.wire.flow.flow_pb2 import OBSERVER_EVENTS_QUEUE
from flowd_exporters.hubble.encode.ring_row import RING_ROW, HeaderPairs
from flowd_exporters.hubble.rate import FlowRate, RecentNamespaces
from flowd_exporters.hubble.ring import TEXT_BYTES, FlowRing
from tests.support.flow_samples import cluster, sample_rows


def ring_of(capacity: int) -> FlowRing:
    return FlowRing(capacity * (RING_ROW.itemsize + TEXT_BYTES))


def numbered(first: int, count: int) -> FlowRows:
    rows = empty_flows(count)
    rows["seq"] = np.arange(first, first + count)
    return rows


def read_all(ring: FlowRing, cursor: int, limit: int) -> tuple[list[int], int]:
    seen: list[int] = []
    lost = mark = 0
    end = ring.written
    while cursor < end:
        chunk = ring.read(cursor, mark, end, limit)
        seen += chunk.rows["seq"].tolist()
        lost += chunk.overwritten
        cursor, mark = chunk.cursor, chunk.mark
    return seen, lost


@settings(deadline=None)
@given(st.integers(1, 20), st.lists(st.integers(0, 50), max_size=8), st.integers(1, 7))
def test_the_last_flows_are_held_and_the_others_counted(
    capacity: int, sizes: list[int], limit: int
) -> None:
    ring = ring_of(capacity)
    written = 0
    for size in sizes:
        ring.append(numbered(written, size))
        written += size
    kept = min(written, capacity)
    assert (len(ring), ring.written, ring.oldest) == (kept, written, written - kept)
    assert read_all(ring, 0, limit) == (list(range(written - kept, written)), written - kept)


def test_capacity_comes_from_the_memory_bound() -> None:
    assert FlowRing(64 << 20).capacity == (64 << 20) // (RING_ROW.itemsize + TEXT_BYTES)
    assert FlowRing(0).capacity == 1


def test_a_reader_that_is_far_behind_loses_no_more_than_it_asked_for() -> None:
    ring = ring_of(10)
    ring.append(numbered(0, 100))
    chunk = ring.read(0, 0, 50, 8)
    assert (len(chunk.rows), chunk.overwritten, chunk.cursor >= 50) == (0, 50, True)


def test_losses_stand_between_the_flows_they_came_between() -> None:
    ring = ring_of(10)
    ring.append(numbered(0, 3))
    ring.lost(OBSERVER_EVENTS_QUEUE, 7, 1)
    ring.lost(OBSERVER_EVENTS_QUEUE, 8, 2)
    ring.append(numbered(3, 2))
    first = ring.read(0, 0, ring.written, 100)
    assert first.rows["seq"].tolist() == [0, 1, 2]
    assert [mark.count for mark in first.marks] == [7, 8]
    second = ring.read(first.cursor, first.mark, ring.written, 100)
    assert second.rows["seq"].tolist() == [3, 4]
    assert second.marks == []
    assert (ring.first_mark(3), ring.first_mark(4)) == (0, 2)


async def test_a_waiting_reader_wakes_for_flows_losses_and_the_end() -> None:
    ring = ring_of(10)
    for change in (
        lambda: ring.append(numbered(0, 1)),
        lambda: ring.lost(OBSERVER_EVENTS_QUEUE, 1, 1),
        ring.close,
    ):
        waiter = asyncio.create_task(ring.wait_readable(ring.written, ring.marked))
        await asyncio.sleep(0)
        assert not waiter.done()
        change()
        await asyncio.wait_for(waiter, 5)


def test_the_rate_is_of_the_last_minute() -> None:
    rate = FlowRate(1000.0)
    assert rate.rate(1000.0) == 0
    for second in range(120):
        rate.add(second, 1000.5 + second)
    assert rate.rate(1120.0) == pytest.approx(sum(range(60, 120)) / 60)
    assert rate.rate(1150.0) == pytest.approx(sum(range(90, 120)) / 60)
    assert rate.rate(5000.0) == 0


def test_the_rate_of_a_young_server_is_not_thinned() -> None:
    rate = FlowRate(50.0)
    rate.add(100, 51.0)
    assert rate.rate(60.0) == pytest.approx(10.0)


def test_namespaces_are_remembered_for_an_hour() -> None:
    directory = cluster()
    namespaces = RecentNamespaces(directory)
    namespaces.add(sample_rows("dns"), 0.0)
    namespaces.add(sample_rows("syn"), 3000.0)
    assert namespaces.recent(3000.0) == ["kube-system", "shop"]
    assert namespaces.recent(3601.0) == ["shop"]
    assert namespaces.recent(9000.0) == []


def test_views_backwards_and_forwards_cover_a_wrapped_ring_of_many_arrays() -> None:
    ring = ring_of(9000)
    assert ring.capacity == 9000
    for size in (5000, 7000, 3000, 1):
        rows = empty_flows(size)
        rows["seq"] = np.arange(ring.written, ring.written + size)
        ring.append(rows)
    forwards: list[FlowRows] = []
    backwards: list[FlowRows] = []
    position = ring.oldest
    while position < ring.written:
        piece = ring.view(position, ring.written)
        forwards.append(piece["seq"])
        position += len(piece)
    while position > ring.oldest:
        start = ring.view_start(position, 1000)
        backwards.insert(0, ring.view(start, position)["seq"])
        assert len(backwards[0]) == position - start <= 1000
        position = start
    expected = np.arange(ring.written - 9000, ring.written)
    assert np.array_equal(np.concatenate(forwards), expected)
    assert np.array_equal(np.concatenate(backwards), expected)


def fresh(text: str) -> str:
    """An equal string that is another object."""
    return text.encode().decode()


def test_texts_of_requests_are_held_once_and_stay_what_they_are() -> None:
    ring = ring_of(10)
    rows = sample_rows("request", "response", "syn", "request")
    rows["headers"] = [{"x-team": "blue", "k": ""}, None, None, {"k": fresh("blue")}]
    rows["url"] = [fresh("http://a/b"), fresh("http://a/b"), None, "x" * 1000]
    ring.append(rows)
    kept = ring.view(0, 4)
    first, _, none, last = kept["headers"].tolist()
    assert isinstance(first, HeaderPairs)
    assert (first.items(), none) == ([("x-team", "blue"), ("k", "")], None)
    assert [first.get(name) for name in ("x-team", "k", "blue")] == ["blue", "", None]
    assert last.get("k") is first.get("x-team")
    assert kept["url"].tolist() == rows["url"].tolist()
    assert kept["url"][0] is kept["url"][1]
    assert rows["headers"][0] == {
        "x-team": "blue",
        "k": "",
    }  # the batch is shared and was not changed
