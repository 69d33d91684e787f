"""Odd packets, one at a time through the loaded program."""

from collections.abc import Iterator

import pytest

from flowd_bpf import libbpf, loader
from flowd_bpf.layout import CONNECTION, EVENT, FATES, KEY, Counter
from flowd_bpf.maps import HashMap, PerCpuCounters
from flowd_bpf.ring import Ring
from tests.kernel.packets import datagram, ethernet, ipv4, ipv6, segment, tcp

PASS = 0xFFFFFFFF  # TCX_NEXT and TC_ACT_UNSPEC
RING = 1 << 16


class Programs:
    """The loaded programs with their maps emptied."""

    def __init__(self, loaded: loader.Loaded) -> None:
        self._programs = loaded.programs
        self._ring = Ring(loaded.maps["flowd_events"], RING, EVENT)
        self._counters = PerCpuCounters(loaded.maps["flowd_counters"], len(Counter))
        self._conns = HashMap(loaded.maps["flowd_conns"], KEY, CONNECTION)
        self._zero = self._counters.read()

    def run(self, packet: bytes, name: str = "flowd_in") -> list[tuple[int, ...]]:
        """Records of one packet: protocol, ports, flags, ICMP type, bytes."""
        assert libbpf.run_program(self._programs[name], packet)[0] == PASS
        names = ("protocol", "src_port", "dst_port", "flags", "icmp_type")
        return [
            (*(int(event[name]) for name in names), int(event["bytes"].sum()))
            for event in self._ring.read()
        ]

    def count(self, counter: Counter) -> int:
        """A counter since the fixture was made; what was seen is always accounted for."""
        counts = self._counters.read() - self._zero
        assert counts[Counter.SEEN] == counts[list(FATES)].sum()
        return int(counts[counter])

    def clear(self) -> None:
        """Empty the table and unmap the ring."""
        for _ in self._conns.scan(delete=True):
            pass
        self._ring.read()
        self._ring.close()


@pytest.fixture(scope="module")
def loaded() -> Iterator[loader.Loaded]:
    programs = loader.load({"RING_BYTES": RING})
    yield programs
    programs.close()


@pytest.fixture
def programs(loaded: loader.Loaded) -> Iterator[Programs]:
    made = Programs(loaded)
    yield made
    made.clear()


HOP_BY_HOP = bytes([6, 0]) + bytes(6)
FIRST_FRAGMENT = bytes([17, 0, 0, 1]) + bytes(4)
LATER_FRAGMENT = bytes([17, 0, 0, 8]) + bytes(4)
SCTP = bytes.fromhex("9c400050") + bytes(24)
ECHO = bytes([8, 0, 0, 0, 0x12, 0x34, 0, 1]) + bytes(24)
ECHO6 = bytes([128, 0, 0, 0, 0x12, 0x34, 0, 1]) + bytes(24)


@pytest.mark.parametrize(
    ("packet", "record"),
    [
        pytest.param(tcp(), (6, 40000, 80, 0x18, 0, 118), id="tcp"),
        pytest.param(tcp(0xC2), (6, 40000, 80, 0xC2, 0, 118), id="every flag bit"),
        pytest.param(
            ethernet(ipv4(segment(), 6, options=bytes([1] * 12))),
            (6, 40000, 80, 0x18, 0, 130),
            id="IPv4 options",
        ),
        pytest.param(
            ethernet(ipv4(datagram(), 17, fragment=0x2000)), (17, 5000, 53, 0, 0, 74), id="first"
        ),
        pytest.param(
            ethernet(ipv4(bytes(40), 17, fragment=0x0010)), (17, 0, 0, 0, 0, 74), id="fragment"
        ),
        pytest.param(ethernet(ipv4(datagram(), 17), tag=7), (17, 5000, 53, 0, 0, 78), id="VLAN"),
        pytest.param(ethernet(ipv6(segment(), 6), 0x86DD), (6, 40000, 80, 0x18, 0, 138), id="IPv6"),
        pytest.param(
            ethernet(ipv6(HOP_BY_HOP + segment(), 0), 0x86DD),
            (6, 40000, 80, 0x18, 0, 146),
            id="hop-by-hop",
        ),
        pytest.param(
            ethernet(ipv6(FIRST_FRAGMENT + datagram(), 44), 0x86DD),
            (17, 5000, 53, 0, 0, 102),
            id="IPv6 first fragment",
        ),
        pytest.param(
            ethernet(ipv6(LATER_FRAGMENT + bytes(40), 44), 0x86DD),
            (17, 0, 0, 0, 0, 102),
            id="IPv6 later fragment",
        ),
        pytest.param(ethernet(ipv4(SCTP, 132)), (132, 40000, 80, 0, 0, 62), id="SCTP"),
        pytest.param(ethernet(ipv4(ECHO, 1)), (1, 0x1234, 0x1234, 0, 8, 66), id="ICMP"),
        pytest.param(
            ethernet(ipv6(ECHO6, 58), 0x86DD), (58, 0x1234, 0x1234, 0, 128, 86), id="ICMPv6"
        ),
        pytest.param(ethernet(ipv4(bytes(40), 47)), (47, 0, 0, 0, 0, 74), id="GRE"),
    ],
)
def test_packet_is_read_right(programs: Programs, packet: bytes, record: tuple[int, ...]) -> None:
    assert programs.run(packet) == [record]
    assert programs.count(Counter.COUNTED) == 1


HEADERS_WITHOUT_END = bytes([0, 0]) + bytes(6)


@pytest.mark.parametrize(
    ("packet", "counter"),
    [
        pytest.param(ethernet(bytes(28), 0x0806), Counter.NON_IP, id="ARP"),
        pytest.param(ethernet(ipv4(segment()[:13], 6)), Counter.MALFORMED, id="TCP cut short"),
        pytest.param(ethernet(bytes([0x44]) + bytes(40)), Counter.MALFORMED, id="IHL of 4"),
        pytest.param(ethernet(bytes([0x65]) + bytes(40)), Counter.MALFORMED, id="version 6 in 4"),
        pytest.param(
            ethernet(ipv6(HEADERS_WITHOUT_END * 8, 0), 0x86DD), Counter.MALFORMED, id="8 extensions"
        ),
        pytest.param(
            ethernet(ipv6(bytes([0, 255]) + bytes(6), 0), 0x86DD),
            Counter.MALFORMED,
            id="extension past the end",
        ),
    ],
)
def test_packet_that_cannot_be_read_is_counted(
    programs: Programs, packet: bytes, counter: Counter
) -> None:
    assert programs.run(packet) == []
    assert programs.count(counter) == 1


def test_both_directions_are_one_connection(programs: Programs) -> None:
    programs.run(tcp(0x02))
    programs.run(tcp(0x12, reply=True))
    assert programs.count(Counter.CREATED) == 1


def test_other_hook_does_not_count_again(programs: Programs) -> None:
    programs.run(tcp())
    assert programs.run(tcp(), "flowd_out") == []
    assert programs.count(Counter.ELSEWHERE) == 1


def test_later_fragments_are_told(programs: Programs) -> None:
    programs.run(ethernet(ipv4(bytes(40), 17, fragment=0x0010)))
    assert programs.count(Counter.FRAGMENT_UNKNOWN) == 1


def test_programs_are_small_for_the_verifier(loaded: loader.Loaded) -> None:
    for name, fd in loaded.programs.items():
        assert 0 < libbpf.verified_instructions(fd) < 10_000, name
