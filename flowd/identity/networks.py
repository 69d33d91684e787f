"""CIDR table: endpoints of the networks in CiliumCIDRGroups, by longest prefix match."""

from collections import defaultdict
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from flowd.identity.allocator import IdentityKey
from flowd.identity.sorted_keys import SortedKeys
from flowd.kubernetes.objects.core import CiliumCIDRGroup
from flowd.model.address import MAPPED, network, unpack
from flowd.model.directory import Directory
from flowd.model.endpoint import Endpoint, EndpointKind

Network = tuple[bytes, int]
"""First address (16 bytes) and length in bits."""

_GROUP_LABEL = "cidrgroup:io.cilium.policy.cidrgroupname/"


class CIDRTable:
    """Endpoints by network, labelled as Cilium labels CIDR identities; longest prefix first.

    A network has one identity, independent of the groups that contain it.
    """

    def __init__(self, cluster_name: str) -> None:
        self._cluster_name = cluster_name
        self._groups: Mapping[tuple[str, str], CiliumCIDRGroup] = {}
        self._names: dict[Network, list[str]] = {}
        self._index: dict[Network, int] = {}
        self._tables: list[tuple[NDArray[np.uint8], SortedKeys]] = []

    def update(
        self, groups: Mapping[tuple[str, str], CiliumCIDRGroup]
    ) -> tuple[list[IdentityKey], list[IdentityKey]]:
        """Apply the groups; return the identity keys that were added and removed."""
        if groups is self._groups:
            return [], []
        before, self._groups, self._names = (
            self._names,
            groups,
            defaultdict[Network, list[str]](list),
        )
        for (_, name), group in sorted(groups.items()):
            for text in group.spec.external_cidrs:
                first, length = network(text)
                self._names[first, length].append(name)
        added = [self._key(entry) for entry in self._names if entry not in before]
        return added, [self._key(entry) for entry in before if entry not in self._names]

    def assign(self, numbers: Mapping[IdentityKey, int], directory: Directory) -> None:
        """Build the endpoints with the allocated identities."""
        index = {
            entry: directory.endpoints.index(self._endpoint(entry, names, numbers))
            for entry, names in self._names.items()
        }
        if index == self._index:
            return
        self._index = index
        lengths: dict[int, dict[bytes, int]] = defaultdict(dict)
        for (first, length), endpoint in index.items():
            lengths[length][first] = endpoint
        self._tables = []
        for length in sorted(lengths, reverse=True):
            keys = SortedKeys()
            keys.update(lengths[length])
            self._tables.append((_mask(length), keys))

    def prefixes(self) -> list[tuple[bytes, int, int]]:
        """First address (16 bytes), prefix length in bits and endpoint index of each network."""
        return [(first, length, index) for (first, length), index in self._index.items()]

    def find(self, rows: NDArray[np.uint8]) -> NDArray[np.uint32]:
        """Longest prefix match of addresses.

        Args:
            rows: addresses, shape (N, 16).

        Returns:
            Endpoint index of the longest matching prefix, shape (N,), or 0.
        """
        found = np.zeros(len(rows), np.uint32)
        for mask, keys in self._tables:
            found = np.where(found, found, keys.find(rows & mask))
        return found

    def _endpoint(
        self, entry: Network, names: list[str], numbers: Mapping[IdentityKey, int]
    ) -> Endpoint:
        groups = (f"{_GROUP_LABEL}{name}=" for name in names)
        labels = tuple(sorted({_text(entry), *groups, "reserved:world"}))
        identity = numbers[self._key(entry)]
        return Endpoint(EndpointKind.WORLD, identity, name=min(names), labels=labels)

    def _key(self, entry: Network) -> IdentityKey:
        return self._cluster_name, _text(entry)


def _text(entry: Network) -> str:
    first, length = entry
    mapped = first[:12] == MAPPED and length >= 96
    return f"cidr:{unpack(first) or '::'}/{length - 96 if mapped else length}"


def _mask(length: int) -> NDArray[np.uint8]:
    bits = np.arange(128) < length
    return np.packbits(bits)
