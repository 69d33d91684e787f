"""Hash and per-CPU maps through libbpf's batch calls, into buffers made once."""

import ctypes
import errno
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flowd_bpf import libbpf
from flowd_bpf.errors import kernel_error

BATCH = 4096

Rows = NDArray[Any]


class HashMap:
    """A BPF hash map with numpy keys and values.

    Args:
        fd: the map.
        key, value: dtypes of the map's key and value sizes.
    """

    def __init__(self, fd: int, key: "np.dtype[Any]", value: "np.dtype[Any]") -> None:
        self._fd = fd
        self._lib = libbpf.library()
        self._keys: Rows = np.empty(BATCH, key)
        self._values: Rows = np.empty(BATCH, value)

    def scan(self, *, delete: bool = False) -> Iterator[tuple[Rows, Rows]]:
        """The map's entries as (keys, values), batch by batch, each a view until the next batch.

        Entries that come and go meanwhile may be missed or met twice; with `delete` each entry is
        taken out and met once.

        Raises:
            BpfError: the kernel refused it.
        """
        name = "lookup_and_delete" if delete else "lookup"
        call = getattr(self._lib, f"bpf_map_{name}_batch")
        token = ctypes.create_string_buffer(max(8, self._keys.dtype.itemsize))
        previous = None
        while True:
            count = ctypes.c_uint32(len(self._keys))
            status = -call(
                self._fd,
                previous,
                token,
                self._keys.ctypes.data,
                self._values.ctypes.data,
                ctypes.byref(count),
                None,
            )
            if status == errno.ENOSPC:  # one bucket holds more than the buffers
                self._keys = np.empty(2 * len(self._keys), self._keys.dtype)
                self._values = np.empty(2 * len(self._values), self._values.dtype)
                continue
            if status not in (0, errno.ENOENT):
                raise kernel_error("cannot read a map", status)
            if count.value:
                yield self._keys[: count.value], self._values[: count.value]
            if status == errno.ENOENT:
                return
            previous = token

    def get(self, keys: Rows) -> tuple[Rows, Rows]:
        """Look up chosen keys: those that are there, and their values.

        Raises:
            BpfError: the kernel refused it.
        """
        keys = np.ascontiguousarray(keys)
        values: Rows = np.empty(len(keys), self._values.dtype)
        gone: list[int] = []
        lookup, fd, key, value = self._lib.bpf_map_lookup_elem, self._fd, _at(keys), _at(values)
        key_bytes, value_bytes = keys.dtype.itemsize, values.dtype.itemsize
        for row in range(len(keys)):
            status = lookup(fd, key + row * key_bytes, value + row * value_bytes)
            if status == -errno.ENOENT:
                gone.append(row)
            elif status:
                raise kernel_error("cannot read a map", -status)
        if not gone:
            return keys, values
        there = np.delete(np.arange(len(keys)), gone)
        return keys.take(there), values.take(there)

    def update(self, keys: Rows, values: Rows) -> int:
        """Set entries; returns how many were set before the map was full.

        Raises:
            BpfError: the kernel refused it for another reason.
        """
        if not len(keys):
            return 0
        keys, values = np.ascontiguousarray(keys), np.ascontiguousarray(values)
        count = ctypes.c_uint32(len(keys))
        status = -self._lib.bpf_map_update_batch(
            self._fd, _at(keys), _at(values), ctypes.byref(count), None
        )
        if status not in (0, errno.E2BIG, errno.ENOMEM, errno.ENOSPC):  # the last of a trie
            raise kernel_error("cannot write a map", status)
        return count.value

    def delete(self, keys: Rows) -> None:
        """Delete entries; those that are not there are passed over.

        Raises:
            BpfError: the kernel refused it.
        """
        keys = np.ascontiguousarray(keys)
        while len(keys):
            count = ctypes.c_uint32(len(keys))
            status = -self._lib.bpf_map_delete_batch(self._fd, _at(keys), ctypes.byref(count), None)
            if status not in (0, errno.ENOENT):
                raise kernel_error("cannot delete from a map", status)
            keys = keys[count.value + (status == errno.ENOENT) :]


def _at(rows: Rows, row: int = 0) -> int:
    return rows.ctypes.data + row * rows.dtype.itemsize


def possible_cpus() -> int:
    """How many CPUs this machine can have: the length of every per-CPU value."""
    with open("/sys/devices/system/cpu/possible") as file:
        return int(file.read().strip().replace("-", ",").split(",")[-1]) + 1


class PerCpuCounters:
    """A per-CPU array map of one slot of `length` 64-bit counters."""

    def __init__(self, fd: int, length: int) -> None:
        self._fd = fd
        self._slots: NDArray[np.uint64] = np.empty((possible_cpus(), length), "u8")

    def read(self) -> NDArray[np.uint64]:
        """The counters summed over all CPUs, shape (length,).

        Raises:
            BpfError: the kernel refused it.
        """
        zero = ctypes.c_uint32(0)
        status = libbpf.library().bpf_map_lookup_elem(
            self._fd, ctypes.addressof(zero), self._slots.ctypes.data
        )
        if status < 0:
            raise kernel_error("cannot read the counters", -status)
        return self._slots.sum(axis=0)
