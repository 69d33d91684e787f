"""Decoding of DNS messages: compared with dnspython, and of hostile bytes."""

import struct
from collections.abc import Callable, Iterable
from typing import cast

import dns.edns
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdata
import dns.rdatatype
import dns.rrset
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from flowd.capture.dns.messages import (
    MAX_ANSWERS,
    MAX_CNAMES,
    MAX_POINTERS,
    DnsDecodeError,
    Message,
    decode,
)
from flowd.model.records.dns import Dns

COOKIE: dns.edns.Option = dns.edns.GenericOption(dns.edns.OptionType.COOKIE, bytes(8))
HEADER = struct.Struct("!6H")
QUESTION = b"\x03api\x07example\x00" + struct.pack("!2H", 1, 1)
TEXTS = {
    "A": "192.0.2.7",
    "AAAA": "2001:db8::7",
    "CNAME": "edge.cdn.example.",
    "NS": "ns1.example.",
    "PTR": "host.example.",
    "MX": "10 mail.example.",
    "TXT": '"v=spf1 -all" "\\000\\255"',
    "SRV": "1 2 8443 web.example.",
    "SOA": "ns1.example. ops.example. 1 2 3 4 5",
    "CAA": '0 issue "ca.example"',
    "HTTPS": "1 . alpn=h2 port=8443",
    "TYPE65280": "\\# 3 010203",
}

labels = st.one_of(
    st.from_regex(r"[a-zA-Z0-9_-]{1,20}", fullmatch=True).map(str.encode),
    st.binary(min_size=1, max_size=63),
)


def fits(parts: list[bytes]) -> bool:
    return sum(len(part) + 1 for part in parts) < 255


domains = st.lists(labels, max_size=6).filter(fits).map(lambda parts: dns.name.Name([*parts, b""]))
types = st.sampled_from(list(TEXTS))


@st.composite
def messages(draw: st.DrawFn) -> dns.message.Message:
    """A query or its response, with records in all sections."""
    query = dns.message.make_query(draw(domains), draw(types), id=draw(st.integers(0, 65535)))
    if draw(st.booleans()):
        query.use_edns(0, payload=1232, options=[COOKIE])
    if draw(st.booleans()):
        return query
    response = dns.message.make_response(query)
    codes = st.integers(0, 255 if response.edns >= 0 else 15)
    response.set_rcode(dns.rcode.Rcode.make(draw(codes)))
    for section in (response.answer, response.authority, response.additional):
        for owner in draw(st.lists(domains, max_size=3)):
            kind = draw(types)
            text, ttl = TEXTS[kind], draw(st.integers(0, 2**31 - 1))
            section.append(dns.rrset.from_text(owner, ttl, "IN", kind, text))
    return response


def by_reference(message: dns.message.Message) -> Dns:
    """The same message decoded by dnspython."""
    (question,) = message.question
    asked = question.name.to_text().lower(), dns.rdatatype.to_text(question.rdtype)
    if not message.flags & dns.flags.QR:
        return Dns(*asked)
    ips: list[str] = []
    cnames: list[str] = []
    for rrset in message.answer:
        records = cast("Iterable[dns.rdata.Rdata]", rrset)
        expected = [record.to_text().lower() for record in records]
        if rrset.rdtype in (dns.rdatatype.A, dns.rdatatype.AAAA):
            ips += expected
        elif rrset.rdtype == dns.rdatatype.CNAME:
            cnames += expected
    return Dns(
        *asked,
        int(message.rcode()),
        tuple(ips),
        tuple(cnames),
        min((rrset.ttl for rrset in message.answer), default=0),
        tuple(dns.rdatatype.to_text(rrset.rdtype) for rrset in message.answer),
    )


@given(messages())
@settings(deadline=None, max_examples=150)
def test_same_as_dnspython(message: dns.message.Message) -> None:
    wire = message.to_wire()
    read = decode(wire)
    # One record an rrset: dnspython merges equal records, so its own decoding is not compared
    assert read.dns == by_reference(message)
    assert (read.id, read.response) == (message.id, bool(message.flags & dns.flags.QR))
    assert read.loss == ""
    assert read.dns.query.isascii()
    assert read.dns.query.isprintable()


