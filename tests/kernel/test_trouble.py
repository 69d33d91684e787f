"""Failing connections: rows of wire, socket and drops agree, and equal the kernel's counters."""

import asyncio
import contextlib
import errno
import socket
import struct
import time
from collections.abc import Callable

import numpy as np

from flowd.model.enums import Reason, SocketReason
from flowd.model.losses import Losses
from flowd.model.records.connection import ConnectionBatch, empty_connections
from flowd.model.records.request import empty_requests
from flowd.model.records.socket import SocketBatch, empty_sockets
from flowd.pipeline.identify import identify
from flowd.pipeline.join.join import Join
from tests.kernel import traffic
from tests.kernel.kernelhas import needs_packets
from tests.kernel.net import Cluster, Pod, run
from tests.kernel.recorder import Recorder, eventually, recording
from tests.kernel.test_drops import Dropped
from tests.support.join_rows import KnownAddresses

SYN, RST, ACK = 2, 4, 16
TCP_USER_TIMEOUT, UNACKED, TOTAL_RETRANS = 18, 24, 100  # include/uapi/linux/tcp.h


class Story:
    """Connections to a server port with their sockets' data, as they leave the join."""

    def __init__(self, recorder: Recorder, cluster: Cluster, port: int) -> None:
        client, server = cluster.pods
        self.dropped = Dropped(recorder, client.address, server.address)
        self._recorder, self._port = recorder, port
        self._addresses = KnownAddresses(client.address, server.address)
        self._join = Join(self._addresses, Losses(), sockets=recorder.capture.take_sockets)
        self._rows, self._reports = empty_connections(), empty_sockets()

    def rows(self) -> ConnectionBatch:
        """Rows of the port so far."""
        taken = [empty_connections(), *self._recorder.queue.take()]
        records = identify(np.concatenate(taken), self._addresses)
        batch = self._join.step(records, empty_requests(), time.time_ns())
        mine = batch.connections[batch.connections["dst_port"] == self._port]
        self._rows = np.concatenate([self._rows, mine])
        self._reports = np.concatenate([self._reports, batch.sockets])
        return self._rows

    def reports(self, reason: SocketReason) -> SocketBatch:
        """Rows of the client's socket with one reason; `rows` reads them."""
        mine = self._reports["remote_port"] == self._port
        return self._reports[mine & (self._reports["reason"] == reason)]

    async def until(self, met: Callable[[ConnectionBatch], bool]) -> ConnectionBatch:
        """Wait for rows that meet a condition."""
        await eventually(lambda: met(self.rows()))
        return self._rows


def over(rows: ConnectionBatch) -> bool:
    return Reason.END in rows["reason"]


def wire(rows: ConnectionBatch) -> tuple[int, int, int, int]:
    """Packets and bytes, forward and reverse."""
    return (
        int(rows["packets_fwd"].sum()),
        int(rows["bytes_fwd"].sum()),
        int(rows["packets_rev"].sum()),
        int(rows["bytes_rev"].sum()),
    )


def passed(pod: Pod, before: tuple[int, ...]) -> tuple[int, int, int, int]:
    """Packets and bytes that the pod sent and received since `before`, from /proc/net/dev."""
    now = pod.counts()
    sent = now.rx_packets, now.rx_bytes, now.tx_packets, now.tx_bytes
    return tuple(new - old for new, old in zip(sent, before, strict=True))  # type: ignore[return-value]


def dropping(server: Pod, rule: str) -> None:
    """Add an nftables rule at the server's input."""
    text = f"table ip door {{ chain c {{ type filter hook input priority 0; {rule}; }}; }}"
    run("ip", "netns", "exec", server.namespace, "nft", "-f", "-", stdin=text)


@needs_packets
async def test_refused_is_one_packet_each_way_and_an_error(cluster: Cluster) -> None:
    client, server = cluster.pods
    async with recording(sockets=True, drops=True) as recorder:
        story = Story(recorder, cluster, 9)
        before = passed(client, (0, 0, 0, 0))
        await asyncio.to_thread(traffic.refused, client, server, 9)
        rows = await story.until(over)
        (failed,) = story.reports(SocketReason.FAILED)
        await story.dropped.until("NO_SOCKET", 1)
        counted = passed(client, before)
    assert wire(rows) == counted
    assert (counted[0], counted[2]) == (1, 1)
    assert (rows["flags_fwd"][-1], rows["flags_rev"][-1]) == (SYN, RST | ACK)
    assert failed["error"] == errno.ECONNREFUSED


