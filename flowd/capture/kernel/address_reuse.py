"""Detect addresses with a new owner, and select the former owner's connections."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flowd.model.directory import Directory

MAX_FORMER = 65_536
"""Most released addresses whose last owner is remembered."""


class AddressReuse:
    """The last owner of each address; an owner is an endpoint's kind, namespace and name.

    A pod with changed labels is a new endpoint of the same owner.
    """

    def __init__(self, directory: Directory) -> None:
        self._directory = directory
        self._current: dict[bytes, int] = {}
        self._former: dict[bytes, int] = {}

    def update(self, changes: Mapping[bytes, int]) -> dict[bytes, int]:
        """Addresses (16 bytes) that have a new owner, with the new endpoint index.

        Args:
            changes: endpoint index by address; 0 for an address without an owner.
        """
        reassigned: dict[bytes, int] = {}
        for address, index in changes.items():
            last = self._current.pop(address, 0)
            if not index:
                if last:
                    self._former[address] = last
                continue
            last = last or self._former.pop(address, 0)
            if last not in (0, index) and self._owner(last) != self._owner(index):
                reassigned[address] = index
            self._current[address] = index
        while len(self._former) > MAX_FORMER:
            del self._former[next(iter(self._former))]
        return reassigned

    def _owner(self, index: int) -> tuple[str, str, str]:
        endpoint = self._directory.endpoints[index]
        return endpoint.kind, endpoint.namespace, endpoint.name


def of_former_owners(reassigned: Mapping[bytes, int], entries: NDArray[Any]) -> NDArray[np.bool_]:
    """Whether each CONNECTION row belongs to a former owner of a reassigned address, shape (N,).

    Args:
        reassigned: new endpoint index by address, as `AddressReuse.update` returns it.
    """
    selected = np.zeros(len(entries), np.bool_)
    addresses = np.ascontiguousarray(entries["key"]["addr"]).view("u8")
    endpoints = entries["endpoint"]
    for address, index in reassigned.items():
        matches = (addresses == np.frombuffer(address, "u8")).all(axis=2)
        selected |= (matches & (endpoints != 0) & (endpoints != index)).any(axis=1)
    return selected
