"""Who is at each end of a connection, and which way it goes as seen from this node."""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from flowd.model.connection import ConnectionBatch
from flowd.model.drop import DropBatch
from flowd.model.enums import Direction, Hook


class Addresses(Protocol):
    """The address table, as the pipeline needs it.

    `is_local` (bool) and `identity_of` (u4) are columns by endpoint index: whether the endpoint
    lives on this node, and its numeric identity. Index 0, the unknown, is not local and has 0.
    """

    @property
    def is_local(self) -> NDArray[np.bool_]: ...
    @property
    def identity_of(self) -> NDArray[np.uint32]: ...
    def resolve(self, addresses: NDArray[np.uint8]) -> NDArray[np.uint32]:
        """Endpoint indices, shape (N,), of addresses, shape (N, 16); 0 where not known."""
        ...


def resolve_missing(
    endpoints: NDArray[np.uint32], addresses: NDArray[np.uint8], table: Addresses
) -> NDArray[np.uint32]:
    """The endpoint indices with each 0 looked up by its address; an all-zero address stays 0."""
    missing = (endpoints == 0) & addresses.any(axis=1)
    if not missing.any():
        return endpoints
    filled = endpoints.copy()
    filled[missing] = table.resolve(addresses[missing])
    return filled


def identify_drops(batch: DropBatch, table: Addresses) -> DropBatch:
    """A copy of the rows with endpoints resolved and `direction` set: out of a local sender first."""
    rows = batch.copy()
    for side in ("src", "dst"):
        rows[f"{side}_endpoint"] = resolve_missing(
            batch[f"{side}_endpoint"], batch[f"{side}_addr"], table
        )
    src, dst = (table.is_local[rows[f"{side}_endpoint"]] for side in ("src", "dst"))
    inward = np.where(dst, Direction.INGRESS, Direction.UNKNOWN)
    rows["direction"] = np.where(src, Direction.EGRESS, inward)
    return rows


def identify(batch: ConnectionBatch, table: Addresses) -> ConnectionBatch:
    """A copy of the rows with unknown endpoints resolved and `direction` set.

    As in Hubble, the direction is that of the connection, not of the packet, relative to the
    local endpoint where the packet was seen: a reply has the direction of what it answers. With
    both ends on this node that endpoint is the sender for a packet at tc ingress (it leaves the
    pod's interface) and the receiver at tc egress; with neither the direction is UNKNOWN.
    """
    rows = batch.copy()
    for side in ("src", "dst"):
        rows[f"{side}_endpoint"] = resolve_missing(
            batch[f"{side}_endpoint"], batch[f"{side}_addr"], table
        )
    local = table.is_local
    src, dst = local[rows["src_endpoint"]], local[rows["dst_endpoint"]]
    sender_seen = rows["hook"] == Hook.INGRESS
    at_source = np.where(src & dst, sender_seen != (rows["is_reply"] != 0), src)
    rows["direction"] = np.where(at_source, Direction.EGRESS, Direction.INGRESS)
    rows["direction"][~(src | dst)] = Direction.UNKNOWN
    return rows
