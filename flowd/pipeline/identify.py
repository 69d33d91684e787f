"""Resolve addresses to endpoint indices, and set the traffic direction, for each kind of record."""

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
from flowd.model.records.rows import copy_rows
from flowd.model.records.socket import SocketBatch

_OUTSIDE = (
    ReservedIdentity.UNKNOWN,
    ReservedIdentity.WORLD,
    ReservedIdentity.WORLD_IPV4,
    ReservedIdentity.WORLD_IPV6,
)


class AddressTable(Protocol):
    """The part of flowd.identity.table that the pipeline uses.

    `is_local`, `is_gateway` and `identity_of` are columns by endpoint index: whether the endpoint
    runs on this node (bool), whether it is a gateway's pod (bool), and its numeric identity (u4).
    Index 0, the unknown endpoint, has False, False and 0. `hostnames` maps DNS names (lower case,
    no final dot) to endpoint indices.
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
        """Endpoint indices, shape (N,), of addresses, shape (N, 16); 0 for an unknown address."""
        ...

    def resolve_node_ports(
        self,
        endpoints: NDArray[np.uint32],
        ports: NDArray[np.uint16],
        protocols: NDArray[np.uint8],
    ) -> NDArray[np.uint32]:
        """Replace a node's endpoint by the Service whose NodePort is addressed; shape (N,) each."""
        ...


class PeerNames(Protocol):
    """DNS names of addresses outside the cluster, learnt from DNS responses on the wire."""

    def name_of(self, addresses: NDArray[np.uint8]) -> NDArray[np.object_]:
        """The name (str) of each address or None, shape (N,); addresses have shape (N, 16)."""
        ...

    def endpoints_by_name(
        self, addresses: NDArray[np.uint8], hostnames: Mapping[str, int]
    ) -> NDArray[np.uint32]:
        """Endpoint indices, shape (N,), of addresses with one of these DNS names; 0 for others."""
        ...


def resolve_missing(
    endpoints: NDArray[np.uint32], addresses: NDArray[np.uint8], table: AddressTable
) -> NDArray[np.uint32]:
    """Look up each endpoint index 0 by its address; an all-zero address keeps index 0.

    Shapes: endpoints (N,), addresses (N, 16), result (N,).
    """
    missing = np.flatnonzero(endpoints == 0)
    if not len(missing):
        return endpoints
    wanted = addresses[missing]
    halves = wanted.view(np.uint64)
    present = (halves[:, 0] | halves[:, 1]) != 0
    if not present.all():
        missing, wanted = missing[present], wanted[present]
    filled = endpoints.copy()
    filled[missing] = table.resolve(wanted)
    return filled


def identify_drops(batch: DropBatch, table: AddressTable) -> DropBatch:
    """A copy of the rows with endpoints and `direction` set.

    The direction is EGRESS for a local sender, else INGRESS for a local receiver, else UNKNOWN.
    """
    rows = copy_rows(batch)
    for side in ("src", "dst"):
        rows[f"{side}_endpoint"] = resolve_missing(
            batch[f"{side}_endpoint"], batch[f"{side}_addr"], table
        )
    rows["dst_endpoint"] = table.resolve_node_ports(
        rows["dst_endpoint"], rows["dst_port"], rows["protocol"]
    )
    src, dst = (table.is_local[rows[f"{side}_endpoint"]] for side in ("src", "dst"))
    inward = np.where(dst, Direction.INGRESS, Direction.UNKNOWN)
    rows["direction"] = np.where(src, Direction.EGRESS, inward)
    return rows


def identify_sockets(batch: SocketBatch, table: AddressTable) -> SocketBatch:
    """A copy of the rows with `local_endpoint` and `remote_endpoint` set."""
    rows = copy_rows(batch)
    for side in ("local", "remote"):
        rows[f"{side}_endpoint"] = resolve_missing(
            batch[f"{side}_endpoint"], batch[f"{side}_addr"], table
        )
    return rows


def identify_dns(batch: DnsBatch, table: AddressTable) -> DnsBatch:
    """A copy of the rows with endpoints and `direction` set, by the rules of `identify`."""
    rows = copy_rows(batch)
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
    """A mask of the numeric identities that belong to no Kubernetes object: unknown and world."""
    return np.isin(identities, _OUTSIDE)


def resolve_by_dns_name(
    rows: ConnectionBatch | RequestBatch | DropBatch | SocketBatch,
    columns: Mapping[str, str],
    table: AddressTable,
    names: PeerNames,
) -> None:
    """Set the endpoint of outside peers, in place, by the DNS name of their address.

    The endpoint is the Gateway or Service whose status lists the name, as a load balancer's
    hostname.

    Args:
        columns: names of endpoint columns, each with the name of its address column.
    """
    if not len(rows) or not (hostnames := table.hostnames):
        return
    for column, address in columns.items():
        outside = np.flatnonzero(is_outside(table.identity_of[rows[column]]))
        found = names.endpoints_by_name(rows[address][outside], hostnames)
        rows[column][outside[found != 0]] = found[found != 0]


def _direction(
    table: AddressTable,
    src_endpoint: NDArray[np.uint32],
    dst_endpoint: NDArray[np.uint32],
    hook: NDArray[np.uint8],
    is_reply: NDArray[np.bool_],
) -> NDArray[np.uint8]:
    """Direction of the packets from `src` to `dst`; a reply has that of the packet it answers."""
    local = table.is_local
    src, dst = local[src_endpoint], local[dst_endpoint]
    at_source = np.where(src & dst, (hook == Hook.INGRESS) != is_reply, src)
    direction = np.where(at_source, Direction.EGRESS, Direction.INGRESS)
    return np.where(src | dst, direction, Direction.UNKNOWN).astype(np.uint8)


def identify(batch: ConnectionBatch, table: AddressTable) -> ConnectionBatch:
    """A copy of the rows with unknown endpoints resolved and `direction` set.

    As in Hubble, the direction belongs to the connection, not to the packet, and is relative to
    the local endpoint where the packet was observed: a reply has the direction of the packet it
    answers. With both ends on this node, that endpoint is the sender at tc ingress (the packet
    leaves the pod's interface) and the receiver at tc egress; with no local end the direction is
    UNKNOWN.
    """
    rows = copy_rows(batch)
    for side in ("src", "dst"):
        rows[f"{side}_endpoint"] = resolve_missing(
            batch[f"{side}_endpoint"], batch[f"{side}_addr"], table
        )
    rows["dst_endpoint"] = table.resolve_node_ports(
        rows["dst_endpoint"], rows["dst_port"], rows["protocol"]
    )
    rows["direction"] = _direction(
        table, rows["src_endpoint"], rows["dst_endpoint"], rows["hook"], rows["is_reply"] != 0
    )
    return rows
