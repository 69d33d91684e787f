"""BpfError: a failure of the kernel, libbpf or BCC, as one line with a hint."""

import errno
import os

PRIVILEGES = "run as root, or with CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON"


class BpfError(Exception):
    """The kernel, libbpf or BCC refused an operation.

    Attributes:
        message: one line.
        hint: what the operator can do, "" when nothing.
        number: errno, 0 when there is none.
    """

    def __init__(self, message: str, hint: str = "", number: int = 0) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.number = number


def kernel_error(attempt: str, number: int) -> BpfError:
    """The error of a failed system call: `attempt` begins the message, `number` is the errno."""
    match number:
        case errno.EPERM | errno.EACCES:
            return BpfError(f"{attempt}: not permitted", PRIVILEGES, number)
        case errno.ENOSYS | errno.EOPNOTSUPP | 524:  # 524: ENOTSUPP, which libc does not know
            return BpfError(f"{attempt}: this kernel does not support it", "", number)
        case errno.ENOMEM:
            return BpfError(f"{attempt}: no memory", "raise the memory limit of the agent", number)
        case _:
            return BpfError(f"{attempt}: {os.strerror(number).lower()}", "", number)
