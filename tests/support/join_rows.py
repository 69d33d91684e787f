"""Connection and request rows, and an address table, for tests of the pipeline."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from flowd.model.address import pack
from flowd.model.enums import EntryKind, Initiator, Protocol, Reason
from flowd.model.records.connection import ConnectionBatch, empty_connections
from flowd.model.records.request import RequestBatch, empty_requests

SECOND = 10**9
T0 = 1_790_000_000 * SECOND


class KnownAddresses:
    """Endpoints 1, 2, ... by address; the other columns by endpoint index."""

    def __init__(
        self, *known: str, local: tuple[str, ...] = (), gateways: tuple[str, ...] = ()
    ) -> None:
        self._index = {pack(text): number for number, text in enumerate(known, 1)}
        self.is_local = np.array([False, *(text in local for text in known)])
        self.is_gateway = np.array([False, *(text in gateways for text in known)])
        self.hostnames: dict[str, int] = {}
        self.identity_of = np.array([0, *(256 + n for n in range(len(known)))], np.uint32)

    def resolve(self, addresses: NDArray[np.uint8]) -> NDArray[np.uint32]:
        found = [self._index.get(address.tobytes(), 0) for address in addresses]
        return np.array(found, np.uint32)

    def resolve_node_ports(
        self,
        endpoints: NDArray[np.uint32],
        ports: NDArray[np.uint16],
        protocols: NDArray[np.uint8],
    ) -> NDArray[np.uint32]:
        return endpoints


def connection(conn_id: int, src: str, dst: str, at: float = 0, **columns: Any) -> ConnectionBatch:
    """A NEW TCP record; `src` and `dst` as address:port, `at` in seconds after T0."""
    row = empty_connections(1)
    row["conn_id"], row["protocol"], row["family"] = conn_id, Protocol.TCP, 4
    row["first_ns"] = row["time_ns"] = T0 + round(at * SECOND)
    row["reason"], row["initiator"] = Reason.NEW, Initiator.SYN
    for side, text in (("src", src), ("dst", dst)):
        address, _, port = text.rpartition(":")
        row[f"{side}_addr"] = np.frombuffer(pack(address.strip("[]")), np.uint8)
        row[f"{side}_port"] = int(port)
    for name, value in columns.items():
        row[name] = value
    return row


def ended(record: ConnectionBatch, at: float) -> ConnectionBatch:
    """The END record of a connection."""
    row = record.copy()
    row["reason"], row["time_ns"] = Reason.END, T0 + round(at * SECOND)
    return row


def request(
    client: str, local: str, up_local: str = "", up_remote: str = "", at: float = 0, **columns: Any
) -> RequestBatch:
    """An HTTP request of 10 ms; sockets as address:port, `at` in seconds after T0."""
    row = empty_requests(1)
    row["kind"], row["method"], row["scheme"] = EntryKind.HTTP, "GET", "http"
    row["host"], row["path"] = "shop.example", "/"
    row["time_ns"], row["duration_ns"] = T0 + round(at * SECOND), SECOND // 100
    sides = (("client", client), ("local", local), ("up_local", up_local), ("up_remote", up_remote))
    for side, text in sides:
        if text:
            address, _, port = text.rpartition(":")
            row[f"{side}_addr"] = np.frombuffer(pack(address.strip("[]")), np.uint8)
            row[f"{side}_port"] = int(port)
    for name, value in columns.items():
        row[name] = value
    return row
