"""Compare flowd's packets and bytes with the kernel's own counters.

Sources count at different layers, so every figure is converted to bytes on the wire where flowd
counts, by adding the headers that a source omits. These are known: of each segment that a source
saw within a larger packet, of Ethernet and tunnels, and of IP and transport.
"""

import asyncio
import contextlib
import socket
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from flowd.model.address import pack
from flowd.model.records.connection import ConnectionBatch
from tests.kernel import counted
from tests.kernel.counted import Figure, Traffic, Ways
from tests.kernel.paths import IPV4, Leg, Path
from tests.kernel.recorder import recording

ETHERNET = 14
SYN_OPTIONS = 8  # bytes that a SYN's options are longer than those of other segments


@dataclass(frozen=True, slots=True)
class Difference:
    """flowd minus another source, in wire bytes and packets; None for a figure it lacks."""

    packets: int | None
    bytes: int | None
    connections: int | None

    @property
    def known(self) -> tuple[int, ...]:
        """The differences that are known."""
        three = (self.packets, self.bytes, self.connections)
        return tuple(each for each in three if each is not None)


@dataclass(frozen=True, slots=True)
class Compared:
    """One direction of one leg: flowd's figure, each source's figure, and the differences."""

    path: str
    leg: str
    gso: bool
    traffic: Traffic
    way: str
    flowd: Figure
    sources: dict[str, tuple[Figure, Difference]]


async def measure(path: Path, plan: Sequence[Traffic]) -> list[Compared]:
    """Generate the traffic, one kind after the other, under one capture."""
    taken: list[tuple[Traffic, list[Ways], Ways | None, Ways]] = []
    with contextlib.ExitStack() as keep:
        async with recording(interfaces=list(path.interfaces)) as recorder:
            await recorder.interfaces(len(path.interfaces))
            for traffic in plan:
                before = [counted.devices(leg) for leg in path.legs]
                await asyncio.to_thread(counted.make, path, traffic, keep)
                await counted.quiet(path)
                devices = [
                    _less(counted.devices(leg), then)
                    for leg, then in zip(path.legs, before, strict=True)
                ]
                sent, tracked = counted.sender(path, traffic), counted.conntrack(path, traffic)
                taken.append((traffic, devices, sent, tracked))
    rows = recorder.rows()
    return [
        compared
        for traffic, devices, sent, tracked in taken
        for leg, device in zip(path.legs, devices, strict=True)
        for compared in _compare(path, leg, traffic, rows, (device, sent, tracked))
    ]


def _less(now: Ways, then: Ways) -> Ways:
    def less(one: Figure, two: Figure) -> Figure:
        assert one.packets is not None
        assert one.bytes is not None
        return Figure(one.packets - (two.packets or 0), one.bytes - (two.bytes or 0))

    return less(now[0], then[0]), less(now[1], then[1])


def _told(leg: Leg, traffic: Traffic, rows: ConnectionBatch) -> Ways:
    """flowd's figures."""
    version = 4 if traffic.family == IPV4 else 6
    mine = rows[(rows["protocol"] == traffic.protocol) & (rows["family"] == version)]
    ours = [bytes(row["dst_addr"]) in {pack(address) for address in leg.dst} for row in mine]
    mine = mine[np.array(ours, np.bool_)]
    count = len(np.unique(mine["conn_id"]))
    fwd, rev = (
        Figure(int(mine[f"packets_{way}"].sum()), int(mine[f"bytes_{way}"].sum()), count)
        for way in ("fwd", "rev")
    )
    return fwd, rev


def _compare(
    path: Path,
    leg: Leg,
    traffic: Traffic,
    rows: ConnectionBatch,
    others: tuple[Ways, Ways | None, Ways],
) -> list[Compared]:
    found: list[Compared] = []
    device, sent, tracked = others
    for at, way in enumerate(("forward", "reverse")):
        flowd = _told(leg, traffic, rows)[at]
        assert flowd.packets is not None
        link = ETHERNET + (leg.outer_rev if at else leg.outer_fwd)
        inner = traffic.ip_header + traffic.header
        sources: dict[str, tuple[Figure, Difference]] = {}
        merged = flowd.packets - (device[at].packets or 0)
        wire = (device[at].bytes or 0) + merged * (link + inner)
        whole = None if path.gso else device[at].packets
        if not (leg.encrypted and at):
            difference = _difference(flowd, Figure(whole, wire))
            sources["/proc/net/dev"] = (device[at], difference)
        if sent:
            syn = SYN_OPTIONS * traffic.connections if traffic.protocol == 6 else 0
            packets, payload = sent[at].packets or 0, sent[at].bytes or 0
            wire = payload + packets * (link + inner) + syn
            name = "ss -i" if traffic.protocol == socket.IPPROTO_TCP else "sender"
            sources[name] = (
                sent[at],
                _difference(flowd, Figure(packets, wire, sent[at].connections)),
            )
        packets, size = tracked[at].packets or 0, tracked[at].bytes or 0
        wire = size + flowd.packets * link + (flowd.packets - packets) * inner
        # The senders of these leave segmentation to the device, whatever it can
        segmented = traffic.protocol in (socket.IPPROTO_TCP, socket.IPPROTO_SCTP)
        whole = None if path.gso or (segmented and packets < flowd.packets) else packets
        sources["conntrack"] = (
            tracked[at],
            _difference(flowd, Figure(whole, wire, tracked[at].connections)),
        )
        found.append(Compared(path.name, leg.name, path.gso, traffic, way, flowd, sources))
    return found


def _difference(flowd: Figure, other: Figure) -> Difference:
    def less(mine: int | None, theirs: int | None) -> int | None:
        return None if mine is None or theirs is None else mine - theirs

    return Difference(
        less(flowd.packets, other.packets),
        less(flowd.bytes, other.bytes),
        less(flowd.connections, other.connections),
    )


def check(compared: Sequence[Compared]) -> None:
    """Assert that every comparable figure is equal."""
    assert compared
    for one in compared:
        assert one.flowd.packets, one
        assert one.sources
        for source, (figure, difference) in one.sources.items():
            assert difference.known, (source, one)
            assert not any(difference.known), (source, figure, difference, one)


def plan(path: Path, connections: int, size: int) -> list[Traffic]:
    """Traffic of a path: TCP, UDP and ICMP in every family; with GSO only what is segmented."""
    chosen = [
        Traffic(protocol, family, connections, size)
        for protocol in path.only
        for family in path.families
    ]
    if chosen:
        return chosen
    for family in path.families:
        chosen.append(Traffic(socket.IPPROTO_TCP, family, connections, size))
        chosen.append(Traffic(socket.IPPROTO_UDP, family, connections, 500))
        if not path.gso and path.echoes:
            echo = socket.IPPROTO_ICMP if family == IPV4 else socket.IPPROTO_ICMPV6
            chosen.append(Traffic(echo, family, connections, counted.ECHO_BYTES))
    return chosen
