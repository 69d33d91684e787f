"""Fill RTT, retransmits, socket owners and routes into connections, requests and drops."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flowd.model.enums import Protocol
from flowd.model.records.connection import ConnectionBatch
from flowd.model.records.drop import DropBatch
from flowd.model.records.request import RequestBatch
from flowd.model.records.share import ShareBatch
from flowd.pipeline.endpoint_tuples import EndpointPairs, pack_endpoints
from flowd.pipeline.flows import OWNER_COLUMNS, SOCKET_OWNERS, SocketOwners
from flowd.pipeline.join.connection_table import ConnectionTable
from flowd.pipeline.join.latency import fill_latency_split
from flowd.pipeline.sorted_index import Slots

OPENED_SLACK_NS = 10**6  # between kernel time converted to Unix time, and Envoy's clock


def measure_connections(records: ConnectionBatch, table: ConnectionTable) -> ShareBatch:
    """Fill the last route and the socket statistics; returns the traffic split by route."""
    slots = table.slots(records["conn_id"])
    records["route"] = table.routes(slots)
    table.fill_socket_stats(records, slots)
    retransmits = records["src_retransmits"] + records["dst_retransmits"]
    return table.route_sets.split_traffic(records, slots, retransmits)


def measure_requests(rows: RequestBatch, table: ConnectionTable) -> SocketOwners:
    """Fill the socket statistics and the latency split of each request.

    Returns:
        The owners of the sockets at both ends of each request, shape (N,).
    """
    owners = np.zeros(len(rows), SOCKET_OWNERS)
    if not len(rows):
        return owners
    up = table.slots(rows["up_conn"])
    _measure(rows, owners, table, table.slots(rows["down_conn"]), _CLIENT)
    _measure(rows, owners, table, up, _BACKEND)
    start = rows["time_ns"].astype(np.int64)
    began = table.first_packet_ns(up)
    opened = (up >= 0) & (began >= start - OPENED_SLACK_NS)
    opened &= began <= start + rows["duration_ns"].astype(np.int64)
    fill_latency_split(rows, opened)
    return owners


def measure_drops(drops: DropBatch, table: ConnectionTable) -> SocketOwners:
    """The owners of the sockets at both ends of each drop, shape (N,); zeros for unknown ones."""
    owners = np.zeros(len(drops), SOCKET_OWNERS)
    if not len(drops):
        return owners
    near, far = (
        pack_endpoints(drops[f"{side}_addr"], drops[f"{side}_port"], drops["protocol"])
        for side in ("src", "dst")
    )
    time = drops["time_ns"].astype(np.int64)
    slots = table.find(EndpointPairs(near, far, time, time)).slot
    found = np.flatnonzero(slots >= 0)
    stats, at_src = table.socket_stats[slots[found]], table.is_source(slots[found], near[found])
    for name in OWNER_COLUMNS:
        src, dst = stats[f"src_{name}"], stats[f"dst_{name}"]
        owners[f"src_{name}"][found] = np.where(at_src, src, dst)
        owners[f"dst_{name}"][found] = np.where(at_src, dst, src)
    return owners


@dataclass(frozen=True, slots=True)
class _PeerEnd:
    """The gateway's peer on one of a request's two connections.

    Attributes:
        name: prefix of the REQUEST columns of its address and port.
        leg: prefix of the REQUEST columns of the connection's statistics.
        side: prefix of the SOCKET_OWNERS columns.
    """

    name: str
    leg: str
    side: str


_CLIENT = _PeerEnd("client", "down", "src")
_BACKEND = _PeerEnd("up_remote", "up", "dst")


def _measure(
    rows: RequestBatch, owners: SocketOwners, table: ConnectionTable, slots: Slots, end: _PeerEnd
) -> None:
    """Fill one connection's statistics; the RTT is the gateway socket's, if it reported one."""
    found = np.flatnonzero(slots >= 0)
    if not len(found):
        return
    slots = slots[found]
    protocol = np.full(len(found), Protocol.TCP, np.uint8)
    peer = pack_endpoints(
        rows[f"{end.name}_addr"][found], rows[f"{end.name}_port"][found], protocol
    )
    peer_is_src, stats = table.is_source(slots, peer), table.socket_stats[slots]

    def value(column: str, *, gateway: bool) -> NDArray[Any]:
        return np.where(peer_is_src != gateway, stats[f"src_{column}"], stats[f"dst_{column}"])

    own = value("srtt_us", gateway=True)
    rows[f"{end.leg}_srtt_us"][found] = np.where(own, own, value("srtt_us", gateway=False))
    retransmits = stats["src_retransmits"] + stats["dst_retransmits"]
    rows[f"{end.leg}_retransmits"][found] = retransmits
    rows[f"{end.leg}_connect_us"][found] = stats["connect_us"]
    for name in OWNER_COLUMNS:
        owners[f"{end.side}_{name}"][found] = value(name, gateway=False)
