"""DROP rows (packets dropped by the kernel), and the flow.DropReason of each kernel reason.

The kernel gives one row a second for each reason, interface and 5-tuple with drops.
"""

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

DROP = np.dtype(
    [
        ("time_ns", "u8"),  # Unix time of the first packet
        ("packets", "u8"),
        ("bytes", "u8"),  # length of the packets' socket buffers when they were dropped
        ("src_addr", "u1", (16,)),  # of the packet; zero if the kernel forbids reading it
        ("dst_addr", "u1", (16,)),
        ("src_endpoint", "u4"),  # index into Directory.endpoints; 0 is not known
        ("dst_endpoint", "u4"),
        ("ifindex", "u4"),  # 0: none, or of another network namespace
        ("reason", "u2"),  # index into Directory.drop_reasons
        ("src_port", "u2"),
        ("dst_port", "u2"),
        ("protocol", "u1"),  # Protocol
        ("family", "u1"),  # 4 or 6
        ("flags", "u1"),  # TCP flags
        ("direction", "u1"),  # Direction
        ("hubble_reason", "u1"),  # flow.DropReason of Hubble's API, as of hubble_reason()
    ],
    align=True,
)

DropBatch: TypeAlias = NDArray[np.void]
"""A one-dimensional array of DROP."""


def empty_drops(rows: int = 0) -> DropBatch:
    """A zeroed DROP array of shape (rows,)."""
    return np.zeros(rows, DROP)


HUBBLE_NAMES = {
    0: "DROP_REASON_UNKNOWN",
    132: "INVALID_SOURCE_IP",
    133: "POLICY_DENIED",
    134: "INVALID_PACKET_DROPPED",
    135: "CT_TRUNCATED_OR_INVALID_HEADER",
    139: "UNSUPPORTED_L3_PROTOCOL",
    142: "UNKNOWN_L4_PROTOCOL",
    150: "UNKNOWN_L3_TARGET_ADDRESS",
    151: "STALE_OR_UNROUTABLE_IP",
    153: "ERROR_WHILE_CORRECTING_L3_CHECKSUM",
    154: "ERROR_WHILE_CORRECTING_L4_CHECKSUM",
    156: "INVALID_IPV6_EXTENSION_HEADER",
    157: "IP_FRAGMENTATION_NOT_SUPPORTED",
    162: "REACHED_EDT_RATE_LIMITING_DROP_HORIZON",
    164: "LOCAL_HOST_IS_UNREACHABLE",
    166: "UNSUPPORTED_L2_PROTOCOL",
    178: "SOCKET_LOOKUP_FAILED",
    183: "INVALID_VNI",
    196: "TTL_EXCEEDED",
    198: "DROP_RATE_LIMITED",
}
"""Names of flow.DropReason (Hubble's API): the values that _NEAREST maps to."""

_NEAREST = {  # enum skb_drop_reason (include/net/dropreason-core.h), without its prefix
    "NO_SOCKET": 178,
    "NETFILTER_DROP": 133,
    "SOCKET_FILTER": 133,
    "BPF_CGROUP_EGRESS": 133,
    "SECURITY_HOOK": 133,
    "XFRM_POLICY": 133,
    "XDP": 133,
    "TC_INGRESS": 133,
    "TC_EGRESS": 133,
    "PKT_TOO_SMALL": 135,
    "HDR_TRUNC": 135,
    "TCP_CSUM": 154,
    "UDP_CSUM": 154,
    "SKB_CSUM": 154,
    "ICMP_CSUM": 154,
    "IP_CSUM": 153,
    "IP_INHDR": 134,
    "TCP_FLAGS": 134,
    "TCP_INVALID_SYN": 134,
    "TCP_INVALID_SEQUENCE": 134,
    "IP_RPFILTER": 132,
    "IP_INVALID_SOURCE": 132,
    "IP_LOCAL_SOURCE": 132,
    "IP_NOPROTO": 142,
    "INVALID_PROTO": 142,
    "UNHANDLED_PROTO": 139,
    "IPV6DISABLED": 139,
    "DEV_HDR": 166,
    "IP_OUTNOROUTES": 151,
    "IP_INNOROUTES": 151,
    "IP_INADDRERRORS": 151,
    "IP_INVALID_DEST": 150,
    "NEIGH_CREATEFAIL": 164,
    "NEIGH_FAILED": 164,
    "NEIGH_QUEUEFULL": 164,
    "NEIGH_DEAD": 164,
    "NEIGH_HH_FILLFAIL": 164,
    "IPV6_BAD_EXTHDR": 156,
    "DUP_FRAG": 157,
    "FRAG_REASM_TIMEOUT": 157,
    "FRAG_TOO_FAR": 157,
    "PKT_TOO_BIG": 157,
    "FQ_HORIZON_LIMIT": 162,
    "QDISC_DROP": 198,
    "QDISC_OVERLIMIT": 198,
    "QDISC_CONGESTED": 198,
    "FQ_FLOW_LIMIT": 198,
    "FQ_BAND_LIMIT": 198,
    "CAKE_FLOOD": 198,
    "VXLAN_INVALID_HDR": 183,
    "VXLAN_VNI_NOT_FOUND": 183,
    "TCP_MINTTL": 196,
}


def hubble_reason(name: str) -> int:
    """Number of the flow.DropReason nearest to a kernel reason (SKB_DROP_REASON_*); 0 for none."""
    return _NEAREST.get(name, 0)
