"""Unusual packets, each run through the loaded program."""

import pytest

from flowd_bpf import libbpf
from flowd_bpf.layout import Counter
from flowd_bpf.load import loader
from tests.kernel.packets import datagram, ethernet, ipv4, ipv6, segment, tcp
from tests.kernel.programs import Programs

HOP_BY_HOP = bytes([6, 0]) + bytes(6)
FIRST_FRAGMENT = bytes([17, 0, 0, 1]) + bytes(4)
LATER_FRAGMENT = bytes([17, 0, 0, 8]) + bytes([0, 0, 0, 2])
SCTP = bytes.fromhex("9c400050") + bytes(24)  # a chunk of data
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
            ethernet(ipv4(bytes(40), 17, fragment=0x0010, number=2)),
            (17, 0, 0, 0, 0, 74),
            id="fragment",
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
        pytest.param(ethernet(ipv4(SCTP, 132)), (132, 40000, 80, 0x10, 0, 62), id="SCTP"),
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
    assert programs.count(Counter.DUPLICATE) == 1


def test_programs_are_small_for_the_verifier(loaded: loader.LoadedPrograms) -> None:
    for name, fd in loaded.programs.items():
        assert 0 < libbpf.verified_instructions(fd) < 40_000, name
