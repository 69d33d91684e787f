"""Enums of the integer columns in rows; those shared with Hubble or Envoy have their numbers."""

from enum import IntEnum, IntFlag


class Protocol(IntEnum):
    """IP protocol numbers (IANA)."""

    ICMP = 1
    IGMP = 2
    TCP = 6
    UDP = 17
    ICMPV6 = 58
    VRRP = 112
    SCTP = 132


class Reason(IntEnum):
    """Why the kernel emitted a connection record (column `reason` of CONNECTION)."""

    NEW = 1
    FLAGS = 2
    ACTIVE = 3
    END = 4


class Initiator(IntEnum):
    """How the kernel determined which side began the connection."""

    SYN = 1
    FIRST_PACKET = 2


class Hook(IntEnum):
    """tc hook at the interface that counts this direction of the connection."""

    INGRESS = 0
    EGRESS = 1


class Verdict(IntEnum):
    """flow.Verdict of Hubble's API."""

    UNKNOWN = 0
    FORWARDED = 1
    DROPPED = 2
    ERROR = 3
    AUDIT = 4
    REDIRECTED = 5
    TRACED = 6
    TRANSLATED = 7


class Direction(IntEnum):
    """flow.TrafficDirection of Hubble's API, relative to the local endpoint."""

    UNKNOWN = 0
    INGRESS = 1
    EGRESS = 2


class FlowType(IntEnum):
    """flow.FlowType of Hubble's API."""

    UNKNOWN = 0
    L3_L4 = 1
    L7 = 2
    SOCK = 3


class L7Type(IntEnum):
    """flow.L7FlowType of Hubble's API."""

    UNKNOWN = 0
    REQUEST = 1
    RESPONSE = 2
    SAMPLE = 3


class L7Protocol(IntEnum):
    """Protocol of an L7 flow row."""

    NONE = 0
    HTTP = 1
    DNS = 2


class Nat(IntEnum):
    """Whether a row's 5-tuple is the one before or after a translation (DNAT, SNAT)."""

    NONE = 0
    BEFORE = 1  # what the initiator sees: a Service's virtual address
    AFTER = 2  # what the responder sees: the real endpoint


class SocketRole(IntEnum):
    """How a TCP socket was established."""

    CONNECTED = 1
    ACCEPTED = 2


class SocketReason(IntEnum):
    """Why the kernel reported on a socket."""

    ESTABLISHED = 1
    UPDATE = 2  # every few seconds while it is in use
    CLOSED = 3
    FAILED = 4  # connect() failed; `error` has the errno
    RETRANSMIT = 5  # `retransmits` segments since the previous report of this reason
    RESET_SENT = 6
    RESET_RECEIVED = 7


class SocketAlso(IntFlag):
    """Further events that a socket report carries beside its reason."""

    ESTABLISHED = 1  # since the previous report
    RESET_RECEIVED = 2


class ShareSide(IntEnum):
    """Which of a request's two connections a share belongs to."""

    DOWNSTREAM = 0  # client to gateway
    UPSTREAM = 1  # gateway to backend


class DnsKind(IntEnum):
    """Kind of a DNS row."""

    QUERY = 1
    RESPONSE = 2
    TIMEOUT = 3  # a query without a response


class EventType(IntEnum):
    """Monitor event types of Hubble's `event_type.type`."""

    DROP = 1
    TRACE = 4
    TRACE_SOCK = 7
    L7 = 129
    AGENT = 130


class ObservationPoint(IntEnum):
    """flow.TraceObservationPoint of Hubble's API."""

    UNKNOWN = 0
    TO_STACK = 3
    FROM_ENDPOINT = 5
    FROM_NETWORK = 10
    TO_NETWORK = 11
    TO_ENDPOINT = 101


class Attribution(IntEnum):
    """The evidence for a request's route, strongest first (docs/attribution.md)."""

    NONE = 0
    NAME = 1
    METADATA = 2
    RESOLVER = 3
    CLUSTER = 4
    LISTENER = 5


