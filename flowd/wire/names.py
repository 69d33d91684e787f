"""Texts that Hubble's tools print for numbers of its API (monitor API of Cilium 1.19)."""

from flowd.model.enums import TCP_FLAGS

EVENT_TYPES = {
    "drop": 1,
    "debug": 2,
    "capture": 3,
    "trace": 4,
    "policy-verdict": 5,
    "trace-sock": 7,
    "l7": 129,
    "agent": 130,
}
"""Numbers of `event_type.type` by the names of `--type`."""

TRACE_POINTS = (
    "to-endpoint",
    "to-proxy",
    "to-host",
    "to-stack",
    "to-overlay",
    "from-endpoint",
    "from-proxy",
    "from-host",
    "from-stack",
    "from-overlay",
    "from-network",
    "to-network",
    "from-crypto",
    "to-crypto",
)
"""Texts of `event_type.sub_type` of trace events; 0 is to-endpoint, unlike in the proto enum."""

AGENT_EVENTS = (
    "unspecified",
    "message",
    "agent-started",
    "endpoint-regenerate-success",
    "endpoint-regenerate-failure",
    "policy-updated",
    "policy-deleted",
    "endpoint-created",
    "endpoint-deleted",
    "ipcache-upserted",
    "ipcache-deleted",
)
"""Texts of `event_type.sub_type` of agent events; flow.AgentEventType has other numbers."""

POLICY_MATCHES = ("none", "L3-Only", "L3-L4", "L4-Only", "all", "L3-Proto", "Proto-Only")
"""Texts of `policy_match_type`."""

SOCKET_POINTS = ("unknown", "pre-xlate-fwd", "post-xlate-fwd", "pre-xlate-rev", "post-xlate-rev")
"""Texts of `sock_xlate_point`."""

DROP_REASONS = {
    0: "Success",
    2: "Invalid packet",
    3: "Interface",
    4: "Interface Decrypted",
    9: "Fragmented packet",
    12: "Interface Decrypting",
    13: "Interface Encrypting",
    15: "MTU error message",
    130: "Invalid source mac",
    131: "Invalid destination mac",
    132: "Invalid source ip",
    133: "Policy denied",
    134: "Invalid packet",
    135: "CT: Truncated or invalid header",
    136: "Fragmentation needed",
    137: "CT: Unknown L4 protocol",
    138: "CT: Can't create entry from packet",
    139: "Unsupported L3 protocol",
    140: "Missed tail call",
    141: "Error writing to packet",
    142: "Unknown L4 protocol",
    143: "Unknown ICMPv4 code",
    144: "Unknown ICMPv4 type",
    145: "Unknown ICMPv6 code",
    146: "Unknown ICMPv6 type",
    147: "Error retrieving tunnel key",
    148: "Error retrieving tunnel options",
    149: "Invalid Geneve option",
    150: "Unknown L3 target address",
    151: "Stale or unroutable IP",
    152: "No matching local container found",
    153: "Error while correcting L3 checksum",
    154: "Error while correcting L4 checksum",
    155: "CT: Map insertion failed",
    156: "Invalid IPv6 extension header",
    157: "IP fragmentation not supported",
    158: "Service backend not found",
    160: "No tunnel/encapsulation endpoint (datapath BUG!)",
    161: "NAT 46/64 not enabled",
    162: "Reached EDT rate-limiting drop horizon",
    163: "Unknown connection tracking state",
    164: "Local host is unreachable",
    165: "No configuration available to perform policy decision",
    166: "Unsupported L2 protocol",
    167: "No mapping for NAT masquerade",
    168: "Unsupported protocol for NAT masquerade",
    169: "FIB lookup failed",
    170: "Encapsulation traffic is prohibited",
    171: "Invalid identity",
    172: "Unknown sender",
    173: "NAT not needed",
    174: "Is a ClusterIP",
    175: "First logical datagram fragment not found",
    176: "Forbidden ICMPv6 message",
    177: "Denied by LB src range check",
    178: "Socket lookup failed",
    179: "Socket assign failed",
    180: "Proxy redirection not supported for protocol",
    181: "Policy denied by denylist",
    182: "VLAN traffic disallowed by VLAN filter",
    183: "Incorrect VNI from VTEP",
    184: "Failed to update or lookup TC buffer",
    185: "No SID was found for the IP address",
    186: "SRv6 state was removed during tail call",
    187: "L3 translation from IPv4 to IPv6 failed (NAT46)",
    188: "L3 translation from IPv6 to IPv4 failed (NAT64)",
    189: "Authentication required",
    190: "No conntrack map found",
    191: "No nat map found",
    192: "Invalid ClusterID",
    193: "Unsupported packet protocol for DSR encapsulation",
    194: "No egress gateway found",
    195: "Traffic is unencrypted",
    196: "TTL exceeded",
    197: "No node ID found",
    198: "Rate limited",
    199: "IGMP handled",
    200: "IGMP subscribed",
    201: "Multicast handled",
    202: "Host datapath not ready",
    203: "Endpoint policy program not available",
    204: "No Egress IP configured",
    205: "Punt to proxy",
}
"""Texts of `event_type.sub_type` of drop events, and of flow.DropReason."""

