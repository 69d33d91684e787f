"""Parsing of hand-made conntrack messages, valid and malformed."""

import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowd.model.address import pack, unpack
from flowd_bpf.conntrack.parse import CT_DELETE, CT_NEW, ENTRY, SUBSYSTEM, Entries, parse

NESTED = 0x8000


def attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)


def side(src: str, dst: str, protocol: int, ports: tuple[int, int], kind: int = 8) -> bytes:
    """The value of CTA_TUPLE_ORIG or CTA_TUPLE_REPLY."""
    wide = ":" in src
    raw = [pack(text) if wide else pack(text)[12:] for text in (src, dst)]
    addresses = b"".join(attribute(n + (3 if wide else 1), a) for n, a in enumerate(raw))
    number = attribute(1, bytes([protocol]))
    if protocol in (1, 58):
        first = 4 if protocol == 1 else 7
        values = (struct.pack(">H", ports[0]), bytes([kind]), bytes([0]))
        proto = b"".join(attribute(first + n, value) for n, value in enumerate(values))
    else:
        proto = b"".join(attribute(2 + n, struct.pack(">H", p)) for n, p in enumerate(ports))
    return attribute(1 | NESTED, addresses) + attribute(2 | NESTED, number + proto)


def message(
    orig: bytes, reply: bytes, *, kind: int = CT_NEW, before: bytes = b"", after: bytes = b""
) -> bytes:
    body = bytes(4) + before + attribute(1 | NESTED, orig) + attribute(2 | NESTED, reply) + after
    return struct.pack("=IHHII", 16 + len(body), SUBSYSTEM << 8 | kind, 0, 0, 0) + body


def parsed(*messages: bytes) -> Entries:
    starts = np.cumsum([0, *map(len, messages)])[:-1].astype(np.int64)
    return parse(np.frombuffer(b"".join(messages), np.uint8), starts)


def seen(rows: Entries) -> list[tuple[str | int | bool, ...]]:
    return [
        tuple(
            unpack(bytes(row[name])) if name.endswith("addr") else row[name].item()
            for name in ENTRY.names or ()
        )
        for row in rows
    ]


def dnat(port: int, protocol: int = 6, **more: int) -> bytes:
    return message(
        side("10.0.0.1", "10.96.0.1", protocol, (port, 80)),
        side("10.1.0.1", "10.0.0.9", protocol, (8080, port + 1)),
        **more,  # type: ignore[arg-type]
    )


def told(port: int, protocol: int = 6, ended: bool = False) -> tuple[str | int | bool, ...]:
    addresses = ("10.0.0.1", "10.96.0.1", "10.0.0.9", "10.1.0.1")
    return (*addresses, port, 80, port + 1, 8080, protocol, ended)


def test_both_tuples_of_every_protocol_and_kind_of_news() -> None:
    rows = parsed(dnat(5), dnat(6, 17), dnat(7, 132), dnat(8, kind=CT_DELETE), dnat(5))
    assert seen(rows) == [told(5), told(6, 17), told(7, 132), told(8, ended=True), told(5)]


def test_ipv6() -> None:
    orig = side("fd00::1", "fd00:96::1", 6, (5, 80))
    (row,) = seen(parsed(message(orig, side("fd00:1::1", "fd00::1", 6, (8080, 5)))))
    assert row == ("fd00::1", "fd00:96::1", "fd00::1", "fd00:1::1", 5, 80, 5, 8080, 6, False)


@pytest.mark.parametrize(("protocol", "request_", "answer"), [(1, 8, 0), (58, 128, 129)])
def test_echo_by_identifier_and_no_other_icmp(protocol: int, request_: int, answer: int) -> None:
    near, far, pod = ("10.0.0.1", "10.96.0.1", "10.1.0.1")
    if protocol == 58:
        near, far, pod = ("fd00::1", "fd00:96::1", "fd00:1::1")
    echo = message(
        side(near, far, protocol, (77, 0), request_), side(pod, near, protocol, (78, 0), answer)
    )
    other = message(side(near, far, protocol, (77, 0), 13), side(pod, near, protocol, (77, 0), 14))
    (row,) = seen(parsed(echo, other))
    assert row[4:9] == (77, 77, 78, 78, protocol)


def test_the_plain_inverse_is_left_out() -> None:
    plain = message(
        side("10.0.0.1", "10.0.0.2", 6, (5, 80)), side("10.0.0.2", "10.0.0.1", 6, (80, 5))
    )
    assert seen(parsed(plain, dnat(5), plain)) == [told(5)]


def test_messages_of_one_length_may_be_laid_out_differently() -> None:
    extra = attribute(3, bytes(4))
    first = dnat(5, before=extra)  # type: ignore[arg-type]
    second = dnat(6, after=extra)  # type: ignore[arg-type]
    assert len(first) == len(second)
    rows = parsed(first, second, first, second)
    assert seen(rows) == [told(5), told(6), told(5), told(6)]


def test_other_messages_are_left_out() -> None:
    other = struct.pack("=IHHII", 20, 2 << 8, 0, 0, 0) + bytes(4)
    empty = struct.pack("=IHHII", 20, SUBSYSTEM << 8, 0, 0, 0) + bytes(4)
    assert seen(parsed(other, empty, dnat(5))) == [told(5)]
    assert len(parse(np.zeros(0, np.uint8), np.zeros(0, np.int64))) == 0


@settings(derandomize=True, deadline=None, max_examples=300)
@given(st.data())
def test_broken_messages_harm_nobody(data: st.DataObject) -> None:
    """Random bytes behind the header cause no error, and neighbouring messages are parsed."""
    raw = bytearray(dnat(5))
    for _ in range(data.draw(st.integers(1, 6))):
        raw[data.draw(st.integers(20, len(raw) - 1))] = data.draw(st.integers(0, 255))
    rows = seen(parsed(dnat(6), bytes(raw), dnat(7)))
    assert rows[0] == told(6)
    assert rows[-1] == told(7)
    assert len(rows) <= 3
