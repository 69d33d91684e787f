"""The calls of libbpf that are in use, by ctypes. libbpf comes with Debian's python3-bpfcc."""

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


_BATCH = (c_int, c_void_p, c_void_p, c_void_p, c_void_p, POINTER(c_uint32), c_void_p)
_CHANGE = (c_int, c_void_p, c_void_p, POINTER(c_uint32), c_void_p)
_PROTOTYPES: dict[str, tuple[Any, ...]] = {
    "bpf_link_create": (c_int, c_int, c_int, POINTER(_LinkOptions)),
    "bpf_map_create": (c_int, c_char_p, c_uint32, c_uint32, c_uint32, c_void_p),
    "bpf_map_lookup_elem": (c_int, c_void_p, c_void_p),
    "bpf_map_update_elem": (c_int, c_void_p, c_void_p, ctypes.c_uint64),
    "bpf_map_lookup_batch": _BATCH,
    "bpf_map_lookup_and_delete_batch": _BATCH,
    "bpf_map_update_batch": _CHANGE,
    "bpf_map_delete_batch": (c_int, c_void_p, POINTER(c_uint32), c_void_p),
    "bpf_obj_get_info_by_fd": (c_int, c_void_p, POINTER(c_uint32)),
    "bpf_raw_tracepoint_open": (c_char_p, c_int),
    "bpf_prog_get_fd_by_id": (c_uint32,),
    "bpf_prog_query": (c_int, c_int, c_uint32, c_void_p, c_void_p, POINTER(c_uint32)),
    "bpf_prog_test_run_opts": (c_int, POINTER(_TestRunOptions)),
}


@cache
def library() -> ctypes.CDLL:
    """libbpf, its functions typed; they return a negative errno on failure.

    Raises:
        BpfError: it is not installed.
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
    """File descriptor of a link from a program to an interface; it detaches when closed.

    Raises:
        BpfError: the kernel refused it.
    """
    options = _LinkOptions(ctypes.sizeof(_LinkOptions), flags, 0)
    fd = library().bpf_link_create(program, ifindex, attach_type, byref(options))
    if fd < 0:
        raise kernel_error(f"cannot attach to interface {ifindex}", -fd)
    return fd


def raw_tracepoint_open(program: int, what: str = "dropped packets") -> int:
    """File descriptor that keeps a typed raw tracepoint attached until it is closed.

    Args:
        what: the tracepoint is of, for the error.

    Raises:
        BpfError: the kernel refused it.
    """
    fd = library().bpf_raw_tracepoint_open(None, program)
    if fd < 0:
        raise kernel_error(f"cannot attach to the tracepoint of {what}", -fd)
    return fd


def has_tcx() -> bool:
    """Whether this kernel has tcx (6.6); asks for the programs of the first interface.

    Raises:
        BpfError: this process may not ask.
    """
    count = c_uint32(0)
    status = library().bpf_prog_query(1, BPF_TCX_INGRESS, 0, None, None, byref(count))
    if -status in (errno.EPERM, errno.EACCES):
        raise kernel_error("cannot ask for attached programs", -status)
    return status >= 0 or -status in (errno.ENOENT, errno.ENODEV)  # none attached; no interface 1


def probe_ring() -> None:
    """Make a ring buffer and let it go.

    Raises:
        BpfError: the kernel refused it.
    """
    size = os.sysconf("SC_PAGE_SIZE")
    fd = library().bpf_map_create(BPF_MAP_TYPE_RINGBUF, b"flowd_probe", 0, 0, size, None)
    if fd < 0:
        raise kernel_error("cannot make a ring buffer", -fd)
    os.close(fd)


def run_program(
    program: int, packet: bytes, repeat: int = 1, context: bytes = b""
) -> tuple[int, int]:
    """Run a program on a packet: its return value, and nanoseconds a run.

    Args:
        context: struct __sk_buff of the packet, or its head; none is zeros.

    Raises:
        BpfError: the kernel refused it.
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
    """Run a program on the packet at an address, and put there what it made of it.

    Raises:
        BpfError: the kernel refused it.
    """
    options = _TestRunOptions(size=ctypes.sizeof(_TestRunOptions), data_in=address, repeat=1)
    options.data_out, options.data_size_in, options.data_size_out = address, size, size
    status = library().bpf_prog_test_run_opts(program, byref(options))
    if status < 0:
        raise kernel_error("cannot run a program", -status)


def verified_instructions(program: int) -> int:
    """Instructions the verifier walked through (kernel 5.16), from struct bpf_prog_info.

    Raises:
        BpfError: the kernel refused to tell.
    """
    info = ctypes.create_string_buffer(232)
    size = c_uint32(len(info))
    status = library().bpf_obj_get_info_by_fd(program, info, byref(size))
    if status < 0:
        raise kernel_error("cannot ask for a program's size", -status)
    return int.from_bytes(info.raw[216:220], "little")


def map_entries(fd: int) -> int:
    """How many entries a map has at most, from struct bpf_map_info.

    Raises:
        BpfError: the kernel refused to tell.
    """
    info = (c_uint32 * 20)()
    size = c_uint32(ctypes.sizeof(info))
    status = library().bpf_obj_get_info_by_fd(fd, info, byref(size))
    if status < 0:
        raise kernel_error("cannot ask for a map's size", -status)
    return info[4]
