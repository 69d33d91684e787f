"""Read a BPF ring buffer of fixed-size records as one numpy array.

The kernel maps the data area twice in a row, so unread records are contiguous even across the end
of the buffer (kernel/bpf/ringbuf.c).
"""

import mmap
from typing import Any

import numpy as np
from numpy.typing import NDArray

BUSY = 1 << 31  # BPF_RINGBUF_BUSY_BIT
DISCARD = 1 << 30  # BPF_RINGBUF_DISCARD_BIT


class Ring:
    """Reader of a ring buffer map whose records all have one dtype.

    Args:
        fd: descriptor of the map; it polls readable when a program wakes the reader.
        size: bytes of the data area, a power of two.
        record: dtype of a record, its size a multiple of 8 bytes.
    """

    def __init__(self, fd: int, size: int, record: "np.dtype[np.void]") -> None:
        self.fd = fd
        self._mask = size - 1
        self._record = record
        self._nothing = np.zeros(0, record)
        # Records as bytes: numpy copies rows of a structured dtype column by column.
        whole = np.dtype(f"V{record.itemsize}")
        self._slot = np.dtype([("header", "u4"), ("page", "u4"), ("record", whole)])
        page = mmap.PAGESIZE
        self._consumer = mmap.mmap(fd, page, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
        self._data = mmap.mmap(fd, page + 2 * size, mmap.MAP_SHARED, mmap.PROT_READ, offset=page)
        self._read: NDArray[np.uint64] = np.frombuffer(self._consumer, "u8", 1)
        self._written: NDArray[np.uint64] = np.frombuffer(self._data, "u8", 1)

    def read(self) -> NDArray[np.void]:
        """Copies of the records submitted since the last call, shape (N,), up to an unfinished one."""
        read, written = int(self._read[0]), int(self._written[0])
        if read == written:
            return self._nothing
        slots: NDArray[Any] = np.frombuffer(
            self._data,
            self._slot,
            (written - read) // self._slot.itemsize,
            mmap.PAGESIZE + (read & self._mask),
        )
        header = slots["header"]
        busy = np.flatnonzero(header & BUSY)
        if busy.size:
            slots = slots[: busy[0]]
            header = slots["header"]
        kept = header & DISCARD == 0
        records = slots["record"].copy() if kept.all() else slots["record"][kept]
        self._read[0] = read + len(slots) * self._slot.itemsize
        return records.view(self._record)

    def close(self) -> None:
        """Unmap the ring."""
        del self._read, self._written
        self._consumer.close()
        self._data.close()
