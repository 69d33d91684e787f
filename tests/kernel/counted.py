"""Generate traffic of known size, and read the kernel's own counters of it."""

import asyncio
import contextlib
import re
import select
import socket
import struct
import threading
from dataclasses import dataclass

from tests.kernel.nat_net import PORT
from tests.kernel.net import run
from tests.kernel.paths import IPV4, Leg, Path
from tests.kernel.recorder import SECONDS
from tests.kernel.traffic import receive

UDP_SEGMENT = 103  # include/uapi/linux/udp.h
SEGMENTS = 10  # datagrams that one call sends, with GSO
ECHO_BYTES = 64
QUIET_SECONDS = 0.3  # more than the longest delay of an acknowledgement


@dataclass(frozen=True, slots=True)
class Traffic:
    """A number of connections of one protocol with a number of bytes each way."""

    protocol: int
    family: socket.AddressFamily
    connections: int
    size: int

    @property
    def ip_header(self) -> int:
        """Length of the IP header, bytes."""
        return 20 if self.family == IPV4 else 40

    @property
    def header(self) -> int:
        """Length of the transport header, bytes: TCP with timestamps, UDP, SCTP's common header."""
        sizes = {socket.IPPROTO_TCP: 32, socket.IPPROTO_UDP: 8, socket.IPPROTO_SCTP: 12}
        return sizes.get(self.protocol, 0)


@dataclass(frozen=True, slots=True)
class Figure:
    """Packets and bytes of one direction from one source; None for a figure it does not have."""

    packets: int | None
    bytes: int | None
    connections: int | None = None

    def __add__(self, other: "Figure") -> "Figure":
        def add(mine: int | None, theirs: int | None) -> int | None:
            return None if mine is None or theirs is None else mine + theirs

        return Figure(
            add(self.packets, other.packets),
            add(self.bytes, other.bytes),
            self.connections,
        )


Ways = tuple[Figure, Figure]
"""Forward and reverse."""


def make(path: Path, traffic: Traffic, keep: contextlib.ExitStack) -> None:
    """Generate the traffic; TCP sockets stay open until `keep` closes."""
    if traffic.protocol == socket.IPPROTO_TCP:
        _streams(path, traffic, keep)
    elif traffic.protocol == socket.IPPROTO_UDP:
        _datagrams(path, traffic)
    elif traffic.protocol == socket.IPPROTO_SCTP:
        _streams(path, traffic, keep)
    else:
        _echoes(path, traffic)


def _streams(path: Path, traffic: Traffic, keep: contextlib.ExitStack) -> None:
    kind = (traffic.family, socket.SOCK_STREAM, traffic.protocol)
    with contextlib.ExitStack() as stack:
        listeners: list[socket.socket] = []
        for server in path.servers:
            listener = stack.enter_context(server.socket(*kind))
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((server.at(traffic.family), PORT))
            listener.listen(128)
            listeners.append(listener)
        for _ in range(traffic.connections):
            peer = keep.enter_context(path.client.socket(*kind))
            if traffic.protocol == socket.IPPROTO_SCTP:  # else all its addresses are the peer's
                peer.bind((path.client.at(traffic.family), 0))
            peer.connect(path.target(traffic.family))
            (ready, *_), _, _ = select.select(listeners, [], [], 20)
            accepted = keep.enter_context(ready.accept()[0])
            accepted.settimeout(20)
            answering = threading.Thread(target=_answer, args=(accepted, traffic.size))
            answering.start()
            peer.sendall(bytes(traffic.size))
            receive(peer, traffic.size)
            answering.join()


def _answer(peer: socket.socket, size: int) -> None:
    receive(peer, size)
    peer.sendall(bytes(size))


