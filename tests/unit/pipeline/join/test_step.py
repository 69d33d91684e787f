"""Join.step matches requests to connections: order of arrival, port reuse, no loss or doubling."""

import numpy as np
import pytest

from flowd.model.enums import EntryKind, HttpVersion, Protocol
from flowd.model.losses import Losses
from flowd.model.records.connection import empty_connections
from flowd.model.records.request import empty_requests
from flowd.pipeline.join.join import Join
from tests.support.join_rows import SECOND, T0, KnownAddresses, connection, ended, request

CLIENT, GATEWAY, POD = "10.0.0.9:40000", "10.0.1.1:10080", "10.0.2.1:3000"
UP_LOCAL = "10.0.1.1:50000"
NO_RECORDS, NO_ENTRIES = empty_connections(), empty_requests()


@pytest.fixture
def join() -> Join:
    return Join(KnownAddresses("10.0.0.9", "10.0.1.1", "10.0.2.1"), Losses())


def now(seconds: float) -> int:
    return T0 + round(seconds * SECOND)


def test_request_finds_both_connections_and_their_endpoints(join: Join) -> None:
    records = np.concatenate(
        [
            connection(7, CLIENT, GATEWAY, 0, src_endpoint=11, dst_endpoint=12),
            connection(8, UP_LOCAL, POD, 0.1, dst_endpoint=13),
        ]
    )
    table = KnownAddresses("10.0.0.9", "10.0.1.1", "10.0.2.1")
    table.identity_of = np.arange(20, dtype=np.uint32)
    table.is_local = table.is_gateway = np.zeros(20, np.bool_)
    join = Join(table, Losses())
    entry = request(CLIENT, GATEWAY, UP_LOCAL, POD, 0.1)

    batch = join.step(records, entry, now(1))

    assert batch.requests["down_conn"].tolist() == [7]
    assert batch.requests["up_conn"].tolist() == [8]
    sides = ("client_endpoint", "gateway_endpoint", "backend_endpoint")
    assert batch.requests[[*sides]].tolist() == [(11, 12, 13)]


def test_endpoints_come_from_addresses_where_no_connection_is_known(join: Join) -> None:
    batch = join.step(NO_RECORDS, request(CLIENT, GATEWAY, at=0), now(0))
    assert len(batch.requests) == 0
    batch = join.step(NO_RECORDS, NO_ENTRIES, now(1.6))
    assert batch.requests["client_endpoint"].tolist() == [1]
    assert batch.requests["gateway_endpoint"].tolist() == [2]
    assert batch.requests["backend_endpoint"].tolist() == [0]
    assert batch.requests["down_conn"].tolist() == [0]


def test_entry_before_its_connection_waits_for_it(join: Join) -> None:
    entry = request(CLIENT, GATEWAY, UP_LOCAL, POD, 0.1)
    assert len(join.step(connection(7, CLIENT, GATEWAY), entry, now(0.2)).requests) == 0
    assert join.waiting == 1

    batch = join.step(connection(8, UP_LOCAL, POD, 0.1), NO_ENTRIES, now(0.4))

    assert batch.requests[["down_conn", "up_conn"]].tolist() == [(7, 8)]
    assert join.waiting == 0


def test_entry_after_the_end_of_its_connection_finds_it(join: Join) -> None:
    record = connection(7, CLIENT, GATEWAY)
    join.step(np.concatenate([record, ended(record, 0.2)]), NO_ENTRIES, now(0.3))
    entry = request(CLIENT, GATEWAY, at=0.1)
    assert join.step(NO_RECORDS, entry, now(9)).requests["down_conn"].tolist() == [7]


def test_connections_are_forgotten_some_time_after_their_end(join: Join) -> None:
    record = connection(7, CLIENT, GATEWAY)
    join.step(ended(record, 0.2), NO_ENTRIES, now(0.3))
    join.step(connection(8, UP_LOCAL, POD), NO_ENTRIES, now(30))
    assert len(join.table) == 1
    assert join.table.live == 1


def test_reused_port_goes_to_the_life_of_that_time(join: Join) -> None:
    lives = [connection(number, CLIENT, GATEWAY, number) for number in (1, 2, 3)]
    records = [row for life in lives for row in (life, ended(life, int(life["conn_id"][0]) + 0.4))]
    entries = [request(CLIENT, GATEWAY, at=at) for at in (1.1, 2.39, 3.0, 2.0)]
    batch = join.step(np.concatenate(records), np.concatenate(entries), now(5))
    assert batch.requests["down_conn"].tolist() == [1, 2, 3, 2]


