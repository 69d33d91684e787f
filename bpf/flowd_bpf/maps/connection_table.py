"""Expire and evict entries of the kernel's connection table, by idle time or by a selection."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flowd_bpf import libbpf
from flowd_bpf.layout import EvictMode
from flowd_bpf.maps.evict import Evictor
from flowd_bpf.maps.slots import Slots

Rows = NDArray[Any]

RowSelector = Callable[[Rows], NDArray[np.bool_]]
"""Maps N CONNECTION rows to a mask, shape (N,), of the selected ones."""

FIN, RST, ACK = 0x01, 0x04, 0x10
TCP, ICMP, ICMPV6 = 6, 1, 58


@dataclass(frozen=True, slots=True)
class IdleTimeouts:
    """Seconds without a packet after which a connection expires.

    Attributes:
        closed: TCP after FIN from both sides or RST from one; the last acknowledgements still come.
        opening: TCP until both sides have sent an ACK.
        tcp: any other TCP; the default interval of keep-alives is two hours (RFC 9293).
        other: every protocol without a timeout in `protocols`.
        protocols: timeouts by protocol number.
        pressure: divisor of all timeouts but `closed` when the table is three quarters full.
    """

    closed: float = 2.0
    opening: float = 75.0
    tcp: float = 7500.0
    other: float = 60.0
    protocols: Mapping[int, float] = field(default_factory=lambda: {ICMP: 30.0, ICMPV6: 30.0})
    pressure: float = 8.0


def flags_seen(values: Rows, side: Any) -> NDArray[np.uint8]:
    """TCP flags seen from a side of N CONNECTION rows, shape (N,).

    Args:
        side: 0 or 1, or an array of these, shape (N,).
    """
    return (values["marks"] >> (8 * np.asarray(side, "u8"))).astype("u1")


def closed(values: Rows) -> NDArray[np.bool_]:
    """Mask of N CONNECTION rows, shape (N,): FIN from both sides, or RST from one."""
    a, b = flags_seen(values, 0), flags_seen(values, 1)
    return ((a | b) & RST != 0) | (a & b & FIN != 0)


class KernelConnectionTable:
    """The kernel's connection table: reads entries, and evicts them with their last numbers.

    Args:
        maps: descriptors by name; flowd_conns and flowd_used_slots are in use.
        programs: descriptors by name; flowd_clock and flowd_evict are in use.
        ticks: jiffies a second.
        size: connections that the table is sized for; it has half as many slots more.
        limits: when a connection expires.

    Raises:
        BpfError: the kernel refused the query for the table's size.
        OSError: the kernel refused to map the table.
    """

    def __init__(
        self,
        maps: Mapping[str, int],
        programs: Mapping[str, int],
        ticks: int,
        size: int,
        limits: IdleTimeouts,
    ) -> None:
        self._slots = Slots(maps)
        self._clock = programs["flowd_clock"]
        self._evictor = Evictor(programs["flowd_evict"])
        self._ticks = ticks
        self._crowded = size * 3 // 4
        self._closed = int(limits.closed * ticks)
        self._opening = int(limits.opening * ticks)
        self._idle = np.full(256, limits.other * ticks, "i8")
        self._idle[TCP] = int(limits.tcp * ticks)
        for protocol, seconds in limits.protocols.items():
            self._idle[protocol] = int(seconds * ticks)
        self._pressure = limits.pressure

    def jiffies(self) -> int:
        """The kernel's jiffies modulo 2**32, the clock of `seen` and `reported` in CONNECTION."""
        return libbpf.run_program(self._clock, bytes(64))[0]

    def expire(self, live: int) -> Iterator[Rows]:
        """Evict expired connections; yields batches of CONNECTION rows.

        The kernel removes an entry and returns its last numbers in one step. An entry that had a
        packet since the scan read it stays.

        Args:
            live: entries in the table, which decide on `pressure`.

        Raises:
            BpfError: the kernel refused a read or an eviction.
        """
        now = self.jiffies()
        divisor = self._pressure if live > self._crowded else 1.0
        return self._evict(lambda values: self._expired(values, now, divisor), EvictMode.IF_IDLE)

    def evict(self, select: RowSelector) -> Iterator[Rows]:
        """Evict the selected connections, active or not; yields batches of CONNECTION rows.

        Raises:
            BpfError: the kernel refused a read or an eviction.
        """
        return self._evict(select, EvictMode.ALWAYS)

    def _evict(self, select: RowSelector, mode: EvictMode) -> Iterator[Rows]:
        for slots, values in self._slots.scan():
            selected = select(values)
            if selected.any():
                which = np.flatnonzero(selected)
                yield self._evictor.evict(slots.take(which), values.take(which), mode)

    def drain(self) -> Iterator[Rows]:
        """Yield all entries as batches of CONNECTION rows; the programs must be detached.

        Raises:
            BpfError: the kernel refused a read.
            OSError: the kernel refused to map the table.
        """
        for _, values in self._slots.scan():
            yield values

    def close(self) -> None:
        """Unmap the table."""
        self._slots.close()

    def _expired(self, values: Rows, now: int, divisor: float) -> NDArray[np.bool_]:
        protocol, side = values["key"]["protocol"], values["side"]
        age = (np.uint32(now) - side["seen"]).astype("i4")
        age[side["counting_if"] == 0] = np.iinfo("i4").max
        idle = age.min(axis=1)
        idle[(side["counting_if"] == 0).all(axis=1)] = (
            0  # created, but its first packet is not counted yet
        )
        both = flags_seen(values, 0) & flags_seen(values, 1)
        opening = (protocol == TCP) & (both & ACK == 0)
        limit = np.where(opening, self._opening, self._idle[protocol]) / divisor
        return idle > np.where(closed(values), self._closed, limit)
