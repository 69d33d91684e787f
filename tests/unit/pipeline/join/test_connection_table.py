"""ConnectionTable: lookups compared with a naive model, eviction and expiry."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowd.model.address import pack
from flowd.model.enums import Nat, Protocol
from flowd.model.records.connection import ConnectionBatch
from flowd.pipeline.endpoint_tuples import EndpointPairs, pack_endpoints
from flowd.pipeline.join.connection_table import ConnectionTable
from flowd.pipeline.sorted_index import SortedIndex
from tests.support.join_rows import SECOND, T0, connection, ended

SLACK = 0.5


@dataclass
class Life:
    conn_id: int
    src: str
    dst: str
    first: float
    last: float
    ended: bool


def slow_find(lives: list[Life], near: str, far: str, start: float, end: float) -> int:
    """The naive lookup: the pair's newest connection at that time; exact, then with slack."""
    for slack in (0.0, SLACK):
        begun = [
            life
            for life in lives
            if {life.src, life.dst} == {near, far} and life.first <= end + slack
        ]
        if begun:
            newest = max(begun, key=lambda life: (life.first, life.conn_id))
            if not newest.ended or newest.last + slack >= start:
                return newest.conn_id
    return 0


def pairs(asked: list[tuple[str, str, float, float]]) -> EndpointPairs:
    def column(texts: list[str]) -> np.ndarray[tuple[int, int], np.dtype[np.uint64]]:
        split = [text.rpartition(":") for text in texts]
        packed = b"".join(pack(address) for address, _, _ in split)
        addresses = np.frombuffer(packed, np.uint8).reshape(-1, 16)
        ports = np.array([int(port) for _, _, port in split], np.uint16)
        return pack_endpoints(addresses, ports, np.full(len(texts), Protocol.TCP, np.uint8))

    start, end = np.array([[T0 + round(t * SECOND) for t in each[2:]] for each in asked]).T
    return EndpointPairs(
        column([near for near, *_ in asked]), column([a[1] for a in asked]), start, end
    )


ends = st.sampled_from(["10.0.0.1:1", "10.0.0.1:2", "10.0.0.2:1"])
quarter = st.integers(0, 40).map(lambda number: number / 4)


@given(
    st.lists(st.tuples(ends, ends, quarter, quarter, st.booleans()), max_size=12),
    st.lists(st.tuples(ends, ends, quarter, quarter), min_size=1, max_size=12),
    st.lists(st.integers(0, 12), max_size=3),
)
def test_same_answers_as_an_obvious_table(
    made: list[tuple[str, str, float, float, bool]],
    asked: list[tuple[str, str, float, float]],
    cuts: list[int],
) -> None:
    table, lives, records = (
        ConnectionTable(slack_ns=SECOND // 2),
        list[Life](),
        list[list[ConnectionBatch]](),
    )
    for conn_id, (src, dst, first, length, over) in enumerate(made, 1):
        lives.append(Life(conn_id, src, dst, first, first + length if over else first, over))
        record = connection(conn_id, src, dst, first)
        records.append([record, ended(record, first + length)] if over else [record])
    bounds = sorted({0, len(records), *(cut for cut in cuts if cut < len(records))})
    for low, high in pairwise(bounds):
        table.update(np.concatenate([row for rows in records[low:high] for row in rows]))
    asked = [(near, far, min(a, b), max(a, b)) for near, far, a, b in asked]
    found = table.find(pairs(asked))
    assert found.conn_id.tolist() == [slow_find(lives, *each) for each in asked]


def test_limit_evicts_ended_connections_first_then_the_quietest() -> None:
    table = ConnectionTable(limit=10)
    records = [connection(n, f"10.0.0.1:{n}", "10.0.0.2:80", n) for n in range(1, 12)]
    table.update(np.concatenate([*records, ended(records[5], 30)]))
    assert table.evicted == 2
    assert len(table) == 9
    asked = [(f"10.0.0.1:{n}", "10.0.0.2:80", float(n), float(n)) for n in range(1, 12)]
    gone = [n for n, conn in enumerate(table.find(pairs(asked)).conn_id.tolist(), 1) if not conn]
    assert gone == [1, 6]


def test_records_are_unlimited_but_connections_are_counted_once() -> None:
    table = ConnectionTable()
    record = connection(5, "10.0.0.1:1", "10.0.0.2:80")
    assert len(table.update(np.concatenate([record] * 4))) == 1
    assert len(table.update(record)) == 0
    assert len(table) == 1


def test_forgetting_leaves_the_others_findable() -> None:
    table = ConnectionTable(keep_ns=SECOND)
    records = [connection(n, f"10.0.0.1:{n}", "10.0.0.2:80") for n in range(1, 3000)]
    table.update(np.concatenate(records))
    table.update(np.concatenate([ended(record, 1) for record in records[::2]]))
    table.expire_and_count(T0 + 9 * SECOND)
    assert table.live == len(table) == 1499
    asked = [(f"10.0.0.1:{n}", "10.0.0.2:80", 1.0, 1.0) for n in range(1, 3000)]
    found = table.find(pairs(asked)).conn_id.tolist()
    assert found == [0 if n % 2 else n for n in range(1, 3000)]


@given(st.lists(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 9))), max_size=5))
def test_index_gives_the_slot_inserted_last(batches: list[list[tuple[int, int]]]) -> None:
    index, last = SortedIndex(), dict[int, int]()
    for batch in batches:
        keys = np.array([key for key, _ in batch], np.uint64)
        index.insert(keys, np.array([slot for _, slot in batch], np.int64))
        last |= dict(batch)
    asked = np.arange(7, dtype=np.uint64)
    assert index.last(asked).tolist() == [last.get(key, -1) for key in range(7)]


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_of_a_translated_connection_the_real_ends_are_told(order: tuple[int, int]) -> None:
    ends = {"src": ("10.0.0.1:9", "10.0.0.254:77"), "dst": ("10.96.0.1:80", "10.0.0.2:8080")}
    sides: list[ConnectionBatch] = []
    for own, nat, endpoints in ((0, Nat.BEFORE, (1, 5)), (1, Nat.AFTER, (6, 2))):
        record = connection(11 + own, ends["src"][own], ends["dst"][own], nat=nat)
        beyond = connection(0, ends["src"][1 - own], ends["dst"][1 - own])
        for column in ("src_addr", "src_port", "dst_addr", "dst_port"):
            record[f"nat_{column}"] = beyond[column]
        record["src_endpoint"], record["dst_endpoint"] = endpoints
        sides.append(record)
    table = ConnectionTable()
    table.update(sides[0])
    alone = table.find(pairs([(ends["src"][0], ends["dst"][0], 0.0, 1.0)]))
    assert (alone.near_endpoint[0], alone.far_endpoint[0]) == (1, 5)
    table = ConnectionTable()
    for number in order:
        table.update(sides[number])
    asked = [(ends["src"][own], ends["dst"][own], 0.0, 1.0) for own in (0, 1)]
    found = table.find(pairs(asked))
    assert found.conn_id.tolist() == [11, 12]
    assert found.near_endpoint.tolist() == [1, 1]
    assert found.far_endpoint.tolist() == [2, 2]
