"""DNS rows: one row for each query, response and query timeout seen on the wire."""

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Dns:
    """The content of one DNS message: bounded in size, untrusted, not yet made printable.

    Attributes:
        query: the question's name, lower case, with its final dot.
        qtype: type of the question, `A`, `AAAA`, `TYPE65`.
        rcode: response code (RFC 1035, section 4.1.1; RFC 6895); 0 for queries.
        ips: textual addresses of the answers.
        cnames: aliases between the question's name and the addresses.
        ttl: least time to live of the answers, seconds.
        rrtypes: types of the answers.
    """

    query: str
    qtype: str
    rcode: int = 0
    ips: tuple[str, ...] = ()
    cnames: tuple[str, ...] = ()
    ttl: int = 0
    rrtypes: tuple[str, ...] = ()


DNS = np.dtype(
    [
        ("time_ns", "u8"),  # Unix time of the message, or of the timeout
        ("latency_ns", "u8"),  # from query to response; 0 without an observed query
        ("conn_id", "u8"),  # connection of the message; 0 is not known
        ("src_addr", "u1", (16,)),  # the client, also in responses
        ("dst_addr", "u1", (16,)),  # the server
        ("src_endpoint", "u4"),  # index into Directory.endpoints, set by the join
        ("dst_endpoint", "u4"),
        ("ifindex", "u4"),
        ("src_port", "u2"),
        ("dst_port", "u2"),
        ("id", "u2"),
        ("protocol", "u1"),  # Protocol
        ("family", "u1"),  # 4 or 6
        ("kind", "u1"),  # DnsKind
        ("rcode", "u1"),
        ("hook", "u1"),  # Hook
        ("direction", "u1"),  # Direction, set by the join
        ("dns", "O"),  # Dns
    ],
    align=True,
)

DnsBatch: TypeAlias = NDArray[np.void]
"""A one-dimensional array of DNS."""


def empty_dns(rows: int = 0) -> DnsBatch:
    """A zeroed DNS array of shape (rows,); `dns` is None."""
    batch = np.zeros(rows, DNS)
    batch["dns"] = None
    return batch
