"""Tunnelled packets, each run through the loaded program."""

import struct
from typing import Any

import numpy as np
import pytest

from flowd.capture.kernel.tunnels import TunnelNames
from flowd.model.address import pack, unpack
from flowd.model.directory import Directory
from flowd.model.process import Tunnel
from flowd.model.records.connection import empty_connections
from flowd_bpf.layout import Counter, TunnelKind
from flowd_bpf.load import loader
from tests.kernel import frames
from tests.kernel.frames import NODE, NODE6, PEER, PEER6, VNI, ether, geneve, ip, outer, tcp, vxlan
from tests.kernel.programs import RING, Programs

INNER = ether() / ip() / tcp()
INNER6 = ether() / ip(6) / tcp()
ENDS, ENDS6 = (NODE, PEER), (NODE6, PEER6)


def context(segments: int, size: int) -> bytes:
    """A struct __sk_buff for a GSO packet of `segments` segments."""
    return bytes(164) + struct.pack("=IQI", segments, 0, size) + bytes(4)


@pytest.mark.parametrize(
    ("packet", "kind", "ends", "vni"),
    [
        (ether() / outer() / vxlan(INNER), TunnelKind.VXLAN, ENDS, VNI),
        (ether() / outer() / vxlan(INNER, 8472), TunnelKind.VXLAN, ENDS, VNI),
        (ether() / outer() / vxlan(INNER, flags=0x88), TunnelKind.VXLAN, ENDS, VNI),
        (ether() / outer(6) / vxlan(INNER), TunnelKind.VXLAN, ENDS6, VNI),
        (ether() / outer() / vxlan(INNER6), TunnelKind.VXLAN, ENDS, VNI),
        (
            frames.tagged("QinQ", outer(), vxlan(frames.tagged("VLAN", ip(), tcp()))),
            TunnelKind.VXLAN,
            ENDS,
            VNI,
        ),
        (ether() / outer() / geneve(INNER), TunnelKind.GENEVE, ENDS, VNI),
        (ether() / outer(6) / geneve(INNER6, options=9), TunnelKind.GENEVE, ENDS6, VNI),
        (ether() / outer() / geneve(ip() / tcp(), 0x0800, 1), TunnelKind.GENEVE, ENDS, VNI),
        (ether() / outer() / geneve(ip(6) / tcp(), 0x86DD), TunnelKind.GENEVE, ENDS, VNI),
        (ether() / outer() / ip() / tcp(), TunnelKind.IP, ENDS, 0),
        (ether() / outer() / ip(6) / tcp(), TunnelKind.IP, ENDS, 0),
        (ether() / outer(6) / ip() / tcp(), TunnelKind.IP, ENDS6, 0),
        (ether() / outer(6) / ip(6) / tcp(), TunnelKind.IP, ENDS6, 0),
    ],
)
def test_what_is_inside_is_the_connection(
    programs: Programs, packet: Any, kind: TunnelKind, ends: tuple[str, str], vni: int
) -> None:
    (event,) = programs.events(bytes(packet))
    assert unpack(bytes(event["src_addr"])) in (frames.CLIENT, frames.CLIENT6)
    assert unpack(bytes(event["dst_addr"])) in (frames.SERVER, frames.SERVER6)
    assert (event["src_port"], event["dst_port"], event["protocol"]) == (40000, 80, 6)
    assert (event["bytes"][0], event["packets"][0]) == (len(packet), 1)
    told = programs.tunnel(int(event["tunnel"]))
    assert told == (kind, pack(ends[0]), pack(ends[1]), vni)


def test_same_packets_without_the_tunnel_count_once(programs: Programs) -> None:
    plain, encapsulated = bytes(INNER), bytes(ether() / outer() / vxlan(INNER))
    (event,) = programs.events(plain)
    programs.events(encapsulated, "flowd_out")  # mostly within the same jiffy
    assert event["tunnel"] == 0
    assert programs.count(Counter.CREATED) == programs.count(Counter.DUPLICATE) == 1
    _, (entry,) = programs.entries()
    assert programs.tunnel(int(entry["tunnel"]))[0] == TunnelKind.VXLAN
    assert int(entry["side"]["total_bytes"].sum()) == len(INNER)


