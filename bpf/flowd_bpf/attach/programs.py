"""The Attacher protocol, and which pair of tc programs an interface gets.

`attacher` chooses between the implementations `tcx` and `clsact`, which both import this module.
"""

from collections.abc import Mapping
from typing import Protocol

from flowd_bpf.attach.interfaces import Interface


class Attacher(Protocol):
    """One mechanism that attaches the tc programs to interfaces, and its attachments."""

    name: str

    def attach(self, link: Interface) -> None:
        """Attach the ingress and the egress program to an interface.

        Raises:
            BpfError: the kernel refused one; then neither is attached.
        """
        ...

    def detach(self, index: int) -> None:
        """Detach from the interface with this index, which may no longer exist."""
        ...

    def close(self) -> None:
        """Detach from all interfaces."""
        ...

    def __len__(self) -> int:
        """Number of attached interfaces."""
        ...


def programs_for(programs: Mapping[str, int], link: Interface) -> tuple[int, int]:
    """Descriptors of the ingress and egress programs for an interface with or without Ethernet."""
    kind = "" if link.ethernet else "_raw"
    return programs[f"flowd_in{kind}"], programs[f"flowd_out{kind}"]
