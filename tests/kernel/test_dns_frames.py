"""DNS payload extracted from single packets under any encapsulation."""

import struct
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from flowd_bpf import libbpf
from flowd_bpf.layout import DNS_LONG, DNS_SHORT, Counter
from flowd_bpf.load import loader
from flowd_bpf.maps.maps import PerCpuCounters
from flowd_bpf.maps.ring import Ring
from tests.kernel.frames import CLIENT, UDP, ether, geneve, ip, outer, vxlan
from tests.kernel.packets import ethernet, ipv4, ipv6
from tests.kernel.programs import PASS

RING = 1 << 16
DNS = bytes(range(100))
ACK, SYN, FIN = 0x10, 0x02, 0x01


class Read:
    """The programs with DNS, and the records of both rings."""

    def __init__(self, loaded: loader.LoadedPrograms) -> None:
        self._programs = loaded.programs
        self._rings = [
            Ring(loaded.maps[name], RING, dtype)
            for name, dtype in (("flowd_dns_short", DNS_SHORT), ("flowd_dns_long", DNS_LONG))
        ]
        self._counters = PerCpuCounters(loaded.maps["flowd_counters"], len(Counter))

    def records(self, packet: bytes, name: str = "flowd_in") -> list[tuple[Any, bytes]]:
        """Run one packet; returns head and payload of its records, short ones first."""
        assert libbpf.run_program(self._programs[name], packet)[0] == PASS
        found: list[tuple[Any, bytes]] = []
        for ring in self._rings:
            batch = ring.read().copy()
            found += [
                (row["head"], bytes(row["payload"][: row["head"]["length"]])) for row in batch
            ]
        return found

    def count(self, counter: Counter) -> int:
        return int(self._counters.read()[counter])

    def close(self) -> None:
        for ring in self._rings:
            ring.close()


@pytest.fixture(scope="module")
def read() -> Iterator[Read]:
    loaded = loader.load({"DNS_PORT": 53, "DNS_PORT_2": 5353, "DNS_RING_BYTES": RING})
    made = Read(loaded)
    yield made
    made.close()
    loaded.close()


def udp(payload: bytes = DNS, src: int = 5000, dst: int = 53, length: int = -1) -> bytes:
    told = 8 + len(payload) if length < 0 else length
    return struct.pack("!HHHH", src, dst, told, 0) + payload


