"""Read TCP socket reports from the kernel: RTT, retransmissions, failed connects, and owners."""

import os
from contextlib import ExitStack
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flowd.capture.kernel.processes import Processes
from flowd.model.directory import Directory
from flowd.model.losses import Losses, Place
from flowd.model.records.socket import SocketBatch, empty_sockets
from flowd.model.status import PartStatus, State
from flowd_bpf import libbpf
from flowd_bpf.attach.cgroup import CgroupLinks, find_cgroup2
from flowd_bpf.errors import BpfError
from flowd_bpf.layout import SOCKET_EVENT, SocketCounter
from flowd_bpf.load import loader
from flowd_bpf.load.socket_types import (
    CGROUP_PROGRAMS,
    DETAIL_RECORDS,
    RING_BYTES,
    TRACEPOINTS,
    socket_unit,
)
from flowd_bpf.maps.maps import HashMap, PerCpuCounters
from flowd_bpf.maps.ring import Ring

_COPIED = (
    *("cookie", "cgroup", "bytes_acked", "bytes_received", "connect_ns", "local_addr"),
    *("remote_addr", "srtt_us", "min_rtt_us", "retransmits", "pid", "local_port"),
    *("remote_port", "family", "role", "error"),
)
_REPORTS = {
    "flowd_sock_state": "why a connect failed",
    "flowd_reset_out": "resets sent",
    "flowd_reset_in": "resets received",
}


class KernelSockets:
    """The optional part that follows TCP sockets; capture of connections works without it.

    Args:
        directory: `processes` receives the owners.
        losses: under Place.KERNEL `sockets_ring_full`: records that found the ring full, and
            `sockets_full`: sockets for whose state the kernel had no memory.
        wanted: False switches the part off.
        ring_bytes: size of the ring, a power of two.
        active_seconds: interval of records of a socket in use.
        detail_records: most records a second and CPU of newly established sockets; the others
            report that with their next record.
    """

    def __init__(
        self,
        directory: Directory,
        losses: Losses,
        *,
        wanted: bool,
        ring_bytes: int = RING_BYTES,
        active_seconds: float = 5.0,
        detail_records: int = DETAIL_RECORDS,
    ) -> None:
        self._directory = directory
        self._losses = losses
        self._wanted = wanted
        self._ring_bytes = ring_bytes
        self._active_seconds = active_seconds
        self._detail_records = detail_records
        self._state = State.OFF
        self._detail = "not started" if wanted else "switched off by the setting `sockets`"
        self._stack = ExitStack()
        self._ring: Ring | None = None

    @property
    def fd(self) -> int | None:
        """File descriptor of the ring for polling, which wakes when the ring fills; None when off."""
        return None if self._ring is None else self._ring.fd

    def unit(self) -> loader.SocketUnit | None:
        """The unit for the loader to build, or None."""
        if not self._wanted:
            return None
        ticks = max(1, round(self._active_seconds * loader.ticks_per_second()))
        return socket_unit(self._ring_bytes, ticks, self._detail_records)

    def start(self, loaded: loader.LoadedPrograms) -> None:
        """Attach the loaded programs; `status` reports a refusal."""
        if not self._wanted:
            return
        try:
            if error := loaded.failed.get("sockets"):
                raise error
            self._attach(loaded)
        except BpfError as error:
            self.close()
            self._state = State.DEGRADED
            self._detail = f"{error}; {error.hint}" if error.hint else str(error)

    def _attach(self, loaded: loader.LoadedPrograms) -> None:
        path, whole = find_cgroup2()
        self._processes = Processes(self._directory, self._losses, path)
        missing = [_REPORTS[name] for name in TRACEPOINTS if name not in loaded.programs]
        for name in TRACEPOINTS:
            if name in loaded.programs:
                fd = libbpf.raw_tracepoint_open(loaded.programs[name], TRACEPOINTS[name])
                self._stack.callback(os.close, fd)
        errors = HashMap(loaded.maps["flowd_socket_errors"], np.dtype("u4"), np.dtype("u4"))
        known = "flowd_sock_state" in loaded.programs
        errors.update(np.zeros(1, "u4"), np.full(1, known, "u4"))
        self._counters = PerCpuCounters(loaded.maps["flowd_socket_counters"], len(SocketCounter))
        self._ring = Ring(loaded.maps["flowd_socket_events"], self._ring_bytes, SOCKET_EVENT)
        links = CgroupLinks(path)
        links.attach(
            {attach: loaded.programs[name] for name, (_, attach) in CGROUP_PROGRAMS.items()}
        )
        self._stack.callback(links.close)
        lacks = [f"not known: {', '.join(missing)}"] if missing else []
        if not whole:
            lacks.append("only this container's cgroup: mount the node's /sys/fs/cgroup")
        if not self._processes.in_initial_pid_namespace:
            lacks.append("no pids, as this is another pid namespace")
        self._state = State.DEGRADED if lacks else State.ON
        self._detail = "; ".join([f"attached to {path}", *lacks])

    def read(self, epoch: int) -> SocketBatch:
        """SOCKET rows since the last call, shape (N,).

        Args:
            epoch: Unix time in ns at which CLOCK_MONOTONIC was 0.
        """
        if self._ring is None:
            return empty_sockets()
        events = self._ring.read()
        return self._rows(events, epoch) if len(events) else empty_sockets()

    def update_losses(self) -> None:
        """Update the losses from the kernel's counters.

        Raises:
            BpfError: the kernel refuses a map operation.
        """
        if self._ring is None:
            return
        counters = self._counters.read()
        lost = {"sockets_ring_full": SocketCounter.RING_FULL, "sockets_full": SocketCounter.FULL}
        for reason, counter in lost.items():
            self._losses.set_total(Place.KERNEL, reason, int(counters[counter]))

    def status(self) -> PartStatus:
        """ON, OFF with the reason, or DEGRADED with the missing capabilities."""
        return PartStatus("sockets", self._state, self._detail)

    def detach(self) -> None:
        """Detach the programs; records in the ring can still be read."""
        self._stack.close()

    def close(self) -> None:
        """Detach the programs and close the ring."""
        self._stack.close()
        if self._ring is not None:
            self._ring.close()
            self._ring = None
            self._state, self._detail = State.OFF, "stopped"

    def _rows(self, events: NDArray[Any], epoch: int) -> SocketBatch:
        rows = empty_sockets(len(events))
        rows["time_ns"] = events["time_ns"] + np.uint64(epoch)
        for column in _COPIED:
            rows[column] = events[column]
        rows["reason"] = events["reason"] & 15
        rows["also"] = events["reason"] >> 4
        rows["process"] = self._processes.indexes(events)
        if not self._processes.in_initial_pid_namespace:
            rows["pid"] = 0
        return rows
