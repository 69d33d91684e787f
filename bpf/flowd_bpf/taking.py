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

    def take(self, keys: Rows, values: Rows, how: TakeHow) -> tuple[Rows, Rows]:
        """Those of N entries (KEY and CONNECTION rows) that were taken out, with their last numbers.

        Raises:
            BpfError: the kernel refused to run the program.
        """
        count = -(-len(keys) // TAKE_MOST)
        asked = np.zeros(count * TAKE_MOST, TAKEN)
        asked["key"][: len(keys)] = keys
        asked["value"][: len(keys)] = values
        asked["value"]["taken"][: len(keys)] = how
        runs = np.zeros(count, _RUN)
        runs["asked"] = asked.view(_RUN["asked"])
        for run in range(count):
            address = runs.ctypes.data + run * _RUN.itemsize
            libbpf.run_in_place(self._program, address, _RUN.itemsize)
        asked = runs["asked"].copy().view(TAKEN)
        done = asked[asked["value"]["taken"] != 0]
        return done["key"], done["value"]
