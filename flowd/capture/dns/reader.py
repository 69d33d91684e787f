"""From the kernel's records of DNS payload to rows, with queries and responses matched."""

from collections.abc import Sequence
from itertools import takewhile
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flowd.capture.dns.messages import Malformed, Message, decode
from flowd.capture.dns.streams import Streams
from flowd.model.enums import DnsKind, Protocol
from flowd.model.losses import Losses, Place
from flowd.model.records.dns import Dns, DnsBatch, empty_dns
from flowd_bpf.layout import DNS_HEAD

DNS_TIMEOUT_NS = 5_000_000_000
PENDING = 16384

REASONS = (
    "dns_malformed",
    "dns_truncated",
    "dns_unsupported",
    "dns_partial",
    "dns_pending_full",
)
"""What is counted under Place.CAPTURE: messages that cannot be read, or of which only a part was
there; those that are no standard query with one question; parts of TCP streams that cannot be put
together; queries that wait for no response, as too many do already."""

_Pending = tuple[int, bytes, Dns]
_Row = tuple[int, int, DnsKind, Dns, int]


class DnsReader:
    """Makes messages of payload, and transactions of messages.

    A response belongs to the query with the same client, server, id, name and type. A query that is
    sent again is a row again, but it is waited for once and from the first time on.

    Attributes:
        queries, retransmitted, responses, unanswered: messages so far, for the status.
    """

    def __init__(self, losses: Losses) -> None:
        self._losses = losses
        self._streams = Streams()
        self._pending: dict[tuple[bytes, tuple[int, int, str]], _Pending] = {}
        self.queries = self.retransmitted = self.responses = self.unanswered = 0
        for reason in REASONS:
            losses.add(Place.CAPTURE, reason, 0)

    def read(self, batches: Sequence[NDArray[np.void]], now_ns: int, epoch: int) -> DnsBatch:
        """Rows of DNS_SHORT and DNS_LONG records, and of queries that nobody answered.

        Args:
            now_ns: CLOCK_MONOTONIC up to which all records are here.
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
            sender, receiver = _ends(head)
            payload = payloads[at]
            if protocol == Protocol.TCP:
                key = sender + receiver
                for wire in self._streams.add(key, time_ns, sequence, flags, payload):
                    self._message(rows, at, time_ns, head, wire, whole=True)
            else:
                whole = len(payload) == original
                self._message(rows, at, time_ns, head, payload, whole=whole)
        self._streams.expire(now_ns)
        self._losses.put(Place.CAPTURE, "dns_partial", self._streams.partial)
        return self._rows(heads, rows, self._give_up(now_ns), epoch)

    def _message(
        self, rows: list[_Row], at: int, time_ns: int, head: bytes, wire: bytes, *, whole: bool
    ) -> None:
        try:
            message = decode(wire, whole=whole)
        except Malformed as error:
            self._losses.add(Place.CAPTURE, str(error))
            return
        if message.loss:
            self._losses.add(Place.CAPTURE, message.loss)
        if message.response:
            rows.append(self._response(at, time_ns, head, message))
        else:
            rows.append(self._query(at, time_ns, head, message))

    def _query(self, at: int, time_ns: int, head: bytes, message: Message) -> _Row:
        client, server = _ends(head)
        key = client + server, message.key
        self.queries += 1
        if key in self._pending:
            self.retransmitted += 1
        elif len(self._pending) < PENDING:
            self._pending[key] = time_ns, head, message.dns
        else:
            self._losses.add(Place.CAPTURE, "dns_pending_full")
        return at, message.key[0], DnsKind.QUERY, message.dns, 0

    def _response(self, at: int, time_ns: int, head: bytes, message: Message) -> _Row:
        server, client = _ends(head)
        asked = self._pending.pop((client + server, message.key), None)
        self.responses += 1
        latency = max(1, time_ns - asked[0]) if asked else 0
        return at, message.key[0], DnsKind.RESPONSE, message.dns, latency

    def _give_up(self, now_ns: int) -> list[tuple[int, _Pending]]:
        """Queries that were not answered in time, with their ids; the oldest are first."""
        over = list(
            takewhile(lambda item: item[1][0] + DNS_TIMEOUT_NS <= now_ns, self._pending.items())
        )
        for key, _ in over:
            del self._pending[key]
        self.unanswered += len(over)
        return [(key[1][0], asked) for key, asked in over]

    @staticmethod
    def _rows(
        heads: NDArray[Any],
        rows: list[_Row],
        over: list[tuple[int, _Pending]],
        epoch: int,
    ) -> DnsBatch:
        if not rows and not over:
            return empty_dns()
        late = np.frombuffer(b"".join(asked[1] for _, asked in over), DNS_HEAD).copy()
        late["time_ns"] += np.uint64(DNS_TIMEOUT_NS)
        source = np.concatenate([heads[[row[0] for row in rows]] if rows else heads[:0], late])
        made = empty_dns(len(source))
        made["id"] = [row[1] for row in rows] + [number for number, _ in over]
        made["kind"] = [row[2] for row in rows] + [DnsKind.TIMEOUT] * len(over)
        made["dns"] = [row[3] for row in rows] + [asked[2] for _, asked in over]
        made["rcode"] = [row[3].rcode for row in rows] + [0] * len(over)
        made["latency_ns"][: len(rows)] = [row[4] for row in rows]
        made["time_ns"] = source["time_ns"] + np.uint64(epoch)
        for name in ("conn_id", "ifindex", "protocol", "family", "hook"):
            made[name] = source[name]
        answers = made["kind"] == DnsKind.RESPONSE
        for mine, other in (("src", "dst"), ("dst", "src")):
            made[f"{mine}_addr"] = np.where(
                answers[:, None], source[f"{other}_addr"], source[f"{mine}_addr"]
            )
            made[f"{mine}_port"] = np.where(
                answers, source[f"{other}_port"], source[f"{mine}_port"]
            )
        return made[np.argsort(made["time_ns"], kind="stable")] if over else made


def _payloads(batch: NDArray[Any]) -> list[bytes]:
    """The payload of each record, as long as it is."""
    payload: NDArray[np.uint8] = np.ascontiguousarray(batch["payload"])
    width, raw = payload.shape[1], payload.tobytes()
    lengths: list[int] = np.minimum(batch["head"]["length"], width).tolist()
    return [raw[at * width : at * width + length] for at, length in enumerate(lengths)]


def _ends(head: bytes) -> tuple[bytes, bytes]:
    """Sender and receiver of a record: protocol, address and port."""
    protocol = head[66:67]
    return protocol + head[16:32] + head[60:62], protocol + head[32:48] + head[62:64]