def _datagrams(path: Path, traffic: Traffic) -> None:
    kind = (traffic.family, socket.SOCK_DGRAM)
    with contextlib.ExitStack() as stack:
        servers: list[socket.socket] = []
        for server in path.servers:
            servers.append(stack.enter_context(server.socket(*kind)))
            servers[-1].bind((server.at(traffic.family), PORT))
        for _ in range(traffic.connections):
            asking = stack.enter_context(path.client.socket(*kind))
            asking.connect(path.target(traffic.family))
            for one in (asking, *servers) if path.gso else ():
                one.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, traffic.size)
            count = SEGMENTS if path.gso else 1
            for _ in range(1 if path.gso else SEGMENTS):
                asking.send(bytes(count * traffic.size))
                (ready, *_), _, _ = select.select(servers, [], [], 20)
                peers = {ready.recvfrom(traffic.size)[1] for _ in range(count)}
                ready.sendto(bytes(count * traffic.size), peers.pop())
                for _ in range(count):
                    asking.recv(traffic.size)


def _echoes(path: Path, traffic: Traffic) -> None:
    kind = 8 if traffic.family == IPV4 else 128
    for _ in range(traffic.connections):
        kinds = (traffic.family, socket.SOCK_DGRAM, traffic.protocol)
        with path.client.socket(*kinds) as asking:
            for number in range(SEGMENTS):
                echo = struct.pack("!BBHHH", kind, 0, 0, 0, number)
                echo += bytes(ECHO_BYTES - len(echo))
                asking.sendto(echo, (path.target(traffic.family)[0], 0))
                asking.recv(1024)


async def quiet(path: Path) -> None:
    """Wait until all data is acknowledged and no counter changes."""
    async with asyncio.timeout(SECONDS):
        while True:
            before = [devices(leg) for leg in path.legs]
            await asyncio.sleep(QUIET_SECONDS)
            waits = any(
                "unacked:" in _ss(pod.namespace, "") for pod in (path.client, *path.servers)
            )
            if not waits and before == [devices(leg) for leg in path.legs]:
                return


def devices(leg: Leg) -> Ways:
    """Figures of /proc/net/dev."""
    fwd, rev = ([device.read() for device in side] for side in (leg.fwd, leg.rev))
    return (
        Figure(sum(p for p, _ in fwd), sum(b for _, b in fwd)),
        Figure(sum(p for p, _ in rev), sum(b for _, b in rev)),
    )


def sender(path: Path, traffic: Traffic) -> Ways | None:
    """Packets and payload: for TCP those of `ss -i`, for others as sent; None for SCTP."""
    if traffic.protocol == socket.IPPROTO_TCP:
        flag = "-4" if traffic.family == IPV4 else "-6"
        mine = _ss(path.client.namespace, flag)
        theirs = "".join(_ss(pod.namespace, flag) for pod in path.servers)
        count = len(mine.splitlines())
        return (
            Figure(_sum(mine, "segs_out"), _sum(mine, "bytes_sent"), count),
            Figure(_sum(mine, "segs_in"), _sum(theirs, "bytes_sent"), count),
        )
    if traffic.protocol == socket.IPPROTO_SCTP:
        return None
    packets = traffic.connections * SEGMENTS
    size = traffic.size if traffic.protocol == socket.IPPROTO_UDP else ECHO_BYTES
    figure = Figure(packets, packets * size, traffic.connections)
    return figure, figure


def conntrack(path: Path, traffic: Traffic) -> Ways:
    """Figures of conntrack's accounting."""
    names = {1: "icmp", 6: "tcp", 17: "udp", 58: "icmpv6", 132: "sctp"}
    family = "ipv4" if traffic.family == IPV4 else "ipv6"
    listed = run(
        *("ip", "netns", "exec", path.tracked, "conntrack", "-L"),
        *("-f", family, "-p", names[traffic.protocol], "-d", path.target(traffic.family)[0]),
    )
    both = [
        [int(number) for number in re.findall(r"(?:packets|bytes)=(\d+)", line)]
        for line in listed.splitlines()
    ]
    fwd, rev = (
        Figure(sum(n[at] for n in both), sum(n[at + 1] for n in both), len(both)) for at in (0, 2)
    )
    return fwd, rev


def _ss(namespace: str, family: str) -> str:
    flags = [family] if family else []
    return run("ip", "netns", "exec", namespace, "ss", *flags, "-tinHO")


def _sum(lines: str, name: str) -> int:
    return sum(int(number) for number in re.findall(rf"\b{name}:(\d+)", lines))
