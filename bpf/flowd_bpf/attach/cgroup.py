"""Attaching programs to a cgroup, by links that go with the process."""

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
"""Inode of the one root of cgroup2; the root of a cgroup namespace has another."""

_ESCAPE = re.compile(r"\\([0-7]{3})")


def cgroup2_mounts(mountinfo: str) -> list[Path]:
    """Where cgroup2 is mounted, mounts of its whole tree first; `mountinfo` is as of proc(5)."""
    found: list[tuple[bool, Path]] = []
    for line in mountinfo.splitlines():
        mount, _, system = line.partition(" - ")
        fields = mount.split()
        if len(fields) > 4 and system.split()[:1] == ["cgroup2"]:
            place = _ESCAPE.sub(lambda escape: chr(int(escape[1], 8)), fields[4])
            found.append((fields[3] != "/", Path(place)))
    return [path for _, path in sorted(found, key=lambda entry: entry[0])]


def find_cgroup2() -> tuple[Path, bool]:
    """Mount point of cgroup2 as this process sees it, and whether it shows the whole machine.

    Raises:
        BpfError: there is none.
    """
    best: Path | None = None
    for place in cgroup2_mounts(Path("/proc/thread-self/mountinfo").read_text()):
        try:
            inode = place.stat().st_ino
        except OSError:
            continue
        if inode == ROOT:
            return place, True
        best = best or place
    if best is None:
        raise BpfError("cgroup2 is not mounted", "mount -t cgroup2 none /sys/fs/cgroup")
    return best, False


def link(program: int, cgroup: int, attach_type: int, path: Path) -> int:
    """File descriptor of a link from a program to a cgroup; it detaches when closed.

    Args:
        cgroup: descriptor of the cgroup's folder, `path`.

    Raises:
        BpfError: the kernel refused it; the message names who holds the cgroup, if that is why.
    """
    fd = libbpf.library().bpf_link_create(program, cgroup, attach_type, None)
    if fd >= 0:
        return fd
    what = f"cannot attach {NAMES[attach_type]} to {path}"
    if -fd == errno.EPERM and (holder := exclusive_holder(cgroup, attach_type)):
        raise _held(what, holder)
    raise kernel_error(what, -fd)


def probe(path: Path, attach_type: int) -> None:
    """Ask whether a link to a cgroup would be taken; attaches nothing.

    Raises:
        BpfError: it cannot be opened, or a program of somebody else holds it alone.
    """
    with _opened(path) as cgroup:
        if holder := exclusive_holder(cgroup, attach_type):
            raise _held(f"cannot attach {NAMES[attach_type]} to {path}", holder)


def _held(what: str, holder: str) -> BpfError:
    return BpfError(
        f"{what}: program {holder} holds it alone", "it should attach by a link", errno.EPERM
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


def exclusive_holder(cgroup: int, attach_type: int) -> str:
    """Id and name of a program attached so that no other may be; "" when there is none."""
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
    told = lib.bpf_obj_get_info_by_fd(fd, info, byref(size))
    os.close(fd)
    name = info.raw[64:80].partition(b"\0")[0].decode(errors="replace") if told == 0 else ""
    return f"{ids[0]} {name}".strip()


class CgroupLinks:
    """Programs attached to one cgroup and all below it, until closed."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._links: list[int] = []

    def __len__(self) -> int:
        return len(self._links)

    def attach(self, programs: dict[int, int]) -> None:
        """Attach programs by attach type, in this order.

        Raises:
            BpfError: the kernel refused one; then none is attached.
        """
        with _opened(self._path) as cgroup:
            try:
                for attach_type, program in programs.items():
                    self._links.append(link(program, cgroup, attach_type, self._path))
            except BpfError:
                self.close()
                raise

    def close(self) -> None:
        """Detach."""
        while self._links:
            os.close(self._links.pop())