HTTP_VERSIONS = ("", "HTTP/1.0", "HTTP/1.1", "HTTP/2", "HTTP/3")
"""`l7.http.protocol` by flowd.model.enums.HttpVersion."""

RCODES = (
    "No Error",
    "Format Error",
    "Server Failure",
    "Non-Existent Domain",
    "Not Implemented",
    "Query Refused",
    "Name Exists when it should not",
    "RR Set Exists when it should not",
    "RR Set that should exist does not",
    "Server Not Authoritative for zone",
    "Name not contained in zone",
)

_FLAG_ORDER = ("SYN", "ACK", "RST", "FIN", "PSH", "URG", "ECE", "CWR")

_UNREACHABLE_V4 = (
    "Net",
    "Host",
    "Protocol",
    "Port",
    "FragmentationNeeded",
    "SourceRoutingFailed",
    "NetUnknown",
    "HostUnknown",
    "SourceIsolated",
    "NetAdminProhibited",
    "HostAdminProhibited",
    "NetTOS",
    "HostTOS",
    "CommAdminProhibited",
    "HostPrecedence",
    "PrecedenceCutoff",
)
_UNREACHABLE_V6 = (
    "NoRouteToDst",
    "AdminProhibited",
    "BeyondScopeOfSrc",
    "Address",
    "Port",
    "SrcAddressFailedPolicy",
    "RejectRouteToDst",
    "SrcRoutingHeader",
)
_EXCEEDED_V4 = ("TTLExceeded", "FragmentReassemblyTimeExceeded")
_EXCEEDED_V6 = ("HopLimitExceeded", "FragmentReassemblyTimeExceeded")

_ICMPV4: dict[int, tuple[str, tuple[str, ...]]] = {
    0: ("EchoReply", ()),
    3: ("DestinationUnreachable", _UNREACHABLE_V4),
    4: ("SourceQuench", ()),
    5: ("Redirect", ("Net", "Host", "TOS+Net", "TOS+Host")),
    8: ("EchoRequest", ()),
    9: ("RouterAdvertisement", ()),
    10: ("RouterSolicitation", ()),
    11: ("TimeExceeded", _EXCEEDED_V4),
    12: ("ParameterProblem", ("PointerIndicatesError", "MissingOption", "BadLength")),
    13: ("TimestampRequest", ()),
    14: ("TimestampReply", ()),
    15: ("InfoRequest", ()),
    16: ("InfoReply", ()),
    17: ("AddressMaskRequest", ()),
    18: ("AddressMaskReply", ()),
}
_ICMPV6: dict[int, tuple[str, tuple[str, ...]]] = {
    1: ("DestinationUnreachable", _UNREACHABLE_V6),
    2: ("PacketTooBig", ()),
    3: ("TimeExceeded", _EXCEEDED_V6),
    4: (
        "ParameterProblem",
        ("ErroneousHeader", "UnrecognizedNextHeader", "UnrecognizedIPv6Option"),
    ),
    128: ("EchoRequest", ()),
    129: ("EchoReply", ()),
    130: ("MLDv1MulticastListenerQueryMessage", ()),
    131: ("MLDv1MulticastListenerReportMessage", ()),
    132: ("MLDv1MulticastListenerDoneMessage", ()),
    133: ("RouterSolicitation", ()),
    134: ("RouterAdvertisement", ()),
    135: ("NeighborSolicitation", ()),
    136: ("NeighborAdvertisement", ()),
    137: ("Redirect", ()),
    143: ("MLDv2MulticastListenerReportMessageV2", ()),
}


def tcp_flags(bits: int) -> str:
    """Names of a TCP flag byte in Hubble's order: `SYN, ACK`."""
    return ", ".join(name for name in _FLAG_ORDER if bits >> TCP_FLAGS.index(name) & 1)


def icmp(kind: int, code: int, family: int) -> str:
    """An ICMP type and code (IANA): `EchoRequest`, `DestinationUnreachable(Port)`, `200(3)`."""
    known = (_ICMPV6 if family == 6 else _ICMPV4).get(kind)
    if known is None:
        return f"{kind}({code})"
    name, codes = known
    if code < len(codes):
        return f"{name}({codes[code]})"
    return name if not code and not codes else f"{name}(Code: {code})"


def rcode(number: int) -> str:
    """A DNS response code (RFC 6895, section 2.3): `Non-Existent Domain`; others as numbers."""
    return RCODES[number] if number < len(RCODES) else str(number)
