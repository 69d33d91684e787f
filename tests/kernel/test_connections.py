"""Rows of real connections compared with the interfaces' own counters."""

import asyncio
import contextlib
import socket

import numpy as np
import pytest

from flowd.model.address import unpack
from flowd.model.enums import Hook, Initiator, Protocol, Reason
from flowd_bpf.maps.connection_table import IdleTimeouts
from tests.kernel import traffic
from tests.kernel.net import Cluster
from tests.kernel.recorder import Recorder, consistent, ended, recording
from tests.kernel.traffic import FAMILIES, PORT

FIN, SYN, RST, PSH, ACK = 1, 2, 4, 8, 16


def sums(recorder: Recorder, protocol: int) -> tuple[int, int, int, int]:
    rows = recorder.rows(protocol=protocol)
    return (
        int(rows["bytes_fwd"].sum()),
        int(rows["packets_fwd"].sum()),
        int(rows["bytes_rev"].sum()),
        int(rows["packets_rev"].sum()),
    )


@pytest.mark.parametrize("family", FAMILIES)
async def test_tcp_equals_the_veth_counters(cluster: Cluster, family: socket.AddressFamily) -> None:
    client, server = cluster.pods
    async with recording() as recorder:
        before, behind = client.counts(), server.counts()
        await asyncio.to_thread(traffic.tcp, client, server, 40, 20_000, family)
        await recorder.until(ended(40))
        counted, passed = client.counts() - before, server.counts() - behind
    assert sums(recorder, Protocol.TCP) == (
        counted.rx_bytes,
        counted.rx_packets,
        counted.tx_bytes,
        counted.tx_packets,
    )
    assert counted.rx_packets == passed.tx_packets  # counted at two more hooks
    rows = recorder.rows()
    consistent(rows)
    assert len(np.unique(rows["conn_id"])) == 40
    new = rows[rows["reason"] == Reason.NEW]
    assert len(new) == len(np.unique(new["src_port"])) == 40
    assert {unpack(bytes(a)) for a in new["src_addr"]} == {client.at(family)}
    assert {unpack(bytes(a)) for a in new["dst_addr"]} == {server.at(family)}
    assert set(new["family"]) == {4 if family == socket.AF_INET else 6}
    assert set(new["initiator"]) == {Initiator.SYN}
    names = {recorder.directory.interfaces[i] for i in rows[rows["is_reply"] == 0]["ifindex"]}
    assert names == {client.veth}
    assert set(rows["hook"]) == {Hook.INGRESS}


@pytest.mark.parametrize("family", FAMILIES)
async def test_udp_equals_the_veth_counters(cluster: Cluster, family: socket.AddressFamily) -> None:
    client, server = cluster.pods
    async with recording() as recorder:
        before = client.counts()
        await asyncio.to_thread(traffic.udp, client, server, 25, 300, family)
        counted = client.counts() - before
    assert sums(recorder, Protocol.UDP) == (
        counted.rx_bytes,
        counted.rx_packets,
        counted.tx_bytes,
        counted.tx_packets,
    )
    assert counted.rx_packets == 25
    rows = recorder.rows()
    consistent(rows)
    assert len(np.unique(rows["conn_id"])) == 1
    assert rows["initiator"][0] == Initiator.FIRST_PACKET
    assert rows["dst_port"][0] == PORT


@pytest.mark.parametrize("family", FAMILIES)
async def test_echo_and_reply_are_one_connection(
    cluster: Cluster, family: socket.AddressFamily
) -> None:
    client, server = cluster.pods
    protocol = Protocol.ICMP if family == socket.AF_INET else Protocol.ICMPV6
    async with recording() as recorder:
        before = client.counts()
        await asyncio.to_thread(traffic.ping, client, server, 4, family)
        counted = client.counts() - before
    assert sums(recorder, protocol) == (
        counted.rx_bytes,
        counted.rx_packets,
        counted.tx_bytes,
        counted.tx_packets,
    )
    rows = recorder.rows()
    consistent(rows)
    assert len(np.unique(rows["conn_id"])) == 1
    assert rows["icmp_type"][0] == (8 if family == socket.AF_INET else 128)
    assert unpack(bytes(rows["src_addr"][0])) == client.at(family)
    assert (rows["total_packets_fwd"].max(), rows["total_packets_rev"].max()) == (4, 4)


async def test_gso_counts_segments() -> None:
    size = 2_000_000
    with Cluster(gso=True) as cluster:
        client, server = cluster.add_pod(), cluster.add_pod()
        with cluster.inside():
            async with recording() as recorder:
                before = client.counts()
                await asyncio.to_thread(traffic.tcp, client, server, 1, size)
                await recorder.until(ended(1))
                counted = client.counts() - before
    rows = recorder.rows()
    consistent(rows)
    for way, (length, seen) in {
        "fwd": (counted.rx_bytes, counted.rx_packets),
        "rev": (counted.tx_bytes, counted.tx_packets),
    }.items():
        told, packets = int(rows[f"bytes_{way}"].sum()), int(rows[f"packets_{way}"].sum())
        # Every segment but the first adds Ethernet, IPv4, and TCP with timestamps to what the
        # device counted.
        assert told == length + (packets - seen) * (14 + 20 + 32)
        assert told - packets * (14 + 20 + 32) >= size
        assert packets >= size // 1448 > seen


