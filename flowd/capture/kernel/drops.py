"""Read counts of dropped packets, by drop reason, from the kernel's map into DROP rows."""

import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flowd.model.directory import Directory
from flowd.model.losses import Losses, Place
from flowd.model.records.drop import DropBatch, empty_drops, hubble_reason
from flowd.model.status import PartStatus, State
from flowd_bpf import libbpf
from flowd_bpf.errors import BpfError
from flowd_bpf.layout import DROP_COUNT, DROP_KEY
from flowd_bpf.load import loader
from flowd_bpf.load.drop_types import DropTypes, drop_types
from flowd_bpf.maps.maps import HashMap, PerCpuCounters

TUPLES = 8192
SUBSYSTEM = 16  # bits of a reason below its subsystem (include/net/dropreason.h)


class KernelDrops:
    """The optional part that counts drops; capture of connections works without it.

    Args:
        directory: `drop_reasons` receives the kernel's names.
        losses: `drops_full` under Place.KERNEL: dropped packets that found the map full.
        wanted: False switches the part off.
    """

    def __init__(self, directory: Directory, losses: Losses, *, wanted: bool) -> None:
        self._directory = directory
        self._losses = losses
        self._types: DropTypes | None = None
        self._link: int | None = None
        self._detail = "not started" if wanted else "switched off by the setting `drops`"
        self._state = State.OFF
        self._wanted = wanted

    def unit(self) -> loader.DropUnit | None:
        """The unit for the loader to build, or None with the reason in `status`."""
        if not self._wanted:
            return None
        try:
            self._types = drop_types(TUPLES)
        except BpfError as error:
            self._refuse(error)
            return None
        return self._types.unit

    def start(self, loaded: loader.LoadedPrograms) -> None:
        """Attach the loaded program; `status` reports a refusal."""
        if self._types is None:
            return
        if error := loaded.failed.get("drops"):
            self._refuse(error)
            return
        try:
            self._link = libbpf.raw_tracepoint_open(loaded.programs["flowd_drop"])
        except BpfError as error:
            self._refuse(error)
            return
        self._packets = self._types.packets and not loaded.reduced
        self._map = HashMap(loaded.maps["flowd_drops"], DROP_KEY, DROP_COUNT)
        self._full = PerCpuCounters(loaded.maps["flowd_drops_full"], 1)

    def read(self, epoch: int) -> DropBatch:
        """DROP rows since the last call, shape (N,); deletes them from the map.

        Args:
            epoch: Unix time in ns at which CLOCK_MONOTONIC was 0.

        Raises:
            BpfError: the kernel refuses a map operation.
        """
        if self._link is None:
            return empty_drops()
        self._losses.set_total(Place.KERNEL, "drops_full", int(self._full.read()[0]))
        batches = [self._rows(keys, counts, epoch) for keys, counts in self._map.scan(delete=True)]
        return np.concatenate([empty_drops(), *batches])

    def status(self) -> PartStatus:
        """ON, OFF with the reason, or DEGRADED to the sockets' tuples."""
        if self._link is None or self._types is None:
            return PartStatus("drops", self._state, self._detail)
        known = f"{len(self._types.reasons)} reasons"
        if self._packets:
            return PartStatus("drops", State.ON, f"{known}, addresses from the packets")
        return PartStatus(
            "drops",
            State.DEGRADED,
            f"{known}, addresses only where a socket is known: this kernel does not let the "
            "packets be read (6.2 and newer do)",
        )

    def close(self) -> None:
        """Detach the program."""
        if self._link is not None:
            os.close(self._link)
            self._link = None
            self._detail = "stopped"

    def _refuse(self, error: BpfError) -> None:
        self._types = None
        self._state = State.DEGRADED
        self._detail = f"{error}; {error.hint}" if error.hint else str(error)

    def _name(self, reason: int) -> str:
        assert self._types is not None
        known = self._types.reasons.get(reason)
        subsystem, number = reason >> SUBSYSTEM, reason & ((1 << SUBSYSTEM) - 1)
        return known or (f"SUBSYSTEM_{subsystem}_{number}" if subsystem else f"REASON_{number}")

    def _rows(self, keys: NDArray[Any], counts: NDArray[Any], epoch: int) -> DropBatch:
        rows = empty_drops(len(keys))
        distinct, inverse = np.unique(keys["reason"], return_inverse=True)
        names = [self._name(reason) for reason in distinct.tolist()]
        indexes = [self._directory.drop_reasons.index(name) for name in names]
        rows["reason"] = np.array(indexes, "u2")[inverse]
        rows["hubble_reason"] = np.array([hubble_reason(name) for name in names], "u1")[inverse]
        rows["time_ns"] = counts["time_ns"] + np.uint64(epoch)
        for column in ("packets", "bytes"):
            rows[column] = counts[column]
        for column in (
            *("src_addr", "dst_addr", "src_port", "dst_port"),
            *("ifindex", "protocol", "family", "flags"),
        ):
            rows[column] = keys[column]
        return rows
