"""What sockets measured and routes used, on the records and requests that leave the join."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flowd.model.enums import Protocol
from flowd.model.records.connection import ConnectionBatch
from flowd.model.records.drop import DropBatch
from flowd.model.records.request import RequestBatch
from flowd.model.records.share import ShareBatch
from flowd.pipeline.endpoint_tuples import Pairs, sockets
from flowd.pipeline.flows import OWNER, OWNERS, Owners
from flowd.pipeline.join.connection_table import ConnectionTable
from flowd.pipeline.join.latency import fill_split
from flowd.pipeline.sorted_index import Slots

OPENED_SLACK_NS = 10**6  # between the kernel's clock, turned to Unix time, and Envoy's


def measure_connections(records: ConnectionBatch, table: ConnectionTable) -> ShareBatch:
    """Fill in the last route and what the sockets reported; returns each route's share."""
    slots = table.slots(records["conn_id"])
    records["route"] = table.routes(slots)
    table.fill_measures(records, slots)
    again = records["src_retransmits"] + records["dst_retransmits"]
    return table.route_sets.share(records, slots, again)


def measure_requests(rows: RequestBatch, table: ConnectionTable) -> Owners:
    """Fill in what the sockets of each request reported, and where its time went.

    Returns:
        The owners of the sockets at both ends of each request, shape (N,).
    """
    owners = np.zeros(len(rows), OWNERS)
    if not len(rows):
        return owners
    up = table.slots(rows["up_conn"])
    _measure(rows, owners, table, table.slots(rows["down_conn"]), _CLIENT)
    _measure(rows, owners, table, up, _BACKEND)
    start = rows["time_ns"].astype(np.int64)
    began = table.began(up)
    opened = (up >= 0) & (began >= start - OPENED_SLACK_NS)
    opened &= began <= start + rows["duration_ns"].astype(np.int64)
    fill_split(rows, opened)
    return owners


def measure_drops(drops: DropBatch, table: ConnectionTable) -> Owners:
    """The owners of the sockets at both ends of each drop, shape (N,), as far as any reported."""
    owners = np.zeros(len(drops), OWNERS)
    if not len(drops):
        return owners
    near, far = (
        sockets(drops[f"{side}_addr"], drops[f"{side}_port"], drops["protocol"])
        for side in ("src", "dst")
    )
    time = drops["time_ns"].astype(np.int64)
    slots = table.find(Pairs(near, far, time, time)).slot
    there = np.flatnonzero(slots >= 0)
    seen, at_src = table.measured[slots[there]], table.forward(slots[there], near[there])
    for name in OWNER:
        src, dst = seen[f"src_{name}"], seen[f"dst_{name}"]
        owners[f"src_{name}"][there] = np.where(at_src, src, dst)
        owners[f"dst_{name}"][there] = np.where(at_src, dst, src)
    return owners


@dataclass(frozen=True, slots=True)
class _End:
    """The end of one of a request's connections that is not the gateway's."""

    name: str
    leg: str
    side: str


_CLIENT, _BACKEND = _End("client", "down", "src"), _End("up_remote", "up", "dst")


def _measure(
    rows: RequestBatch, owners: Owners, table: ConnectionTable, slots: Slots, end: _End
) -> None:
    """One connection of each request: the round trip as the gateway's socket has it, if it can."""
    there = np.flatnonzero(slots >= 0)
    if not len(there):
        return
    slots = slots[there]
    protocol = np.full(len(there), Protocol.TCP, np.uint8)
    outer = sockets(rows[f"{end.name}_addr"][there], rows[f"{end.name}_port"][there], protocol)
    at_src, seen = table.forward(slots, outer), table.measured[slots]

    def of(column: str, *, gateway: bool) -> NDArray[Any]:
        return np.where(at_src != gateway, seen[f"src_{column}"], seen[f"dst_{column}"])

    own = of("srtt_us", gateway=True)
    rows[f"{end.leg}_srtt_us"][there] = np.where(own, own, of("srtt_us", gateway=False))
    again = seen["src_retransmits"] + seen["dst_retransmits"]
    rows[f"{end.leg}_retransmits"][there] = again
    rows[f"{end.leg}_connect_us"][there] = seen["connect_us"]
    for name in OWNER:
        owners[f"{end.side}_{name}"][there] = of(name, gateway=False)