def tcp(payload: bytes = DNS, flags: int = ACK, options: bytes = b"") -> bytes:
    offset = (5 + len(options) // 4) << 4
    head = struct.pack("!HHIIBBHHH", 5000, 53, 0xFFFFFF00, 1, offset, flags, 100, 0, 0)
    return head + options + payload


FRAGMENT = struct.pack("!BBHI", 17, 0, 1, 77)
AUTHENTICATION = struct.pack("!BBHIII", 17, 2, 0, 1, 1, 0)
AROUND = {
    "IPv4": ethernet(ipv4(udp(), 17)),
    "IPv4 with options": ethernet(ipv4(udp(), 17, options=bytes([1] * 12))),
    "padded by the link": ethernet(ipv4(udp(), 17)) + bytes(40),
    "IPv6": ethernet(ipv6(udp(), 17), 0x86DD),
    "IPv6 padded": ethernet(ipv6(udp(), 17), 0x86DD) + bytes(9),
    "IPv6 with extensions": ethernet(ipv6(bytes([17, 1]) + bytes(14) + udp(), 60), 0x86DD),
    "authentication header": ethernet(ipv4(AUTHENTICATION + udp(), 51)),
    "VLAN": ethernet(ipv4(udp(), 17), tag=7),
    "the second port": ethernet(ipv4(udp(dst=5353), 17)),
    "from a server": ethernet(ipv4(udp(src=53, dst=5000), 17)),
    "TCP": ethernet(ipv4(tcp(), 6)),
    "TCP with options, padded": ethernet(ipv4(tcp(options=bytes([1] * 12)), 6)) + bytes(7),
}


@pytest.mark.parametrize("packet", AROUND.values(), ids=AROUND)
@pytest.mark.parametrize("name", ["flowd_in", "flowd_out"])
def test_payload_is_what_the_packet_carries(read: Read, packet: bytes, name: str) -> None:
    before = read.count(Counter.DUPLICATE)
    found = read.records(packet, name)
    if read.count(Counter.DUPLICATE) > before:
        assert found == []  # each direction is read only at the hook that counts it
        return
    ((head, payload),) = found
    assert payload == DNS
    assert (head["length"], head["original"]) == (100, 100)
    assert 53 in (head["src_port"], head["dst_port"]) or head["dst_port"] == 5353
    assert head["conn_id"] > 0


def test_raw_packets_and_tunnels(read: Read) -> None:
    datagram = UDP(sport=5000, dport=53) / DNS
    inner = ether() / ip() / datagram
    for packet in (
        ether() / outer() / vxlan(inner),
        ether() / outer(6) / geneve(inner, options=3),
        ether() / outer() / ip() / datagram,
    ):
        ((head, payload),) = read.records(bytes(packet) + bytes(5))
        assert payload == DNS
        assert bytes(head["src_addr"])[12:] == bytes(map(int, CLIENT.split(".")))


@pytest.mark.parametrize(
    ("packet", "kept", "original"),
    [
        (udp(DNS, length=58), DNS[:50], 50),  # bytes behind the datagram are padding
        (udp(DNS, length=0), DNS, 100),
        (udp(DNS, length=7), DNS, 100),
        (udp(DNS, length=65535), DNS, 65527),
    ],
    ids=["shorter", "none", "less than a header", "longer"],
)
def test_wrong_lengths(read: Read, packet: bytes, kept: bytes, original: int) -> None:
    ((head, payload),) = read.records(ethernet(ipv4(packet, 17)))
    assert (payload, head["original"]) == (kept, original)


def test_fragments_give_what_the_first_has(read: Read) -> None:
    first = ethernet(ipv4(udp(DNS, length=3008), 17, fragment=0x2000, number=900))
    later = ethernet(ipv4(DNS * 20, 17, fragment=13, number=900))
    ((head, payload),) = read.records(first)
    assert (payload, head["original"]) == (DNS, 3000)
    assert read.records(later) == []


@pytest.mark.parametrize("size", [1, 183, 184, 185, 1471, 1472])
def test_sizes(read: Read, size: int) -> None:
    ((head, payload),) = read.records(ethernet(ipv4(udp(bytes([7] * size)), 17)))
    assert payload == bytes([7] * size)
    assert head["original"] == size


def test_stretches_of_a_long_segment(read: Read) -> None:
    data = bytes(range(256)) * 14
    found = read.records(ethernet(ipv4(tcp(data), 6)))
    found.sort(key=lambda record: int(record[0]["original"]), reverse=True)
    assert b"".join(payload for _, payload in found) == data
    assert [int(head["seq"]) for head, _ in found] == [
        (0xFFFFFF00 + at) % 2**32 for at in (0, 1472, 2944)
    ]
    assert [int(head["original"]) for head, _ in found] == [3584, 2112, 640]


@pytest.mark.parametrize("flags", [SYN, SYN | ACK, FIN | ACK, 4])
def test_beginning_and_end_of_a_stream(read: Read, flags: int) -> None:
    ((head, payload),) = read.records(ethernet(ipv4(tcp(b"", flags), 6)))
    assert (payload, head["flags"], head["seq"]) == (b"", flags, 0xFFFFFF00)


def test_what_gives_no_record(read: Read) -> None:
    for packet in (
        ethernet(ipv4(udp(b""), 17)),
        ethernet(ipv4(tcp(b""), 6)) + bytes(6),
        ethernet(ipv4(udp(dst=54), 17)),
        ethernet(ipv4(udp(), 132)),
        ethernet(ipv4(tcp(b"", ACK)[:18], 6)),
        ethernet(ipv4(udp()[:6], 17)),
    ):
        assert read.records(packet) == []


def test_random_packets_change_nothing(read: Read) -> None:
    rng = np.random.default_rng(5)
    packets = list(AROUND.values())
    for number in range(2000):
        packet = bytearray(packets[number % len(packets)])
        for at in rng.integers(12, len(packet), 3):
            packet[at] = rng.integers(0, 256)
        for head, payload in read.records(bytes(packet[: rng.integers(54, len(packet) + 1)])):
            assert len(payload) == head["length"] <= 1472


@pytest.mark.parametrize("ports", [1, 4])
def test_one_port_and_the_most_passes_the_verifier(ports: int) -> None:
    names = ["DNS_PORT", *(f"DNS_PORT_{number}" for number in range(2, ports + 1))]
    loaded = loader.load(dict(zip(names, range(5300, 5305), strict=False)))
    assert {"flowd_dns_short", "flowd_dns_long"} <= loaded.maps.keys()
    loaded.close()


def test_nothing_of_it_is_there_unless_asked_for() -> None:
    loaded = loader.load()
    assert not [name for name in loaded.maps if "dns" in name]
    loaded.close()