@given(messages())
@settings(deadline=None, max_examples=40)
def test_cut_short_anywhere(message: dns.message.Message) -> None:
    wire = message.to_wire()
    full = decode(wire)
    for length in range(len(wire)):
        for whole, reason in ((True, "dns_malformed"), (False, "dns_truncated")):
            read = attempt(wire[:length], whole=whole)
            if isinstance(read, str):
                assert read == reason
                continue
            assert read.key == full.key
            assert read.loss in ("", reason)
            assert read.loss or not read.response or read.dns.ips == full.dns.ips
            assert full.dns.ips[: len(read.dns.ips)] == read.dns.ips
            assert full.dns.cnames[: len(read.dns.cnames)] == read.dns.cnames


@given(messages(), st.data())
@settings(deadline=None, max_examples=150)
def test_changed_bytes_are_a_message_or_malformed(
    message: dns.message.Message, data: st.DataObject
) -> None:
    wire = bytearray(message.to_wire())
    for at in data.draw(st.lists(st.integers(0, len(wire) - 1), min_size=1, max_size=8)):
        wire[at] = data.draw(st.integers(0, 255))
    well(bytes(wire))


@given(st.binary(max_size=600))
@example(bytes(12))
@settings(deadline=None)
def test_any_bytes_are_a_message_or_malformed(wire: bytes) -> None:
    well(wire)
    well(HEADER.pack(1, 0x8180, 1, 3, 1, 1) + wire)
    well(HEADER.pack(1, 0x8180, 1, 3, 1, 1) + QUESTION + wire)


def attempt(wire: bytes, *, whole: bool = True) -> Message | str:
    """The decoded message, or the loss reason."""
    try:
        return decode(wire, whole=whole)
    except DnsDecodeError as error:
        return str(error)


def well(wire: bytes) -> None:
    read = attempt(wire)
    if isinstance(read, str):
        assert read in ("dns_malformed", "dns_unsupported")
        return
    for name in (read.dns.query, *read.dns.cnames):
        assert name.endswith(".")
        assert name.isascii()
        assert name.isprintable()
        assert len(name) <= 4 * 255
    assert len(read.dns.rrtypes) <= MAX_ANSWERS


def pointer(to: int) -> bytes:
    return struct.pack("!H", 0xC000 | to)


IMPOSSIBLE: dict[str, Callable[[int], bytes]] = {
    "itself": pointer,
    "each other": lambda at: pointer(at + 2) + pointer(at),
    "through a label to itself": lambda at: b"\x01a" + pointer(at),
    "forward": lambda at: pointer(at + 4) + bytes(4),
    "behind the end": lambda _: pointer(0x3FFF),
    "a label of the kind 0x40": lambda _: b"\x40a\x00",
    "a label of the kind 0x80": lambda _: b"\x80a\x00",
    "257 octets": lambda _: (b"\x3f" + b"a" * 63) * 4 + b"\x00",
}


@pytest.mark.parametrize("name", IMPOSSIBLE.values(), ids=IMPOSSIBLE)
def test_names_that_cannot_be(name: Callable[[int], bytes]) -> None:
    with pytest.raises(DnsDecodeError, match="dns_malformed"):
        decode(HEADER.pack(7, 0, 1, 0, 0, 0) + name(HEADER.size) + struct.pack("!2H", 1, 1))
    answer = HEADER.pack(7, 0x8180, 1, 1, 0, 0) + QUESTION
    record = name(len(answer)) + struct.pack("!2HIH", 1, 1, 5, 4) + bytes(4)
    assert decode(answer + record).loss == "dns_malformed"
    alias = struct.pack("!2HIH", 5, 1, 5, 2) + name(len(answer) + 12)
    assert decode(answer + pointer(HEADER.size) + alias).loss == "dns_malformed"


def test_longest_name() -> None:
    name = (b"\x3f" + b"a" * 63) * 3 + b"\x3d" + b"a" * 61 + b"\x00"
    assert len(name) == 255
    read = decode(HEADER.pack(7, 0, 1, 0, 0, 0) + name + struct.pack("!2H", 28, 1))
    assert len(read.dns.query) == 254
    assert read.dns.qtype == "AAAA"


