"""Decode DNS messages from wire format: the question, the response code, and the answers.

RFC 1035, section 4, with the types of RFC 3596 and the extended response codes of RFC 6891. All
work is bounded: a name has at most 255 octets and MAX_POINTERS compression pointers, each of which
must point backwards, so decoding cannot loop.
"""

import re
import socket
import struct
from dataclasses import dataclass, field

from flowd.model.records.dns import Dns

MAX_ANSWERS = 64
MAX_RECORDS = 128
MAX_CNAMES = 16
MAX_NAME = 255
MAX_POINTERS = 32  # in one name
MAX_LABEL = 63
MAX_RCODE = 255  # the column `rcode` has 8 bits

TYPES = {
    int(number): name
    for number, name in re.findall(
        r"(\d+)=(\w+)",
        "1=A 2=NS 5=CNAME 6=SOA 12=PTR 13=HINFO 15=MX 16=TXT 17=RP 18=AFSDB 24=SIG 25=KEY "
        "28=AAAA 29=LOC 33=SRV 35=NAPTR 36=KX 37=CERT 39=DNAME 41=OPT 42=APL 43=DS 44=SSHFP "
        "46=RRSIG 47=NSEC 48=DNSKEY 49=DHCID 50=NSEC3 51=NSEC3PARAM 52=TLSA 55=HIP 59=CDS "
        "60=CDNSKEY 61=OPENPGPKEY 62=CSYNC 63=ZONEMD 64=SVCB 65=HTTPS 99=SPF 108=EUI48 109=EUI64 "
        "249=TKEY 250=TSIG 251=IXFR 252=AXFR 255=ANY 256=URI 257=CAA ",
    )
}
"""Names of record types (IANA, Domain Name System (DNS) Parameters)."""

_A, _CNAME, _AAAA, _OPT = 1, 5, 28, 41
_IN, _CLASS = 1, 0x7FFF  # the top bit is mDNS's cache-flush bit (RFC 6762, section 10.2)
_POINTER = 0xC0
_HEADER = struct.Struct("!6H")
_QUESTION = struct.Struct("!2H")
_RECORD = struct.Struct("!2HIH")
_RESPONSE, _OPCODE, _TRUNCATED = 0x8000, 0x7800, 0x0200
_PLAIN = re.compile(rb"[A-Za-z0-9_*/-]*")
_BROKEN = (IndexError, ValueError, struct.error)
_SPECIAL = frozenset(b'."$();@\\')


class DnsDecodeError(ValueError):
    """The message gives no row; the error text is the loss reason."""


@dataclass(frozen=True, slots=True)
class Message:
    """A query or a response with one question.

    Attributes:
        key: id, type and name of the question, equal in a query and its response.
        loss: `dns_malformed` or `dns_truncated` for a message that gives a row and still counts as
            a loss, else "".
    """

    id: int
    response: bool
    dns: Dns
    key: tuple[int, int, str]
    loss: str = ""


def decode(wire: bytes, *, whole: bool = True) -> Message:
    """Decode a message.

    Args:
        wire: the message without TCP's length prefix.
        whole: False when fewer bytes were captured than sent.

    Raises:
        DnsDecodeError: `dns_malformed`, or `dns_truncated` when not whole, if the header or the
            question is unreadable; `dns_unsupported` if it is no standard query with one question.
    """
    try:
        number, flags, questions, answers, others, more = _HEADER.unpack_from(wire)
        if flags & _OPCODE or questions != 1:
            raise DnsDecodeError("dns_unsupported")
        query, at = _name(wire, _HEADER.size)
        qtype, _ = _QUESTION.unpack_from(wire, at)
    except DnsDecodeError:
        raise
    except _BROKEN:
        raise DnsDecodeError("dns_malformed" if whole else "dns_truncated") from None
    at += _QUESTION.size
    key = (number, qtype, query)
    if not flags & _RESPONSE:
        return Message(number, False, Dns(query, type_name(qtype)), key)

    collected = _Answers()
    rcode, loss = flags & 15, ""
    try:
        at = collected.read(wire, at, min(answers, MAX_ANSWERS))
        if answers > MAX_ANSWERS or others + more > MAX_RECORDS:
            loss = "dns_truncated"
        elif more:
            rcode |= _extended(wire, at, others + more)
    except _BROKEN:
        loss = "dns_malformed" if whole and not flags & _TRUNCATED else "dns_truncated"
    dns = Dns(
        query,
        type_name(qtype),
        min(rcode, MAX_RCODE),
        tuple(collected.ips),
        tuple(collected.cnames),
        min(collected.ttls, default=0),
        tuple(collected.types),
    )
    return Message(number, True, dns, key, loss)


