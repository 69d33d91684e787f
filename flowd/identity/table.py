"""The address table: whose address is it?"""

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from flowd.identity.claims import Claim, Claims
from flowd.identity.hostaddr import host_addresses, is_loopback
from flowd.identity.numbers import allot
from flowd.kubernetes.objects import Objects
from flowd.model.directory import Directory
from flowd.model.endpoint import HOST, WORLD, Endpoint, EndpointKind


class IdentityTable:
    """Endpoints by address, and their identities, built anew from each set of objects.

    Endpoints go to `directory.endpoints`; one that did not change keeps its index.

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
        self._cluster_name = cluster_name
        self._proc = proc
        self._world = directory.endpoints.index(WORLD)
        self._host = directory.endpoints.index(replace(HOST, name=node_name, node=node_name))
        self._entries: dict[bytes, int] = {}
        self._keys = np.empty(0, "S16")
        self._values = np.empty(0, np.uint32)
        self._identity_of = np.empty(0, np.uint32)
        self._is_local = np.empty(0, np.bool_)
        self._is_gateway = np.empty(0, np.bool_)
        self.update(Objects())

    def update(self, objects: Objects) -> None:
        """Make this set of objects the one in force."""
        host = host_addresses(self._proc)
        claims = Claims(objects, self._node_name, self._cluster_name, host).by_address
        numbers = allot(claim.key for claim in claims.values() if claim.key)
        entries = dict.fromkeys(host, self._host)
        for address, claim in claims.items():
            entries[address] = self._index(claim, numbers)
        self._entries = entries
        ordered = sorted(entries)
        self._keys = np.array(ordered, "S16")
        self._values = np.array([entries[address] for address in ordered], np.uint32)

    def _index(self, claim: Claim, numbers: dict[tuple[str, ...], int]) -> int:
        endpoint = claim.endpoint
        if claim.key:
            endpoint = replace(endpoint, identity=numbers[claim.key])
        return self._directory.endpoints.index(endpoint)

    def entries(self) -> dict[bytes, int]:
        """Endpoint index by address (16 bytes), for the kernel's map."""
        return dict(self._entries)

    def resolve(self, addresses: NDArray[np.uint8]) -> NDArray[np.uint32]:
        """Endpoint indices, shape (N,), of addresses, shape (N, 16).

        An address that nobody claims is the host when it is a loopback one, and else the world;
        the all-zero address is 0, the unknown.
        """
        rows = np.ascontiguousarray(addresses, np.uint8).reshape(-1, 16)
        keys = rows.view("S16").reshape(-1)
        at = np.minimum(np.searchsorted(self._keys, keys), len(self._keys) - 1)
        found = self._keys[at] == keys
        unclaimed = np.where(is_loopback(rows), self._host, self._world)
        unclaimed[~rows.any(axis=1)] = 0
        return np.where(found, self._values[at], unclaimed).astype(np.uint32)

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
