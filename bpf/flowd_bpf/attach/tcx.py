"""Attach the tc programs by tcx links (Linux 6.6, include/uapi/linux/bpf.h BPF_TCX_INGRESS)."""

import os
from collections.abc import Mapping

from flowd_bpf import libbpf
from flowd_bpf.attach.interfaces import Interface
from flowd_bpf.attach.programs import programs_for
from flowd_bpf.errors import BpfError


class TcxAttacher:
    """tcx links that only our descriptors hold, so the kernel detaches when the process ends.

    Args:
        programs: descriptors by program name.
        head: run before other tcx programs, or else after them.
    """

    name = "tcx"

    def __init__(self, programs: Mapping[str, int], *, head: bool = True) -> None:
        self._programs = programs
        self._flags = libbpf.BPF_F_BEFORE if head else 0
        self._links: dict[int, tuple[int, int]] = {}

    def __len__(self) -> int:
        return len(self._links)

    def attach(self, link: Interface) -> None:
        ingress, egress = programs_for(self._programs, link)
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