@needs_packets
async def test_timed_out_is_a_packet_for_every_try(cluster: Cluster) -> None:
    client, server = cluster.pods
    dropping(server, "tcp dport 9 drop")
    run("ip", "netns", "exec", client.namespace, "sysctl", "-qw", "net.ipv4.tcp_syn_retries=1")

    def attempt() -> int:
        with client.socket(socket.AF_INET, socket.SOCK_STREAM) as peer:
            peer.settimeout(None)
            return peer.connect_ex((server.address, 9))

    async with recording(sockets=True, drops=True) as recorder:
        story = Story(recorder, cluster, 9)
        before = passed(client, (0, 0, 0, 0))
        assert await asyncio.to_thread(attempt) == errno.ETIMEDOUT
        await story.until(lambda _: len(story.reports(SocketReason.FAILED)) == 1)
        (failed,) = story.reports(SocketReason.FAILED)
        counted = passed(client, before)
        await story.until(lambda rows: len(rows) > 0)
        drops = await story.dropped.until("NETFILTER_DROP", counted[0])
    last = story.rows()
    assert wire(last) == counted
    assert counted[0] > 1
    assert counted[2] == 0
    assert failed["error"] == errno.ETIMEDOUT
    assert int(drops["packets"].sum()) == counted[0]
    assert set(last["flags_rev"]) == {0}


@needs_packets
async def test_lost_packets_are_dropped_sent_again_and_counted(cluster: Cluster) -> None:
    client, server = cluster.pods
    size = 300_000
    dropping(server, "tcp dport 8080 ct state established numgen inc mod 25 == 7 drop")
    async with recording(sockets=True, drops=True) as recorder:
        story = Story(recorder, cluster, traffic.PORT)
        before = passed(client, (0, 0, 0, 0))
        await asyncio.to_thread(traffic.tcp, client, server, 1, size)
        rows = await story.until(over)
        await story.until(lambda _: len(story.reports(SocketReason.CLOSED)) == 1)
        (closed,) = story.reports(SocketReason.CLOSED)
        counted = passed(client, before)
        await story.dropped.until("NETFILTER_DROP", 2)
    assert wire(rows) == counted
    assert closed["bytes_acked"] == closed["bytes_received"] == size


@needs_packets
async def test_blackhole_swallows_an_established_connection(cluster: Cluster) -> None:
    client, server = cluster.pods
    with contextlib.ExitStack() as after:
        listener = after.enter_context(server.socket(socket.AF_INET, socket.SOCK_STREAM))
        listener.bind((server.address, traffic.PORT))
        listener.listen()
        async with recording(sockets=True, drops=True) as recorder:
            story = Story(recorder, cluster, traffic.PORT)
            before = passed(client, (0, 0, 0, 0))
            peer = after.enter_context(client.socket(socket.AF_INET, socket.SOCK_STREAM))
            peer.setsockopt(socket.IPPROTO_TCP, TCP_USER_TIMEOUT, 1000)
            peer.connect((server.address, traffic.PORT))
            accepted = after.enter_context(listener.accept()[0])
            accepted.settimeout(20)
            peer.sendall(bytes(1000))
            await asyncio.to_thread(traffic.receive, accepted, 1000)
            await eventually(lambda: info(peer, UNACKED) == 0)
            answered = passed(client, before)[2:]
            dropping(server, "tcp dport 8080 drop")
            peer.sendall(bytes(1000))
            error = await asyncio.to_thread(failure, peer)
            again = info(peer, TOTAL_RETRANS)
            drops = await story.dropped.until("NETFILTER_DROP", again + 1)
            counted = passed(client, before)
        rows = story.rows()
    assert error == errno.ETIMEDOUT
    assert again >= 1
    assert int(drops["packets"].sum()) == again + 1
    assert wire(rows) == counted
    assert counted[2:] == answered


def info(peer: socket.socket, offset: int) -> int:
    """A field of struct tcp_info."""
    return int(
        struct.unpack_from("I", peer.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256), offset)[
            0
        ]
    )


def failure(peer: socket.socket) -> int:
    """The error that ends a connection."""
    peer.settimeout(20)
    try:
        peer.recv(1)
    except OSError as error:
        return error.errno or 0
    return 0
