"""VLAN tags, SCTP and authentication headers; crafted frames compared with a veth's counters."""

import socket
from typing import Any

import numpy as np
import pytest

from flowd.model.enums import Initiator, Reason
from flowd_bpf.layout import Counter
from tests.kernel import frames
from tests.kernel.frames import ether, ip, outer, sctp, tagged, tcp, udp, vxlan
from tests.kernel.net import Cluster
from tests.kernel.programs import Programs
from tests.kernel.recorder import ended, recording

FIN, SYN, RST, ACK = 1, 2, 4, 16
AUTHENTICATED = b"\x06\x04\0\0" + bytes(20)  # TCP follows; 24 bytes (RFC 4302)


@pytest.mark.parametrize("kind", ["VLAN", "QinQ", "old QinQ"])
@pytest.mark.parametrize("family", [4, 6])
def test_tags_are_passed_over(programs: Programs, kind: str, family: int) -> None:
    frame = bytes(tagged(kind, ip(family), tcp()))
    assert programs.run(frame) == [(6, 40000, 80, 0x18, 0, len(frame))]


def test_three_tags_are_too_many(programs: Programs) -> None:
    programs.run(bytes(tagged("QinQ", frames.Dot1Q(vlan=9), ip(), tcp())))
    assert programs.count(Counter.NON_IP) == 1


@pytest.mark.parametrize("header", [ip(4, proto=51), ip(6, nh=51)])
def test_authentication_header_is_passed_over(programs: Programs, header: Any) -> None:
    frame = bytes(ether() / header / (AUTHENTICATED + bytes(tcp())))
    assert programs.run(frame) == [(6, 40000, 80, 0x18, 0, len(frame))]


@pytest.mark.parametrize(
    ("chunk", "flags"),
    [
        ("data", ACK),
        ("init", SYN),
        ("init-ack", SYN | ACK),
        ("abort", RST),
        ("shutdown", FIN),
        ("shutdown-ack", FIN),
        ("shutdown-complete", FIN),
    ],
)
def test_chunk_tells_what_a_flag_would(programs: Programs, chunk: str, flags: int) -> None:
    (event,) = programs.events(bytes(ether() / ip() / sctp(chunk)))
    assert (event["protocol"], event["flags"]) == (132, flags)
    assert {int(event["src_port"]), int(event["dst_port"])} == {40000, 3868}


def test_answer_seen_first_does_not_begin_an_association(programs: Programs) -> None:
    (event,) = programs.events(bytes(ether() / ip(reply=True) / sctp("init-ack", reply=True)))
    assert (event["src_port"], event["dst_port"], event["is_reply"]) == (40000, 3868, 1)


def send(cluster: Cluster, client_frames: list[bytes], server_frames: list[bytes]) -> None:
    for pod, sent in zip(cluster.pods, (client_frames, server_frames), strict=True):
        with pod.socket(socket.AF_PACKET, socket.SOCK_RAW) as wire:
            wire.bind(("eth0", 0))
            for frame in sent:
                wire.send(frame)


async def test_association_has_a_life(cluster: Cluster) -> None:
    asked = [bytes(ether() / ip() / sctp(chunk)) for chunk in ("init", "data", "shutdown")]
    told = [
        bytes(ether() / ip(reply=True) / sctp(chunk, reply=True))
        for chunk in ("init-ack", "shutdown-ack")
    ]
    async with recording() as recorder:
        send(cluster, asked, told)
        await recorder.until(ended(1))
    rows = recorder.rows(protocol=132)
    assert (rows["src_port"][0], rows["initiator"][0]) == (40000, Initiator.SYN)
    assert (rows["reason"][0], rows["reason"][-1]) == (Reason.NEW, Reason.END)
    assert len(np.unique(rows["conn_id"])) == 1


CRAFTED: list[tuple[Any, str]] = [
    (tagged("VLAN", ip(), udp(41000)), ""),
    (tagged("QinQ", ip(6), udp(41001)), ""),
    (ether() / outer() / vxlan(ether() / ip(6) / udp(41002)), "vxlan"),
    (ether() / outer(6) / frames.geneve(ether() / ip() / udp(41003)), "geneve"),
    (ether() / outer() / ip(6) / udp(41004), "ipip"),
    (tagged("VLAN", outer(), ip(), udp(41005)), "ipip"),
    (ether() / ip(6) / frames.tcp(41006), ""),
]


async def test_crafted_frames_equal_the_veth_counters(cluster: Cluster) -> None:
    """A VLAN tag arrives in the skb's metadata, and its bytes count as on the wire."""
    client = cluster.pods[0]
    counted: list[tuple[int, int]] = []
    async with recording() as recorder:
        for frame, _ in CRAFTED:
            before = client.counts()
            send(cluster, [bytes(frame)] * 5, [])
            passed = client.counts() - before
            counted.append((passed.rx_packets, passed.rx_bytes))
        await recorder.until(lambda rows: len(np.unique(rows["conn_id"])) == len(CRAFTED))
    every = recorder.rows()
    for number, (frame, tunnel) in enumerate(CRAFTED):
        rows = every[every["src_port"] == 41000 + number]
        told = int(rows["packets_fwd"].sum()), int(rows["bytes_fwd"].sum())
        assert told == counted[number] == (5, 5 * len(frame))
        assert len(np.unique(rows["conn_id"])) == 1
        assert recorder.directory.tunnels[int(rows["tunnel"][-1])].protocol == tunnel
