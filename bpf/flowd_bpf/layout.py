"""numpy dtypes and enumerations of the structs and constants in bpf/src/records/*.h and filter.h.

tests/unit/bpf/test_layout.py compares both field by field. Numbers are in the machine's byte order,
except ports of type ">u2".
"""

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

FILTER_WORD = np.dtype([("wanted", "u8"), ("unwanted", "u8")])

SIDE = np.dtype(
    [
        ("total_bytes", "u8"),
        ("total_packets", "u8"),
        ("bytes", "u8"),
        ("packets", "u8"),
        ("counting_if", "u8"),
        ("seen", "u4"),
        ("pad", "u4"),
    ]
)

CONNECTION = np.dtype(
    [
        ("bucket_bits", "u8"),
        ("key", KEY),
        ("marks", "u8"),
        ("reported", "u4"),
        ("state", "u1"),
        ("probe", "u1"),
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

KEY_OFFSET = CONNECTION.fields["key"][1] if CONNECTION.fields else 0
"""Offset of the key in CONNECTION, bytes."""

EVICTION = np.dtype([("slot", "u4"), ("mode", "u4"), ("value", CONNECTION)])

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
    """State of a slot of the connection table; USED and DETACHED slots hold a connection."""

    FREE = 0
    CLAIMED = 1
    USED = 2
    DETACHED = 3


EVICT_BATCH = 16
"""Requests of one run of flowd_evict."""


class EvictMode(IntEnum):
    """Condition of an eviction: no packet since user space read the entry, or none."""

    IF_IDLE = 1
    ALWAYS = 2


class Counter(IntEnum):
    """Indexes into struct counters of records/counters.h."""

    SEEN = 0
    COUNTED = 1
    DUPLICATE = 2
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
    """Encapsulation of a tunnelled packet."""

    VXLAN = 1
    GENEVE = 2
    IP = 3


class SocketCounter(IntEnum):
    """Indexes into struct socket_counters of records/socket.h."""

    RECORDS = 0
    RING_FULL = 1
    FULL = 2


PACKET_OUTCOMES = {
    Counter.COUNTED: "counted",
    Counter.DUPLICATE: "elsewhere",
    Counter.NON_IP: "non_ip",
    Counter.MALFORMED: "malformed",
    Counter.MAP_FULL: "map_full",
    Counter.FILTERED: "filtered",
    Counter.UNSAMPLED: "unsampled",
}
"""Counters of packets by outcome, with the label value of each. They sum to Counter.SEEN."""
