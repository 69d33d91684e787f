"""The join on each node and for every order of arrival, with a fake clock."""

from typing import Any

import numpy as np
import pytest

from flowd.model.enums import SocketReason
from flowd.model.losses import Losses
from flowd.model.records.connection import ConnectionBatch, empty_connections
from flowd.model.records.request import RequestBatch, empty_requests
from flowd.model.records.socket import SocketBatch, empty_sockets
from flowd.pipeline.join.join import Join
from tests.support.join_rows import SECOND, T0, KnownAddresses, connection, ended, request

CLIENT, GATEWAY, UP_LOCAL, POD = (
    "10.0.0.9:40000",
    "10.0.1.1:10080",
    "10.0.1.1:50000",
    "10.0.2.1:3000",
)
NO_RECORDS, NO_ENTRIES = empty_connections(), empty_requests()
DOWN, UP = (CLIENT, GATEWAY), (UP_LOCAL, POD)
NODES = {
    "gateway": ((DOWN, UP), ((GATEWAY, CLIENT, 4000), (UP_LOCAL, POD, 2000))),
    "client": ((DOWN,), ((CLIENT, GATEWAY, 5000),)),
    "pod": ((UP,), ((POD, UP_LOCAL, 3000),)),
}
"""Connections through each node, and sockets on the node with their RTT, microseconds."""


class Node:
    """A join with socket reports."""

    def __init__(self) -> None:
        self.reports: list[SocketBatch] = []
        self.join = Join(KnownAddresses(), Losses(), sockets=self._take)

    def _take(self) -> SocketBatch:
        found, self.reports = self.reports, []
        return np.concatenate([empty_sockets(), *found])

    def step(
        self, at: float, records: ConnectionBatch = NO_RECORDS, entries: RequestBatch = NO_ENTRIES
    ) -> RequestBatch:
        return self.join.step(records, entries, T0 + round(at * SECOND)).requests


def report(near: str, far: str, srtt_us: int, at: float) -> SocketBatch:
    """An UPDATE report of a socket."""
    row = empty_sockets(1)
    ends = request(near, far)
    for side, name in (("local", "client"), ("remote", "local")):
        row[f"{side}_addr"] = ends[f"{name}_addr"]
        row[f"{side}_port"] = ends[f"{name}_port"]
    row["time_ns"], row["reason"] = T0 + round(at * SECOND), SocketReason.UPDATE
    row["srtt_us"], row["cookie"] = srtt_us, 7
    return row


def records(*pairs: tuple[str, str], over: bool = False) -> ConnectionBatch:
    rows = [connection(number, *pair) for number, pair in enumerate(pairs, 1)]
    return np.concatenate([*rows, *(ended(row, 1) for row in rows if over)])


def entry(**columns: Any) -> RequestBatch:
    """A request of 40 ms, 30 ms of them upstream."""
    times = {"duration_ns": 40_000_000, "upstream_ns": 30_000_000}
    return request(CLIENT, GATEWAY, UP_LOCAL, POD, 0.5, **(times | columns))


@pytest.mark.parametrize("node", NODES)
@pytest.mark.parametrize("order", ["before", "while open", "ten seconds after the end"])
def test_each_node_joins_what_it_sees_whenever_the_entry_comes(node: str, order: str) -> None:
    pairs, sockets = NODES[node]
    here = Node()
    here.reports = [report(*socket, 0.6) for socket in sockets]
    if order == "before":
        assert len(here.step(0.6, entries=entry())) == 0
        done = [here.step(0.9, records(*pairs)), here.step(2.5)]
    elif order == "while open":
        here.step(0.6, records(*pairs))
        done = [here.step(0.9, entries=entry()), here.step(2.5)]
    else:
        here.step(1.1, records(*pairs, over=True))
        for second in range(2, 11):
            here.step(second)
        done = [here.step(11, entries=entry()), here.step(13)]
    (row,) = np.concatenate(done)
    assert bool(row["down_conn"]) == (DOWN in pairs)
    assert bool(row["up_conn"]) == (UP in pairs)
    told = {far: srtt for _, far, srtt in sockets} | {near: srtt for near, _, srtt in sockets}
    assert row["down_srtt_us"] == told.get(CLIENT, 0)
    assert row["up_srtt_us"] == told.get(POD, 0)
    split = [
        int(row[part]) for part in ("client_network_us", "gateway_us", "pod_network_us", "pod_us")
    ]
    trip = told.get(POD, 0)
    assert split == ([0, 10_000, trip, 30_000 - trip] if trip else [0, 0, 0, 0])
    assert here.join.waiting == 0


def test_an_entry_in_between_two_lives_of_a_socket_pair_gets_its_own() -> None:
    here = Node()
    old = records(DOWN, over=True)
    new = connection(9, *DOWN, at=3)
    here.step(3.1, np.concatenate([old, new]))
    late = np.concatenate([entry(), request(CLIENT, GATEWAY, at=3.2)])
    rows = np.concatenate([here.step(11, entries=late), here.step(13)])
    found = {int(row["time_ns"]): int(row["down_conn"]) for row in rows}
    assert found == {T0 + SECOND // 2: 1, T0 + round(3.2 * SECOND): 9}


def test_an_entry_of_a_connection_forgotten_leaves_without_it() -> None:
    here = Node()
    here.step(1.1, records(DOWN, UP, over=True))
    here.step(17)
    assert len(here.step(18, entries=entry())) == 0
    (row,) = here.step(20)
    assert (row["down_conn"], row["up_conn"]) == (0, 0)