@pytest.mark.parametrize("family", [4, 6])
def test_tunnel_is_told_in_the_initiators_direction(programs: Programs, family: int) -> None:
    programs.events(bytes(ether() / ip() / tcp(flags="S")))
    answer = ether() / ip(reply=True) / tcp(flags="SA", reply=True)
    (event,) = programs.events(bytes(ether() / outer(family, reply=True) / vxlan(answer)))
    assert event["is_reply"] == 1
    ends = ENDS if family == 4 else ENDS6
    assert programs.tunnel(int(event["tunnel"]))[1:3] == (pack(ends[0]), pack(ends[1]))


@pytest.mark.parametrize(
    ("packet", "protocol", "port"),
    [
        (vxlan(INNER, flags=0), 17, 4789),
        (vxlan(ether(type=0x0806) / bytes(28)), 17, 4789),
        (vxlan(ether() / bytes.fromhex("45") / bytes(8)), 17, 4789),
        (vxlan(ether() / bytes.fromhex("44") / bytes(40)), 17, 4789),
        (vxlan(bytes(INNER)[:47]), 17, 4789),
        (frames.UDP(sport=5000, dport=8472) / bytes(4), 17, 8472),
        (frames.UDP(sport=5000, dport=6081) / b"\x80\x00\x65\x58" / bytes(80), 17, 6081),
        (frames.UDP(sport=5000, dport=6081) / b"\x3f\x00\x65\x58" / bytes(80), 17, 6081),
        (geneve(bytes(INNER), 0x88BE), 17, 6081),
        (bytes(ip() / tcp())[:33], 4, 0),
    ],
)
def test_what_cannot_be_read_inside_is_the_outer_connection(
    programs: Programs, packet: Any, protocol: int, port: int
) -> None:
    (event,) = programs.events(bytes(ether() / outer(proto=4 if protocol == 4 else 17) / packet))
    assert (event["protocol"], event["dst_port"]) == (protocol, port)
    assert event["tunnel"] == 0
    assert programs.count(Counter.COUNTED) == 1


def test_one_layer_is_taken_off(programs: Programs) -> None:
    nested = ether() / outer() / vxlan(ether() / ip() / vxlan(INNER, vni=9))
    (event,) = programs.events(bytes(nested))
    assert (event["protocol"], event["dst_port"]) == (17, 4789)
    assert unpack(bytes(event["src_addr"])) == frames.CLIENT
    assert programs.tunnel(int(event["tunnel"]))[3] == VNI


@pytest.mark.parametrize(
    ("packet", "headers"),
    [
        (INNER, 14 + 20 + 20),
        (INNER6, 14 + 40 + 20),
        (ether() / outer() / vxlan(INNER), 14 + 20 + 8 + 8 + 14 + 20 + 20),
        (ether() / outer(6) / geneve(INNER6, options=2), 14 + 40 + 8 + 8 + 16 + 14 + 40 + 20),
        (ether() / outer() / ip(6) / tcp(), 14 + 20 + 40 + 20),
        (frames.tagged("QinQ", ip(), tcp()), 14 + 8 + 20 + 20),
        (ether() / ip() / frames.udp(), 14 + 20 + 8),
    ],
)
def test_every_segment_has_the_headers_of_both(
    programs: Programs, packet: Any, headers: int
) -> None:
    (event,) = programs.events(bytes(packet), context=context(4, 16))
    assert (event["packets"][0], event["bytes"][0]) == (4, len(packet) + 3 * headers)


def test_tunnel_without_a_place_is_counted() -> None:
    loaded = loader.load({"RING_BYTES": RING, "MAX_TUNNELS": 1})
    try:
        programs = Programs(loaded)
        directory = Directory()
        names = TunnelNames(directory, loaded.maps["flowd_tunnels"])
        rows = empty_connections(4)
        for row in (0, 2):
            inner = ether() / ip() / tcp(40000 + row)
            (event,) = programs.events(bytes(ether() / outer() / vxlan(inner, vni=row)))
            rows["tunnel"][row] = event["tunnel"]
        rows["tunnel"][3] = 0xFFFFFFFF
        for _ in range(2):
            told = names.resolve(rows.copy())
            known = Tunnel("vxlan", NODE, PEER, 0)
            assert [directory.tunnels[i].protocol for i in told["tunnel"]] == ["vxlan", "", "", ""]
            assert directory.tunnels[int(told["tunnel"][0])] == known
            assert not np.any(told["tunnel"][1:])
        assert programs.count(Counter.TUNNEL_UNNAMED) == 1
        programs.clear()
    finally:
        loaded.close()
