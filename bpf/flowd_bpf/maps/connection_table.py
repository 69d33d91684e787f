"""The connection table as user space sees it: which entries are over, and taking them out."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flowd_bpf import libbpf
from flowd_bpf.layout import TakeHow
from flowd_bpf.maps.evict import Taker
from flowd_bpf.maps.slots import Slots

Rows = NDArray[Any]

Choice = Callable[[Rows], NDArray[np.bool_]]
"""Which of N CONNECTION rows are meant."""

FIN, RST, ACK = 0x01, 0x04, 0x10
TCP, ICMP, ICMPV6 = 6, 1, 58


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds without a packet until a connection is over.

    Attributes:
        closed: TCP after FIN from both sides or RST from one; the last acknowledgements come then.
        opening: TCP before both sides acknowledged.
        tcp: any other TCP; keep-alives come every two hours where nobody changed it (RFC 9293).
        other: every protocol that has no limit of its own in `protocols`.
        pressure: divides all but `closed` when the table is three quarters full.
    """

    closed: float = 2.0
    opening: float = 75.0
    tcp: float = 7500.0
    other: float = 60.0
    protocols: Mapping[int, float] = field(default_factory=lambda: {ICMP: 30.0, ICMPV6: 30.0})
    pressure: float = 8.0


def flags_seen(values: Rows, side: Any) -> NDArray[np.uint8]:
    """TCP flags that came from a side (0 or 1, or one for each row)."""
    return (values["marks"] >> (8 * np.asarray(side, "u8"))).astype("u1")


def closed(values: Rows) -> NDArray[np.bool_]:
    """Whether FIN came from both sides, or RST from one."""
    a, b = flags_seen(values, 0), flags_seen(values, 1)
    return ((a | b) & RST != 0) | (a & b & FIN != 0)


class ConnectionTable:
    """The kernel's connections.

    Args:
        maps: of them flowd_conns and flowd_held.
        programs: of them flowd_clock and flowd_take.
        ticks: jiffies a second.
        size: connections that the table is made for; half as many more fit in.

    Raises:
        BpfError: the kernel did not tell the table's size.
        OSError: it did not let it be mapped.
    """

    def __init__(
        self,
        maps: Mapping[str, int],
        programs: Mapping[str, int],
        ticks: int,
        size: int,
        limits: Limits,
    ) -> None:
        self._slots = Slots(maps)
        self._clock = programs["flowd_clock"]
        self._taker = Taker(programs["flowd_take"])
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
        """The kernel's clock that entries are stamped with, modulo 2**32."""
        return libbpf.run_program(self._clock, bytes(64))[0]

    def expire(self, live: int) -> Iterator[Rows]:
        """Take out what is over, in batches of CONNECTION rows; `live` entries are known.

        An entry leaves the kernel in one step with its last numbers. One that came alive between
        being found and being taken stays.

        Raises:
            BpfError: the kernel refused it.
        """
        now = self.jiffies()
        divisor = self._pressure if live > self._crowded else 1.0
        return self._take(lambda values: self._over(values, now, divisor), TakeHow.SILENT)

    def take_out(self, chosen: Choice) -> Iterator[Rows]:
        """Take out what is chosen in the same way, whether or not packets still come.

        Raises:
            BpfError: the kernel refused it.
        """
        return self._take(chosen, TakeHow.ANYHOW)

    def _take(self, chosen: Choice, how: TakeHow) -> Iterator[Rows]:
        for slots, values in self._slots.scan():
            over = chosen(values)
            if over.any():
                which = np.flatnonzero(over)
                yield self._taker.take(slots.take(which), values.take(which), how)

    def drain(self) -> Iterator[Rows]:
        """Everything, in batches of CONNECTION rows, when the programs are detached.

        Raises:
            BpfError: the kernel refused it.
            OSError: likewise.
        """
        for _, values in self._slots.scan():
            yield values

    def close(self) -> None:
        """Let go of the kernel's memory."""
        self._slots.close()

    def _over(self, values: Rows, now: int, divisor: float) -> NDArray[np.bool_]:
        protocol, side = values["key"]["protocol"], values["side"]
        age = (np.uint32(now) - side["seen"]).astype("i4")
        age[side["owner"] == 0] = np.iinfo("i4").max
        idle = age.min(axis=1)
        idle[(side["owner"] == 0).all(axis=1)] = 0  # its first packet is just being counted
        both = flags_seen(values, 0) & flags_seen(values, 1)
        opening = (protocol == TCP) & (both & ACK == 0)
        limit = np.where(opening, self._opening, self._idle[protocol]) / divisor
        return idle > np.where(closed(values), self._closed, limit)
