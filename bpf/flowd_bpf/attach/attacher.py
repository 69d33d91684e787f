"""Putting the programs on interfaces: tcx links where the kernel has them, clsact below 6.6."""

import os
from collections.abc import Mapping
from typing import Literal, Protocol

from flowd_bpf import libbpf
from flowd_bpf.attach.interfaces import Interface
from flowd_bpf.errors import BpfError

AttachMode = Literal["auto", "tcx", "clsact"]


class Attacher(Protocol):
    """A way of attaching, and what is attached by it."""

    name: str

    def attach(self, link: Interface) -> None:
        """Attach both directions to an interface.

        Raises:
            BpfError: the kernel refused it; then neither is attached.
        """
        ...

    def detach(self, index: int) -> None:
        """Forget an interface, which may be gone already."""
        ...

    def close(self) -> None:
        """Detach from everything."""
        ...

    def __len__(self) -> int:
        """How many interfaces are attached."""
        ...


def pick(programs: Mapping[str, int], link: Interface) -> tuple[int, int]:
    """Descriptors of the ingress and egress programs for an interface."""
    kind = "" if link.ethernet else "_raw"
    return programs[f"flowd_in{kind}"], programs[f"flowd_out{kind}"]


class TcxAttacher:
    """tcx links that nothing but our descriptors holds: they go when the process goes.

    Args:
        head: before the programs of others, or after them.
    """

    name = "tcx"

    def __init__(self, programs: Mapping[str, int], *, head: bool = True) -> None:
        self._programs = programs
        self._flags = libbpf.BPF_F_BEFORE if head else 0
        self._links: dict[int, tuple[int, int]] = {}

    def __len__(self) -> int:
        return len(self._links)

    def attach(self, link: Interface) -> None:
        ingress, egress = pick(self._programs, link)
        self.detach(link.index)
        first = libbpf.link_create(ingress, link.index, libbpf.BPF_TCX_INGRESS, self._flags)
        try:
            second = libbpf.link_create(egress, link.index, libbpf.BPF_TCX_EGRESS, self._flags)
        except BpfError:
            os.close(first)
            raise
        self._links[link.index] = first, second

    def detach(self, index: int) -> None:
        for fd in self._links.pop(index, ()):
            os.close(fd)

    def close(self) -> None:
        for index in list(self._links):
            self.detach(index)


def attacher(programs: Mapping[str, int], mode: AttachMode, *, head: bool = True) -> Attacher:
    """The best way of attaching that this kernel has, or the one asked for.

    Raises:
        BpfError: tcx was asked for and is not there, or libbpf is missing.
    """
    tcx = libbpf.has_tcx()
    if mode == "tcx" and not tcx:
        raise BpfError("this kernel has no tcx", "use clsact, or Linux 6.6 or newer")
    if mode == "tcx" or (mode == "auto" and tcx):
        return TcxAttacher(programs, head=head)
    from flowd_bpf.attach.clsact import (
        ClsactAttacher,  # pyroute2 takes 35 MB; most kernels have tcx
    )

    return ClsactAttacher(programs)
