"""Reassembly of DNS messages: split, out of order, duplicated, and above the bounds."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowd.capture.dns.streams import (
    IDLE_NS,
    MAX_OUT_OF_ORDER,
    MAX_STREAMS,
    STREAM_BYTES,
    TOTAL_BYTES,
    TcpReassembler,
)

FIN, SYN, RST, ACK = 1, 2, 4, 16
KEY = b"a connection"


def framed(*messages: bytes) -> bytes:
    return b"".join(len(message).to_bytes(2, "big") + message for message in messages)


@given(
    st.lists(st.binary(max_size=300), max_size=6),
    st.lists(st.integers(0, 1800), max_size=20),
    st.integers(0, 2**32 - 1),
    st.data(),
)
@settings(deadline=None, max_examples=200)
def test_messages_come_whole_and_in_order_however_they_were_cut(
    messages: list[bytes], cuts: list[int], first: int, data: st.DataObject
) -> None:
    """Segments out of order, duplicated, and with a sequence number that wraps around."""
    raw = framed(*messages)
    places = sorted({0, len(raw), *(cut for cut in cuts if cut < len(raw))})
    segments = [(begin, raw[begin:end]) for begin, end in pairwise(places)]
    again = data.draw(st.lists(st.sampled_from(segments), max_size=5)) if segments else []
    streams = TcpReassembler()
    assert streams.add(KEY, 1, first, SYN, b"") == []
    found: list[bytes] = []
    for begin, payload in data.draw(st.permutations([*segments, *again])):
        sequence = (first + 1 + begin) % 2**32
        found += streams.add(KEY, 2, sequence, ACK, payload)
    assert found == messages
    assert streams.partial == 0
    streams.add(KEY, 3, (first + 1 + len(raw)) % 2**32, FIN | ACK, b"")
    assert len(streams) == 0
    assert streams.partial == 0


def test_overlapping_segments_count_once() -> None:
    raw = framed(b"abcdef", b"ghi")
    streams = TcpReassembler()
    streams.add(KEY, 1, 99, SYN, b"")
    found = streams.add(KEY, 1, 100, ACK, raw[:5])
    found += streams.add(KEY, 1, 102, ACK, raw[2:9])
    found += streams.add(KEY, 1, 100, ACK, raw)
    assert found == [b"abcdef", b"ghi"]


def test_pipelined_messages_in_one_segment_and_a_fin_with_data() -> None:
    streams = TcpReassembler()
    assert streams.add(KEY, 1, 100, FIN | ACK, framed(b"one", b"", b"three")) == [
        b"one",
        b"",
        b"three",
    ]
    assert len(streams) == 0


def test_connection_already_open_is_read_from_its_next_segment() -> None:
    streams = TcpReassembler()
    assert streams.add(KEY, 1, 5000, ACK, framed(b"middle")) == [b"middle"]


@pytest.mark.parametrize("flags", [RST, SYN])
def test_what_was_not_whole_is_counted_when_the_connection_is_over(flags: int) -> None:
    streams = TcpReassembler()
    streams.add(KEY, 1, 100, ACK, framed(b"message")[:5])
    streams.add(KEY, 2, 105, flags, b"")
    assert streams.partial == 1


def test_silent_connections_are_forgotten() -> None:
    streams = TcpReassembler()
    streams.add(KEY, 1, 100, ACK, framed(b"message")[:5])
    streams.expire(IDLE_NS)
    assert len(streams) == 1
    streams.expire(2 + IDLE_NS)
    assert (len(streams), streams.partial) == (0, 1)


def test_segments_without_what_they_follow_are_bounded() -> None:
    streams = TcpReassembler()
    streams.add(KEY, 1, 99, SYN, b"")
    for number in range(1, MAX_OUT_OF_ORDER + 5):
        streams.add(KEY, 1, 100 + 10 * number, ACK, b"abc")
    assert streams.partial > 0
    assert streams.add(KEY, 1, 100, ACK, framed(b"late")) == []
    streams.add(KEY, 1, 99, SYN, b"")
    assert streams.add(KEY, 1, 100, ACK, framed(b"new")) == [b"new"]


def test_one_connection_holds_one_message_at_most() -> None:
    streams = TcpReassembler()
    raw = framed(bytes(65535))
    found: list[bytes] = []
    for at in range(0, len(raw), 1472):
        found += streams.add(KEY, 1, 100 + at, ACK, raw[at : at + 1472])
    assert found == [bytes(65535)]
    streams.add(KEY, 1, 100 + len(raw) + 1, ACK, bytes(STREAM_BYTES + 1))
    assert streams.partial == 1


def test_all_connections_are_bounded_in_number_and_bytes() -> None:
    streams = TcpReassembler()
    for number in range(MAX_STREAMS + 10):
        streams.add(number.to_bytes(4, "big"), 1, 100, ACK, b"\xff\xff" + bytes(20))
    assert len(streams) == MAX_STREAMS
    assert streams.partial == 10
    size = 60_000
    for number in range(MAX_STREAMS):
        streams.add(number.to_bytes(5, "big"), 1, 100, ACK, b"\xff\xff" + bytes(size))
    assert len(streams) <= TOTAL_BYTES // size