def test_life_whose_end_was_lost_is_superseded_by_the_next(join: Join) -> None:
    second = connection(2, CLIENT, GATEWAY, 5)
    records = [connection(1, CLIENT, GATEWAY, 0), second, ended(second, 6)]
    entries = np.concatenate([request(CLIENT, GATEWAY, at=at) for at in (4, 5.5, 9)])
    join.step(np.concatenate(records), entries, now(9))
    batch = join.step(NO_RECORDS, NO_ENTRIES, now(11))
    found = dict(zip(batch.requests["time_ns"].tolist(), batch.requests["down_conn"], strict=True))
    assert found == {now(9): 0}


def test_keep_alive_connection_serves_many_requests(join: Join) -> None:
    entries = np.concatenate(
        [request(CLIENT, GATEWAY, UP_LOCAL, POD, at / 100) for at in range(500)]
    )
    records = np.concatenate([connection(7, CLIENT, GATEWAY), connection(8, UP_LOCAL, POD)])
    batch = join.step(records, entries, now(5))
    assert set(batch.requests["down_conn"].tolist()) == {7}
    assert set(batch.requests["up_conn"].tolist()) == {8}
    assert len(batch.requests) == 500


def test_connection_seen_from_its_reply_side_first_is_found(join: Join) -> None:
    backwards = connection(7, GATEWAY, CLIENT, src_endpoint=2, dst_endpoint=1)
    batch = join.step(backwards, request(CLIENT, GATEWAY, at=0.1), now(1))
    sides = ("down_conn", "client_endpoint", "gateway_endpoint")
    assert batch.requests[[*sides]].tolist() == [(7, 1, 2)]


def test_http3_is_looked_for_over_udp(join: Join) -> None:
    records = [
        connection(6, CLIENT, GATEWAY),
        connection(17, CLIENT, GATEWAY, protocol=Protocol.UDP),
    ]
    entry = request(CLIENT, GATEWAY, at=0.1, http_version=HttpVersion.HTTP3)
    batch = join.step(np.concatenate(records), entry, now(1))
    assert batch.requests["down_conn"].tolist() == [17]


def test_connection_records_carry_the_route_that_used_them_last(join: Join) -> None:
    record = connection(7, CLIENT, GATEWAY)
    assert join.step(record, NO_ENTRIES, now(0)).connections["route"].tolist() == [0]
    entries = [request(CLIENT, GATEWAY, at=0.1, route=3), request(CLIENT, GATEWAY, at=0.2, route=4)]
    join.step(NO_RECORDS, np.concatenate(entries), now(1))
    tcp = request(CLIENT, GATEWAY, at=0.1, route=0, kind=EntryKind.TCP)
    join.step(NO_RECORDS, tcp, now(1))
    last = join.step(ended(record, 2), NO_ENTRIES, now(2))
    assert last.connections["route"].tolist() == [4]


def test_tcp_entry_marks_its_connections_and_makes_no_flow(join: Join) -> None:
    entry = request(CLIENT, GATEWAY, UP_LOCAL, POD, route=5, kind=EntryKind.TCP)
    records = np.concatenate([connection(7, CLIENT, GATEWAY), connection(8, UP_LOCAL, POD)])
    batch = join.step(records, entry, now(1))
    assert batch.connections["route"].tolist() == [5, 5]
    assert len(batch.requests) == 1
    assert len(batch.flows) == 2
    only = join.step(NO_RECORDS, request(CLIENT, GATEWAY, at=1, kind=EntryKind.TCP), now(1))
    assert len(only.flows) == 0
    assert len(only) == 1, "a queue keeps the batch"


def test_too_many_waiting_requests_go_on_without_a_connection() -> None:
    join = Join(KnownAddresses(), Losses(), waiting_rows=10)
    first = np.concatenate([request(CLIENT, GATEWAY, at=n / 10) for n in range(8)])
    assert len(join.step(NO_RECORDS, first, now(1)).requests) == 0
    released = join.step(NO_RECORDS, first[:4], now(1)).requests
    assert released["time_ns"].tolist() == first["time_ns"].tolist()
    assert join.waiting == 4


def test_entry_without_sockets_does_not_wait(join: Join) -> None:
    assert len(join.step(NO_RECORDS, request("", ""), now(0)).requests) == 1
