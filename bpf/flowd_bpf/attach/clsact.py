"""Attach the tc programs as bpf filters under a clsact qdisc (tc-bpf(8)), for kernels without tcx.

A filter outlives the process that added it. Ours carry a name and a handle. Filters that a killed
agent left are removed at start; filters of others are never removed.
"""

import errno
import socket
from collections.abc import Mapping

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from flowd_bpf.attach.interfaces import Interface
from flowd_bpf.attach.programs import programs_for
from flowd_bpf.errors import kernel_error

NAME = "flowd"
HANDLE = 0xF10D
PRIORITY = 1
ETH_P_ALL = 3
PARENTS = (0xFFFFFFF2, 0xFFFFFFF3)  # TC_H_CLSACT with TC_H_MIN_INGRESS, TC_H_MIN_EGRESS


class ClsactAttacher:
    """Filters named NAME, at one priority and handle in each direction.

    The constructor removes filters of that name and handle from every interface. `attach` adds the
    qdisc where there is none, and `detach` removes it again unless it has other filters.

    Args:
        programs: descriptors by program name.

    Raises:
        BpfError: the kernel refused to list or to remove our filters.
    """

    name = "clsact"

    def __init__(self, programs: Mapping[str, int]) -> None:
        self._programs = programs
        self._route = IPRoute()
        self._added_qdisc: dict[int, bool] = {}
        for index, _ in socket.if_nameindex():
            if self._has_ours(index):
                self._added_qdisc[index] = True
                self.detach(index)

    def __len__(self) -> int:
        return len(self._added_qdisc)

    def attach(self, link: Interface) -> None:
        self._added_qdisc[link.index] = self._add_qdisc(link)
        try:
            for parent, program in zip(PARENTS, programs_for(self._programs, link), strict=True):
                self._route.tc(
                    "add-filter",
                    "bpf",
                    link.index,
                    HANDLE,
                    fd=program,
                    name=NAME,
                    parent=parent,
                    prio=PRIORITY,
                    protocol=ETH_P_ALL,
                    direct_action=True,
                )
        except NetlinkError as error:
            self.detach(link.index)
            raise kernel_error(f"cannot add a filter to {link.name}", error.code) from None

    def detach(self, index: int) -> None:
        if index not in self._added_qdisc:
            return
        added = self._added_qdisc.pop(index)
        try:
            for parent in PARENTS:
                if NAME in self._names(index, parent):
                    self._delete(index, parent)
            if added and not any(self._names(index, parent) for parent in PARENTS):
                self._route.tc("del", "clsact", index)
        except NetlinkError as error:
            if error.code not in (errno.ENODEV, errno.ENOENT, errno.EINVAL):
                raise kernel_error(f"cannot remove filters from {index}", error.code) from None

    def close(self) -> None:
        try:
            for index in list(self._added_qdisc):
                self.detach(index)
        finally:
            self._route.close()

    def _add_qdisc(self, link: Interface) -> bool:
        """Add the qdisc; False when the interface has one already."""
        try:
            self._route.tc("add", "clsact", link.index)
        except NetlinkError as error:
            if error.code != errno.EEXIST:
                raise kernel_error(f"cannot add clsact to {link.name}", error.code) from None
            return False
        return True

    def _delete(self, index: int, parent: int) -> None:
        self._route.tc(
            "del-filter", "bpf", index, HANDLE, parent=parent, prio=PRIORITY, protocol=ETH_P_ALL
        )

    def _has_ours(self, index: int) -> bool:
        try:
            return any(NAME in self._names(index, parent) for parent in PARENTS)
        except NetlinkError as error:
            if error.code == errno.ENODEV:
                return False
            raise kernel_error(f"cannot list the filters of {index}", error.code) from None

    def _names(self, index: int, parent: int) -> list[str]:
        """Names of the filters in one direction; "?" for one without a name or with another handle."""
        found: list[str] = []
        for message in self._route.get_filters(index, parent=parent):
            if not message["handle"]:  # the head of a priority, not a filter
                continue
            options = message.get_attr("TCA_OPTIONS")
            named = hasattr(options, "get_attr") and message["handle"] == HANDLE
            found.append(str((named and options.get_attr("TCA_BPF_NAME")) or "?"))
        return found
