"""Markers for features of some kernels only; without them tests are skipped with the reason."""

from typing import TYPE_CHECKING

import pytest

from flowd_bpf import libbpf
from flowd_bpf.errors import BpfError
from flowd_bpf.load.drop_types import drop_types

if TYPE_CHECKING:
    from flowd_bpf.attach.attacher import AttachMode


def _reads_packets() -> bool:
    try:
        return drop_types(16).packets
    except (BpfError, OSError):
        return False


def _has_tcx() -> bool:
    try:
        return libbpf.has_tcx()
    except (BpfError, OSError):
        return False


needs_packets = pytest.mark.skipif(
    not _reads_packets(), reason="this kernel has no bpf_rdonly_cast (6.2): drops name sockets only"
)
needs_tcx = pytest.mark.skipif(not _has_tcx(), reason="this kernel has no tcx (6.6)")

TCX: "AttachMode" = "tcx"
CLSACT: "AttachMode" = "clsact"
MODES = (pytest.param(TCX, marks=needs_tcx), CLSACT)