@pytest.mark.parametrize("pointers", [MAX_POINTERS, MAX_POINTERS + 1])
def test_pointers_to_pointers_end(pointers: int) -> None:
    answer = HEADER.pack(7, 0x8180, 1, 2, 0, 0) + QUESTION
    start = len(answer) + 12
    chain = b"".join(map(pointer, (HEADER.size, *range(start, start + 2 * pointers - 4, 2))))
    text = pointer(HEADER.size) + struct.pack("!2HIH", 16, 1, 5, len(chain)) + chain
    last = pointer(start + len(chain) - 2)
    alias = pointer(HEADER.size) + struct.pack("!2HIH", 5, 1, 5, 2) + last
    read = decode(answer + text + alias)
    assert read.loss == ("" if pointers == MAX_POINTERS else "dns_malformed")
    assert read.dns.cnames == (("api.example.",) if pointers == MAX_POINTERS else ())


def test_more_aliases_than_are_kept() -> None:
    record = pointer(HEADER.size) + struct.pack("!2HIH", 5, 1, 5, 2) + pointer(HEADER.size)
    read = decode(HEADER.pack(7, 0x8180, 1, 40, 0, 0) + QUESTION + record * 40)
    assert len(read.dns.cnames) == MAX_CNAMES
    assert len(read.dns.rrtypes) == 40


@pytest.mark.parametrize(
    ("label", "expected"),
    [
        (b"\x1b[31mred", r"\027[31mred."),
        (b"a\nb", r"a\010b."),
        (b"a.b", r"a\.b."),
        (b"<b>bold</b>", "<b>bold</b>."),
        (b"[red]", "[red]."),
        (b"caf\xc3\xa9", r"caf\195\169."),
        (b"\xe2\x80\xae", r"\226\128\174."),
        (b" ", r"\032."),
        (b"MiXeD", "mixed."),
    ],
)
def test_hostile_names_are_escaped_as_in_master_files(label: bytes, expected: str) -> None:
    name = bytes([len(label)]) + label + b"\x00"
    read = decode(HEADER.pack(7, 0, 1, 0, 0, 0) + name + struct.pack("!2H", 1, 1))
    assert read.dns.query == expected
    assert read.dns.query == dns.name.Name([label, b""]).to_text().lower()


@pytest.mark.parametrize(
    ("flags", "questions"),
    [(0, 0), (0, 2), (0x2800, 1), (0x2000, 1), (0xA800, 1)],
    ids=["no question", "two questions", "update", "notify", "answer to an update"],
)
def test_what_is_no_standard_query_with_one_question(flags: int, questions: int) -> None:
    with pytest.raises(DnsDecodeError, match="dns_unsupported"):
        decode(HEADER.pack(7, flags, questions, 0, 0, 0) + QUESTION * questions)


def test_extended_code_and_records_behind_it() -> None:
    response = dns.message.make_response(dns.message.make_query("x.example.", "A", use_edns=0))
    response.set_rcode(dns.rcode.BADVERS)
    assert decode(response.to_wire()).dns.rcode == 16


def test_more_answers_than_are_kept() -> None:
    response = dns.message.make_response(dns.message.make_query("many.example.", "A"))
    addresses = [f"10.0.{number // 256}.{number % 256}" for number in range(MAX_ANSWERS + 1)]
    response.answer.append(dns.rrset.from_text("many.example.", 9, "IN", "A", *addresses))
    read = decode(response.to_wire())
    assert read.loss == "dns_truncated"
    assert len(read.dns.ips) == MAX_ANSWERS


def test_truncated_by_the_server_is_no_error_of_the_message() -> None:
    response = dns.message.make_response(dns.message.make_query("x.example.", "TXT"))
    response.flags |= dns.flags.TC
    read = decode(response.to_wire())
    assert (read.dns.rcode, read.dns.rrtypes, read.loss) == (0, (), "")


def test_chain_of_names_to_both_families() -> None:
    response = dns.message.make_response(dns.message.make_query("www.example.", "A"))
    for owner, ttl, kind, text in (
        ("www.example.", 300, "CNAME", "a.cdn.example."),
        ("a.cdn.example.", 20, "CNAME", "b.cdn.example."),
        ("b.cdn.example.", 60, "A", "192.0.2.1"),
        ("b.cdn.example.", 60, "AAAA", "2001:db8::1"),
    ):
        response.answer.append(dns.rrset.from_text(owner, ttl, "IN", kind, text))
    assert decode(response.to_wire()).dns == Dns(
        "www.example.",
        "A",
        0,
        ("192.0.2.1", "2001:db8::1"),
        ("a.cdn.example.", "b.cdn.example."),
        20,
        ("CNAME", "CNAME", "A", "AAAA"),
    )
