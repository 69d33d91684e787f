"""Rows of dropped packets: the kernel's reason and the packet's tuple."""

import asyncio
import contextlib
import dataclasses
import socket
import struct
from collections.abc import Callable

import numpy as np
import pytest

from flowd.capture import preflight
from flowd.capture.kernel import drops as drops_module
from flowd.capture.kernel.filter import CaptureFilter
from flowd.model.address import pack
from flowd.model.enums import Protocol
from flowd.model.records.drop import DropBatch, empty_drops
from flowd.model.status import State
from flowd_bpf.load.drop_types import DropTypes, drop_types
from tests.kernel import traffic
from tests.kernel.kernelhas import needs_packets
from tests.kernel.net import Cluster, Pod, inside, run
from tests.kernel.recorder import Recorder, eventually, recording

CLOSED = 9
FAR = "192.0.2.1"


class Dropped:
    """All drops between two addresses so far."""

    def __init__(self, recorder: Recorder, src: str, dst: str) -> None:
        self._recorder = recorder
        self._ends = tuple(np.frombuffer(pack(address), "u1") for address in (src, dst))
        self._rows = empty_drops()

    def rows(self, reason: str = "") -> DropBatch:
        """Rows from src to dst, optionally of one reason."""
        taken = self._recorder.capture.take_drops()
        src, dst = self._ends
        mine = (taken["src_addr"] == src).all(1) & (taken["dst_addr"] == dst).all(1)
        self._rows = np.concatenate([self._rows, taken[mine]])
        names = self._recorder.directory.drop_reasons
        known = [row for row in self._rows if reason in ("", names[int(row["reason"])])]
        return np.array(known, self._rows.dtype)

    async def until(self, reason: str, packets: int) -> DropBatch:
        """Wait until the rows of a reason have `packets` packets."""
        await eventually(lambda: int(self.rows(reason)["packets"].sum()) >= packets)
        return self.rows(reason)


