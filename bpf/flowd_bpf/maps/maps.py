"""Read and write BPF hash maps and per-CPU counters as numpy arrays, by libbpf's batch calls."""

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
        fd: descriptor of the map.
        key, value: dtypes of the sizes of the map's keys and values.
    """

    def __init__(self, fd: int, key: "np.dtype[Any]", value: "np.dtype[Any]") -> None:
        self._fd = fd
        self._lib = libbpf.library()
        self._keys: Rows = np.empty(BATCH, key)
        self._values: Rows = np.empty(BATCH, value)

    def scan(self, *, delete: bool = False) -> Iterator[tuple[Rows, Rows]]:
        """Yield the entries in batches of (keys, values), shape (N,), valid until the next batch.

        An entry that is inserted or deleted during the scan may be missed or yielded twice. With
        `delete` the scan removes entries and yields each once.

        Raises:
            BpfError: the kernel refused the read.
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
            if status == errno.ENOSPC:  # the buffers are too small for one bucket
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
        """Look up N keys; returns the keys that exist and their values, shape (M,) each.

        Raises:
            BpfError: the kernel refused the read.
        """
        keys = np.ascontiguousarray(keys)
        values: Rows = np.empty(len(keys), self._values.dtype)
        missing: list[int] = []
        lookup, fd, key, value = self._lib.bpf_map_lookup_elem, self._fd, _at(keys), _at(values)
        key_bytes, value_bytes = keys.dtype.itemsize, values.dtype.itemsize
        for row in range(len(keys)):
            status = lookup(fd, key + row * key_bytes, value + row * value_bytes)
            if status == -errno.ENOENT:
                missing.append(row)
            elif status:
                raise kernel_error("cannot read a map", -status)
        if not missing:
            return keys, values
        found = np.delete(np.arange(len(keys)), missing)
        return keys.take(found), values.take(found)

    def update(self, keys: Rows, values: Rows) -> int:
        """Set N entries; returns how many, fewer than N when the map became full.

        Raises:
            BpfError: the kernel refused the write for another reason.
        """
        if not len(keys):
            return 0
        keys, values = np.ascontiguousarray(keys), np.ascontiguousarray(values)
        count = ctypes.c_uint32(len(keys))
        status = -self._lib.bpf_map_update_batch(
            self._fd, _at(keys), _at(values), ctypes.byref(count), None
        )
        if status not in (0, errno.E2BIG, errno.ENOMEM, errno.ENOSPC):  # ENOSPC: of a trie
            raise kernel_error("cannot write a map", status)
        return count.value

    def delete(self, keys: Rows) -> None:
        """Delete the entries with these keys; keys without an entry are skipped.

        Raises:
            BpfError: the kernel refused the delete.
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
    """Number of possible CPUs, which is the length of every per-CPU value."""
    with open("/sys/devices/system/cpu/possible") as file:
        return int(file.read().strip().replace("-", ",").split(",")[-1]) + 1


class PerCpuCounters:
    """A per-CPU array map whose one value is `length` 64-bit counters.

    Args:
        fd: descriptor of the map.
    """

    def __init__(self, fd: int, length: int) -> None:
        self._fd = fd
        self._per_cpu: NDArray[np.uint64] = np.empty((possible_cpus(), length), "u8")

    def read(self) -> NDArray[np.uint64]:
        """The counters summed over all CPUs, shape (length,).

        Raises:
            BpfError: the kernel refused the read.
        """
        zero = ctypes.c_uint32(0)
        status = libbpf.library().bpf_map_lookup_elem(
            self._fd, ctypes.addressof(zero), self._per_cpu.ctypes.data
        )
        if status < 0:
            raise kernel_error("cannot read the counters", -status)
        return self._per_cpu.sum(axis=0)
