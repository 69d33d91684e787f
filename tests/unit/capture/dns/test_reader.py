"""Matching of queries and responses: latency, retransmissions, timeouts, and losses."""

from functools import partial
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from flowd.capture.dns import reader as reader_module
from flowd.capture.dns.reader import DNS_TIMEOUT_NS, REASONS, DnsReader
from flowd.model.address import unpack
from flowd.model.enums import DnsKind, Protocol
from flowd.model.losses import Losses, Place
from flowd.model.records.dns import DnsBatch
from tests.support.dns_records import CLIENT, SECOND, SERVER, answer, query, record

QUERY, RESPONSE, TIMEOUT = DnsKind.QUERY, DnsKind.RESPONSE, DnsKind.TIMEOUT
EPOCH = 1_790_000_000 * SECOND
TIMEOUT_S = DNS_TIMEOUT_NS / SECOND


class Recorder:
    """A DnsReader, its losses, and all rows."""

    def __init__(self) -> None:
        self.losses = Losses()
        self.reader = DnsReader(self.losses)

    def read(self, *records: NDArray[np.void], now: float = 1) -> DnsBatch:
        return self.reader.read(records, round(now * SECOND), EPOCH)

    def lost(self) -> dict[str, int]:
        counts = self.losses.snapshot()
        return {why: counts[Place.CAPTURE, why] for why in REASONS if counts[Place.CAPTURE, why]}


def kinds(rows: DnsBatch) -> list[int]:
    return rows["kind"].tolist()


def test_query_and_response_are_rows_with_the_client_as_source() -> None:
    asked = query()
    rows = Recorder().read(
        record(asked, 0.5), record(answer(asked, "192.0.2.1", ttl=60), 0.512, reply=True)
    )
    assert kinds(rows) == [QUERY, RESPONSE]
    assert rows["latency_ns"].tolist() == [0, 12_000_000]
    assert rows["time_ns"].tolist() == [EPOCH + 500_000_000, EPOCH + 512_000_000]
    for row in rows:
        assert unpack(bytes(row["src_addr"])) == CLIENT
        assert unpack(bytes(row["dst_addr"])) == SERVER
        assert row[["src_port", "dst_port", "id", "conn_id", "ifindex"]].tolist() == (
            *(40000, 53, 7, 5, 3),
        )
        assert row["dns"].query == "api.example."
    assert (rows["dns"][1].ips, rows["dns"][1].ttl) == (("192.0.2.1",), 60)
    assert Recorder().read().tolist() == []


def test_records_come_from_two_rings_and_are_put_in_order() -> None:
    asked = query("long.example.", "TXT")
    long = answer(asked, f'"{"x" * 250}"')
    assert len(long) > 184
    rows = Recorder().read(record(long, 0.6, reply=True), record(asked, 0.5))
    assert kinds(rows) == [QUERY, RESPONSE]
    assert rows["latency_ns"].tolist() == [0, 100_000_000]


@pytest.mark.parametrize(
    "other",
    [
        {"port": 40001},
        {"client": "10.0.0.8"},
        {"asked": query(number=8)},
        {"asked": query("other.example.")},
        {"asked": query(kind="AAAA")},
    ],
    ids=["port", "client", "id", "name", "type"],
)
def test_response_to_something_else_has_no_latency_and_the_query_waits_on(
    other: dict[str, Any],
) -> None:
    asked: bytes = other.get("asked", query())
    ends = {name: value for name, value in other.items() if name != "asked"}
    reader = Recorder()
    rows = reader.read(record(query(), 0.5), record(answer(asked), 0.6, reply=True, **ends))
    assert rows["latency_ns"].tolist() == [0, 0]
    late = reader.read(now=0.5 + TIMEOUT_S)
    assert kinds(late) == [TIMEOUT]
    assert reader.reader.unanswered == 1


def test_response_in_other_letters_belongs_to_the_query() -> None:
    rows = Recorder().read(
        record(query("aPi.ExamPle."), 0.5), record(answer(query("API.example.")), 0.6, reply=True)
    )
    assert rows["latency_ns"][1] > 0


def test_query_sent_again_is_a_row_but_is_waited_for_once_from_the_first() -> None:
    reader, asked = Recorder(), query()
    rows = reader.read(record(asked, 0.5), record(asked, 0.7), now=0.8)
    assert kinds(rows) == [QUERY, QUERY]
    assert (reader.reader.queries, reader.reader.retransmitted) == (2, 1)
    rows = reader.read(
        record(answer(asked), 1.0, reply=True), record(answer(asked), 1.1, reply=True), now=1.2
    )
    assert rows["latency_ns"].tolist() == [500_000_000, 0]
    assert len(reader.read(now=20)) == 0


