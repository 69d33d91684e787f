"""Build packets as bytes, for BPF_PROG_TEST_RUN."""

import socket
import struct

CLIENT, SERVER = "10.0.0.1", "10.0.0.2"
CLIENT6, SERVER6 = "fd00::1", "fd00::2"

PSH_ACK = 0x18


def ethernet(payload: bytes, kind: int = 0x0800, tag: int | None = None) -> bytes:
    """An Ethernet frame, optionally with an 802.1Q tag."""
    tagged = b"" if tag is None else struct.pack("!HH", 0x8100, tag)
    return bytes(12) + tagged + struct.pack("!H", kind) + payload


def ipv4(
    payload: bytes,
    protocol: int,
    *,
    options: bytes = b"",
    fragment: int = 0,
    number: int = 1,
    reply: bool = False,
) -> bytes:
    """An IPv4 packet; `fragment` is the flags and offset field, `number` the identification."""
    src, dst = (SERVER, CLIENT) if reply else (CLIENT, SERVER)
    length = 20 + len(options)
    first = struct.pack("!BBHH", 0x40 | length // 4, 0, length + len(payload), number)
    head = first + struct.pack("!HBBH", fragment, 64, protocol, 0)
    return head + socket.inet_aton(src) + socket.inet_aton(dst) + options + payload


def ipv6(payload: bytes, following: int) -> bytes:
    """An IPv6 packet; extension headers are part of the payload."""
    head = struct.pack("!IHBB", 6 << 28, len(payload), following, 64)
    addresses = socket.inet_pton(socket.AF_INET6, CLIENT6) + socket.inet_pton(
        socket.AF_INET6, SERVER6
    )
    return head + addresses + payload


def segment(flags: int = PSH_ACK, payload: bytes = bytes(64), *, reply: bool = False) -> bytes:
    """A TCP segment without options, 40000 to 80."""
    ports = (80, 40000) if reply else (40000, 80)
    return struct.pack("!HHIIBBHHH", *ports, 1, 1, 5 << 4, flags, 100, 0, 0) + payload


def datagram(payload: bytes = bytes(32)) -> bytes:
    """A UDP datagram, 5000 to 53."""
    return struct.pack("!HHHH", 5000, 53, 8 + len(payload), 0) + payload


def tcp(flags: int = PSH_ACK, *, reply: bool = False) -> bytes:
    """A whole frame of IPv4 and TCP, 118 bytes."""
    return ethernet(ipv4(segment(flags, reply=reply), 6, reply=reply))
