"""libbpf through ctypes: links, maps, test runs, program and map info.

Source: include/uapi/linux/bpf.h and libbpf 1.x (bpf.h). libbpf comes with Debian's python3-bpfcc.
"""

import ctypes
import errno
import os
from ctypes import POINTER, Structure, byref, c_char_p, c_int, c_size_t, c_uint32, c_void_p
from functools import cache
from typing import Any

from flowd_bpf.errors import BpfError, kernel_error

LIBRARY = "libbpf.so.1"

BPF_TCX_INGRESS = 46  # enum bpf_attach_type, include/uapi/linux/bpf.h
BPF_TCX_EGRESS = 47
BPF_F_BEFORE = 1 << 3
BPF_NOEXIST = 1
BPF_MAP_TYPE_RINGBUF = 27


class _LinkOptions(Structure):
    _fields_ = [("size", c_size_t), ("flags", c_uint32), ("pad", c_uint32)]


class _TestRunOptions(Structure):
    _fields_ = [
        ("size", c_size_t),
        ("data_in", c_char_p),
        ("data_out", c_void_p),
        ("data_size_in", c_uint32),
        ("data_size_out", c_uint32),
        ("ctx_in", c_char_p),
        ("ctx_out", c_void_p),
        ("ctx_size_in", c_uint32),
        ("ctx_size_out", c_uint32),
        ("retval", c_uint32),
        ("repeat", c_int),
        ("duration", c_uint32),
        ("flags", c_uint32),
        ("cpu", c_uint32),
        ("batch_size", c_uint32),
    ]


_READ_BATCH = (c_int, c_void_p, c_void_p, c_void_p, c_void_p, POINTER(c_uint32), c_void_p)
_UPDATE_BATCH = (c_int, c_void_p, c_void_p, POINTER(c_uint32), c_void_p)
_PROTOTYPES: dict[str, tuple[Any, ...]] = {
    "bpf_link_create": (c_int, c_int, c_int, POINTER(_LinkOptions)),
    "bpf_map_create": (c_int, c_char_p, c_uint32, c_uint32, c_uint32, c_void_p),
    "bpf_map_lookup_elem": (c_int, c_void_p, c_void_p),
    "bpf_map_update_elem": (c_int, c_void_p, c_void_p, ctypes.c_uint64),
    "bpf_map_lookup_batch": _READ_BATCH,
    "bpf_map_lookup_and_delete_batch": _READ_BATCH,
    "bpf_map_update_batch": _UPDATE_BATCH,
    "bpf_map_delete_batch": (c_int, c_void_p, POINTER(c_uint32), c_void_p),
    "bpf_obj_get_info_by_fd": (c_int, c_void_p, POINTER(c_uint32)),
    "bpf_raw_tracepoint_open": (c_char_p, c_int),
    "bpf_prog_get_fd_by_id": (c_uint32,),
    "bpf_prog_query": (c_int, c_int, c_uint32, c_void_p, c_void_p, POINTER(c_uint32)),
    "bpf_prog_test_run_opts": (c_int, POINTER(_TestRunOptions)),
}


@cache
def library() -> ctypes.CDLL:
    """libbpf with typed functions; they return a negative errno on failure.

    Raises:
        BpfError: libbpf is not installed.
    """
    try:
        lib = ctypes.CDLL(LIBRARY)
    except OSError:
        raise BpfError(f"{LIBRARY} is not installed", "apt-get install python3-bpfcc") from None
    for name, arguments in _PROTOTYPES.items():
        function = getattr(lib, name)
        function.argtypes = list(arguments)
        function.restype = c_int
    return lib


def link_create(program: int, ifindex: int, attach_type: int, flags: int) -> int:
    """Attach a program to an interface (tcx); closing the returned descriptor detaches it.

    Args:
        program: descriptor.
        attach_type: BPF_TCX_INGRESS or BPF_TCX_EGRESS.
        flags: BPF_F_BEFORE, or 0 for after the programs there are.

    Raises:
        BpfError: the kernel refused the link.
    """
    options = _LinkOptions(ctypes.sizeof(_LinkOptions), flags, 0)
    fd = library().bpf_link_create(program, ifindex, attach_type, byref(options))
    if fd < 0:
        raise kernel_error(f"cannot attach to interface {ifindex}", -fd)
    return fd


