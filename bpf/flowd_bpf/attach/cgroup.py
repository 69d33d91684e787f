"""Attach programs to a cgroup by links, which the kernel removes with the process; find cgroup2.

Source: include/uapi/linux/bpf.h (enum bpf_attach_type), cgroups(7).
"""

import contextlib
import ctypes
import errno
import os
import re
from collections.abc import Generator
from ctypes import byref, c_uint32
from pathlib import Path

from flowd_bpf import libbpf
from flowd_bpf.errors import BpfError, kernel_error

CONNECT4, CONNECT6 = 10, 11  # enum bpf_attach_type, include/uapi/linux/bpf.h
POST_BIND4, POST_BIND6 = 12, 13
SOCK_OPS = 3
NAMES = {
    SOCK_OPS: "sock_ops",
    CONNECT4: "connect4",
    CONNECT6: "connect6",
    POST_BIND4: "post_bind4",
    POST_BIND6: "post_bind6",
}
ROOT = 1
"""Inode of the root of cgroup2; the root of a cgroup namespace has another."""

_ESCAPE = re.compile(r"\\([0-7]{3})")


def cgroup2_mounts(mountinfo: str) -> list[Path]:
    """Mount points of cgroup2 in a mountinfo file (proc(5)), mounts of the whole tree first."""
    found: list[tuple[bool, Path]] = []
    for line in mountinfo.splitlines():
        mount, _, system = line.partition(" - ")
        fields = mount.split()
        if len(fields) > 4 and system.split()[:1] == ["cgroup2"]:
            point = _ESCAPE.sub(lambda escape: chr(int(escape[1], 8)), fields[4])
            found.append((fields[3] != "/", Path(point)))
    return [path for _, path in sorted(found, key=lambda entry: entry[0])]


def find_cgroup2() -> tuple[Path, bool]:
    """Mount point of cgroup2 in this mount namespace, and whether it is the root of the hierarchy.

    Raises:
        BpfError: cgroup2 is not mounted.
    """
    best: Path | None = None
    for point in cgroup2_mounts(Path("/proc/thread-self/mountinfo").read_text()):
        try:
            inode = point.stat().st_ino
        except OSError:
            continue
        if inode == ROOT:
            return point, True
        best = best or point
    if best is None:
        raise BpfError("cgroup2 is not mounted", "mount -t cgroup2 none /sys/fs/cgroup")
    return best, False


def link(program: int, cgroup: int, attach_type: int, path: Path) -> int:
    """Attach a program to a cgroup; closing the returned descriptor detaches it.

    Args:
        program: descriptor.
        cgroup: descriptor of the cgroup's folder `path`.
        attach_type: one of NAMES.

    Raises:
        BpfError: the kernel refused the link; the message names an exclusive program, if any.
    """
    fd = libbpf.library().bpf_link_create(program, cgroup, attach_type, None)
    if fd >= 0:
        return fd
    attempt = f"cannot attach {NAMES[attach_type]} to {path}"
    if -fd == errno.EPERM and (holder := exclusive_program(cgroup, attach_type)):
        raise _exclusive_error(attempt, holder)
    raise kernel_error(attempt, -fd)


def probe(path: Path, attach_type: int) -> None:
    """Check that a cgroup accepts a link of that type, without attaching.

    Raises:
        BpfError: the cgroup cannot be opened, or an exclusive program is attached to it.
    """
    with _opened(path) as cgroup:
        if holder := exclusive_program(cgroup, attach_type):
            raise _exclusive_error(f"cannot attach {NAMES[attach_type]} to {path}", holder)


def _exclusive_error(attempt: str, holder: str) -> BpfError:
    return BpfError(
        f"{attempt}: program {holder} holds it alone", "it should attach by a link", errno.EPERM
    )


@contextlib.contextmanager
def _opened(path: Path) -> Generator[int]:
    try:
        cgroup = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise BpfError(f"cannot open {path}: {error.strerror}") from None
    try:
        yield cgroup
    finally:
        os.close(cgroup)


def exclusive_program(cgroup: int, attach_type: int) -> str:
    """Id and name of a program attached without BPF_F_ALLOW_MULTI; "" when there is none."""
    lib = libbpf.library()
    flags, count = c_uint32(0), c_uint32(1)
    ids = (c_uint32 * 1)()
    status = lib.bpf_prog_query(cgroup, attach_type, 0, byref(flags), ids, byref(count))
    shared = flags.value & 2  # BPF_F_ALLOW_MULTI
    if status < 0 or not count.value or shared:
        return ""
    fd = lib.bpf_prog_get_fd_by_id(ids[0])
    if fd < 0:
        return str(ids[0])
    info = ctypes.create_string_buffer(232)  # struct bpf_prog_info
    size = c_uint32(len(info))
    status = lib.bpf_obj_get_info_by_fd(fd, info, byref(size))
    os.close(fd)
    name = info.raw[64:80].partition(b"\0")[0].decode(errors="replace") if status == 0 else ""
    return f"{ids[0]} {name}".strip()


class CgroupLinks:
    """Links of programs to one cgroup, which cover all cgroups below it, until closed.

    Args:
        path: folder of the cgroup.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._links: list[int] = []

    def __len__(self) -> int:
        return len(self._links)

    def attach(self, programs: dict[int, int]) -> None:
        """Attach programs, descriptors by attach type, in this order.

        Raises:
            BpfError: the kernel refused one; then none stays attached.
        """
        with _opened(self._path) as cgroup:
            try:
                for attach_type, program in programs.items():
                    self._links.append(link(program, cgroup, attach_type, self._path))
            except BpfError:
                self.close()
                raise

    def close(self) -> None:
        """Detach all programs."""
        while self._links:
            os.close(self._links.pop())
