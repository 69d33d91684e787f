"""The kernel's table of connections, read where it lies."""

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
"""A slot as bytes, since rows of a structured dtype would be copied column by column."""
_WINDOW = mmap.PAGESIZE * 5
"""Slots mapped at a time: whole pages whatever a slot's size, and never all of the table."""
_FEW = 32
"""With one slot in so many in use, asking for each costs less than mapping the pages around it."""


class Slots:
    """The array map of CONNECTION slots.

    Args:
        maps: of them flowd_conns and flowd_held, made with BPF_F_MMAPABLE (kernel/bpf/arraymap.c).

    Raises:
        BpfError: the kernel did not tell its size.
        OSError: it did not let it be mapped.
    """

    def __init__(self, maps: Mapping[str, int]) -> None:
        self._fd = maps["flowd_conns"]
        self.count = libbpf.map_entries(self._fd)
        self._one_by_one = HashMap(self._fd, np.dtype("u4"), CONNECTION)
        words = libbpf.map_entries(maps["flowd_held"])
        self._held = mmap.mmap(maps["flowd_held"], words * 8, mmap.MAP_SHARED, mmap.PROT_READ)

    def held(self) -> Numbers:
        """Numbers of the slots that are in use, in order."""
        bits = np.unpackbits(np.frombuffer(self._held, "u1"), bitorder="little")
        return np.flatnonzero(bits).astype("u4")

    def scan(self) -> Iterator[tuple[Numbers, Rows]]:
        """Connections as numbers of slots and CONNECTION rows, copied, some thousand at a time.

        Those that come and go meanwhile may be missed.

        Raises:
            BpfError: the kernel refused to read.
            OSError: the kernel refused to map.
        """
        held = self.held()
        few = len(held) < self.count // _FEW
        for slots, rows in self._asked(held) if few else self._mapped(held):
            there = rows["state"] >= SlotState.HELD
            yield (slots, rows) if there.all() else (slots[there], rows[there])

    def _asked(self, held: Numbers) -> Iterator[tuple[Numbers, Rows]]:
        for begin in range(0, len(held), BATCH):
            yield self._one_by_one.get(held[begin : begin + BATCH])

    def _mapped(self, held: Numbers) -> Iterator[tuple[Numbers, Rows]]:
        for begin in range(0, self.count, _WINDOW):
            count = min(_WINDOW, self.count - begin)
            first, last = np.searchsorted(held, (begin, begin + count))
            if first == last:
                continue
            slots = held[first:last]
            place = {"length": count * CONNECTION.itemsize, "offset": begin * CONNECTION.itemsize}
            with mmap.mmap(self._fd, flags=mmap.MAP_SHARED, prot=mmap.PROT_READ, **place) as window:
                rows = np.frombuffer(window, _WHOLE).take(slots - np.uint32(begin))
            yield slots, rows.view(CONNECTION)

    def close(self) -> None:
        """Unmap it."""
        self._held.close()
