"""Choose how the tc programs attach to interfaces: tcx links, or clsact filters below Linux 6.6."""

from collections.abc import Mapping
from typing import Literal

from flowd_bpf import libbpf
from flowd_bpf.attach.programs import Attacher
from flowd_bpf.attach.tcx import TcxAttacher
from flowd_bpf.errors import BpfError

AttachMode = Literal["auto", "tcx", "clsact"]


def choose_attacher(
    programs: Mapping[str, int], mode: AttachMode, *, head: bool = True
) -> Attacher:
    """The attacher of that mode; `auto` takes tcx where the kernel has it.

    Args:
        programs: descriptors by program name.
        mode: mechanism to use.
        head: with tcx, run before other programs.

    Raises:
        BpfError: `mode` is tcx and the kernel has none, or libbpf is missing.
    """
    tcx = libbpf.has_tcx()
    if mode == "tcx" and not tcx:
        raise BpfError("this kernel has no tcx", "use clsact, or Linux 6.6 or newer")
    if mode == "tcx" or (mode == "auto" and tcx):
        return TcxAttacher(programs, head=head)
    # pyroute2 takes 35 MB, and most kernels have tcx.
    from flowd_bpf.attach.clsact import ClsactAttacher

    return ClsactAttacher(programs)
