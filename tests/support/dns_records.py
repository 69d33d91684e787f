"""Build ring records with DNS payload as the kernel writes them."""

import dns.message
import dns.rcode
import dns.rrset
import numpy as np
from numpy.typing import NDArray

from flowd.model.address import pack
from flowd.model.enums import Protocol
from flowd_bpf.layout import DNS_LONG, DNS_SHORT

SECOND = 1_000_000_000
CLIENT, SERVER = "10.0.0.9", "10.0.0.53"


def query(name: str = "api.example.", kind: str = "A", number: int = 7) -> bytes:
    """A DNS query."""
    return dns.message.make_query(name, kind, id=number).to_wire()


def answer(asked: bytes, *texts: str, code: int = 0, ttl: int = 30) -> bytes:
    """A DNS response with records of the question's name and type."""
    response = dns.message.make_response(dns.message.from_wire(asked))
    response.set_rcode(dns.rcode.Rcode.make(code))
    (question,) = response.question
    if texts:
        response.answer.append(
            dns.rrset.from_text(question.name, ttl, "IN", question.rdtype, *texts)
        )
    return response.to_wire()


def record(
    payload: bytes,
    at: float,
    *,
    reply: bool = False,
    port: int = 40000,
    client: str = CLIENT,
    protocol: int = Protocol.UDP,
    seq: int = 0,
    flags: int = 0,
    original: int | None = None,
) -> NDArray[np.void]:
    """A ring record of a packet seen `at` seconds after boot."""
    dtype = DNS_SHORT if len(payload) <= DNS_SHORT["payload"].shape[0] else DNS_LONG
    made = np.zeros(1, dtype)
    head = made["head"]
    head["time_ns"], head["conn_id"], head["ifindex"] = round(at * SECOND), 5, 3
    ends = [(client, port), (SERVER, 53)]
    for side, (address, number) in zip(("src", "dst"), ends[:: -1 if reply else 1], strict=True):
        head[f"{side}_addr"], head[f"{side}_port"] = np.frombuffer(pack(address), np.uint8), number
    head["length"] = len(payload)
    head["original"] = len(payload) if original is None else original
    head["protocol"], head["family"], head["seq"], head["flags"] = protocol, 4, seq, flags
    made["payload"][0, : len(payload)] = np.frombuffer(payload, np.uint8)
    return made