def test_query_without_a_response_times_out_once() -> None:
    reader = Recorder()
    reader.read(record(query(), 0.5), record(query(number=8), 0.9), now=1)
    assert len(reader.read(now=0.5 + TIMEOUT_S - 0.01)) == 0
    rows = reader.read(now=0.5 + TIMEOUT_S)
    assert kinds(rows) == [TIMEOUT]
    assert rows["id"].tolist() == [7]
    assert rows["time_ns"].tolist() == [EPOCH + 500_000_000 + DNS_TIMEOUT_NS]
    assert unpack(bytes(rows["src_addr"][0])) == CLIENT
    assert rows["dns"][0].query == "api.example."
    assert kinds(reader.read(now=60)) == [TIMEOUT]
    assert len(reader.read(now=90)) == 0
    assert reader.reader.unanswered == 2
    late = reader.read(record(answer(query()), 91, reply=True), now=92)
    assert late["latency_ns"].tolist() == [0]


def test_too_many_open_queries_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader_module, "MAX_PENDING", 3)
    reader = Recorder()
    rows = reader.read(*(record(query(number=number), 0.5) for number in range(5)))
    assert len(rows) == 5
    assert reader.lost() == {"dns_pending_full": 2}
    assert len(reader.read(now=60)) == 3


def test_messages_over_tcp_split_and_pipelined() -> None:
    first, second = query(number=1), query("b.example.", "AAAA", 2)
    raw = b"".join(len(wire).to_bytes(2, "big") + wire for wire in (first, second))
    back = b"".join(
        len(wire).to_bytes(2, "big") + wire
        for wire in (answer(second, "2001:db8::1"), answer(first, "192.0.2.1"))
    )
    tcp = partial(record, protocol=Protocol.TCP)
    rows = Recorder().read(
        tcp(b"", 0.1, seq=99, flags=2),
        tcp(raw[:1], 0.2, seq=100, flags=16),
        tcp(raw[40:], 0.3, seq=140, flags=16),
        tcp(raw[1:40], 0.4, seq=101, flags=16),
        tcp(b"", 0.5, seq=100 + len(raw), flags=17),
        tcp(b"", 0.15, seq=499, flags=18, reply=True),
        tcp(back[:50], 0.6, seq=500, flags=16, reply=True),
        tcp(back[50:], 0.7, seq=550, flags=17, reply=True),
    )
    assert kinds(rows) == [QUERY, QUERY, RESPONSE, RESPONSE]
    assert rows["id"].tolist() == [1, 2, 2, 1]
    assert rows["latency_ns"].tolist() == [0, 0, 300_000_000, 300_000_000]
    assert set(rows["protocol"].tolist()) == {int(Protocol.TCP)}


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"", "dns_malformed"),
        (query()[:20], "dns_malformed"),
        (
            b"\x00\x01\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\xc0\x0c\x00\x01\x00\x01",
            "dns_malformed",
        ),
        (query()[:2] + b"\x28\x00" + query()[4:], "dns_unsupported"),
    ],
)
def test_what_cannot_be_read_is_counted_and_the_rest_goes_on(payload: bytes, reason: str) -> None:
    reader = Recorder()
    rows = reader.read(record(payload, 0.4), record(query(), 0.5))
    assert kinds(rows) == [QUERY]
    assert reader.lost() == {reason: 1}


def test_part_of_a_long_datagram_gives_what_is_there() -> None:
    asked = query("many.example.")
    whole = answer(asked, *(f"10.0.0.{number}" for number in range(60)))
    reader = Recorder()
    rows = reader.read(
        record(asked, 0.4), record(whole[:400], 0.5, reply=True, original=len(whole))
    )
    assert rows["latency_ns"][1] == 100_000_000
    assert 10 < len(rows["dns"][1].ips) < 60
    assert reader.lost() == {"dns_truncated": 1}


def test_part_of_a_stream_is_counted() -> None:
    reader = Recorder()
    reader.read(record(b"\x00\x40abc", 0.1, seq=100, flags=17, protocol=Protocol.TCP))
    reader.read(record(b"", 0.2, seq=100, flags=4, protocol=Protocol.TCP))
    assert reader.lost() == {"dns_partial": 1}
