"""Generate hostile frames: truncated at every byte, with wrong lengths, nested, and random."""

import itertools
import random
import struct
from collections.abc import Iterator
from typing import Any

from scapy.layers.inet import IP
from scapy.layers.inet6 import (
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
    IPv6ExtHdrRouting,
)
from scapy.layers.l2 import Dot1Q
from scapy.packet import Raw, fuzz

from tests.kernel.frames import ether, geneve, ip, outer, sctp, tagged, tcp, udp, vxlan

Kind = tuple[str, bytes]
LEAST = 15  # bytes of a frame that a socket sends


def runnable(frame: bytes) -> bool:
    """Whether BPF_PROG_TEST_RUN accepts a frame: since Linux 6.18 it needs a whole IP header."""
    needed = {b"\x08\x00": 34, b"\x86\xdd": 54}
    return len(frame) >= needed.get(frame[12:14], LEAST)


def whole() -> dict[str, bytes]:
    """A valid frame of each kind that the programs parse."""
    made: dict[str, Any] = {
        "tcp": ether() / ip() / tcp(),
        "tcp6": ether() / ip(6) / tcp(),
        "udp": ether() / ip() / udp(),
        "sctp": ether() / ip() / sctp("init"),
        "options": ether() / IP(src="10.1.0.1", dst="10.1.0.2", options=b"\x01" * 40) / tcp(),
        "QinQ": tagged("QinQ", ip(6), udp()),
        "extensions": ether() / ip(6) / _chain(4) / udp(),
        "fragment6": ether() / ip(6) / IPv6ExtHdrFragment(id=7, m=1) / udp(),
        "vxlan": ether() / outer() / vxlan(ether() / ip(6) / tcp()),
        "geneve": ether() / outer(6) / geneve(ether() / ip() / udp(), options=2),
        "ipip": ether() / outer() / ip(6) / tcp(),
        "authenticated": bytes(ether() / ip(proto=51)) + b"\x06\x04\0\0" + bytes(20 + 40),
    }
    return {name: bytes(frame) for name, frame in made.items()}


def _chain(length: int) -> Any:
    kinds = (IPv6ExtHdrHopByHop, IPv6ExtHdrDestOpt, IPv6ExtHdrRouting)
    chain: Any = kinds[0]()
    for number in range(1, length):
        chain = chain / kinds[number % 3]()
    return chain


def truncated() -> Iterator[Kind]:
    """Every frame truncated at every byte behind its Ethernet header."""
    for name, frame in whole().items():
        yield from ((f"{name} cut at {size}", frame[:size]) for size in range(LEAST, len(frame)))


def wrong_bytes() -> Iterator[Kind]:
    """Every frame with each byte from the EtherType on set to 0 and 255, inverted, half inverted."""
    for name, frame in whole().items():
        for at in range(12, min(len(frame), 130)):
            for value in (0x00, 0xFF, frame[at] ^ 0xFF, frame[at] ^ 0x0F):
                yield f"{name} byte {at}", frame[:at] + bytes([value]) + frame[at + 1 :]


def wrong_lengths() -> Iterator[Kind]:
    """Lengths that headers claim: IHL, total length, TCP's offset, UDP's length, payload length."""
    four, six = bytes(ether() / ip() / tcp()), bytes(ether() / ip(6) / tcp())
    datagram = bytes(ether() / ip() / udp())
    for words in range(16):
        yield f"IHL {words}", four[:14] + bytes([0x40 | words]) + four[15:]
        yield f"TCP offset {words}", four[:46] + bytes([words << 4]) + four[47:]
    for claimed in (0, 1, 19, 20, 21, 39, 40, 0x7FFF, 0xFFFF):
        field = struct.pack("!H", claimed)
        yield f"total length {claimed}", four[:16] + field + four[18:]
        yield f"payload length {claimed}", six[:18] + field + six[20:]
        yield f"UDP length {claimed}", datagram[:38] + field + datagram[40:]


def nested() -> Iterator[Kind]:
    """Tunnels in tunnels, tags on tags, and extensions without end."""
    inner: Any = ether() / ip() / udp()
    for depth in range(1, 12):
        wrap = vxlan(inner) if depth % 2 else geneve(inner)
        inner = ether() / outer() / wrap
        yield f"{depth} tunnels", bytes(inner)
    packet: Any = ip() / udp()
    for depth in range(1, 20):
        packet = outer() / packet
        yield f"{depth} of IP in IP", bytes(ether() / packet)
    for count in range(1, 12):
        tags: Any = Dot1Q(vlan=1)
        for _ in range(count - 1):
            tags = tags / Dot1Q(vlan=1)
        yield f"{count} tags", bytes(ether() / tags / ip() / udp())
        yield f"{count} extensions", bytes(ether() / ip(6) / _chain(count) / udp())
        loop = b"\x2b\xff" + bytes(6)
        yield f"{count} long extensions", bytes(ether() / ip(6, nh=43)) + loop * count
        yield f"{count} fragments", bytes(ether() / ip(6, nh=44)) + b"\x2c\0\0\1\0\0\0\1" * count
    for options in (0, 31, 63):
        head = bytes(ether() / outer() / geneve(ether() / ip() / udp()))
        yield f"{options} words of options", head[:42] + bytes([options]) + head[43:]


def fragments() -> Iterator[Kind]:
    """Fragments that overlap, lack a first one, are empty, or have the largest offset."""
    for offset, more, size in itertools.product((0, 1, 2, 3, 8190, 8191), (0, 1), (0, 1, 8, 64)):
        field: dict[str, Any] = {"id": 9, "frag": offset, "flags": "MF" if more else 0, "proto": 17}
        yield f"fragment {offset} {more} {size}", bytes(ether() / ip(**field) / Raw(bytes(size)))
        six = ip(6) / IPv6ExtHdrFragment(id=9, offset=offset, m=more, nh=17) / Raw(bytes(size))
        yield f"fragment6 {offset} {more} {size}", bytes(ether() / six)


def randomised(seed: int, count: int) -> Iterator[Kind]:
    """Random bytes behind every EtherType that is parsed, and frames fuzzed by scapy."""
    numbers = random.Random(seed)
    for number in range(count):
        kind = numbers.choice(("0800", "86dd", "8100", "88a8", "9100", "6558"))
        body = numbers.randbytes(numbers.randrange(1, 200))
        if numbers.random() < 0.7:
            body = bytes([numbers.choice((0x45, 0x4F, 0x60))]) + body[1:]
        yield f"random {number}", bytes(12) + bytes.fromhex(kind) + body
    state = random.getstate()
    random.seed(seed)
    try:
        for number in range(count // 20):
            for layers in (ip() / tcp(), ip(6) / tcp(), outer() / vxlan(ether() / ip() / udp())):
                yield f"made up {number}", bytes(ether() / fuzz(layers))[:1400]
    finally:
        random.setstate(state)
