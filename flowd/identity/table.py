"""The address table: whose address is it?"""

import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from flowd.identity.address_claims import Ledger
from flowd.identity.allocator import Numbers
from flowd.identity.claims import Claim
from flowd.identity.history import History
from flowd.identity.host_addresses import host_addresses, is_loopback
from flowd.identity.hostnames import Hostnames
from flowd.identity.networks import Networks
from flowd.identity.node_ports import NodePorts
from flowd.identity.sorted_keys import SortedKeys
from flowd.kubernetes.objects.snapshot import Objects
from flowd.model.address import unpack
from flowd.model.directory import Directory
from flowd.model.endpoint import HOST, WORLD, Endpoint, EndpointKind
from flowd.model.status import PartStatus, State
from flowd.text import printable


class IdentityTable:
    """Endpoints by address, and their identities, kept current with each set of objects.

    Endpoints go to `directory.endpoints`; one that did not change keeps its index. Work is in
    proportion to what differs from the set before.

    Args:
        node_name: this node, whose pods are local and whose own addresses are the host.
        cluster_name: part of every derived identity.
        proc: where the kernel lists this host's addresses.
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
        self._ledger = Ledger(node_name, cluster_name)
        self._networks = Networks(cluster_name)
        self._node_ports = NodePorts(directory)
        self._hostnames = Hostnames(cluster_name)
        self._numbers = Numbers()
        self._owners: dict[bytes, Claim] = {}
        self._entries: dict[bytes, int] = {}
        self._lent = False
        self._differences: dict[bytes, int] = {}
        self._rivals: dict[bytes, list[str]] = {}
        self._sorted = SortedKeys()
        self._history = History()
        self._identity_of = np.empty(0, np.uint32)
        self._is_local = np.empty(0, np.bool_)
        self._is_gateway = np.empty(0, np.bool_)
        self.update(Objects())

    def update(self, objects: Objects, now_ns: int | None = None) -> None:
        """Make this set of objects the one in force, from now on or from a Unix time."""
        now = time.time_ns() if now_ns is None else now_ns
        local = host_addresses(self._proc)
        touched = self._ledger.update(objects) | (local ^ self._local)
        self._local = local
        come, gone = self._networks.update(objects.cidr_groups)
        named, unnamed = self._hostnames.update(objects)
        come, gone = come + named, gone + unnamed
        self._node_ports.update(objects.services)
        fresh: dict[bytes, Claim | None] = {}
        for address, new, rivals in self._ledger.look(touched, local):
            old = self._owners.get(address)
            fresh[address] = new
            self._rivals.pop(address, None)
            if rivals:
                self._rivals[address] = rivals
            if new and new.key:
                come.append(new.key)
            if old and old.key:
                gone.append(old.key)
        self._owners.update((at, claim) for at, claim in fresh.items() if claim)
        for address in [at for at, claim in fresh.items() if claim is None]:
            self._owners.pop(address, None)
        renumbered = self._numbers.change(come, gone)
        for part in (self._networks, self._hostnames):
            part.number(self._numbers.by_key, self._directory)
        self._write([*self._owners, *touched] if renumbered else touched, now)

    def _write(self, addresses: "set[bytes] | list[bytes]", now: int) -> None:
        """Look at the owners of these addresses again, and note where the endpoint is another."""
        changed: dict[bytes, int] = {}
        for address in addresses:
            claim = self._owners.get(address)
            index = self._index(claim) if claim else self._host if address in self._local else 0
            before = self._entries.get(address, 0)
            if index == before:
                continue
            changed[address] = index
            if before:
                self._history.add(address, before, now)
        if changed and self._lent:
            self._entries, self._lent = dict(self._entries), False
        for address, index in changed.items():
            if index:
                self._entries[address] = index
            else:
                del self._entries[address]
        self._differences.update(changed)
        self._sorted.change(changed)
        self._history.forget(now)

    def _index(self, claim: Claim) -> int:
        number = self._numbers.by_key[claim.key] if claim.key else claim.endpoint.identity
        if claim.endpoint.identity != number:
            claim.endpoint = replace(claim.endpoint, identity=number)
        return self._directory.endpoints.index(claim.endpoint)

    @property
    def conflicts(self) -> int:
        """Addresses that several Pods, or several nodes, claim at the same time."""
        return len(self._rivals)

    def status(self) -> PartStatus:
        """How many addresses are known, or which are claimed more than once."""
        if not self._rivals:
            return PartStatus("identity", State.ON, f"{len(self._entries):,} addresses")
        address, names = min(self._rivals.items())
        more = f", and {len(self._rivals) - 1} more" if len(self._rivals) > 1 else ""
        detail = f"claimed more than once: {unpack(address)} by {', '.join(names[:3])}{more}"
        return PartStatus("identity", State.DEGRADED, printable(detail, 300))

    def entries(self) -> Mapping[bytes, int]:
        """Endpoint index by address (16 bytes); the same mapping until something in it changes."""
        self._lent = True
        return self._entries

    def take_differences(self) -> dict[bytes, int]:
        """What changed in `entries` since the last call: endpoint index by address, 0 for gone."""
        taken, self._differences = self._differences, {}
        return taken

    def prefixes(self) -> list[tuple[bytes, int, int]]:
        """First address (16 bytes), length in bits and endpoint index of each CIDR group's network.

        IPv4 networks are mapped, so a length is 96 more than as written; for a longest-prefix map.
        """
        return self._networks.prefixes()

    def resolve(
        self, addresses: NDArray[np.uint8], times: NDArray[np.uint64] | None = None
    ) -> NDArray[np.uint32]:
        """Endpoint indices, shape (N,), of addresses, shape (N, 16).

        An address that nobody claims is the host when it is a loopback one, or that of the
        narrowest CIDR group it is in, and else the world; the all-zero address is 0, the unknown.

        Args:
            times: Unix time in nanoseconds at which each is asked for, shape (N,); an address that
                changed hands since, among the last changes, is that of its holder then. Without
                it, now.
        """
        rows = np.ascontiguousarray(addresses, np.uint8).reshape(-1, 16)
        found = self._sorted.find(rows)
        if times is not None:
            self._history.correct(found, rows, times)
        free = np.flatnonzero(found == 0)
        if len(free):
            found[free] = self._unclaimed(rows[free])
        return found

    def at_ports(
        self,
        endpoints: NDArray[np.uint32],
        ports: NDArray[np.uint16],
        protocols: NDArray[np.uint8],
    ) -> NDArray[np.uint32]:
        """Endpoint indices, shape (N,), of who is asked, with the Service where it is a NodePort."""
        return self._node_ports.tell(endpoints, ports, protocols)

    def _unclaimed(self, rows: NDArray[np.uint8]) -> NDArray[np.uint32]:
        found = self._networks.find(rows)
        rest = np.where(is_loopback(rows), self._host, self._world)
        words = rows.view(np.uint64)
        rest[(words[:, 0] | words[:, 1]) == 0] = 0
        return np.where(found, found, rest).astype(np.uint32)

    @property
    def hostnames(self) -> Mapping[str, int]:
        """Endpoint indices by the DNS names of Gateways and load balancers, in lower case."""
        return self._hostnames.by_name

    @property
    def identity_of(self) -> NDArray[np.uint32]:
        """Numeric identity by endpoint index."""
        self._extend()
        return self._identity_of

    @property
    def is_local(self) -> NDArray[np.bool_]:
        """By endpoint index: the host itself, and pods on this node or on no known node."""
        self._extend()
        return self._is_local

    @property
    def is_gateway(self) -> NDArray[np.bool_]:
        """By endpoint index: the pods that are the data plane of a Gateway."""
        self._extend()
        return self._is_gateway

    def _extend(self) -> None:
        known, total = len(self._identity_of), len(self._directory.endpoints)
        if known == total:
            return
        fresh = [self._directory.endpoints[index] for index in range(known, total)]
        identity = np.array([endpoint.identity for endpoint in fresh], np.uint32)
        local = np.array([self._lives_here(endpoint) for endpoint in fresh], np.bool_)
        self._identity_of = np.concatenate([self._identity_of, identity])
        gateway = np.array([endpoint.gateway != "" for endpoint in fresh], np.bool_)
        self._is_local = np.concatenate([self._is_local, local])
        self._is_gateway = np.concatenate([self._is_gateway, gateway])

    def _lives_here(self, endpoint: Endpoint) -> bool:
        if endpoint.kind == EndpointKind.POD:
            return endpoint.node in ("", self._node_name)
        return endpoint.kind == EndpointKind.HOST