def type_name(number: int) -> str:
    """Name of a record type; unknown types are written as `TYPE65280` (RFC 3597, section 5)."""
    return TYPES.get(number) or f"TYPE{number}"


@dataclass(slots=True)
class _Answers:
    """Data collected from the records of the answer section."""

    ips: list[str] = field(default_factory=list[str])
    cnames: list[str] = field(default_factory=list[str])
    ttls: list[int] = field(default_factory=list[int])
    types: list[str] = field(default_factory=list[str])

    def read(self, wire: bytes, at: int, count: int) -> int:
        """Read `count` records at offset `at`; returns the offset after them."""
        for _ in range(count):
            at = _skip(wire, at)
            kind, record_class, ttl, length = _RECORD.unpack_from(wire, at)
            at += _RECORD.size
            end = at + length
            if end > len(wire):
                raise ValueError("cut short")
            if kind == _A and record_class & _CLASS == _IN:
                self.ips.append(socket.inet_ntop(socket.AF_INET, wire[at:end]))
            elif kind == _AAAA and record_class & _CLASS == _IN:
                self.ips.append(socket.inet_ntop(socket.AF_INET6, wire[at:end]))
            elif kind == _CNAME and len(self.cnames) < MAX_CNAMES:
                self.cnames.append(_name(wire, at)[0])
            self.ttls.append(0 if ttl >> 31 else ttl)  # RFC 2181, section 8
            self.types.append(type_name(kind))
            at = end
        return at


def _extended(wire: bytes, at: int, count: int) -> int:
    """Upper bits of the response code, from the OPT record of `count` records (RFC 6891)."""
    for _ in range(count):
        at = _skip(wire, at)
        kind, _, ttl, length = _RECORD.unpack_from(wire, at)
        if kind == _OPT:
            return ttl >> 24 << 4
        at += _RECORD.size + length
    return 0


def _skip(wire: bytes, at: int) -> int:
    """Offset after the name at `at`; pointers in it are not followed.

    Raises:
        ValueError: as for `_name`.
        IndexError: the message ends within the name.
    """
    start = at
    while length := wire[at]:
        if length >= _POINTER:
            if (length & 63) << 8 | wire[at + 1] >= start:
                raise ValueError("a pointer that does not go back")
            return at + 2
        at += length + 1
        if length > MAX_LABEL or at - start >= MAX_NAME:
            raise ValueError("a label of an unknown kind, or a name that is too long")
    return at + 1


def _name(wire: bytes, at: int) -> tuple[str, int]:
    """The name at `at` in lower case with its final dot, and the offset after it.

    Raises:
        ValueError: a label or the name is too long, a pointer does not point backwards, or there
            are too many pointers.
        IndexError: the message ends within the name.
    """
    labels: list[bytes] = []
    first, end, total, pointers = at, -1, 1, 0
    while length := wire[at]:
        if length >= _POINTER:
            if end < 0:
                end = at + 2
            at = (length & 63) << 8 | wire[at + 1]
            pointers += 1
            if at >= first or pointers > MAX_POINTERS:
                raise ValueError("a pointer that does not go back, or too many")
            first = at
            continue
        if length > MAX_LABEL:
            raise ValueError("a label of an unknown kind")
        total += length + 1
        label = wire[at + 1 : at + 1 + length]
        if total > MAX_NAME or len(label) < length:
            raise ValueError("a name that is too long")
        labels.append(label)
        at += length + 1
    end = at + 1 if end < 0 else end
    if not labels:
        return ".", end
    if _PLAIN.fullmatch(b"".join(labels)):
        return b".".join(labels).decode().lower() + ".", end
    return "".join(_escaped(label) + "." for label in labels).lower(), end


def _escaped(label: bytes) -> str:
    """A label escaped as in a master file (RFC 1035, section 5.1), in printable ASCII."""
    return "".join(
        f"\\{octet:03d}"
        if not 0x20 < octet < 0x7F
        else f"\\{octet:c}"
        if octet in _SPECIAL
        else chr(octet)
        for octet in label
    )
