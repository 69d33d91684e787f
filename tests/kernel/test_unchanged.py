"""The programs leave every packet unchanged."""

import asyncio
import os
import socket
import struct
import threading
from typing import Any

import pytest

from tests.kernel import frames
from tests.kernel.frames import ether, ip, outer, sctp, tagged, tcp, udp, vxlan
from tests.kernel.net import Cluster, Pod
from tests.kernel.recorder import SECONDS, recording
from tests.kernel.traffic import PORT

SOL_PACKET, PACKET_VNET_HDR = 263, 15  # include/uapi/linux/if_packet.h
ETH_P_ALL = 3
LINK = 14
MESSAGE = 60_000
NODE = ["br0", "veth*"]  # a tunnel module adds its device to each namespace
KINDS = {
    "TCP": (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP),
    "TCP IPv6": (socket.AF_INET6, socket.SOCK_STREAM, socket.IPPROTO_TCP),
    "SCTP": (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_SCTP),
    "SCTP IPv6": (socket.AF_INET6, socket.SOCK_STREAM, socket.IPPROTO_SCTP),
}
FRAMES: dict[str, Any] = {
    "TCP": ether() / ip() / tcp(),
    "IPv6": ether() / ip(6) / tcp(),
    "tags": tagged("QinQ", ip(6), udp(41000)),
    "SCTP": ether() / ip() / sctp("data"),
    "VXLAN": ether() / outer() / vxlan(ether() / ip(6) / udp(41001)),
    "Geneve": ether() / outer(6) / frames.geneve(ether() / ip() / udp(41002)),
    "IP in IP": ether() / outer() / ip(6) / udp(41003),
    "cut short": ether() / ip(proto=6) / b"\x9c\x40\x00",
}


def sent_and_received(client: Pod, server: Pod, frame: bytes, linear: int) -> bytes:
    """Send a frame with `linear` bytes in its buffer's linear part; returns it as received."""
    with (
        client.socket(socket.AF_PACKET, socket.SOCK_RAW) as wire,
        server.socket(socket.AF_PACKET, socket.SOCK_RAW) as tap,
    ):
        tap.bind(("eth0", ETH_P_ALL))
        wire.bind(("eth0", 0))
        wire.setsockopt(SOL_PACKET, PACKET_VNET_HDR, 1)
        wire.send(struct.pack("=BBHHHH", 0, 0, linear, 0, 0, 0) + frame)
        return tap.recv(1 << 16)


@pytest.mark.parametrize("linear", [LINK, 0], ids=["headers behind", "headers in front"])
async def test_frame_is_the_same_behind(cluster: Cluster, linear: int) -> None:
    client, server = cluster.pods
    async with recording(interfaces=NODE) as recorder:
        await recorder.interfaces(3)
        for name, frame in FRAMES.items():
            whole = bytes(frame / os.urandom(900))
            there = await asyncio.to_thread(
                sent_and_received, client, server, whole, linear or len(whole)
            )
            assert _untagged(there, whole) == _untagged(whole, whole), name
    assert set(recorder.rows()["src_port"].tolist()) >= {40000, 41000, 41001, 41002, 41003}


def _untagged(frame: bytes, sent: bytes) -> bytes:
    """The frame without the VLAN tag that a tap inserts."""
    return frame[:12] + frame[-(len(sent) - 16) :] if sent[12:14] in _TAGS else frame


_TAGS = (b"\x81\x00", b"\x88\xa8", b"\x91\x00")


def exchange(client: Pod, server: Pod, kind: tuple[int, int, int], data: bytes) -> bytes:
    """Send a stream that the device segments; returns the bytes received."""
    family = socket.AddressFamily(kind[0])
    arrived = bytearray()
    with server.socket(*kind) as listener, client.socket(*kind) as peer:
        listener.bind((server.at(family), PORT))
        listener.listen()
        peer.bind((client.at(family), 0))
        peer.connect((server.at(family), PORT))
        accepted, _ = listener.accept()
        with accepted:
            accepted.settimeout(SECONDS)

            def take() -> None:
                while len(arrived) < len(data) and (some := accepted.recv(1 << 16)):
                    arrived.extend(some)

            taking = threading.Thread(target=take)
            taking.start()
            for at in range(0, len(data), MESSAGE):
                peer.sendall(data[at : at + MESSAGE])
            taking.join()
    return bytes(arrived)


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
async def test_stream_is_the_same_behind(kind: tuple[int, int, int]) -> None:
    try:
        socket.socket(*kind).close()
    except OSError:
        pytest.skip("this kernel has no SCTP")
    data = os.urandom(300_000)
    with Cluster(gso=True) as cluster:
        client, server = cluster.add_pod(), cluster.add_pod()
        with cluster.inside():
            async with recording(interfaces=NODE) as recorder:
                await recorder.interfaces(3)
                there = await asyncio.to_thread(exchange, client, server, kind, data)
            assert there == data
            rows = recorder.rows(protocol=kind[2])
    assert rows["bytes_fwd"].sum() > len(data)
    assert recorder.lost("malformed") == 0