def send(client: Pod, address: str, port: int, count: int, ttl: int = 64) -> int:
    """Send UDP datagrams of 100 bytes; returns their source port."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with client.socket(family, socket.SOCK_DGRAM) as asking:
        if family == socket.AF_INET:
            asking.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, ttl)
        asking.bind(("", 0))
        for _ in range(count):
            with contextlib.suppress(PermissionError):  # nftables returns the error to the sender
                asking.sendto(bytes(100), (address, port))
        return int(asking.getsockname()[1])


def forward(pod: Pod) -> None:
    """Make a pod a router."""
    with inside(pod.namespace), open("/proc/sys/net/ipv4/ip_forward", "w") as file:
        file.write("1")


def nft(pod: Pod, hook: str, rule: str) -> None:
    """Add an nftables rule in a pod."""
    text = f"table inet drops {{ chain c {{ type filter hook {hook} priority 0; {rule}; }}; }}"
    run("ip", "netns", "exec", pod.namespace, "nft", "-f", "-", stdin=text)


@needs_packets
async def test_refused_connection_is_a_packet_without_a_socket(cluster: Cluster) -> None:
    client, server = cluster.pods
    async with recording(drops=True) as recorder:
        dropped = Dropped(recorder, client.address, server.address)
        await asyncio.to_thread(traffic.refused, client, server, CLOSED)
        (row,) = await dropped.until("NO_SOCKET", 1)
    assert (row["protocol"], row["family"], row["dst_port"]) == (Protocol.TCP, 4, CLOSED)
    assert row["src_port"] != 0
    assert row["flags"] == 0x02
    assert row["packets"] == 1


@needs_packets
@pytest.mark.parametrize("family", traffic.FAMILIES)
async def test_datagrams_to_nobody(cluster: Cluster, family: socket.AddressFamily) -> None:
    client, server = cluster.pods
    async with recording(drops=True) as recorder:
        dropped = Dropped(recorder, client.at(family), server.at(family))
        port = await asyncio.to_thread(send, client, server.at(family), CLOSED, 7)
        rows = await dropped.until("NO_SOCKET", 7)
    assert int(rows["packets"].sum()) == 7
    assert set(rows["src_port"]) == {port}
    assert set(rows["dst_port"]) == {CLOSED}
    assert set(rows["protocol"]) == {Protocol.UDP}
    assert set(rows["family"]) == {4 if family == socket.AF_INET else 6}


@needs_packets
async def test_firewall_and_its_interface(cluster: Cluster) -> None:
    client, server = cluster.pods
    nft(server, "input", "udp dport 9 drop")
    async with recording(drops=True) as recorder:
        dropped = Dropped(recorder, client.address, server.address)
        await asyncio.to_thread(send, client, server.address, CLOSED, 5)
        rows = await dropped.until("NETFILTER_DROP", 5)
    assert int(rows["packets"].sum()) == 5
    assert int(rows["bytes"].sum()) == 5 * 128
    assert set(rows["hubble_reason"]) == {133}  # POLICY_DENIED
    assert set(rows["ifindex"]) == {0}  # the device is of the pod's namespace


@needs_packets
async def test_interface_of_this_namespace_is_named(cluster: Cluster) -> None:
    client, _ = cluster.pods
    run("ip", "-n", cluster.node, "address", "add", "10.244.0.250/24", "dev", "br0")
    async with recording(drops=True) as recorder:
        dropped = Dropped(recorder, client.address, "10.244.0.250")
        await asyncio.to_thread(send, client, "10.244.0.250", CLOSED, 1)
        (row,) = await dropped.until("NO_SOCKET", 1)
        assert recorder.directory.interfaces[int(row["ifindex"])] == "br0"


@needs_packets
async def test_full_socket_buffer(cluster: Cluster) -> None:
    client, server = cluster.pods
    with server.socket(socket.AF_INET, socket.SOCK_DGRAM) as deaf:
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        deaf.bind((server.address, traffic.PORT))
        deaf.setblocking(False)
        async with recording(drops=True) as recorder:
            dropped = Dropped(recorder, client.address, server.address)
            await asyncio.to_thread(send, client, server.address, traffic.PORT, 100)
            held = 0
            with contextlib.suppress(BlockingIOError):
                while deaf.recv(200):
                    held += 1
            rows = await dropped.until("SOCKET_RCVBUFF", 100 - held)
    assert 0 < held < 100
    assert int(rows["packets"].sum()) == 100 - held


@needs_packets
async def test_wrong_checksum(cluster: Cluster) -> None:
    client, server = cluster.pods
    async with recording(drops=True) as recorder:
        dropped = Dropped(recorder, client.address, server.address)
        with client.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_UDP) as raw:
            raw.sendto(struct.pack("!HHHHI", 5000, CLOSED, 12, 0xBEEF, 0), (server.address, 0))
        (row,) = await dropped.until("UDP_CSUM", 1)
    assert row["packets"] == 1


@needs_packets
async def test_time_to_live_ends_at_a_router(cluster: Cluster) -> None:
    client, router = cluster.pods
    forward(router)
    run("ip", "-n", router.namespace, "route", "add", "192.0.2.0/24", "via", client.address)
    run("ip", "-n", client.namespace, "route", "add", "192.0.2.0/24", "via", router.address)
    async with recording(drops=True) as recorder:
        dropped = Dropped(recorder, client.address, FAR)
        await asyncio.to_thread(send, client, FAR, CLOSED, 3, 1)
        rows = await dropped.until("IP_INHDR", 3)
    assert int(rows["packets"].sum()) == 3


@needs_packets
async def test_what_arrives_is_not_dropped(cluster: Cluster) -> None:
    client, server = cluster.pods
    async with recording(drops=True) as recorder:
        there = Dropped(recorder, client.address, server.address)
        await asyncio.to_thread(traffic.udp, client, server, 50)
        await asyncio.to_thread(traffic.ping, client, server, 5)
        await asyncio.to_thread(send, client, server.address, CLOSED, 1)
        await there.until("NO_SOCKET", 1)
    assert int(there.rows()["packets"].sum()) == 1


@needs_packets
async def test_what_a_closing_socket_lets_go_of_was_delivered(cluster: Cluster) -> None:
    client, server = cluster.pods
    async with recording(drops=True) as recorder:
        dropped = Dropped(recorder, server.address, client.address)
        # The server's FIN reaches a socket that its owner has closed
        await asyncio.to_thread(traffic.tcp, client, server, 10)
        await asyncio.to_thread(send, server, client.address, CLOSED, 1)
        await dropped.until("NO_SOCKET", 1)
    assert len(dropped.rows("QUEUE_PURGE")) == 0


@needs_packets
async def test_full_map_is_counted(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    client, server = cluster.pods
    monkeypatch.setattr(drops_module, "TUPLES", 4)

    def scatter() -> None:
        for port in range(20000, 20100):
            send(client, server.address, port, 1)

    async with recording(drops=True) as recorder:
        await asyncio.to_thread(scatter)
        await eventually(lambda: recorder.lost("drops_full") > 0)
        dropped = Dropped(recorder, client.address, server.address)
        await dropped.until("NO_SOCKET", 1)
    assert int(dropped.rows()["packets"].sum()) < 100


async def test_switched_off() -> None:
    async with recording(drops=False) as recorder:
        capture, drops, *_ = recorder.capture.status()
    assert capture.part == "capture"
    assert (drops.part, drops.state) == ("drops", State.OFF)
    assert "setting `drops`" in drops.detail


def changed(types: DropTypes, **fields: int) -> Callable[[int], DropTypes]:
    """The kernel's types with some ids of the unit replaced."""
    unit = dataclasses.replace(types.unit, **fields)
    return lambda _: dataclasses.replace(types, unit=unit)


