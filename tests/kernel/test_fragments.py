"""Later fragments are counted on the connection of their first fragment."""

import asyncio
import socket
from typing import Any

import numpy as np
import pytest

from flowd.model.enums import Protocol
from flowd_bpf.layout import Counter
from tests.kernel import frames, traffic
from tests.kernel.frames import ether, ip, outer, vxlan
from tests.kernel.net import Cluster
from tests.kernel.programs import Programs
from tests.kernel.recorder import consistent, recording
from tests.kernel.traffic import FAMILIES, PORT


def totals(programs: Programs) -> dict[tuple[int, int], tuple[int, int]]:
    """Packets and bytes by the two ports of a connection, in order."""
    _, values = programs.entries()
    sides = values["side"]
    packets = (sides["packets"] + sides["total_packets"]).sum(axis=1)
    sizes = (sides["bytes"] + sides["total_bytes"]).sum(axis=1)
    ports = np.sort(values["key"]["port"].astype("u2"), axis=1)
    return {
        (int(a), int(b)): (int(p), int(s))
        for (a, b), p, s in zip(ports, packets, sizes, strict=True)
    }


@pytest.mark.parametrize(
    ("packet", "ports"),
    [
        pytest.param(ip() / frames.udp(size=3000), (9000, 40000), id="IPv4"),
        pytest.param(ip(6) / frames.udp(size=3000), (9000, 40000), id="IPv6"),
        pytest.param(ip() / frames.tcp(size=3000), (80, 40000), id="TCP"),
        pytest.param(
            ip(proto=1) / b"\x08\0\0\0\x12\x34\0\1" / bytes(3000), (4660, 4660), id="echo"
        ),
        pytest.param(
            outer() / vxlan(ether() / ip() / frames.tcp(size=3000)), (80, 40000), id="of a tunnel"
        ),
        pytest.param(
            outer(6) / vxlan(ether() / ip() / frames.tcp(size=3000)), (80, 40000), id="of another"
        ),
        pytest.param(outer() / ip() / frames.tcp(size=3000), (80, 40000), id="IP in IP"),
    ],
)
def test_all_fragments_are_of_one_connection(
    programs: Programs, packet: Any, ports: tuple[int, int]
) -> None:
    parts = frames.fragments(packet, 0x1001)
    assert len(parts) > 4
    for part in parts:
        programs.events(part)
    assert totals(programs) == {ports: (len(parts), sum(map(len, parts)))}
    assert programs.count(Counter.FRAGMENT_UNKNOWN) == 0


def test_fragments_in_a_tunnel(programs: Programs) -> None:
    parts = frames.fragments(ip() / frames.udp(size=3000), 0x2002)
    wrapped = [bytes(ether() / outer(id=number) / vxlan(part)) for number, part in enumerate(parts)]
    for part in wrapped:
        programs.events(part)
    assert totals(programs) == {(9000, 40000): (len(parts), sum(map(len, wrapped)))}


@pytest.mark.parametrize("family", [4, 6])
def test_fragment_before_the_first_is_told(programs: Programs, family: int) -> None:
    first, *later = frames.fragments(ip(family) / frames.udp(size=1500), 0x3003)
    for part in (later[0], first, *later[1:]):
        programs.events(part)
    rest = len(first) + sum(map(len, later[1:]))
    assert totals(programs) == {(0, 0): (1, len(later[0])), (9000, 40000): (len(later), rest)}
    assert programs.count(Counter.FRAGMENT_UNKNOWN) == 1


@pytest.mark.parametrize("family", [4, 6])
def test_fragments_of_others_do_not_mix(programs: Programs, family: int) -> None:
    one = frames.fragments(ip(family) / frames.udp(41000, 1500), 0x4004)
    two = frames.fragments(ip(family) / frames.udp(42000, 1500), 0x4005)
    third = frames.fragments(ip(family) / frames.udp(43000, 1500), 0x4006)
    for part in (one[0], two[0], two[1], one[1], two[2], one[2], third[2]):
        programs.events(part)
    told = totals(programs)
    assert told[9000, 41000] == (3, sum(map(len, one)))
    assert told[9000, 42000] == (3, sum(map(len, two)))
    assert told[0, 0] == (1, len(third[2]))


def test_overlapping_and_repeated_fragments_count_each(programs: Programs) -> None:
    parts = frames.fragments(ip() / frames.udp(size=1500), 0x5005)
    again = [parts[0], parts[1], parts[1], parts[0], parts[2]]
    for part in again:
        programs.events(part)
    assert totals(programs) == {(9000, 40000): (5, sum(map(len, again)))}


def test_atomic_fragment_is_a_whole_packet(programs: Programs) -> None:
    (part,) = frames.fragments(ip(6) / frames.udp(size=100), 0x6006)
    programs.events(part)
    assert totals(programs) == {(9000, 40000): (1, len(part))}


@pytest.mark.parametrize("family", FAMILIES)
async def test_large_datagrams_equal_the_veth_counters(
    cluster: Cluster, family: socket.AddressFamily
) -> None:
    client, server = cluster.pods
    async with recording() as recorder:
        before = client.counts()
        await asyncio.to_thread(traffic.udp, client, server, 20, 5000, family)
        counted = client.counts() - before
    rows = recorder.rows(protocol=Protocol.UDP)
    consistent(rows)
    assert set(rows["dst_port"]) == {PORT}
    assert len(np.unique(rows["conn_id"])) == 1
    assert counted.rx_packets == 80
    assert int(rows["packets_fwd"].sum()) == counted.rx_packets
    assert int(rows["bytes_fwd"].sum()) == counted.rx_bytes
    assert int(rows["packets_rev"].sum()) == counted.tx_packets
    assert int(rows["bytes_rev"].sum()) == counted.tx_bytes
    assert recorder.lost("fragment_unknown") == 0
