"""The structs of bpf/src/records/event.h, drop.h, socket.h and dns_record.h, and the counters, for numpy."""

from enum import IntEnum

import numpy as np

KEY = np.dtype(
    [
        ("addr", "u1", (2, 16)),
        ("port", ">u2", (2,)),
        ("protocol", "u1"),
        ("pad", "u1", (3,)),
    ]
)

PREFIX = np.dtype([("bits", "u4"), ("addr", "u1", (16,))])

CHOICE = np.dtype([("wanted", "u8"), ("unwanted", "u8")])

SIDE = np.dtype(
    [
        ("total_bytes", "u8"),
        ("total_packets", "u8"),
        ("bytes", "u8"),
        ("packets", "u8"),
        ("owner", "u8"),
        ("seen", "u4"),
        ("pad", "u4"),
    ]
)

CONNECTION = np.dtype(
    [
        ("home", "u8"),
        ("key", KEY),
        ("marks", "u8"),
        ("reported", "u4"),
        ("state", "u1"),
        ("place", "u1"),
        ("forward", "u1"),
        ("family", "u1"),
        ("side", SIDE, (2,)),
        ("first_ns", "u8"),
        ("conn_id", "u8"),
        ("tunnel", "u4"),
        ("initiator", "u1"),
        ("icmp_type", "u1"),
        ("icmp_code", "u1"),
        ("pad", "u1"),
        ("endpoint", "u4", (2,)),
    ]
)

KEY_AT = CONNECTION.fields["key"][1] if CONNECTION.fields else 0
"""Where in CONNECTION it is, bytes."""

TAKEN = np.dtype([("slot", "u4"), ("how", "u4"), ("value", CONNECTION)])

EVENT = np.dtype(
    [
        ("time_ns", "u8"),
        ("first_ns", "u8"),
        ("conn_id", "u8"),
        ("bytes", "u8", (2,)),
        ("packets", "u8", (2,)),
        ("total_bytes", "u8", (2,)),
        ("total_packets", "u8", (2,)),
        ("src_addr", "u1", (16,)),
        ("dst_addr", "u1", (16,)),
        ("src_endpoint", "u4"),
        ("dst_endpoint", "u4"),
        ("ifindex", "u4"),
        ("tunnel", "u4"),
        ("src_port", "u2"),
        ("dst_port", "u2"),
        ("protocol", "u1"),
        ("family", "u1"),
        ("reason", "u1"),
        ("hook", "u1"),
        ("is_reply", "u1"),
        ("initiator", "u1"),
        ("flags", "u1"),
        ("flags_seen", "u1", (2,)),
        ("icmp_type", "u1"),
        ("icmp_code", "u1"),
        ("pad", "u1", (1,)),
    ]
)

TUNNEL = np.dtype(
    [
        ("src", "u1", (16,)),
        ("dst", "u1", (16,)),
        ("vni", "u4"),
        ("kind", "u1"),
        ("pad", "u1", (3,)),
    ]
)

DROP_KEY = np.dtype(
    [
        ("src_addr", "u1", (16,)),
        ("dst_addr", "u1", (16,)),
        ("reason", "u4"),
        ("ifindex", "u4"),
        ("src_port", ">u2"),
        ("dst_port", ">u2"),
        ("protocol", "u1"),
        ("family", "u1"),
        ("tuple", "u1"),
        ("flags", "u1"),
    ]
)

DROP_COUNT = np.dtype([("packets", "u8"), ("bytes", "u8"), ("time_ns", "u8")])

DNS_HEAD = np.dtype(
    [
        ("time_ns", "u8"),
        ("conn_id", "u8"),
        ("src_addr", "u1", (16,)),
        ("dst_addr", "u1", (16,)),
        ("ifindex", "u4"),
        ("seq", "u4"),
        ("original", "u4"),
        ("src_port", "u2"),
        ("dst_port", "u2"),
        ("length", "u2"),
        ("protocol", "u1"),
        ("family", "u1"),
        ("hook", "u1"),
        ("flags", "u1"),
        ("pad", "u1", (2,)),
    ]
)

DNS_SHORT = np.dtype([("head", DNS_HEAD), ("payload", "u1", (184,))])
DNS_LONG = np.dtype([("head", DNS_HEAD), ("payload", "u1", (1472,))])

SOCKET_EVENT = np.dtype(
    [
        ("time_ns", "u8"),
        ("cookie", "u8"),
        ("cgroup", "u8"),
        ("bytes_acked", "u8"),
        ("bytes_received", "u8"),
        ("connect_ns", "u8"),
        ("local_addr", "u1", (16,)),
        ("remote_addr", "u1", (16,)),
        ("command", "u1", (16,)),
        ("srtt_us", "u4"),
        ("min_rtt_us", "u4"),
        ("retransmits", "u4"),
        ("pid", "u4"),
        ("local_port", "u2"),
        ("remote_port", "u2"),
        ("family", "u1"),
        ("role", "u1"),
        ("reason", "u1"),
        ("error", "u1"),
    ]
)

MARK_ANNOUNCED = 1 << 32
MARK_ENDED = 1 << 33


class SlotState(IntEnum):
    """What a slot of the table holds: of the last two, a connection."""

    FREE = 0
    CLAIMED = 1
    HELD = 2
    ASIDE = 3


TAKE_MOST = 16


class TakeHow(IntEnum):
    """When an entry is taken out: if no packet came since it was found, or in any case."""

    SILENT = 1
    ANYHOW = 2


class Counter(IntEnum):
    """Indexes into struct counters."""

    SEEN = 0
    COUNTED = 1
    ELSEWHERE = 2
    NON_IP = 3
    MALFORMED = 4
    MAP_FULL = 5
    FILTERED = 6
    UNSAMPLED = 7
    FRAGMENT_UNKNOWN = 8
    RING_FULL = 9
    RECORDS = 10
    CREATED = 11
    ENDED = 12
    TUNNEL_UNNAMED = 13
    DNS_RING_FULL = 14


class TunnelKind(IntEnum):
    """Which tunnel a packet came in."""

    VXLAN = 1
    GENEVE = 2
    IP = 3


class SocketCounter(IntEnum):
    """Indexes into struct socket_counters."""

    RECORDS = 0
    RING_FULL = 1
    FULL = 2


FATES = (
    Counter.COUNTED,
    Counter.ELSEWHERE,
    Counter.NON_IP,
    Counter.MALFORMED,
    Counter.MAP_FULL,
    Counter.FILTERED,
    Counter.UNSAMPLED,
)
"""What can become of a packet; their sum is Counter.SEEN."""
