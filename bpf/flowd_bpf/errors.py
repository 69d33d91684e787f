"""What can go wrong between the agent and the kernel, in one line."""

import errno
import os

PRIVILEGES = "run as root, or with CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON"


class BpfError(Exception):
    """The kernel, libbpf or BCC refused something; `hint` says what to do about it."""

    def __init__(self, message: str, hint: str = "", number: int = 0) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.number = number


def kernel_error(what: str, number: int) -> BpfError:
    """The error for a system call that failed: `what` was tried, `number` is its errno."""
    match number:
        case errno.EPERM | errno.EACCES:
            return BpfError(f"{what}: not permitted", PRIVILEGES, number)
        case errno.ENOSYS | errno.EOPNOTSUPP | 524:  # 524: ENOTSUPP, which libc does not know
            return BpfError(f"{what}: this kernel does not support it", "", number)
        case errno.ENOMEM:
            return BpfError(f"{what}: no memory", "raise the memory limit of the agent", number)
        case _:
            return BpfError(f"{what}: {os.strerror(number).lower()}", "", number)
