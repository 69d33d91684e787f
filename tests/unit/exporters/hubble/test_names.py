"""flowd.wire.names: text of codes and flags, as Hubble's tools print them."""

import pytest

from flowd.wire import names
from flowd.wire.flow.flow_pb2 import DropReason, TraceObservationPoint


@pytest.mark.parametrize(
    ("bits", "text"),
    [
        (0, ""),
        (0x02, "SYN"),
        (0x12, "SYN, ACK"),
        (0x11, "ACK, FIN"),
        (0x14, "ACK, RST"),
        (0xFF, "SYN, ACK, RST, FIN, PSH, URG, ECE, CWR"),
    ],
)
def test_tcp_flags(bits: int, text: str) -> None:
    assert names.tcp_flags(bits) == text


@pytest.mark.parametrize(
    ("kind", "code", "family", "text"),
    [
        (8, 0, 4, "EchoRequest"),
        (8, 3, 4, "EchoRequest(Code: 3)"),
        (3, 3, 4, "DestinationUnreachable(Port)"),
        (3, 99, 4, "DestinationUnreachable(Code: 99)"),
        (200, 7, 4, "200(7)"),
        (128, 0, 6, "EchoRequest"),
        (1, 4, 6, "DestinationUnreachable(Port)"),
        (3, 0, 6, "TimeExceeded(HopLimitExceeded)"),
    ],
)
def test_icmp(kind: int, code: int, family: int, text: str) -> None:
    assert names.icmp(kind, code, family) == text


def test_every_drop_reason_has_a_text() -> None:
    numbers = {number for number in DropReason.values() if number}
    assert numbers == {number for number in names.DROP_REASONS if number >= 130}
    assert names.DROP_REASONS[133] == "Policy denied"
    assert names.DROP_REASONS[136] == "Fragmentation needed"


def test_trace_texts_follow_the_enum_but_for_the_endpoint() -> None:
    for number, text in enumerate(names.TRACE_POINTS):
        value = TraceObservationPoint.Value(text.upper().replace("-", "_"))
        assert value == (number or 101)
