"""Who has which address, in the kernel: single addresses and networks, changed without a gap."""

from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from flowd.model.losses import Losses, Place
from flowd_bpf.layout import PREFIX
from flowd_bpf.maps.maps import HashMap

INDEX = np.dtype("u4")


class KernelEndpoints:
    """The maps flowd_endpoints and flowd_prefixes, and what shall be in them.

    Of what changes, the kernel replaces each entry in one step, and new entries come before old ones
    go, so no address that stays known is unknown for a moment.

    Args:
        losses: `endpoints_full` under Place.KERNEL: addresses and networks without a place.
    """

    def __init__(self, losses: Losses) -> None:
        self._losses = losses
        self._wanted: dict[bytes, int] = {}
        self._written: dict[bytes, int] = {}
        self._homeless: set[bytes] = set()
        self._networks: dict[bytes, int] = {}
        self._networks_written: dict[bytes, int] = {}
        self._networks_homeless: set[bytes] = set()
        self._maps: tuple[HashMap, HashMap] | None = None

    def start(self, maps: Mapping[str, int]) -> None:
        """Write what is wanted so far into the maps, descriptors by name.

        Raises:
            BpfError: the kernel refused it.
        """
        key = np.dtype([("addr", "u1", (16,))])
        self._maps = (
            HashMap(maps["flowd_endpoints"], key, INDEX),
            HashMap(maps["flowd_prefixes"], PREFIX, INDEX),
        )
        self._write(self._wanted)
        self._write_networks()

    def stop(self) -> None:
        """Write no more: the maps go."""
        self._maps = None

    def change(self, entries: Mapping[bytes, int]) -> None:
        """Directory.endpoints index by address, 16 bytes, of what is different; 0 for nobody's.

        Raises:
            BpfError: the kernel refused it.
        """
        for address, index in entries.items():
            if index:
                self._wanted[address] = index
            else:
                self._wanted.pop(address, None)
        self._write(entries)

    def set_networks(self, networks: Iterable[tuple[bytes, int, int]]) -> None:
        """Make these the networks: first address, length in bits (IPv4 mapped), endpoint index.

        Raises:
            BpfError: the kernel refused it.
        """
        self._networks = {
            np.uint32(bits).tobytes() + first: index for first, bits, index in networks
        }
        self._write_networks()

    def _write(self, entries: Mapping[bytes, int]) -> None:
        if self._maps is None:
            return
        addresses, written = self._maps[0], self._written
        entries = dict.fromkeys(self._homeless, 0) | dict(entries)
        fresh = {at: self._wanted[at] for at in entries if at in self._wanted}
        changed = [at for at, index in fresh.items() if written.get(at) != index]
        changed.sort(key=lambda at: at not in written)  # what is there has its place
        gone = [at for at in entries if at in written and at not in self._wanted]
        indexes = np.array([fresh[at] for at in changed], INDEX)
        done = addresses.update(_keys(changed, 16), indexes)
        addresses.delete(_keys(gone, 16))
        if done < len(changed):
            done += addresses.update(_keys(changed[done:], 16), indexes[done:])
        homeless = set(changed[done:])
        self._losses.add(Place.KERNEL, "endpoints_full", len(homeless - self._homeless))
        self._homeless = homeless
        written.update((at, fresh[at]) for at in changed[:done])
        for address in (*gone, *homeless):
            written.pop(address, None)

    def _write_networks(self) -> None:
        if self._maps is None or self._networks == self._networks_written:
            return
        networks, before = self._maps[1], self._networks_written
        changed = [key for key, index in self._networks.items() if before.get(key) != index]
        gone = [key for key in before if key not in self._networks]
        indexes = np.array([self._networks[key] for key in changed], INDEX)
        done = networks.update(_keys(changed, PREFIX.itemsize), indexes)
        networks.delete(_keys(gone, PREFIX.itemsize))
        if done < len(changed):
            done += networks.update(_keys(changed[done:], PREFIX.itemsize), indexes[done:])
        homeless = set(changed[done:])
        new = homeless - self._networks_homeless
        self._losses.add(Place.KERNEL, "endpoints_full", len(new))
        self._networks_homeless = homeless
        self._networks_written = {
            key: index for key, index in self._networks.items() if key not in homeless
        }


def _keys(packed: list[bytes], size: int) -> NDArray[np.void]:
    return np.array(packed, f"V{size}") if packed else np.empty(0, f"V{size}")
