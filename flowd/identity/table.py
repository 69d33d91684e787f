"""Identity table: endpoints and numeric identities by IP address."""

import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from flowd.identity.address_claims import AddressClaims
from flowd.identity.allocator import IdentityAllocator
from flowd.identity.claims import Claim
from flowd.identity.history import AddressHistory
from flowd.identity.host_addresses import host_addresses, is_loopback
from flowd.identity.hostnames import Hostnames
from flowd.identity.networks import CIDRTable
from flowd.identity.node_ports import NodePorts
from flowd.identity.sorted_keys import SortedKeys
from flowd.kubernetes.objects.snapshot import Objects
from flowd.model.address import unpack
from flowd.model.directory import Directory
from flowd.model.endpoint import HOST, WORLD, Endpoint, EndpointKind
from flowd.model.status import PartStatus, State
from flowd.text import printable


class IdentityTable:
    """Endpoints by address, and their identities, updated with each snapshot of objects.

    Endpoints are added to `directory.endpoints`; an unchanged endpoint keeps its index. The cost of
    an update is proportional to the changes.

    Args:
        node_name: name of this node; its Pods are local, and its own addresses are the host.
        cluster_name: part of every derived identity.
        proc: proc file system with the addresses of this host.
    """

    def __init__(
        self,
        directory: Directory,
        *,
        node_name: str,
        cluster_name: str,
        proc: Path = Path("/proc"),
    ) -> None:
        self._directory = directory
        self._node_name = node_name
        self._proc = proc
        self._world = directory.endpoints.index(WORLD)
        self._host = directory.endpoints.index(replace(HOST, name=node_name, node=node_name))
        self._local: set[bytes] = set()
        self._address_claims = AddressClaims(node_name, cluster_name)
        self._cidrs = CIDRTable(cluster_name)
        self._node_ports = NodePorts(directory)
        self._hostnames = Hostnames(cluster_name)
        self._allocator = IdentityAllocator()
        self._winners: dict[bytes, Claim] = {}
        self._entries: dict[bytes, int] = {}
        self._shared_out = False
        self._differences: dict[bytes, int] = {}
        self._rivals: dict[bytes, list[str]] = {}
        self._sorted = SortedKeys()
        self._history = AddressHistory()
        self._identity_of = np.empty(0, np.uint32)
        self._is_local = np.empty(0, np.bool_)
        self._is_gateway = np.empty(0, np.bool_)
        self.update(Objects())

    def update(self, objects: Objects, now_ns: int | None = None) -> None:
        """Apply a snapshot, valid from now on or from `now_ns` (Unix nanoseconds)."""
        now = time.time_ns() if now_ns is None else now_ns
        local = host_addresses(self._proc)
        touched = self._address_claims.update(objects) | (local ^ self._local)
        self._local = local
        added, removed = self._cidrs.update(objects.cidr_groups)
        hosts_added, hosts_removed = self._hostnames.update(objects)
        added, removed = added + hosts_added, removed + hosts_removed
        self._node_ports.update(objects.services)
        new_claims: dict[bytes, Claim | None] = {}
        for address, new, rivals in self._address_claims.resolve(touched, local):
            old = self._winners.get(address)
            new_claims[address] = new
            self._rivals.pop(address, None)
            if rivals:
                self._rivals[address] = rivals
            if new and new.key:
                added.append(new.key)
            if old and old.key:
                removed.append(old.key)
        self._winners.update((at, claim) for at, claim in new_claims.items() if claim)
        for address in [at for at, claim in new_claims.items() if claim is None]:
            self._winners.pop(address, None)
        renumbered = self._allocator.update(added, removed)
        for part in (self._cidrs, self._hostnames):
            part.assign(self._allocator.by_key, self._directory)
        self._write([*self._winners, *touched] if renumbered else touched, now)

    def _write(self, addresses: "set[bytes] | list[bytes]", now: int) -> None:
        """Update the entries of these addresses; record changes in the history."""
        changed: dict[bytes, int] = {}
        for address in addresses:
            claim = self._winners.get(address)
            index = self._index(claim) if claim else self._host if address in self._local else 0
            before = self._entries.get(address, 0)
            if index == before:
                continue
            changed[address] = index
            if before:
                self._history.add(address, before, now)
        if changed and self._shared_out:
            self._entries, self._shared_out = dict(self._entries), False
        for address, index in changed.items():
            if index:
                self._entries[address] = index
            else:
                del self._entries[address]
        self._differences.update(changed)
        self._sorted.update(changed)
        self._history.expire(now)

    def _index(self, claim: Claim) -> int:
        number = self._allocator.by_key[claim.key] if claim.key else claim.endpoint.identity
        if claim.endpoint.identity != number:
            claim.endpoint = replace(claim.endpoint, identity=number)
        return self._directory.endpoints.index(claim.endpoint)

    @property
    def conflicts(self) -> int:
        """Number of addresses that several Pods or several nodes claim at the same time."""
        return len(self._rivals)

    def status(self) -> PartStatus:
        """Status: the number of addresses, or an address with several claims."""
        if not self._rivals:
            return PartStatus("identity", State.ON, f"{len(self._entries):,} addresses")
        address, names = min(self._rivals.items())
        more = f", and {len(self._rivals) - 1} more" if len(self._rivals) > 1 else ""
        detail = f"claimed more than once: {unpack(address)} by {', '.join(names[:3])}{more}"
        return PartStatus("identity", State.DEGRADED, printable(detail, 300))

    def entries(self) -> Mapping[bytes, int]:
        """Endpoint index by address (16 bytes); returns the same mapping until it changes."""
        self._shared_out = True
        return self._entries

    def drain_changes(self) -> dict[bytes, int]:
        """Changes of `entries` since the last call: endpoint index by address, 0 when removed."""
        taken, self._differences = self._differences, {}
        return taken

    def prefixes(self) -> list[tuple[bytes, int, int]]:
        """First address (16 bytes), prefix length and endpoint index of each CIDR group network.

        For a longest-prefix-match map. IPv4 networks are IPv4-mapped, so their length is 96 more
        than written.
        """
        return self._cidrs.prefixes()

    def resolve(
        self, addresses: NDArray[np.uint8], times: NDArray[np.uint64] | None = None
    ) -> NDArray[np.uint32]:
        """Endpoint indices, shape (N,), of addresses, shape (N, 16).

        An unclaimed address resolves to the CIDR group network with the longest matching prefix,
        else to the host for loopback addresses, else to the world. The all-zero address is 0
        (unknown).

        Args:
            times: Unix time in nanoseconds for each address, shape (N,). An address that was
                reused since resolves to its endpoint at that time, as far as the history reaches.
                None means now.
        """
        rows = np.ascontiguousarray(addresses, np.uint8).reshape(-1, 16)
        found = self._sorted.find(rows)
        if times is not None:
            self._history.restore(found, rows, times)
        free = np.flatnonzero(found == 0)
        if len(free):
            found[free] = self._unclaimed(rows[free])
        return found

    def resolve_node_ports(
        self,
        endpoints: NDArray[np.uint32],
        ports: NDArray[np.uint16],
        protocols: NDArray[np.uint8],
    ) -> NDArray[np.uint32]:
        """Endpoint indices, shape (N,), of destinations, with the Service behind NodePorts."""
        return self._node_ports.resolve(endpoints, ports, protocols)

    def _unclaimed(self, rows: NDArray[np.uint8]) -> NDArray[np.uint32]:
        found = self._cidrs.find(rows)
        fallback = np.where(is_loopback(rows), self._host, self._world)
        words = rows.view(np.uint64)
        fallback[(words[:, 0] | words[:, 1]) == 0] = 0
        return np.where(found, found, fallback).astype(np.uint32)

    @property
    def hostnames(self) -> Mapping[str, int]:
        """Endpoint index by DNS name (lower case) of Gateways and load balancers."""
        return self._hostnames.by_name

    @property
    def identity_of(self) -> NDArray[np.uint32]:
        """Numeric identity by endpoint index, shape (endpoints,), dtype u4."""
        self._extend()
        return self._identity_of

    @property
    def is_local(self) -> NDArray[np.bool_]:
        """Mask by endpoint index: the host, and Pods on this node or on an unknown node."""
        self._extend()
        return self._is_local

    @property
    def is_gateway(self) -> NDArray[np.bool_]:
        """Mask by endpoint index: endpoints that belong to the data plane of a Gateway."""
        self._extend()
        return self._is_gateway

    def _extend(self) -> None:
        known, total = len(self._identity_of), len(self._directory.endpoints)
        if known == total:
            return
        fresh = [self._directory.endpoints[index] for index in range(known, total)]
        identity = np.array([endpoint.identity for endpoint in fresh], np.uint32)
        local = np.array([self._is_local_endpoint(endpoint) for endpoint in fresh], np.bool_)
        self._identity_of = np.concatenate([self._identity_of, identity])
        gateway = np.array([endpoint.gateway != "" for endpoint in fresh], np.bool_)
        self._is_local = np.concatenate([self._is_local, local])
        self._is_gateway = np.concatenate([self._is_gateway, gateway])

    def _is_local_endpoint(self, endpoint: Endpoint) -> bool:
        if endpoint.kind == EndpointKind.POD:
            return endpoint.node in ("", self._node_name)
        return endpoint.kind == EndpointKind.HOST
