"""Build frames with scapy, of kinds for which the machine may lack devices or sockets."""

from typing import Any, cast

from scapy.contrib.geneve import GENEVE, GeneveOptions
from scapy.layers import inet, inet6
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6, IPv6ExtHdrFragment
from scapy.layers.l2 import Dot1AD, Dot1Q, Ether
from scapy.layers.sctp import (
    SCTP,
    SCTPChunkAbort,
    SCTPChunkData,
    SCTPChunkInit,
    SCTPChunkInitAck,
    SCTPChunkShutdown,
    SCTPChunkShutdownAck,
    SCTPChunkShutdownComplete,
)
from scapy.layers.vxlan import VXLAN

CLIENT, SERVER = "10.1.0.1", "10.1.0.2"
CLIENT6, SERVER6 = "fd01::1", "fd01::2"
NODE, PEER = "192.0.2.1", "192.0.2.2"
NODE6, PEER6 = "2001:db8::1", "2001:db8::2"
MACS = {"src": "02:00:00:00:00:01", "dst": "02:00:00:00:00:02"}
VNI = 0x123456

CHUNKS: dict[str, Any] = {
    "data": SCTPChunkData(data=b"12345678"),
    "init": SCTPChunkInit(),
    "init-ack": SCTPChunkInitAck(),
    "abort": SCTPChunkAbort(),
    "shutdown": SCTPChunkShutdown(),
    "shutdown-ack": SCTPChunkShutdownAck(),
    "shutdown-complete": SCTPChunkShutdownComplete(),
}


def ether(**fields: Any) -> Any:
    """An Ethernet header from the first to the second MAC address."""
    return Ether(**{**MACS, **fields})


def turned(src: str, dst: str, *, reply: bool) -> dict[str, Any]:
    """Source and destination as header fields, swapped for a reply."""
    return {"src": dst, "dst": src} if reply else {"src": src, "dst": dst}


def ip(family: int = 4, *, reply: bool = False, **fields: Any) -> Any:
    """The IP header between client and server."""
    if family == 4:
        return IP(**turned(CLIENT, SERVER, reply=reply), **fields)
    return IPv6(**turned(CLIENT6, SERVER6, reply=reply), **fields)


def outer(family: int = 4, *, reply: bool = False, **fields: Any) -> Any:
    """The IP header between the ends of a tunnel."""
    if family == 4:
        return IP(**turned(NODE, PEER, reply=reply), **fields)
    return IPv6(**turned(NODE6, PEER6, reply=reply), **fields)


def tcp(port: int = 40000, *, flags: str = "PA", reply: bool = False, size: int = 64) -> Any:
    """A TCP segment to port 80, or from it."""
    ports = {"sport": 80, "dport": port} if reply else {"sport": port, "dport": 80}
    return TCP(**ports, flags=flags) / bytes(size)


def udp(port: int = 40000, size: int = 64) -> Any:
    """A UDP datagram to port 9000."""
    return UDP(sport=port, dport=9000) / bytes(size)


def sctp(chunk: str, *, reply: bool = False) -> Any:
    """An SCTP packet between ports 40000 and 3868 with one chunk of CHUNKS."""
    ports = {"sport": 3868, "dport": 40000} if reply else {"sport": 40000, "dport": 3868}
    return SCTP(**ports, tag=1) / CHUNKS[chunk]


def vxlan(inner: Any, port: int = 4789, vni: int = VNI, **fields: Any) -> Any:
    """UDP and VXLAN around a frame."""
    return UDP(sport=50000, dport=port) / VXLAN(**{"flags": 0x08, "vni": vni, **fields}) / inner


def geneve(inner: Any, kind: int = 0x6558, options: int = 0) -> Any:
    """UDP and Geneve with some options of 8 bytes around a frame, or an IP packet of that type."""
    held = [GeneveOptions(classid=0x100, type=1, data=b"four") for _ in range(options)]
    head = GENEVE(proto=kind, vni=VNI, options=held)
    return UDP(sport=50000, dport=6081) / head / inner


def tagged(kind: str, *following: Any) -> Any:
    """A payload behind one VLAN tag, or behind a service and a customer tag."""
    tags: Any = Dot1Q(vlan=7)
    if kind == "QinQ":
        tags = Dot1AD(vlan=8) / tags
    elif kind == "old QinQ":
        tags = Dot1Q(vlan=8) / tags
    for header in following:
        tags = tags / header
    return ether(type=0x9100) / tags if kind == "old QinQ" else ether() / tags


def fragments(packet: Any, number: int, size: int = 600) -> list[bytes]:
    """Frames of the fragments, in order, of a packet that begins with `ip()`."""
    if isinstance(packet, IPv6):
        head = packet.copy()
        head.remove_payload()
        whole = head / IPv6ExtHdrFragment(id=number) / packet.payload
        parts = cast("Any", inet6).fragment6(whole, size)
    else:
        packet.id = number
        parts = cast("Any", inet).fragment(packet, size)
    return [bytes(ether() / part) for part in parts]
