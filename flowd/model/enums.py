"""Small integers that travel in columns. Values shared with Hubble keep Hubble's numbers."""

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
    """Why the kernel emitted a connection record."""

    NEW = 1
    FLAGS = 2
    ACTIVE = 3
    END = 4


class Initiator(IntEnum):
    """How the kernel knew which side began the connection."""

    SYN = 1
    FIRST_PACKET = 2


class Hook(IntEnum):
    """tc hook relative to the interface that owns a direction of the connection."""

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
    """Which protocol an L7 row is of."""

    NONE = 0
    HTTP = 1
    DNS = 2


class Nat(IntEnum):
    """Whether a connection's addresses are those before or after a translation (DNAT, SNAT)."""

    NONE = 0
    BEFORE = 1  # what the initiator sees: a Service's virtual address
    AFTER = 2  # what the responder sees: the real endpoint


class SocketRole(IntEnum):
    """How a TCP socket came to be established."""

    CONNECTED = 1
    ACCEPTED = 2


class SocketReason(IntEnum):
    """Why the kernel reported on a socket."""

    ESTABLISHED = 1
    UPDATE = 2  # every few seconds while it is in use
    CLOSED = 3
    FAILED = 4  # connect() did not succeed; `error` says why
    RETRANSMIT = 5  # `retransmits` segments since the previous report of this reason
    RESET_SENT = 6
    RESET_RECEIVED = 7


class SocketAlso(IntFlag):
    """What else a report on a socket tells, beside its reason."""

    ESTABLISHED = 1  # since the previous report
    RESET_RECEIVED = 2


class ShareSide(IntEnum):
    """Which of a request's connections it was."""

    DOWNSTREAM = 0  # client to gateway
    UPSTREAM = 1  # gateway to backend


class DnsKind(IntEnum):
    """What a DNS row tells of."""

    QUERY = 1
    RESPONSE = 2
    TIMEOUT = 3  # a question without an answer


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
    """The evidence that gave a request its route, strongest first."""

    NONE = 0
    NAME = 1
    METADATA = 2
    RESOLVER = 3
    CLUSTER = 4
    LISTENER = 5


class RequestOutcome(IntEnum):
    """What became of a request, or of a connection through a TCP proxy."""

    UNKNOWN = 0
    FORWARDED = 1  # a backend answered, or took the connection
    RETRIED = 2  # a backend answered, not at the first attempt
    MIRRORED = 3  # a backend answered, and a copy went elsewhere
    REDIRECTED = 4  # Envoy answered with a redirect
    DIRECT_RESPONSE = 5  # the route answers itself, as where a backendRef is not valid
    PREFLIGHT = 6  # Envoy answered a CORS preflight
    NO_ROUTE = 7
    NO_ENDPOINTS = 8
    REFUSED = 9  # the backend refused the connection
    CONNECT_FAILED = 10  # no connection to the backend, for another or no told reason
    TIMED_OUT = 11
    BROKEN_OFF = 12  # the backend's side ended it too early
    RATE_LIMITED = 13
    OVERLOADED = 14  # a circuit breaker, or the overload manager
    FAULT = 15  # an injected fault
    DENIED = 16  # by authentication or authorization
    CLIENT_GONE = 17
    BAD_REQUEST = 18
    LOCAL_REPLY = 19  # Envoy answered for another reason, which the details tell


class HttpVersion(IntEnum):
    """HTTPVersion of Envoy's access-log entries (envoy.data.accesslog.v3)."""

    UNSPECIFIED = 0
    HTTP10 = 1
    HTTP11 = 2
    HTTP2 = 3
    HTTP3 = 4


class EntryKind(IntEnum):
    """What an Envoy access-log entry is about."""

    HTTP = 1
    TCP = 2


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