async def test_packets_that_cannot_be_read_leave_the_socket(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, server = cluster.pods
    nft(client, "output", "udp dport 9 drop")
    types = drop_types(drops_module.TUPLES)
    # The id of a type that is no function, so the kernel refuses the call
    monkeypatch.setattr(drops_module, "drop_types", changed(types, function=types.unit.attach))
    with client.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        asking.connect((server.address, CLOSED))
        async with recording(drops=True) as recorder:
            status = recorder.capture.status()[1]
            dropped = Dropped(recorder, client.address, server.address)
            with pytest.raises(PermissionError):
                asking.send(bytes(100))
            (row,) = await dropped.until("NETFILTER_DROP", 1)
        assert (row["src_port"], row["dst_port"]) == (asking.getsockname()[1], CLOSED)
    assert status.state is State.DEGRADED
    assert "socket" in status.detail


async def test_refused_program_leaves_connections(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, server = cluster.pods
    types = drop_types(drops_module.TUPLES)
    monkeypatch.setattr(drops_module, "drop_types", changed(types, attach=1, function=0))
    async with recording(drops=True) as recorder:
        drops = recorder.capture.status()[1]
        await asyncio.to_thread(traffic.tcp, client, server)
        await recorder.until(lambda rows: len(rows) > 0)
    assert drops.state is State.DEGRADED
    assert "flowd_drop" in drops.detail
    assert len(recorder.capture.take_drops()) == 0


@needs_packets
def test_check_tells_of_drops() -> None:
    found = {check.name: check for check in preflight.checks(CaptureFilter())}
    assert found["drops"].grade is preflight.Grade.OK
    assert "reasons, addresses from the packets" in found["drops"].detail


def test_reasons_are_the_kernels() -> None:
    types = drop_types(16)
    names = set(types.reasons.values())
    assert {"NO_SOCKET", "NETFILTER_DROP", "TCP_CSUM", "SOCKET_RCVBUFF"} <= names
    assert not {"CONSUMED", "NOT_DROPPED_YET", "MAX", "SUBSYS_MASK"} & names
    assert not any(name.startswith("SKB_DROP_REASON_") for name in names)
    assert types.unit.attach > 0
