"""Evict connections from the kernel's table by the program flowd_evict (bpf/src/conn/evict.h)."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from flowd_bpf import libbpf
from flowd_bpf.layout import EVICT_BATCH, EVICTION, EvictMode

# Requests as bytes: numpy copies rows of a structured dtype column by column.
_RUN = np.dtype([("frame", "V16"), ("requests", f"V{EVICT_BATCH * EVICTION.itemsize}")])

Rows = NDArray[Any]


class Evictor:
    """Runs the program flowd_evict, which checks an entry again and removes it in one step.

    So a connection that became active since it was read, or whose tuple a new one reuses, is
    neither lost nor counted twice.

    Args:
        program: descriptor.
    """

    def __init__(self, program: int) -> None:
        self._program = program

    def evict(self, slots: NDArray[np.uint32], values: Rows, mode: EvictMode) -> Rows:
        """Evict N connections; returns the evicted ones as CONNECTION rows with their last numbers.

        Args:
            slots: slot numbers, shape (N,).
            values: CONNECTION rows as read from these slots, shape (N,).
            mode: whether an entry with packets since the read stays.

        Raises:
            BpfError: the kernel refused to run the program.
        """
        count = -(-len(slots) // EVICT_BATCH)
        requests = np.zeros(count * EVICT_BATCH, EVICTION)
        requests["slot"][: len(slots)] = slots
        requests["mode"][: len(slots)] = mode
        requests["value"][: len(slots)] = values
        runs = np.zeros(count, _RUN)
        runs["requests"] = requests.view(_RUN["requests"])
        for run in range(count):
            address = runs.ctypes.data + run * _RUN.itemsize
            libbpf.run_in_place(self._program, address, _RUN.itemsize)
        requests = runs["requests"].copy().view(EVICTION)
        return requests["value"][requests["mode"] != 0]
