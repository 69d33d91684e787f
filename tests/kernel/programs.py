"""Run loaded programs on one packet at a time, and read their records and table."""

import mmap
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flowd_bpf import libbpf
from flowd_bpf.layout import CONNECTION, EVENT, PACKET_OUTCOMES, TUNNEL, Counter
from flowd_bpf.load import loader
from flowd_bpf.maps.maps import HashMap, PerCpuCounters
from flowd_bpf.maps.ring import Ring
from flowd_bpf.maps.slots import Slots

PASS = 0xFFFFFFFF  # TCX_NEXT and TC_ACT_UNSPEC
RING = 1 << 16


def clear(maps: Mapping[str, int]) -> None:
    """Empty the connection table; programs never do."""
    for name, size in (("flowd_conns", CONNECTION.itemsize), ("flowd_used_slots", 8)):
        length = libbpf.map_entries(maps[name]) * size
        with mmap.mmap(maps[name], length, mmap.MAP_SHARED, mmap.PROT_WRITE) as everything:
            everything[:] = bytes(length)


class Programs:
    """The loaded programs with an empty connection table."""

    def __init__(self, loaded: loader.LoadedPrograms) -> None:
        self._programs = loaded.programs
        self._maps = loaded.maps
        self._ring = Ring(loaded.maps["flowd_events"], RING, EVENT)
        self._counters = PerCpuCounters(loaded.maps["flowd_counters"], len(Counter))
        self._conns = Slots(loaded.maps)
        self._tunnels = HashMap(loaded.maps["flowd_tunnels"], np.dtype("u4"), TUNNEL)
        self._zero = self._counters.read()

    def events(
        self, packet: bytes, name: str = "flowd_in", *, context: bytes = b""
    ) -> NDArray[Any]:
        """Run one packet; returns its EVENT records, shape (N,)."""
        assert libbpf.run_program(self._programs[name], packet, context=context)[0] == PASS
        return self.read()

    def read(self) -> NDArray[Any]:
        """EVENT records of packets that other code ran."""
        return self._ring.read().copy()

    def run(self, packet: bytes, name: str = "flowd_in") -> list[tuple[int, ...]]:
        """Records of one packet: protocol, ports, flags, ICMP type, bytes."""
        names = ("protocol", "src_port", "dst_port", "flags", "icmp_type")
        return [
            (*(int(event[name]) for name in names), int(event["bytes"].sum()))
            for event in self.events(packet, name)
        ]

    def count(self, counter: Counter) -> int:
        """A counter since construction; also asserts that the outcomes add up to SEEN."""
        counts = self._counters.read() - self._zero
        assert counts[Counter.SEEN] == counts[list(PACKET_OUTCOMES)].sum()
        return int(counts[counter])

    def entries(self) -> tuple[NDArray[Any], NDArray[Any]]:
        """Slots of the table, and their CONNECTION rows."""
        batches = list(self._conns.scan())
        slots, values = zip(*batches, strict=True) if batches else ((), ())
        return (
            np.concatenate([np.empty(0, "u4"), *slots]),
            np.concatenate([np.empty(0, CONNECTION), *values], dtype=CONNECTION),
        )

    def tunnel(self, number: int) -> tuple[int, bytes, bytes, int]:
        """Kind, outer addresses and VNI under an id."""
        (found,) = self._tunnels.get(np.array([number], "u4"))[1]
        return int(found["kind"]), bytes(found["src"]), bytes(found["dst"]), int(found["vni"])

    def forget(self) -> None:
        """Empty the table."""
        clear(self._maps)

    def clear(self) -> None:
        """Empty the table and unmap the ring."""
        self.forget()
        self._ring.read()
        self._ring.close()
        self._conns.close()
