"""Scan the used slots of the connection table through mmap of its array map."""

import mmap
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flowd_bpf import libbpf
from flowd_bpf.layout import CONNECTION, SlotState
from flowd_bpf.maps.maps import BATCH, HashMap

Rows = NDArray[Any]
Numbers = NDArray[np.uint32]

_WHOLE = np.dtype(f"V{CONNECTION.itemsize}")
"""A slot as bytes: numpy copies rows of a structured dtype column by column."""
_WINDOW = mmap.PAGESIZE * 5
"""Slots mapped at a time: whole pages for any slot size, and never the whole table."""
_FEW = 32
"""If fewer than one in so many slots is used, lookups of each cost less than mapping pages."""


class Slots:
    """The array map of CONNECTION slots.

    Args:
        maps: descriptors by name; flowd_conns and flowd_used_slots are in use, both created with
            BPF_F_MMAPABLE (kernel/bpf/arraymap.c).

    Attributes:
        count: slots of the table.

    Raises:
        BpfError: the kernel refused the query for the table's size.
        OSError: the kernel refused to map the bitmap.
    """

    def __init__(self, maps: Mapping[str, int]) -> None:
        self._fd = maps["flowd_conns"]
        self.count = libbpf.map_entries(self._fd)
        self._lookup = HashMap(self._fd, np.dtype("u4"), CONNECTION)
        words = libbpf.map_entries(maps["flowd_used_slots"])
        self._bitmap = mmap.mmap(
            maps["flowd_used_slots"], words * 8, mmap.MAP_SHARED, mmap.PROT_READ
        )

    def used(self) -> Numbers:
        """Numbers of the used slots in ascending order, shape (N,)."""
        bits = np.unpackbits(np.frombuffer(self._bitmap, "u1"), bitorder="little")
        return np.flatnonzero(bits).astype("u4")

    def scan(self) -> Iterator[tuple[Numbers, Rows]]:
        """Yield batches of slot numbers and copied CONNECTION rows, shape (N,) each.

        A connection that is created or evicted during the scan may be missed.

        Raises:
            BpfError: the kernel refused to read.
            OSError: the kernel refused to map.
        """
        used = self.used()
        few = len(used) < self.count // _FEW
        for slots, rows in self._looked_up(used) if few else self._mapped(used):
            filled = rows["state"] >= SlotState.USED
            yield (slots, rows) if filled.all() else (slots[filled], rows[filled])

    def _looked_up(self, used: Numbers) -> Iterator[tuple[Numbers, Rows]]:
        for begin in range(0, len(used), BATCH):
            yield self._lookup.get(used[begin : begin + BATCH])

    def _mapped(self, used: Numbers) -> Iterator[tuple[Numbers, Rows]]:
        for begin in range(0, self.count, _WINDOW):
            count = min(_WINDOW, self.count - begin)
            first, last = np.searchsorted(used, (begin, begin + count))
            if first == last:
                continue
            slots = used[first:last]
            area = {"length": count * CONNECTION.itemsize, "offset": begin * CONNECTION.itemsize}
            with mmap.mmap(self._fd, flags=mmap.MAP_SHARED, prot=mmap.PROT_READ, **area) as window:
                rows = np.frombuffer(window, _WHOLE).take(slots - np.uint32(begin))
            yield slots, rows.view(CONNECTION)

    def close(self) -> None:
        """Unmap the bitmap."""
        self._bitmap.close()
