"""Write the endpoint of each address and network into the kernel's maps, without gaps."""

from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from flowd.model.losses import Losses, Place
from flowd_bpf.layout import PREFIX
from flowd_bpf.maps.maps import HashMap

INDEX = np.dtype("u4")


class KernelEndpoints:
    """Keeps the maps flowd_endpoints and flowd_prefixes equal to the wanted entries.

    The kernel replaces an entry atomically, and new entries are written before old ones are
    deleted, so a lookup of an address that stays known never misses.

    Args:
        losses: `endpoints_full` under Place.KERNEL: addresses and networks that found a map full.
    """

    def __init__(self, losses: Losses) -> None:
        self._losses = losses
        self._wanted: dict[bytes, int] = {}
        self._written: dict[bytes, int] = {}
        self._rejected: set[bytes] = set()
        self._networks: dict[bytes, int] = {}
        self._networks_written: dict[bytes, int] = {}
        self._networks_rejected: set[bytes] = set()
        self._maps: tuple[HashMap, HashMap] | None = None

    def start(self, maps: Mapping[str, int]) -> None:
        """Write the wanted entries into the maps.

        Args:
            maps: file descriptors by name.

        Raises:
            BpfError: the kernel refuses a map operation.
        """
        key = np.dtype([("addr", "u1", (16,))])
        self._maps = (
            HashMap(maps["flowd_endpoints"], key, INDEX),
            HashMap(maps["flowd_prefixes"], PREFIX, INDEX),
        )
        self._write(self._wanted)
        self._write_networks()

    def stop(self) -> None:
        """Stop writing, before the maps are closed."""
        self._maps = None

    def change(self, entries: Mapping[bytes, int]) -> None:
        """Change some addresses.

        Args:
            entries: Directory.endpoints index by address (16 bytes); 0 removes the address.

        Raises:
            BpfError: the kernel refuses a map operation.
        """
        for address, index in entries.items():
            if index:
                self._wanted[address] = index
            else:
                self._wanted.pop(address, None)
        self._write(entries)

    def set_networks(self, networks: Iterable[tuple[bytes, int, int]]) -> None:
        """Replace all networks.

        Args:
            networks: first address (16 bytes), prefix length of 128 bits (IPv4-mapped), endpoint
                index.

        Raises:
            BpfError: the kernel refuses a map operation.
        """
        self._networks = {
            np.uint32(bits).tobytes() + first: index for first, bits, index in networks
        }
        self._write_networks()

    def _write(self, entries: Mapping[bytes, int]) -> None:
        if self._maps is None:
            return
        addresses, written = self._maps[0], self._written
        entries = dict.fromkeys(self._rejected, 0) | dict(entries)
        wanted = {at: self._wanted[at] for at in entries if at in self._wanted}
        changed = [at for at, index in wanted.items() if written.get(at) != index]
        changed.sort(key=lambda at: at not in written)  # existing entries need no free space
        removed = [at for at in entries if at in written and at not in self._wanted]
        indexes = np.array([wanted[at] for at in changed], INDEX)
        stored = addresses.update(_keys(changed, 16), indexes)
        addresses.delete(_keys(removed, 16))
        if stored < len(changed):
            stored += addresses.update(_keys(changed[stored:], 16), indexes[stored:])
        rejected = set(changed[stored:])
        self._losses.add(Place.KERNEL, "endpoints_full", len(rejected - self._rejected))
        self._rejected = rejected
        written.update((at, wanted[at]) for at in changed[:stored])
        for address in (*removed, *rejected):
            written.pop(address, None)

    def _write_networks(self) -> None:
        if self._maps is None or self._networks == self._networks_written:
            return
        networks, before = self._maps[1], self._networks_written
        changed = [key for key, index in self._networks.items() if before.get(key) != index]
        removed = [key for key in before if key not in self._networks]
        indexes = np.array([self._networks[key] for key in changed], INDEX)
        stored = networks.update(_keys(changed, PREFIX.itemsize), indexes)
        networks.delete(_keys(removed, PREFIX.itemsize))
        if stored < len(changed):
            stored += networks.update(_keys(changed[stored:], PREFIX.itemsize), indexes[stored:])
        rejected = set(changed[stored:])
        new = rejected - self._networks_rejected
        self._losses.add(Place.KERNEL, "endpoints_full", len(new))
        self._networks_rejected = rejected
        self._networks_written = {
            key: index for key, index in self._networks.items() if key not in rejected
        }


def _keys(packed: list[bytes], size: int) -> NDArray[np.void]:
    return np.array(packed, f"V{size}") if packed else np.empty(0, f"V{size}")