async def test_normal_connection_tells_its_life(cluster: Cluster) -> None:
    client, server = cluster.pods
    async with recording() as recorder:
        await asyncio.to_thread(traffic.tcp, client, server)
        await recorder.until(ended(1))
        assert recorder.capture.live_connections() == 0
    rows = recorder.rows()
    consistent(rows)
    assert [Reason(r) for r in rows["reason"]][0 :: len(rows) - 1] == [Reason.NEW, Reason.END]
    assert (rows["flags"][0], rows["is_reply"][0]) == (SYN, 0)
    assert (rows["flags"][1], rows["is_reply"][1]) == (SYN | ACK, 1)
    assert rows["flags_fwd"][-1] == rows["flags_rev"][-1] == FIN | SYN | PSH | ACK
    assert set(rows["initiator"]) == {Initiator.SYN}
    assert (np.diff(rows["time_ns"].astype("i8")) >= 0).all()
    assert (rows["first_ns"] == rows["time_ns"][0]).all()


async def test_refused_connection(cluster: Cluster) -> None:
    client, server = cluster.pods
    async with recording() as recorder:
        await asyncio.to_thread(traffic.refused, client, server, 9)
        await recorder.until(ended(1))
    rows = recorder.rows(port=9)
    consistent(rows)
    assert [Reason(r) for r in rows["reason"]] == [Reason.NEW, Reason.FLAGS, Reason.END]
    assert (rows["flags"][1], rows["is_reply"][1]) == (RST | ACK, 1)
    assert (rows["flags_fwd"][-1], rows["flags_rev"][-1]) == (SYN, RST | ACK)
    assert (rows["total_packets_fwd"][-1], rows["total_packets_rev"][-1]) == (1, 1)


async def test_reset_connection(cluster: Cluster) -> None:
    client, server = cluster.pods
    async with recording() as recorder:
        await asyncio.to_thread(traffic.reset, client, server)
        await recorder.until(ended(1))
    rows = recorder.rows(port=PORT)
    consistent(rows)
    assert rows["reason"][-1] == Reason.END
    assert rows["flags_fwd"][-1] & RST
    assert not rows["flags_rev"][-1] & (RST | FIN)


async def test_port_reuse_is_a_new_connection(cluster: Cluster) -> None:
    client, server = cluster.pods
    async with recording() as recorder:
        before = client.counts()
        for _ in range(5):
            await asyncio.to_thread(traffic.refused, client, server, 9)
        reused = 0
        for _ in range(5):  # closed by resets, since TIME_WAIT of the client would block the port
            await asyncio.to_thread(reset_from, cluster, 40001)
            reused += 1
        counted = client.counts() - before
        await recorder.until(ended(5 + reused))
    rows = recorder.rows()
    consistent(rows)
    assert len(np.unique(rows[rows["src_port"] == 40001]["conn_id"])) == reused
    assert int(rows["packets_fwd"].sum()) == counted.rx_packets
    assert int(rows["bytes_rev"].sum()) == counted.tx_bytes


def reset_from(cluster: Cluster, port: int) -> None:
    client, server = cluster.pods
    with client.socket(socket.AF_INET, socket.SOCK_STREAM) as peer:
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        peer.bind((client.address, port))
        with pytest.raises(ConnectionRefusedError):
            peer.connect((server.address, 9))


async def test_open_connection_is_told_at_close(cluster: Cluster) -> None:
    client, server = cluster.pods
    with (
        server.socket(socket.AF_INET, socket.SOCK_STREAM) as listener,
        client.socket(socket.AF_INET, socket.SOCK_STREAM) as peer,
        contextlib.ExitStack() as stack,
    ):
        listener.bind((server.address, PORT))
        listener.listen()
        async with recording() as recorder:
            before = client.counts()
            peer.connect((server.address, PORT))
            accepted = stack.enter_context(listener.accept()[0])
            accepted.settimeout(20)
            for _ in range(20):
                peer.sendall(bytes(100))
                traffic.receive(accepted, 100)
            await recorder.until(lambda rows: len(rows) > 2)
            counted = client.counts() - before
    rows = recorder.rows()
    consistent(rows)
    assert rows["reason"][-1] == Reason.ACTIVE
    assert Reason.END not in rows["reason"]
    assert int(rows["bytes_fwd"].sum()) == counted.rx_bytes
    assert int(rows["packets_rev"].sum()) == counted.tx_packets


async def test_active_connection_reports_while_it_lasts(cluster: Cluster) -> None:
    client, server = cluster.pods
    with (
        server.socket(socket.AF_INET, socket.SOCK_DGRAM) as answering,
        client.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking,
    ):
        answering.bind((server.address, PORT))
        async with recording(active_seconds=0.2) as recorder:
            async with asyncio.timeout(30):
                while np.sum(recorder.rows()["reason"] == Reason.ACTIVE) < 3:
                    asking.sendto(bytes(100), (server.address, PORT))
                    await asyncio.sleep(0.01)
    rows = recorder.rows()
    consistent(rows)
    assert len(rows) < rows["total_packets_fwd"].max()


async def test_silent_udp_ends(cluster: Cluster) -> None:
    client, server = cluster.pods
    async with recording(limits=IdleTimeouts(other=0.5)) as recorder:
        await asyncio.to_thread(traffic.udp, client, server, 3)
        await recorder.until(ended(1))
    rows = recorder.rows()
    consistent(rows)
    assert rows["total_packets_rev"][-1] == 3