def raw_tracepoint_open(program: int, subject: str = "dropped packets") -> int:
    """Attach a typed raw tracepoint program; closing the returned descriptor detaches it.

    Args:
        program: descriptor.
        subject: names the tracepoint in the error message.

    Raises:
        BpfError: the kernel refused to attach.
    """
    fd = library().bpf_raw_tracepoint_open(None, program)
    if fd < 0:
        raise kernel_error(f"cannot attach to the tracepoint of {subject}", -fd)
    return fd


def has_tcx() -> bool:
    """Whether this kernel has tcx (6.6), by a query for the programs of interface 1.

    Raises:
        BpfError: the process lacks the privileges to query.
    """
    count = c_uint32(0)
    status = library().bpf_prog_query(1, BPF_TCX_INGRESS, 0, None, None, byref(count))
    if -status in (errno.EPERM, errno.EACCES):
        raise kernel_error("cannot ask for attached programs", -status)
    return status >= 0 or -status in (
        errno.ENOENT,
        errno.ENODEV,
    )  # nothing attached; no interface 1


def probe_ring() -> None:
    """Create a ring buffer map and close it again.

    Raises:
        BpfError: the kernel refused the map.
    """
    size = os.sysconf("SC_PAGE_SIZE")
    fd = library().bpf_map_create(BPF_MAP_TYPE_RINGBUF, b"flowd_probe", 0, 0, size, None)
    if fd < 0:
        raise kernel_error("cannot make a ring buffer", -fd)
    os.close(fd)


def run_program(
    program: int, packet: bytes, repeat: int = 1, context: bytes = b""
) -> tuple[int, int]:
    """Run a program on a packet (BPF_PROG_TEST_RUN).

    Args:
        program: descriptor.
        repeat: number of runs.
        context: struct __sk_buff of the packet or its first bytes; missing bytes are zero.

    Returns:
        Return value of the last run, and nanoseconds a run.

    Raises:
        BpfError: the kernel refused the run.
    """
    options = _TestRunOptions(size=ctypes.sizeof(_TestRunOptions), data_in=packet, repeat=repeat)
    options.data_size_in = len(packet)
    if context:
        options.ctx_in, options.ctx_size_in = context, len(context)
    status = library().bpf_prog_test_run_opts(program, byref(options))
    if status < 0:
        raise kernel_error("cannot run a program", -status)
    return options.retval, options.duration


def run_in_place(program: int, address: int, size: int) -> None:
    """Run a program once on the `size` bytes at `address`, and write the packet back there.

    Raises:
        BpfError: the kernel refused the run.
    """
    options = _TestRunOptions(size=ctypes.sizeof(_TestRunOptions), data_in=address, repeat=1)
    options.data_out, options.data_size_in, options.data_size_out = address, size, size
    status = library().bpf_prog_test_run_opts(program, byref(options))
    if status < 0:
        raise kernel_error("cannot run a program", -status)


def verified_instructions(program: int) -> int:
    """Instructions that the verifier processed (kernel 5.16), from struct bpf_prog_info.

    Raises:
        BpfError: the kernel refused the query.
    """
    info = ctypes.create_string_buffer(232)
    size = c_uint32(len(info))
    status = library().bpf_obj_get_info_by_fd(program, info, byref(size))
    if status < 0:
        raise kernel_error("cannot ask for a program's size", -status)
    return int.from_bytes(info.raw[216:220], "little")


def map_entries(fd: int) -> int:
    """Capacity of a map in entries (max_entries of struct bpf_map_info).

    Raises:
        BpfError: the kernel refused the query.
    """
    info = (c_uint32 * 20)()
    size = c_uint32(ctypes.sizeof(info))
    status = library().bpf_obj_get_info_by_fd(fd, info, byref(size))
    if status < 0:
        raise kernel_error("cannot ask for a map's size", -status)
    return info[4]
