"""Taking chosen connections out of the kernel's table, each as it was found or not at all."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from flowd_bpf import libbpf
from flowd_bpf.layout import TAKE_MOST, TAKEN, TakeHow

# As bytes, since rows of a structured dtype would be copied column by column
_RUN = np.dtype([("frame", "V16"), ("asked", f"V{TAKE_MOST * TAKEN.itemsize}")])

Rows = NDArray[Any]


class Taker:
    """The program flowd_take, which looks once more and takes out in one step.

    So that a connection that came alive meanwhile, or made way for another one with the same ports,
    is neither lost nor counted twice.
    """

    def __init__(self, program: int) -> None:
        self._program = program

    def take(self, slots: NDArray[np.uint32], values: Rows, how: TakeHow) -> Rows:
        """Those of N CONNECTION rows that were taken out of their slots, with their last numbers.

        Raises:
            BpfError: the kernel refused to run the program.
        """
        count = -(-len(slots) // TAKE_MOST)
        asked = np.zeros(count * TAKE_MOST, TAKEN)
        asked["slot"][: len(slots)] = slots
        asked["how"][: len(slots)] = how
        asked["value"][: len(slots)] = values
        runs = np.zeros(count, _RUN)
        runs["asked"] = asked.view(_RUN["asked"])
        for run in range(count):
            address = runs.ctypes.data + run * _RUN.itemsize
            libbpf.run_in_place(self._program, address, _RUN.itemsize)
        asked = runs["asked"].copy().view(TAKEN)
        return asked["value"][asked["how"] != 0]
