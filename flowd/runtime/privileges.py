"""Drop every capability that the agent does not use.

Must run while the process has one thread: Linux keeps capabilities per thread (capabilities(7)).
"""

import ctypes
import os
from enum import IntEnum

PR_CAPBSET_DROP = 24
PR_SET_NO_NEW_PRIVS = 38
VERSION_3 = 0x20080522


class Capability(IntEnum):
    """Capabilities that are kept, each with its use (include/uapi/linux/capability.h)."""

    DAC_READ_SEARCH = 2  # manifests and configuration that only their owner may read
    NET_BIND_SERVICE = 10  # listen addresses below port 1024
    NET_ADMIN = 12  # attaching to interfaces, conntrack
    PERFMON = 38  # programs that read packet data by pointer
    BPF = 39  # loading programs and reading maps


class _Header(ctypes.Structure):
    _fields_ = [("version", ctypes.c_uint32), ("pid", ctypes.c_int)]


class _Data(ctypes.Structure):
    _fields_ = [(name, ctypes.c_uint32) for name in ("effective", "permitted", "inheritable")]


def drop_privileges() -> tuple[Capability, ...]:
    """Keep only the capabilities of `Capability`, in this process and its children.

    Returns:
        the capabilities that the process still holds; () for a process without any.

    Raises:
        OSError: capset(2) failed.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    header = _Header(VERSION_3, 0)
    data = (_Data * 2)()
    if libc.capget(ctypes.byref(header), data) != 0:
        return ()
    permitted = data[0].permitted | data[1].permitted << 32
    kept = tuple(cap for cap in Capability if permitted >> cap & 1)
    for number in range(64):
        if number not in kept and libc.prctl(PR_CAPBSET_DROP, number, 0, 0, 0) != 0:
            break
    mask = sum(1 << cap for cap in kept)
    for index in range(2):
        word = mask >> 32 * index & 0xFFFFFFFF
        data[index].effective = data[index].permitted = word
        data[index].inheritable = 0
    libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    if libc.capset(ctypes.byref(header), data) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return kept
