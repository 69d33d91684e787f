"""Who is at each end of a connection, and which way it goes as seen from this node."""

from collections.abc import Mapping
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from flowd.model.endpoint import ReservedIdentity
from flowd.model.enums import Direction, DnsKind, Hook
from flowd.model.records.connection import ConnectionBatch
from flowd.model.records.dns import DnsBatch
from flowd.model.records.drop import DropBatch
from flowd.model.records.request import RequestBatch
from flowd.model.records.rows import copied
from flowd.model.records.socket import SocketBatch

_OUTSIDE = (
    ReservedIdentity.UNKNOWN,
    ReservedIdentity.WORLD,
    ReservedIdentity.WORLD_IPV4,
    ReservedIdentity.WORLD_IPV6,
)


class Addresses(Protocol):
    """The address table, as the pipeline needs it.

    `is_local` (bool), `is_gateway` (bool) and `identity_of` (u4) are columns by endpoint index:
    whether the endpoint lives on this node, whether it is the pod of a gateway, and its numeric
    identity. Index 0, the unknown, is neither and has 0. `hostnames` are endpoint indices by DNS
    name, in lower case and without a final dot.
    """

    @property
    def is_local(self) -> NDArray[np.bool_]: ...
    @property
    def is_gateway(self) -> NDArray[np.bool_]: ...
    @property
    def identity_of(self) -> NDArray[np.uint32]: ...
    @property
    def hostnames(self) -> Mapping[str, int]: ...
    def resolve(self, addresses: NDArray[np.uint8]) -> NDArray[np.uint32]:
        """Endpoint indices, shape (N,), of addresses, shape (N, 16); 0 where not known."""
        ...

    def at_ports(
        self,
        endpoints: NDArray[np.uint32],
        ports: NDArray[np.uint16],
        protocols: NDArray[np.uint8],
    ) -> NDArray[np.uint32]:
        """Endpoint indices, shape (N,), of who is asked, with the Service where it is a NodePort."""
        ...


class Names(Protocol):
    """DNS names of addresses outside the cluster, as answers on the wire told them."""

    def name_of(self, addresses: NDArray[np.uint8]) -> NDArray[np.object_]:
        """Names, str or None, shape (N,), of addresses, shape (N, 16)."""
        ...

    def holders(
        self, addresses: NDArray[np.uint8], hostnames: Mapping[str, int]
    ) -> NDArray[np.uint32]:
        """Endpoint indices, shape (N,), of addresses that have one of these names; else 0."""
        ...


def resolve_missing(
    endpoints: NDArray[np.uint32], addresses: NDArray[np.uint8], table: Addresses
) -> NDArray[np.uint32]:
    """The endpoint indices with each 0 looked up by its address; an all-zero address stays 0."""
    missing = np.flatnonzero(endpoints == 0)
    if not len(missing):
        return endpoints
    wanted = addresses[missing]
    halves = wanted.view(np.uint64)
    told = (halves[:, 0] | halves[:, 1]) != 0
    if not told.all():
        missing, wanted = missing[told], wanted[told]
    filled = endpoints.copy()
    filled[missing] = table.resolve(wanted)
    return filled


def identify_drops(batch: DropBatch, table: Addresses) -> DropBatch:
    """A copy of the rows with endpoints resolved and `direction` set: out of a local sender first."""
    rows = copied(batch)
    for side in ("src", "dst"):
        rows[f"{side}_endpoint"] = resolve_missing(
            batch[f"{side}_endpoint"], batch[f"{side}_addr"], table
        )
    rows["dst_endpoint"] = table.at_ports(rows["dst_endpoint"], rows["dst_port"], rows["protocol"])
    src, dst = (table.is_local[rows[f"{side}_endpoint"]] for side in ("src", "dst"))
    inward = np.where(dst, Direction.INGRESS, Direction.UNKNOWN)
    rows["direction"] = np.where(src, Direction.EGRESS, inward)
    return rows


def identify_sockets(batch: SocketBatch, table: Addresses) -> SocketBatch:
    """A copy of the rows with endpoints resolved."""
    rows = copied(batch)
    for side in ("local", "remote"):
        rows[f"{side}_endpoint"] = resolve_missing(
            batch[f"{side}_endpoint"], batch[f"{side}_addr"], table
        )
    return rows


def identify_dns(batch: DnsBatch, table: Addresses) -> DnsBatch:
    """A copy of the rows with endpoints resolved and `direction` set, as `identify` does."""
    rows = copied(batch)
    for side in ("src", "dst"):
        rows[f"{side}_endpoint"] = resolve_missing(
            batch[f"{side}_endpoint"], batch[f"{side}_addr"], table
        )
    rows["direction"] = _direction(
        table,
        rows["src_endpoint"],
        rows["dst_endpoint"],
        rows["hook"],
        rows["kind"] == DnsKind.RESPONSE,
    )
    return rows


def is_outside(identities: NDArray[np.uint32]) -> NDArray[np.bool_]:
    """Which numeric identities are of peers that no Kubernetes object tells of."""
    return np.isin(identities, _OUTSIDE)


def tell_named(
    rows: ConnectionBatch | RequestBatch | DropBatch | SocketBatch,
    columns: Mapping[str, str],
    table: Addresses,
    names: Names,
) -> None:
    """Tell outside peers in place as the Gateway or Service whose status has their DNS name.

    Args:
        columns: of the endpoints, each with that of its address.
    """
    if not len(rows) or not (hostnames := table.hostnames):
        return
    for column, address in columns.items():
        outside = np.flatnonzero(is_outside(table.identity_of[rows[column]]))
        found = names.holders(rows[address][outside], hostnames)
        rows[column][outside[found != 0]] = found[found != 0]


def _direction(
    table: Addresses,
    src_endpoint: NDArray[np.uint32],
    dst_endpoint: NDArray[np.uint32],
    hook: NDArray[np.uint8],
    is_reply: NDArray[np.bool_],
) -> NDArray[np.uint8]:
    """Direction of what went from `src` to `dst`, or answers that where `is_reply`."""
    local = table.is_local
    src, dst = local[src_endpoint], local[dst_endpoint]
    at_source = np.where(src & dst, (hook == Hook.INGRESS) != is_reply, src)
    direction = np.where(at_source, Direction.EGRESS, Direction.INGRESS)
    return np.where(src | dst, direction, Direction.UNKNOWN).astype(np.uint8)


def identify(batch: ConnectionBatch, table: Addresses) -> ConnectionBatch:
    """A copy of the rows with unknown endpoints resolved and `direction` set.

    As in Hubble, the direction is that of the connection, not of the packet, relative to the
    local endpoint where the packet was seen: a reply has the direction of what it answers. With
    both ends on this node that endpoint is the sender for a packet at tc ingress (it leaves the
    pod's interface) and the receiver at tc egress; with neither the direction is UNKNOWN.
    """
    rows = copied(batch)
    for side in ("src", "dst"):
        rows[f"{side}_endpoint"] = resolve_missing(
            batch[f"{side}_endpoint"], batch[f"{side}_addr"], table
        )
    rows["dst_endpoint"] = table.at_ports(rows["dst_endpoint"], rows["dst_port"], rows["protocol"])
    rows["direction"] = _direction(
        table, rows["src_endpoint"], rows["dst_endpoint"], rows["hook"], rows["is_reply"] != 0
    )
    return rows
