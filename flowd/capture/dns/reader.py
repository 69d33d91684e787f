"""Convert the kernel's records of DNS payload to DNS rows; match responses with their queries."""

from collections.abc import Sequence
from itertools import takewhile
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flowd.capture.dns.messages import DnsDecodeError, Message, decode
from flowd.capture.dns.streams import TcpReassembler
from flowd.model.enums import DnsKind, Protocol
from flowd.model.losses import Losses, Place
from flowd.model.records.dns import Dns, DnsBatch, empty_dns
from flowd_bpf.layout import DNS_HEAD

DNS_TIMEOUT_NS = 5_000_000_000
MAX_PENDING = 16384

REASONS = (
    "dns_malformed",
    "dns_truncated",
    "dns_unsupported",
    "dns_partial",
    "dns_pending_full",
)
"""Loss reasons under Place.CAPTURE: unreadable messages; messages captured in part; messages other
than a standard query with one question; parts of TCP streams that cannot be reassembled; queries
whose response is not matched, because MAX_PENDING queries wait already."""

_Pending = tuple[int, bytes, Dns]
_Row = tuple[int, int, DnsKind, Dns, int]


class DnsReader:
    """Decodes payload into messages, and matches responses with queries.

    A response matches the query with the same client, server, id, name and type. A retransmitted
    query gives another row, but latency and timeout count from its first transmission.

    Attributes:
        queries, retransmitted, responses, unanswered: totals of messages, for the status.
    """

    def __init__(self, losses: Losses) -> None:
        self._losses = losses
        self._streams = TcpReassembler()
        self._pending: dict[tuple[bytes, tuple[int, int, str]], _Pending] = {}
        self.queries = self.retransmitted = self.responses = self.unanswered = 0
        for reason in REASONS:
            losses.add(Place.CAPTURE, reason, 0)

    def read(self, batches: Sequence[NDArray[np.void]], now_ns: int, epoch: int) -> DnsBatch:
        """Convert DNS_SHORT and DNS_LONG records to DNS rows; adds rows of queries that timed out.

        Args:
            batches: arrays of records, shape (N,) each.
            now_ns: CLOCK_MONOTONIC; all records up to then were read.
            epoch: Unix time in ns at which CLOCK_MONOTONIC was 0.
        """
        batches = [batch for batch in batches if len(batch)]
        if not batches and not self._pending and not self._streams:
            return empty_dns()
        heads: NDArray[Any] = np.concatenate(
            [np.empty(0, DNS_HEAD), *(batch["head"] for batch in batches)]
        )
        payloads: list[bytes] = []
        for batch in batches:
            payloads += _payloads(batch)
        raw, size = heads.tobytes(), DNS_HEAD.itemsize
        columns = (
            heads[name].tolist() for name in ("time_ns", "seq", "flags", "protocol", "original")
        )
        records: list[tuple[int, ...]] = list(zip(*columns, strict=True))
        rows: list[_Row] = []
        order: list[int] = np.argsort(heads["time_ns"], kind="stable").tolist()
        for at in order:
            time_ns, sequence, flags, protocol, original = records[at]
            head = raw[at * size : (at + 1) * size]
            sender, receiver = _endpoints(head)
            payload = payloads[at]
            if protocol == Protocol.TCP:
                key = sender + receiver
                for wire in self._streams.add(key, time_ns, sequence, flags, payload):
                    self._message(rows, at, time_ns, head, wire, whole=True)
            else:
                whole = len(payload) == original
                self._message(rows, at, time_ns, head, payload, whole=whole)
        self._streams.expire(now_ns)
        self._losses.set_total(Place.CAPTURE, "dns_partial", self._streams.partial)
        return self._rows(heads, rows, self._expire(now_ns), epoch)

    def _message(
        self, rows: list[_Row], at: int, time_ns: int, head: bytes, wire: bytes, *, whole: bool
    ) -> None:
        try:
            message = decode(wire, whole=whole)
        except DnsDecodeError as error:
            self._losses.add(Place.CAPTURE, str(error))
            return
        if message.loss:
            self._losses.add(Place.CAPTURE, message.loss)
        if message.response:
            rows.append(self._response(at, time_ns, head, message))
        else:
            rows.append(self._query(at, time_ns, head, message))

    def _query(self, at: int, time_ns: int, head: bytes, message: Message) -> _Row:
        client, server = _endpoints(head)
        key = client + server, message.key
        self.queries += 1
        if key in self._pending:
            self.retransmitted += 1
        elif len(self._pending) < MAX_PENDING:
            self._pending[key] = time_ns, head, message.dns
        else:
            self._losses.add(Place.CAPTURE, "dns_pending_full")
        return at, message.key[0], DnsKind.QUERY, message.dns, 0

    def _response(self, at: int, time_ns: int, head: bytes, message: Message) -> _Row:
        server, client = _endpoints(head)
        pending = self._pending.pop((client + server, message.key), None)
        self.responses += 1
        latency = max(1, time_ns - pending[0]) if pending else 0
        return at, message.key[0], DnsKind.RESPONSE, message.dns, latency

    def _expire(self, now_ns: int) -> list[tuple[int, _Pending]]:
        """Remove and return the queries that timed out, with their ids, oldest first."""
        timed_out = list(
            takewhile(lambda item: item[1][0] + DNS_TIMEOUT_NS <= now_ns, self._pending.items())
        )
        for key, _ in timed_out:
            del self._pending[key]
        self.unanswered += len(timed_out)
        return [(key[1][0], pending) for key, pending in timed_out]

    @staticmethod
    def _rows(
        heads: NDArray[Any],
        rows: list[_Row],
        timed_out: list[tuple[int, _Pending]],
        epoch: int,
    ) -> DnsBatch:
        if not rows and not timed_out:
            return empty_dns()
        expired = np.frombuffer(b"".join(pending[1] for _, pending in timed_out), DNS_HEAD).copy()
        expired["time_ns"] += np.uint64(DNS_TIMEOUT_NS)
        source = np.concatenate([heads[[row[0] for row in rows]] if rows else heads[:0], expired])
        batch = empty_dns(len(source))
        batch["id"] = [row[1] for row in rows] + [number for number, _ in timed_out]
        batch["kind"] = [row[2] for row in rows] + [DnsKind.TIMEOUT] * len(timed_out)
        batch["dns"] = [row[3] for row in rows] + [pending[2] for _, pending in timed_out]
        batch["rcode"] = [row[3].rcode for row in rows] + [0] * len(timed_out)
        batch["latency_ns"][: len(rows)] = [row[4] for row in rows]
        batch["time_ns"] = source["time_ns"] + np.uint64(epoch)
        for name in ("conn_id", "ifindex", "protocol", "family", "hook"):
            batch[name] = source[name]
        answers = batch["kind"] == DnsKind.RESPONSE
        for end, other in (("src", "dst"), ("dst", "src")):
            batch[f"{end}_addr"] = np.where(
                answers[:, None], source[f"{other}_addr"], source[f"{end}_addr"]
            )
            batch[f"{end}_port"] = np.where(answers, source[f"{other}_port"], source[f"{end}_port"])
        return batch[np.argsort(batch["time_ns"], kind="stable")] if timed_out else batch


def _payloads(batch: NDArray[Any]) -> list[bytes]:
    """The captured bytes of each record."""
    payload: NDArray[np.uint8] = np.ascontiguousarray(batch["payload"])
    width, raw = payload.shape[1], payload.tobytes()
    lengths: list[int] = np.minimum(batch["head"]["length"], width).tolist()
    return [raw[at * width : at * width + length] for at, length in enumerate(lengths)]


def _endpoints(head: bytes) -> tuple[bytes, bytes]:
    """Sender and receiver of a DNS_HEAD record as bytes: protocol, address and port."""
    protocol = head[66:67]
    return protocol + head[16:32] + head[60:62], protocol + head[32:48] + head[62:64]
