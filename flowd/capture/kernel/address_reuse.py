"""Addresses that went from one holder to another, and the connections that were the first one's."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flowd.model.directory import Directory

FORMER = 65_536


class Moved:
    """Who held each address last.

    A pod that gets new labels is a new endpoint and the same holder; another pod is another one.
    The last FORMER holders of addresses that nobody has are remembered.
    """

    def __init__(self, directory: Directory) -> None:
        self._directory = directory
        self._held: dict[bytes, int] = {}
        self._former: dict[bytes, int] = {}

    def update(self, changes: Mapping[bytes, int]) -> dict[bytes, int]:
        """Addresses, 16 bytes, that have another holder than the last one, and its endpoint index.

        Args:
            changes: endpoint index by address; 0 for nobody's.
        """
        moved: dict[bytes, int] = {}
        for address, index in changes.items():
            last = self._held.pop(address, 0)
            if not index:
                if last:
                    self._former[address] = last
                continue
            last = last or self._former.pop(address, 0)
            if last not in (0, index) and self._holder(last) != self._holder(index):
                moved[address] = index
            self._held[address] = index
        while len(self._former) > FORMER:
            del self._former[next(iter(self._former))]
        return moved

    def _holder(self, index: int) -> tuple[str, str, str]:
        endpoint = self._directory.endpoints[index]
        return endpoint.kind, endpoint.namespace, endpoint.name


def of_former_holders(moved: Mapping[bytes, int], entries: NDArray[Any]) -> NDArray[np.bool_]:
    """Which CONNECTION rows are of somebody who has an address no more."""
    found = np.zeros(len(entries), np.bool_)
    addresses = np.ascontiguousarray(entries["key"]["addr"]).view("u8")
    for address, index in moved.items():
        here = (addresses == np.frombuffer(address, "u8")).all(axis=2)
        held = entries["endpoint"]
        found |= (here & (held != 0) & (held != index)).any(axis=1)
    return found