class RequestOutcome(IntEnum):
    """Outcome of a request or proxied TCP connection, from status, response flags and details."""

    UNKNOWN = 0
    FORWARDED = 1  # a backend answered, or took the connection
    RETRIED = 2  # a backend answered, not at the first attempt
    MIRRORED = 3  # a backend answered, and a mirror received a copy
    REDIRECTED = 4  # Envoy answered with a redirect
    DIRECT_RESPONSE = 5  # the route answers itself, also for an invalid backendRef
    PREFLIGHT = 6  # Envoy answered a CORS preflight
    NO_ROUTE = 7
    NO_ENDPOINTS = 8
    REFUSED = 9  # the backend refused the connection
    CONNECT_FAILED = 10  # no connection to the backend, for another or an unknown reason
    TIMED_OUT = 11
    BROKEN_OFF = 12  # the backend ended the response or connection too early
    RATE_LIMITED = 13
    OVERLOADED = 14  # a circuit breaker, or the overload manager
    FAULT = 15  # an injected fault
    DENIED = 16  # by authentication or authorization
    CLIENT_GONE = 17
    BAD_REQUEST = 18
    LOCAL_REPLY = 19  # Envoy answered for another reason, named in the details


class HttpVersion(IntEnum):
    """HTTPVersion of Envoy's access-log entries (envoy.data.accesslog.v3)."""

    UNSPECIFIED = 0
    HTTP10 = 1
    HTTP11 = 2
    HTTP2 = 3
    HTTP3 = 4


class EntryKind(IntEnum):
    """Kind of an Envoy access-log entry: an HTTP request or a TCP connection."""

    HTTP = 1
    TCP = 2


class AccessLogType(IntEnum):
    """AccessLogType of Envoy's access-log entries (envoy.data.accesslog.v3)."""

    NOT_SET = 0  # the entry names no type; it counts as final
    TCP_UPSTREAM_CONNECTED = 1
    TCP_PERIODIC = 2
    TCP_CONNECTION_END = 3
    DOWNSTREAM_START = 4
    DOWNSTREAM_PERIODIC = 5
    DOWNSTREAM_END = 6
    UPSTREAM_POOL_READY = 7
    UPSTREAM_PERIODIC = 8
    UPSTREAM_END = 9
    DOWNSTREAM_TUNNEL_SUCCESSFULLY_ESTABLISHED = 10
    UDP_TUNNEL_UPSTREAM_CONNECTED = 11
    UDP_PERIODIC = 12
    UDP_SESSION_END = 13
    TCP_CONNECTION_START = 14


FINAL_HTTP_TYPES = (AccessLogType.NOT_SET, AccessLogType.DOWNSTREAM_END)
"""Types of the last entry of a request; other types report progress or a single attempt."""

FINAL_TCP_TYPES = (
    AccessLogType.NOT_SET,
    AccessLogType.TCP_CONNECTION_END,
    AccessLogType.UDP_SESSION_END,
)
"""Types of the last entry of a TCP connection or UDP session."""

FINAL_TYPES = tuple(sorted({*FINAL_HTTP_TYPES, *FINAL_TCP_TYPES}))
"""Types of the last entry of a request, connection or UDP session."""

TCP_FLAGS = ("FIN", "SYN", "RST", "PSH", "ACK", "URG", "ECE", "CWR")
"""Names of the bits of the TCP flag byte, bit 0 first (RFC 9293, section 3.1)."""

RESPONSE_FLAGS = [
    "LH",
    "UH",
    "UT",
    "LR",
    "UR",
    "UF",
    "UC",
    "UO",
    "NR",
    "DI",
    "FI",
    "RL",
    "UAEX",
    "RLSE",
    "DC",
    "URX",
    "SI",
    "IH",
    "DPE",
    "UMSDR",
    "RFCF",
    "NFCF",
    "DT",
    "UPE",
    "NC",
    "OM",
    "DF",
    "DR",
]
"""Envoy's short response flags; bit n-1 of a `flags` column is field number n of ResponseFlags."""
